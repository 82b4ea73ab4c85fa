//! Namespaces of a process: their logs, and replicas of those in use.
//!
//! Whatever is asked is answered by a replica that has caught up with the end of the log, so that
//! any process can serve any namespace, and sees what was acknowledged before the request came. A
//! change is decided on a replica too, and appended at the very place where that replica ends: if
//! another process appended since, the store refuses, and the change is decided again on what is
//! there now. A process that was stopped, and wakes while another one has taken over, therefore
//! cannot write what it decided before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use tidepool_handler::{CallContext, Failure};
use tidepool_store::{Appended, Epoch, Position, Records, StoreError, wait};

use super::MemoryConfig;
use super::operation::{Item, Operation, record_groups};
use super::recall::{Recalled, Wanted, recall};
use super::recent::Recent;
use super::replica::Replica;
use super::writers::{Change, Changed, Fill, Room, Writers};

/// Records asked for at once when catching up.
const READ_RECORDS: usize = 4_096;
/// How often a replica is made anew because the log was trimmed while it was read.
const READ_RESTARTS_MAX: usize = 5;
/// How often a change is decided anew because another process appended first. Who lost was told
/// what it missed, so that it is as fast as the winner the next time.
const APPEND_TRIES_MAX: usize = 32;

/// All namespaces.
pub(super) struct Namespaces {
    config: MemoryConfig,
    open: Mutex<Recent<Arc<Open>>>,
}

/// A namespace with a replica.
#[derive(Default)]
struct Open {
    replica: RwLock<Replica>,
    writers: Writers,
    memory_bytes: AtomicUsize,
}

/// Why changes are not in the log.
enum Unappended {
    /// What it says could not be read: nothing was tried.
    Unread(Failure),
    /// The store did not take them, or did not say so.
    Unwritten(Failure),
}

/// How far a replica was, and how far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CaughtUp {
    pub(super) from: Position,
    pub(super) to: Position,
}

/// A namespace, counted.
pub(super) struct Counted {
    pub(super) items: usize,
    pub(super) bytes: usize,
    pub(super) version: Position,
    /// Passages by tag.
    pub(super) tags: HashMap<String, usize>,
}

impl Namespaces {
    pub(super) fn new(config: MemoryConfig) -> Self {
        Self {
            config,
            open: Mutex::default(),
        }
    }

    /// Stores passages; they are durable when this returns. Gives the new version.
    pub(super) fn store(
        &self,
        namespace: &str,
        items: Vec<Item>,
        context: &CallContext,
    ) -> Result<Position, Failure> {
        let room = Room {
            ids: items.iter().map(|item| item.id.clone()).collect(),
            bytes: items.iter().map(Item::bytes).sum(),
        };
        let operations = record_groups(items)
            .into_iter()
            .map(|items| Operation::Store { items })
            .collect();
        let (_, version) = self.change(namespace, operations, room, context)?;
        Ok(version)
    }

    /// Answers a recall, and says how far the replica had to catch up for it.
    pub(super) fn recall(
        &self,
        namespace: &str,
        wanted: &Wanted,
        context: &CallContext,
    ) -> Result<(Recalled, CaughtUp), Failure> {
        let open = self.open(namespace);
        let mut replica = lock(&open, context)?;
        let caught_up = self.catch_up(namespace, &open, &mut replica, context)?;
        context.step("memory.index", || replica.index_new(context))?;
        let replica = RwLockWriteGuard::downgrade(replica);
        let recalled = context.step("memory.search", || recall(&replica, wanted, context))?;
        Ok((recalled, caught_up))
    }

    /// Forgets passages by id, or all of them. Gives how many there were, and the new version.
    pub(super) fn forget(
        &self,
        namespace: &str,
        ids: Option<Vec<String>>,
        context: &CallContext,
    ) -> Result<(usize, Position), Failure> {
        let forgets_all = ids.is_none();
        let operation = ids.map_or(Operation::ForgetAll {}, |ids| Operation::Forget { ids });
        let (forgotten, version) =
            self.change(namespace, vec![operation], Room::default(), context)?;
        if forgets_all {
            self.trim(namespace, version.back(1));
        }
        Ok((forgotten, version))
    }

    /// Counts what there is.
    pub(super) fn count(&self, namespace: &str, context: &CallContext) -> Result<Counted, Failure> {
        let open = self.open(namespace);
        let mut replica = lock(&open, context)?;
        self.catch_up(namespace, &open, &mut replica, context)?;
        let replica = RwLockWriteGuard::downgrade(replica);
        let mut tags = HashMap::new();
        for tag in replica.items().flat_map(|item| &item.tags) {
            *tags.entry(tag.clone()).or_default() += 1;
        }
        Ok(Counted {
            items: replica.len(),
            bytes: replica.bytes(),
            version: replica.position(),
            tags,
        })
    }

    fn open(&self, namespace: &str) -> Arc<Open> {
        let config = &self.config;
        let mut recent = self.open.lock();
        let open = recent.get(namespace, Arc::default);
        recent.shrink(config.open_max, config.open_bytes_max, |open| {
            open.memory_bytes.load(Ordering::Relaxed)
        });
        open
    }

    #[cfg(test)]
    pub(super) fn join(&self, namespace: &str, change: &Arc<Change>) {
        self.open(namespace).writers.join(change);
    }

    #[cfg(test)]
    pub(super) fn waiting(&self, namespace: &str) -> usize {
        self.open(namespace).writers.len()
    }

    /// Changes a namespace if there is room, and says how many passages that made forgotten and the
    /// new version. Those who wait for each other are appended by the first of them.
    fn change(
        &self,
        namespace: &str,
        operations: Vec<Operation>,
        room: Room,
        context: &CallContext,
    ) -> Result<Changed, Failure> {
        let records = operations.iter().map(encode).collect::<Result<_, _>>()?;
        let change = Change::new(operations, records, room, context);
        let open = self.open(namespace);
        open.writers.join(&change);
        loop {
            let locked = lock(&open, context);
            let mut replica = locked.inspect_err(|_| open.writers.leave(&change))?;
            if change.end().is_none() {
                let group = open.writers.take();
                self.change_all(namespace, &open, &mut replica, group, &change);
            }
            if let Some(end) = change.end() {
                return end;
            }
            if !open.writers.has(&change) {
                let cause = "whoever appended this with others came to grief".to_owned();
                return Err(Failure::Internal { cause });
            }
        }
    }

    /// Appends what there is room for, and ends every change, but those of others when the caller
    /// of this one has gone meanwhile.
    fn change_all(
        &self,
        namespace: &str,
        open: &Open,
        replica: &mut Replica,
        group: Vec<Arc<Change>>,
        own: &Arc<Change>,
    ) {
        let context = &own.context;
        match self.append_all(namespace, open, replica, &group, context) {
            // Nothing is known of the end of the log then.
            Ok(None) => {}
            Ok(Some((taken, last))) => {
                note_own(replica, &taken, last);
                note_memory(open, replica);
                self.shorten_if_long(namespace, replica, context);
            }
            Err(Unappended::Unread(failure)) if context.stopped().is_some() => {
                own.settle(Err(failure));
                let others = group.into_iter().filter(|change| change.end().is_none());
                let others: Vec<_> = others.collect();
                open.writers.put_back(others.into_iter());
            }
            // Those who were refused have their ends.
            Err(Unappended::Unread(failure) | Unappended::Unwritten(failure)) => {
                group
                    .iter()
                    .for_each(|change| change.settle(Err(failure.clone())));
            }
        }
    }

    /// Appends the records of those changes that may be where the replica ends, and refuses the
    /// others. Gives the changes and the position of the last record; the replica ends before the
    /// first one. Nothing when nobody's may be.
    ///
    /// What the replica knows already may do; it is durable, and nobody else appended since, when
    /// the store takes the records at the replica's end. But nobody is refused by a replica that
    /// may lag.
    fn append_all<'a>(
        &self,
        namespace: &str,
        open: &Open,
        replica: &mut Replica,
        group: &'a [Arc<Change>],
        context: &CallContext,
    ) -> Result<Option<Taken<'a>>, Unappended> {
        let mut is_current = false;
        for _ in 0..=APPEND_TRIES_MAX {
            let (taken, refused) = self.sort(replica, group);
            if taken.is_empty() && refused.is_empty() {
                return Ok(None);
            }
            if !is_current && (replica.position() == Position::START || !refused.is_empty()) {
                let caught_up = self.catch_up(namespace, open, replica, context);
                caught_up.map_err(Unappended::Unread)?;
                is_current = true;
                continue;
            }
            for (change, failure) in refused {
                change.settle(Err(failure));
            }
            if taken.is_empty() {
                return Ok(None);
            }
            let records = taken.iter().flat_map(|change| &change.records);
            let records: Vec<Bytes> = records.cloned().collect();
            let append = || self.append(namespace, replica.position(), records);
            let appended = context.step("store.append", append);
            match appended.map_err(Unappended::Unwritten)? {
                Appended::At(last) => return Ok(Some((taken, last))),
                Appended::Moved { tail, missed } => {
                    let learn = || self.learn(namespace, replica, tail, missed, context);
                    let learned = context.step("store.read", learn);
                    learned.map_err(Unappended::Unread)?;
                    is_current = true;
                }
            }
        }
        Err(Unappended::Unwritten(Failure::Dependency {
            dependency: "store".into(),
            cause: format!("others appended first, {APPEND_TRIES_MAX} times in a row"),
        }))
    }

    /// The changes that somebody still waits for: those that may be, one after the other, and those
    /// that may not, and why.
    fn sort<'a>(&self, replica: &Replica, group: &'a [Arc<Change>]) -> Sorted<'a> {
        let there = (replica.len(), replica.bytes());
        let mut fill = Fill::new(there, (self.config.items_max, self.config.bytes_max));
        let mut sorted = Sorted::default();
        for change in group.iter().filter(|change| change.is_awaited()) {
            match fill.admit(&change.room, |id| replica.contains(id)) {
                Ok(()) => sorted.0.push(change),
                Err(failure) => sorted.1.push((change, failure)),
            }
        }
        sorted
    }

    pub(super) fn append(
        &self,
        namespace: &str,
        expected: Position,
        records: Vec<Bytes>,
    ) -> Result<Appended, Failure> {
        let log = &self.config.log;
        let append = log.append_at(&stream(namespace), Epoch::UNFENCED, expected, records);
        wait(append).map_err(store_failure)
    }

    /// Brings a replica to the end of a log that others have appended to.
    fn learn(
        &self,
        namespace: &str,
        replica: &mut Replica,
        tail: Position,
        missed: Records,
        context: &CallContext,
    ) -> Result<(), Failure> {
        if tail < replica.position() {
            // The store has lost what this was made from.
            tracing::error!(namespace, %tail, known = %replica.position(), "a memory log was lost");
            *replica = Replica::default();
        }
        let follows = |(first, _): &(Position, _)| replica.is_next(*first);
        if missed.first().is_some_and(follows) {
            apply_all(namespace, replica, missed);
            if replica.position() == tail {
                replica.note_complete();
                return Ok(());
            }
        }
        self.read_to_end(namespace, replica, context)?;
        if replica.position() < tail {
            // Records up to the tail were there, and nothing is left of them or came after them.
            *replica = Replica::empty_at(tail);
        }
        Ok(())
    }

    /// Brings a replica to the end of the log, and shortens a log that has become far longer than
    /// what it says.
    fn catch_up(
        &self,
        namespace: &str,
        open: &Open,
        replica: &mut Replica,
        context: &CallContext,
    ) -> Result<CaughtUp, Failure> {
        let caught_up = context.step("store.read", || {
            self.read_to_end(namespace, replica, context)
        });
        note_memory(open, replica);
        if caught_up.is_ok() {
            self.shorten_if_long(namespace, replica, context);
        }
        caught_up
    }

    /// Applies all records there are, until `context` stops it.
    fn read_to_end(
        &self,
        namespace: &str,
        replica: &mut Replica,
        context: &CallContext,
    ) -> Result<CaughtUp, Failure> {
        let from = replica.position();
        let mut restarts = 0;
        loop {
            if let Some(stop) = context.stopped() {
                return Err(stop.into());
            }
            let records = wait(self.config.log.read(
                &stream(namespace),
                replica.position(),
                READ_RECORDS,
            ))
            .map_err(store_failure)?;
            let Some((first, _)) = records.first() else {
                replica.note_complete();
                let to = replica.position();
                return Ok(CaughtUp { from, to });
            };
            if !replica.is_next(*first) {
                restarts += 1;
                if restarts > READ_RESTARTS_MAX {
                    return Err(Failure::Dependency {
                        dependency: "store".into(),
                        cause: "the log is trimmed faster than it can be read".into(),
                    });
                }
                *replica = Replica::default();
                continue;
            }
            apply_all(namespace, replica, records);
        }
    }

    pub(super) fn trim(&self, namespace: &str, up_to: Position) {
        if let Err(error) = wait(self.config.log.trim(&stream(namespace), up_to)) {
            tracing::warn!(namespace, %up_to, error = error.full(), "could not trim a memory log");
        }
    }
}

/// Changes that were appended, and the position of the last record.
type Taken<'a> = (Vec<&'a Arc<Change>>, Position);

/// Changes that may be, and those that may not.
type Sorted<'a> = (Vec<&'a Arc<Change>>, Vec<(&'a Arc<Change>, Failure)>);

fn stream(namespace: &str) -> String {
    format!("memory/{namespace}")
}

/// Waits for a replica that others use, not beyond the deadline.
fn lock<'a>(
    open: &'a Open,
    context: &CallContext,
) -> Result<RwLockWriteGuard<'a, Replica>, Failure> {
    open.replica
        .try_write_until(context.deadline.0)
        .ok_or(Failure::DeadlineExceeded)
}

/// Applies records that follow one another and the end of a replica.
fn apply_all(namespace: &str, replica: &mut Replica, records: Records) {
    for (position, record) in records {
        let operation = read_record(namespace, position, &record);
        replica.apply(position, operation);
    }
}

/// Applies what this process just appended, up to `last`, and ends the changes with what they made
/// forgotten.
fn note_own(replica: &mut Replica, changes: &[&Arc<Change>], last: Position) {
    let count: usize = changes.iter().map(|change| change.records.len()).sum();
    let mut position = last.back(count as u64);
    for change in changes {
        let mut forgotten = 0;
        for operation in change.take_operations() {
            position = Position(position.0 + 1);
            forgotten += replica.apply(position, Some(operation));
        }
        change.settle(Ok((forgotten, position)));
    }
    replica.note_complete();
}

fn note_memory(open: &Open, replica: &Replica) {
    open.memory_bytes
        .store(replica.memory_bytes(), Ordering::Relaxed);
}

pub(super) fn encode(operation: &Operation) -> Result<Bytes, Failure> {
    operation.encode().map_err(|error| Failure::Internal {
        cause: format!("a memory record could not be encoded: {error}"),
    })
}

/// A record that cannot be read is skipped: one bad record must not make all others unusable.
fn read_record(namespace: &str, position: Position, record: &[u8]) -> Option<Operation> {
    Operation::decode(record)
        .inspect_err(|error| {
            tracing::error!(namespace, %position, %error, "skipped an unreadable memory record");
        })
        .ok()
}

fn store_failure(error: StoreError) -> Failure {
    Failure::Dependency {
        dependency: "store".into(),
        cause: error.full(),
    }
}
