//! A namespace as its log tells it: the passages that there are, and an index of their texts.
//!
//! Everything here follows from the records that were applied, so that a replica can be dropped
//! and made again at any time, by any process.
//!
//! A log that was trimmed begins with what came after a snapshot's `as_of`, and the snapshot comes
//! later, among newer records. Those win: a passage of a snapshot is only taken when the records
//! read so far say nothing about its id. As a log is only trimmed when the snapshot is in it, a
//! replica is complete at the end of the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidepool_handler::{CallContext, Failure};
use tidepool_store::Position;

use super::operation::{Item, Operation};
use super::text_index::{BATCH_LEN_MAX, TextIndex};

/// What a record costs in memory besides its texts, about: maps, index and allocations.
const ITEM_OVERHEAD_BYTES: usize = 300;

/// A namespace in memory.
#[derive(Default)]
pub(super) struct Replica {
    /// Position of the last record that was applied.
    position: Position,
    /// A snapshot of before this position is of no use: what it lacks was trimmed, or all that it
    /// has is known here.
    snapshot_floor: Position,
    /// Passages by keys that grow with every change.
    items: BTreeMap<u64, Arc<Item>>,
    keys: HashMap<Arc<str>, u64>,
    next_key: u64,
    /// Bytes of the texts of all passages.
    bytes: usize,
    index: TextIndex,
    /// Ids forgotten since the replica was complete, which a snapshot may still have.
    forgotten: HashSet<String>,
    /// Changes that the log holds, as far as known: how much could be saved by a snapshot.
    changes: usize,
}

impl Replica {
    /// What a log says of which all records up to here are gone.
    pub(super) fn empty_at(position: Position) -> Self {
        Self {
            position,
            snapshot_floor: position,
            ..Self::default()
        }
    }

    /// Position of the last record that was applied: the version of what is here.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Number of passages.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes of their texts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that this takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        2 * self.bytes + ITEM_OVERHEAD_BYTES * (self.items.len() + self.forgotten.len())
    }

    /// The passages, in the order in which they were stored.
    pub(super) fn items(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.items.values()
    }

    /// Whether there is a passage of this id.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Whether a log of the same content would be far shorter.
    pub(super) fn is_worth_a_snapshot(&self, changes_min: usize) -> bool {
        self.changes > changes_min + 4 * self.items.len()
    }

    /// Notes that the log is about to begin after a snapshot, whoever wrote it.
    pub(super) fn note_snapshot(&mut self) {
        self.changes = self.items.len();
    }

    /// Passes over the records of a snapshot of what is here.
    pub(super) fn note_own_snapshot(&mut self, end: Position) {
        self.position = end;
        self.note_complete();
    }

    /// Whether this record follows the last one, so that none was trimmed in between.
    pub(super) fn is_next(&self, position: Position) -> bool {
        self.position == Position::START || position.back(1) == self.position
    }

    /// Notes that the end of the log is reached: nothing is missing here.
    pub(super) fn note_complete(&mut self) {
        self.snapshot_floor = self.position;
        self.forgotten.clear();
    }

    /// Applies a record, or skips it (`None`) when it could not be read. Gives the number of
    /// passages that it made forgotten.
    pub(super) fn apply(&mut self, position: Position, operation: Option<Operation>) -> usize {
        if self.position == Position::START {
            self.snapshot_floor = position.back(1);
        }
        self.position = position;
        let before = self.items.len();
        match operation {
            None => return 0,
            Some(Operation::Store { items }) => {
                self.changes += items.len();
                for item in items {
                    self.forgotten.remove(&item.id);
                    self.put(item);
                }
                return 0;
            }
            Some(Operation::Forget { ids }) => {
                self.changes += ids.len();
                for id in ids {
                    self.remove(&id);
                    self.forgotten.insert(id);
                }
            }
            Some(Operation::ForgetAll {}) => {
                self.clear();
                self.snapshot_floor = position;
            }
            Some(Operation::Snapshot { as_of, items }) => {
                self.apply_snapshot(Position(as_of), items);
                self.note_snapshot();
                return 0;
            }
        }
        before - self.items.len()
    }

    fn apply_snapshot(&mut self, as_of: Position, items: Vec<Item>) {
        if as_of < self.snapshot_floor {
            return;
        }
        for item in items {
            if !self.contains(&item.id) && !self.forgotten.contains(&item.id) {
                self.put(item);
            }
        }
    }

    fn put(&mut self, item: Item) {
        self.remove(&item.id);
        self.bytes += item.bytes();
        self.keys.insert(item.id.as_str().into(), self.next_key);
        self.items.insert(self.next_key, Arc::new(item));
        self.next_key += 1;
    }

    fn remove(&mut self, id: &str) {
        let Some(key) = self.keys.remove(id) else {
            return;
        };
        if let Some(item) = self.items.remove(&key) {
            self.bytes -= item.bytes();
        }
        self.index.note_gone(key);
    }

    fn clear(&mut self) {
        self.items.clear();
        self.keys.clear();
        self.forgotten.clear();
        self.index.clear();
        self.bytes = 0;
        self.changes = 0;
    }

    /// Indexes what was stored since the last time.
    pub(super) fn index_new(&mut self, context: &CallContext) -> Result<(), Failure> {
        loop {
            let from = self.index.last_key().map_or(0, |key| key + 1);
            let batch: Vec<u64> = self
                .items
                .range(from..)
                .map(|(&key, _)| key)
                .take(BATCH_LEN_MAX)
                .collect();
            if batch.is_empty() {
                return Ok(());
            }
            if let Some(stop) = context.stopped() {
                return Err(stop.into());
            }
            let items = &self.items;
            self.index
                .add(&batch, |key| items.get(&key).map(|item| item.text.as_str()))?;
        }
    }

    /// Shows every indexed passage with at least one of the terms, and its score.
    pub(super) fn search(
        &self,
        terms: &[String],
        context: &CallContext,
        mut show: impl FnMut(&Arc<Item>, f32),
    ) -> Result<(), Failure> {
        self.index.search(terms, context, |key, score| {
            if let Some(item) = self.items.get(&key) {
                show(item, score);
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
