//! An event as the feed keeps it: its JSON, and the few fields that are looked at.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tidepool_core::event::TYPE_PREFIX;
use tidepool_core::{Event, EventId};

/// Largest event as JSON, in bytes. The data of a larger one is left out.
pub const EVENT_BYTES_MAX: usize = 64 << 10;

/// One event. Its JSON is made once, however many read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Position on the feed.
    pub id: EventId,
    /// Type, with the `io.tidepool.` prefix.
    pub kind: String,
    /// The pool it concerns, if any.
    pub pool: Option<String>,
    /// The CloudEvent in structured form, on one line.
    pub json: Bytes,
}

/// The fields that [`Entry`] knows by name.
#[derive(Deserialize)]
struct Head {
    id: EventId,
    #[serde(rename = "type")]
    kind: String,
    subject: Option<String>,
}

impl Entry {
    pub(crate) fn from_event(mut event: Event) -> Self {
        let mut json = encode(&event);
        if json.len() > EVENT_BYTES_MAX {
            event.data = json!({"left_out": "the data was too large", "bytes": json.len()});
            json = encode(&event);
        }
        Self {
            id: event.id,
            kind: event.kind,
            pool: event.subject,
            json: json.into(),
        }
    }

    /// Reads an event back from the store; nothing when it is none.
    pub(crate) fn from_json(json: Bytes) -> Option<Self> {
        let head: Head = serde_json::from_slice(&json).ok()?;
        Some(Self {
            id: head.id,
            kind: head.kind,
            pool: head.subject,
            json,
        })
    }

    /// The event as a value.
    ///
    /// # Errors
    /// Never for an event that the feed gave out.
    pub fn event(&self) -> Result<Event, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }
}

/// An event that has no id yet, on its way to the process that gives it one. It keeps its source
/// and its time.
pub(crate) fn unnumbered(event: Event) -> Bytes {
    let id = EventId::default();
    Entry::from_event(Event { id, ..event }).json
}

/// Reads what [`unnumbered`] made; nothing when it is no event of ours.
pub(crate) fn read_unnumbered(json: &[u8]) -> Option<Event> {
    let event: Event = serde_json::from_slice(json).ok()?;
    event.kind.starts_with(TYPE_PREFIX).then_some(event)
}

fn encode(event: &Event) -> Vec<u8> {
    // Only maps with other keys than texts and failing `Serialize`s are refused; neither is here.
    serde_json::to_vec(event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidepool_core::{EventDraft, Timestamp};

    fn entry(data: serde_json::Value) -> Entry {
        let draft = EventDraft::new("worker.ready", data);
        let id = EventId { ms: 5, seq: 1 };
        Entry::from_event(draft.into_event(id, "/tidepool/t", Timestamp(5)))
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let entry = entry(json!({"n": 1}));
        assert_eq!(Entry::from_json(entry.json.clone()), Some(entry));
    }

    #[test]
    fn leaves_out_data_that_is_too_large() {
        let entry = entry(json!({"text": "x".repeat(EVENT_BYTES_MAX)}));
        assert!(entry.json.len() < 1_000);
        assert!(entry.event().unwrap().data["bytes"].as_u64() > Some(EVENT_BYTES_MAX as u64));
    }

    #[test]
    fn what_is_no_event_is_nothing() {
        assert_eq!(Entry::from_json("{}".into()), None);
        assert_eq!(Entry::from_json("\u{0}".into()), None);
    }
}
