//! Logs that say far less than they have records: a snapshot at their end, and what came before it
//! forgotten.

use bytes::Bytes;
use tidepool_handler::{CallContext, Failure};
use tidepool_store::{Appended, Position};

use super::namespaces::{Namespaces, encode};
use super::operation::{Item, Operation, record_groups};
use super::replica::Replica;

/// A log is not replaced by a snapshot before it holds so many changes.
const SNAPSHOT_CHANGES_MIN: usize = 10_000;
/// Bytes of passages of a snapshot that are appended at once.
const SNAPSHOT_APPEND_BYTES: usize = 4 << 20;

impl Namespaces {
    /// Puts a snapshot at the end of a log that says far less than it has records, and forgets what
    /// came before it. The request goes on whether or not this works; it is tried again when the
    /// log has grown by as much again.
    pub(super) fn shorten_if_long(
        &self,
        namespace: &str,
        replica: &mut Replica,
        context: &CallContext,
    ) {
        if !replica.is_worth_a_snapshot(SNAPSHOT_CHANGES_MIN) {
            return;
        }
        let as_of = replica.position();
        let written = context.step("store.append", || self.write_snapshot(namespace, replica));
        replica.note_snapshot();
        match written {
            Ok(Some(end)) => {
                replica.note_own_snapshot(end);
                self.trim(namespace, as_of);
            }
            Ok(None) => {}
            Err(failure) => {
                tracing::warn!(namespace, ?failure, "could not shorten a memory log");
            }
        }
    }

    /// Writes all of a replica behind its end, and gives the position of the last record; nothing
    /// when somebody else appended, and the parts that are there already then mean nothing new.
    fn write_snapshot(
        &self,
        namespace: &str,
        replica: &Replica,
    ) -> Result<Option<Position>, Failure> {
        if replica.len() == 0 {
            // Says the same, and a log that is not empty tells where it ends.
            let record = vec![encode(&Operation::ForgetAll {})?];
            return self.append_next(namespace, replica.position(), record);
        }
        let mut end = replica.position();
        let (mut part, mut bytes) = (Vec::new(), 0);
        let mut items = replica.items().peekable();
        while let Some(item) = items.next() {
            bytes += item.bytes();
            part.push(Item::clone(item));
            if bytes < SNAPSHOT_APPEND_BYTES && items.peek().is_some() {
                continue;
            }
            bytes = 0;
            let records = snapshot_records(replica.position(), std::mem::take(&mut part))?;
            match self.append_next(namespace, end, records)? {
                Some(position) => end = position,
                None => return Ok(None),
            }
        }
        Ok(Some(end))
    }

    fn append_next(
        &self,
        namespace: &str,
        end: Position,
        records: Vec<Bytes>,
    ) -> Result<Option<Position>, Failure> {
        Ok(match self.append(namespace, end, records)? {
            Appended::At(position) => Some(position),
            Appended::Moved { .. } => None,
        })
    }
}

fn snapshot_records(Position(as_of): Position, items: Vec<Item>) -> Result<Vec<Bytes>, Failure> {
    record_groups(items)
        .into_iter()
        .map(|items| encode(&Operation::Snapshot { as_of, items }))
        .collect()
}
