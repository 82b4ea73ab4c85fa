//! Changes of a namespace that wait for one another go into its log together: whoever gets the
//! replica first appends for all who wait by then, with one write to the disk instead of one each.
//!
//! Each change is decided on its own, in the order in which it came, as if those before it were
//! there already, and ends on its own too.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidepool_handler::{CallContext, Failure};
use tidepool_store::Position;

use super::operation::Operation;

/// Most bytes of records that are appended at once for several callers.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Most records of such a group.
const GROUP_RECORDS_MAX: usize = 1_024;

/// How many passages were forgotten by a change, and the new version of the namespace.
pub(super) type Changed = (usize, Position);

/// The room that a change asks for.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Passages that it stores.
    pub(super) ids: Vec<String>,
    /// Bytes of their texts.
    pub(super) bytes: usize,
}

/// A change that somebody waits for.
pub(super) struct Change {
    operations: Mutex<Vec<Operation>>,
    /// The operations as they are kept, one each.
    pub(super) records: Vec<Bytes>,
    pub(super) room: Room,
    pub(super) context: CallContext,
    end: Mutex<Option<Result<Changed, Failure>>>,
}

impl Change {
    pub(super) fn new(
        operations: Vec<Operation>,
        records: Vec<Bytes>,
        room: Room,
        context: &CallContext,
    ) -> Arc<Self> {
        Arc::new(Self {
            operations: Mutex::new(operations),
            records,
            room,
            context: context.clone(),
            end: Mutex::default(),
        })
    }

    /// Ends it; the first end counts.
    pub(super) fn settle(&self, end: Result<Changed, Failure>) {
        self.end.lock().get_or_insert(end);
    }

    /// How it ended, if somebody has appended it or refused it already.
    pub(super) fn end(&self) -> Option<Result<Changed, Failure>> {
        self.end.lock().clone()
    }

    /// Whether somebody still waits for it. A caller that has gone was told that it failed, so it
    /// ends like that.
    pub(super) fn is_awaited(&self) -> bool {
        if let Some(stop) = self.context.stopped() {
            self.settle(Err(stop.into()));
        }
        self.end.lock().is_none()
    }

    /// What it does, for whoever has appended it.
    pub(super) fn take_operations(&self) -> Vec<Operation> {
        std::mem::take(&mut self.operations.lock())
    }

    fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// The changes of a namespace that nobody has taken up.
#[derive(Default)]
pub(super) struct Writers(Mutex<VecDeque<Arc<Change>>>);

impl Writers {
    /// Joins those who wait. Each thread of the process waits with one change at most.
    pub(super) fn join(&self, change: &Arc<Change>) {
        self.0.lock().push_back(Arc::clone(change));
    }

    /// Lets others wait on who were taken up, in their old place.
    pub(super) fn put_back(&self, changes: impl DoubleEndedIterator<Item = Arc<Change>>) {
        let mut waiting = self.0.lock();
        changes.rev().for_each(|change| waiting.push_front(change));
    }

    /// Leaves them, for a caller who waits no longer.
    pub(super) fn leave(&self, change: &Arc<Change>) {
        self.0.lock().retain(|other| !Arc::ptr_eq(other, change));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether a change waits here.
    pub(super) fn has(&self, change: &Arc<Change>) -> bool {
        self.0.lock().iter().any(|other| Arc::ptr_eq(other, change))
    }

    /// Takes up the first ones, as many as are appended at once: one at least, if any waits.
    pub(super) fn take(&self) -> Vec<Arc<Change>> {
        let mut waiting = self.0.lock();
        let (mut records, mut bytes) = (0, 0);
        let fits = |change: &&Arc<Change>| {
            records += change.records.len();
            bytes += change.bytes();
            records <= GROUP_RECORDS_MAX && bytes <= GROUP_BYTES_MAX
        };
        let count = waiting.iter().take_while(fits).count();
        let count = count.max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

/// How full a namespace is, with the changes that have been let in.
pub(super) struct Fill<'a> {
    items: usize,
    bytes: usize,
    items_max: usize,
    bytes_max: usize,
    new_ids: HashSet<&'a str>,
}

impl<'a> Fill<'a> {
    /// Of items and bytes that are there and may be there.
    pub(super) fn new(there: (usize, usize), max: (usize, usize)) -> Self {
        Self {
            items: there.0,
            bytes: there.1,
            items_max: max.0,
            bytes_max: max.1,
            new_ids: HashSet::new(),
        }
    }

    /// Lets a change in if it fits. What others forget meanwhile makes no room: it may come first.
    pub(super) fn admit(
        &mut self,
        room: &'a Room,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        let ids = room.ids.iter().map(String::as_str);
        let new: HashSet<&str> = ids
            .filter(|id| !is_known(id) && !self.new_ids.contains(id))
            .collect();
        if self.items + new.len() > self.items_max || self.bytes + room.bytes > self.bytes_max {
            return Err(self.refusal());
        }
        self.items += new.len();
        self.bytes += room.bytes;
        self.new_ids.extend(new);
        Ok(())
    }

    fn refusal(&self) -> Failure {
        let Self {
            items,
            bytes,
            items_max,
            bytes_max,
            ..
        } = self;
        Failure::LimitExceeded {
            detail: format!(
                "the namespace has {items} items of {bytes} bytes and can hold {items_max} of \
                 {bytes_max}: forget some first"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tidepool_core::{Deadline, RequestId, TraceContext};

    use super::*;

    fn change(record_bytes: usize) -> Arc<Change> {
        let deadline = Deadline::from_now(Instant::now(), Duration::from_secs(9));
        let id = RequestId(uuid::Uuid::nil());
        let context = CallContext::new(id, TraceContext::root(false), deadline);
        let records = vec![Bytes::from(vec![0; record_bytes])];
        Change::new(Vec::new(), records, Room::default(), &context)
    }

    #[test]
    fn a_group_is_bounded_and_never_empty_while_somebody_waits() {
        let writers = Writers::default();
        assert!(writers.take().is_empty());
        for bytes in [10, GROUP_BYTES_MAX, 2 * GROUP_BYTES_MAX, 0, 5] {
            writers.join(&change(bytes));
        }
        let gone = change(1);
        writers.join(&gone);
        writers.leave(&gone);
        let sizes = |group: Vec<Arc<Change>>| group.iter().map(|c| c.bytes()).collect::<Vec<_>>();
        assert_eq!(sizes(writers.take()), [10]);
        assert_eq!(sizes(writers.take()), [GROUP_BYTES_MAX]);
        assert_eq!(sizes(writers.take()), [2 * GROUP_BYTES_MAX]);
        let last = writers.take();
        writers.join(&change(7));
        writers.put_back(last.into_iter());
        assert_eq!(sizes(writers.take()), [0, 5, 7]);
        assert!(writers.take().is_empty());
    }

    #[test]
    fn those_who_are_let_in_together_share_the_room() {
        let room = |ids: &[&str], bytes| Room {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            bytes,
        };
        let (known, first, same, more) = (
            room(&["k"], 1),
            room(&["a", "b"], 1),
            room(&["b"], 1),
            room(&["c"], 1),
        );
        let large = room(&[], 8);
        let mut fill = Fill::new((1, 1), (3, 10));
        let mut admit = |room| fill.admit(room, |id| id == "k").is_ok();
        assert!(admit(&known) && admit(&first) && admit(&same));
        assert!(!admit(&more), "three there already");
        assert!(!admit(&large), "four of ten bytes are in use");
    }

    #[test]
    fn the_first_end_counts() {
        let change = change(1);
        change.settle(Ok((1, Position(7))));
        change.settle(Err(Failure::Cancelled));
        assert_eq!(change.end(), Some(Ok((1, Position(7)))));
    }
}
