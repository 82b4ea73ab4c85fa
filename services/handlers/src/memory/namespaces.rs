//! Namespaces of a process: their logs, and replicas of those in use.
//!
//! Whatever is asked is answered by a replica that has caught up with the end of the log, so that
//! any process can serve any namespace, and sees what was acknowledged before the request came. A
//! change is decided on a replica too, and appended at the very place where that replica ends: if
//! another process appended since, the store refuses, and the change is decided again on what is
//! there now. A process that was stopped, and wakes while another one has taken over, therefore
//! cannot write what it decided before.

use std::collections::{HashMap, HashSet};
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

/// Records asked for at once when catching up.
const READ_RECORDS: usize = 4_096;
/// How often a replica is made anew because the log was trimmed while it was read.
const READ_RESTARTS_MAX: usize = 5;
/// How often a change is decided anew because another process appended first. Who lost was told
/// what it missed, so that it is as fast as the winner the next time.
const APPEND_TRIES_MAX: usize = 32;
/// A log is not replaced by a snapshot before it holds so many changes.
const SNAPSHOT_CHANGES_MIN: usize = 10_000;
/// Bytes of passages of a snapshot that are appended at once.
const SNAPSHOT_APPEND_BYTES: usize = 4 << 20;

/// All namespaces.
pub(super) struct Namespaces {
    config: MemoryConfig,
    open: Mutex<Recent<Arc<Open>>>,
}

/// A namespace with a replica.
#[derive(Default)]
struct Open {
    replica: RwLock<Replica>,
    memory_bytes: AtomicUsize,
}

/// A change of a namespace: operations, and the records that hold them.
struct Change {
    operations: Vec<Operation>,
    records: Vec<Bytes>,
}

impl Change {
    fn new(operations: Vec<Operation>) -> Result<Self, Failure> {
        let records = operations.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Self {
            operations,
            records,
        })
    }
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
        let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        let bytes = items.iter().map(Item::bytes).sum();
        let operations = record_groups(items)
            .into_iter()
            .map(|items| Operation::Store { items })
            .collect();
        let has_room = |replica: &Replica| self.check_room(replica, &ids, bytes);
        let (_, version) = self.change(namespace, Change::new(operations)?, has_room, context)?;
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
        let change = Change::new(vec![operation])?;
        let (forgotten, version) = self.change(namespace, change, |_| Ok(()), context)?;
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

    /// Whether items of these ids and so many bytes still fit.
    fn check_room(&self, replica: &Replica, ids: &[String], bytes: usize) -> Result<(), Failure> {
        let new: HashSet<_> = ids.iter().filter(|id| !replica.contains(id)).collect();
        let (items_max, bytes_max) = (self.config.items_max, self.config.bytes_max);
        if replica.len() + new.len() <= items_max && replica.bytes() + bytes <= bytes_max {
            return Ok(());
        }
        Err(Failure::LimitExceeded {
            detail: format!(
                "the namespace has {} items of {} bytes and can hold {items_max} of {bytes_max}: \
                 forget some first",
                replica.len(),
                replica.bytes(),
            ),
        })
    }

    /// Changes a namespace if `check` agrees to it, and says how many passages that made forgotten
    /// and the new version. What a replica knows already may do; it is durable, and nobody else
    /// appended since, when the store takes the records at the replica's end.
    fn change(
        &self,
        namespace: &str,
        change: Change,
        check: impl Fn(&Replica) -> Result<(), Failure>,
        context: &CallContext,
    ) -> Result<(usize, Position), Failure> {
        let open = self.open(namespace);
        let mut replica = lock(&open, context)?;
        if replica.position() == Position::START || check(&replica).is_err() {
            self.catch_up(namespace, &open, &mut replica, context)?;
        }
        let version =
            self.append_at_end(namespace, &mut replica, &change.records, check, context)?;
        let forgotten = note_own(&mut replica, change.operations, version);
        note_memory(&open, &replica);
        self.shorten_if_long(namespace, &mut replica, context);
        Ok((forgotten, version))
    }

    /// Appends records where the replica ends, decided by `check` on what it then says. Gives the
    /// position of the last one; the replica ends before the first one.
    fn append_at_end(
        &self,
        namespace: &str,
        replica: &mut Replica,
        records: &[Bytes],
        check: impl Fn(&Replica) -> Result<(), Failure>,
        context: &CallContext,
    ) -> Result<Position, Failure> {
        for _ in 0..APPEND_TRIES_MAX {
            check(replica)?;
            // A caller that has gone was told that this failed.
            if let Some(stop) = context.stopped() {
                return Err(stop.into());
            }
            let appended = context.step("store.append", || {
                self.append(namespace, replica.position(), records.to_vec())
            })?;
            match appended {
                Appended::At(version) => return Ok(version),
                Appended::Moved { tail, missed } => {
                    context.step("store.read", || {
                        self.learn(namespace, replica, tail, missed, context)
                    })?;
                }
            }
        }
        Err(Failure::Dependency {
            dependency: "store".into(),
            cause: format!("others appended first, {APPEND_TRIES_MAX} times in a row"),
        })
    }

    fn append(
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

    /// Puts a snapshot at the end of a log that says far less than it has records, and forgets what
    /// came before it. The request goes on whether or not this works; it is tried again when the
    /// log has grown by as much again.
    fn shorten_if_long(&self, namespace: &str, replica: &mut Replica, context: &CallContext) {
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

    fn trim(&self, namespace: &str, up_to: Position) {
        if let Err(error) = wait(self.config.log.trim(&stream(namespace), up_to)) {
            tracing::warn!(namespace, %up_to, error = error.full(), "could not trim a memory log");
        }
    }
}

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

/// Applies what this process just appended, up to `last`; counts what that made forgotten.
fn note_own(replica: &mut Replica, operations: Vec<Operation>, last: Position) -> usize {
    let count = operations.len() as u64;
    let forgotten = (1..)
        .zip(operations)
        .map(|(n, operation)| replica.apply(Position(last.back(count).0 + n), Some(operation)))
        .sum();
    replica.note_complete();
    forgotten
}

fn note_memory(open: &Open, replica: &Replica) {
    open.memory_bytes
        .store(replica.memory_bytes(), Ordering::Relaxed);
}

fn snapshot_records(Position(as_of): Position, items: Vec<Item>) -> Result<Vec<Bytes>, Failure> {
    record_groups(items)
        .into_iter()
        .map(|items| encode(&Operation::Snapshot { as_of, items }))
        .collect()
}

fn encode(operation: &Operation) -> Result<Bytes, Failure> {
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
