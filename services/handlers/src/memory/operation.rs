//! What the log of a namespace holds: operations, as MessagePack, in records of bounded size.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidepool_store::APPEND_BYTES_MAX;

/// A record is ended once its items have this many bytes; far below what the store takes.
const RECORD_BYTES: usize = 256 << 10;
/// Most bytes of items that are appended at once; leaves room for their encoding.
pub(super) const STORE_BYTES_MAX: usize = APPEND_BYTES_MAX / 16 * 15;
/// What an item takes besides its texts, about.
const ITEM_OVERHEAD_BYTES: usize = 64;

/// A stored passage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    /// Unique in its namespace.
    pub(super) id: String,
    pub(super) text: String,
    pub(super) tags: Vec<String>,
    /// When it was, in microseconds since the Unix epoch.
    pub(super) at_us: i64,
}

impl Item {
    /// Bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        self.id.len() + self.text.len() + self.tags.iter().map(String::len).sum::<usize>()
    }

    /// Bytes that it takes in a record, about.
    fn encoded_bytes(&self) -> usize {
        self.bytes() + self.tags.len() * 4 + ITEM_OVERHEAD_BYTES
    }
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    /// These items replace those with the same ids.
    Store {
        /// The items.
        items: Vec<Item>,
    },
    /// The items with these ids are gone.
    Forget {
        /// Their ids; unknown ones mean nothing.
        ids: Vec<String>,
    },
    /// All items are gone.
    ForgetAll {},
    /// A part of what there was after the record at `as_of`, so that the log can be trimmed.
    Snapshot {
        /// Position of the last record that it takes into account.
        as_of: u64,
        /// Some of the items.
        items: Vec<Item>,
    },
}

impl Operation {
    /// The record.
    pub(super) fn encode(&self) -> Result<Bytes, rmp_serde::encode::Error> {
        rmp_serde::to_vec_named(self).map(Bytes::from)
    }

    /// Reads a record.
    pub(super) fn decode(record: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(record)
    }
}

/// Bytes that items take in the log, about.
pub(super) fn encoded_bytes(items: &[Item]) -> usize {
    items.iter().map(Item::encoded_bytes).sum()
}

/// Splits items into groups for one record each.
pub(super) fn record_groups(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += item.encoded_bytes();
        group.push(item);
        if bytes >= RECORD_BYTES {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use tidepool_store::RECORD_BYTES_MAX;

    use super::*;

    fn item(id: usize, text: &str) -> Item {
        Item {
            id: id.to_string(),
            text: text.into(),
            tags: vec!["t".into()],
            at_us: -1,
        }
    }

    #[test]
    fn operations_survive_the_log() {
        for operation in [
            Operation::Store {
                items: vec![item(1, "é")],
            },
            Operation::Forget {
                ids: vec!["1".into()],
            },
            Operation::ForgetAll {},
            Operation::Snapshot {
                as_of: 7,
                items: vec![],
            },
        ] {
            let record = operation.encode().unwrap();
            assert_eq!(Operation::decode(&record).unwrap(), operation);
        }
    }

    #[test]
    fn records_written_by_a_newer_release_are_read_as_far_as_known() {
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Newer {
            Forget { ids: Vec<String>, why: String },
            Rename {},
        }
        let newer = Newer::Forget {
            ids: vec!["1".into()],
            why: "age".into(),
        };
        let record = rmp_serde::to_vec_named(&newer).unwrap();
        assert!(Operation::decode(&record).is_ok());
        let record = rmp_serde::to_vec_named(&Newer::Rename {}).unwrap();
        assert!(Operation::decode(&record).is_err());
    }

    #[test]
    fn records_stay_below_what_the_store_takes() {
        let largest = "\u{10ffff}".repeat(32_768);
        let items: Vec<_> = (0..40).map(|id| item(id, &largest)).collect();
        let groups = record_groups(items.clone());
        assert_eq!(groups.concat(), items);
        for items in groups {
            let about = encoded_bytes(&items);
            let record = Operation::Store { items }.encode().unwrap();
            assert!(record.len() <= about && record.len() < RECORD_BYTES_MAX);
        }
        assert!(record_groups(vec![]).is_empty());
    }
}
