//! Namespaces of a process: their logs, and replicas of those in use.
//!
//! A store only appends, so that it is as fast as the log and many can go on at once. Everything
//! else works on a replica that has caught up with the end of the log, so that any process can
//! serve any namespace, and sees what was acknowledged before the request came.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use tidepool_handler::{CallContext, Failure};
use tidepool_store::{Epoch, Position, StoreError, wait};

use super::MemoryConfig;
use super::operation::{Item, Operation, record_groups};
use super::recall::{Recalled, Wanted, recall};
use super::recent::Recent;
use super::replica::Replica;

/// Records asked for at once when catching up.
const READ_RECORDS: usize = 4_096;
/// How often a replica is made anew because the log was trimmed while it was read.
const READ_RESTARTS_MAX: usize = 5;
/// Namespaces whose room is remembered.
const ROOMS_MAX: usize = 16_384;
/// A log is not replaced by a snapshot before it holds so many changes.
const SNAPSHOT_CHANGES_MIN: usize = 10_000;
/// Bytes of passages of a snapshot that are appended at once.
const SNAPSHOT_APPEND_BYTES: usize = 4 << 20;

/// All namespaces.
pub(super) struct Namespaces {
    config: MemoryConfig,
    open: Mutex<Recent<Arc<Open>>>,
    rooms: Mutex<HashMap<String, Room>>,
}

/// A namespace with a replica.
#[derive(Default)]
struct Open {
    replica: RwLock<Replica>,
    memory_bytes: AtomicUsize,
}

/// What may still be stored in a namespace without looking at it: what was free when it was looked
/// at, less what this process stored since.
#[derive(Clone, Copy)]
struct Room {
    items: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, items: usize, bytes: usize) -> bool {
        let (Some(items), Some(bytes)) =
            (self.items.checked_sub(items), self.bytes.checked_sub(bytes))
        else {
            return false;
        };
        *self = Self { items, bytes };
        true
    }
}

/// How far a replica was, and how far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CaughtUp {
    pub(super) from: Position,
    pub(super) to: Position,
    /// Passages that the record asked about made forgotten.
    forgotten: usize,
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
            rooms: Mutex::default(),
        }
    }

    /// Stores passages; they are durable when this returns. Gives the new version.
    pub(super) fn store(
        &self,
        namespace: &str,
        items: Vec<Item>,
        context: &CallContext,
    ) -> Result<Position, Failure> {
        self.reserve(namespace, &items, context)?;
        let records = record_groups(items)
            .into_iter()
            .map(|items| encode(&Operation::Store { items }))
            .collect::<Result<_, _>>()?;
        self.append(namespace, records, context)
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
        let record = encode(&operation)?;
        let open = self.open(namespace);
        let mut replica = lock(&open, context)?;
        self.catch_up(namespace, &open, &mut replica, context)?;
        let version = self.append(namespace, vec![record], context)?;
        // Durable from here on: that the caller goes away now must not make it fail.
        let caught_up = self.read_to_end(namespace, &mut replica, None, Some(version))?;
        if forgets_all {
            self.trim(namespace, version.back(1));
        }
        Ok((caught_up.forgotten, version))
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

    /// Makes sure that there is room for items, looking at the namespace only when what is known
    /// of it is not enough.
    fn reserve(
        &self,
        namespace: &str,
        items: &[Item],
        context: &CallContext,
    ) -> Result<(), Failure> {
        let bytes = items.iter().map(Item::bytes).sum();
        let known = self
            .rooms
            .lock()
            .get_mut(namespace)
            .map(|room| room.take(items.len(), bytes));
        if known == Some(true) {
            return Ok(());
        }
        let open = self.open(namespace);
        let mut replica = lock(&open, context)?;
        self.catch_up(namespace, &open, &mut replica, context)?;
        let new = items
            .iter()
            .filter(|item| !replica.contains(&item.id))
            .count();
        let mut room = Room {
            items: self.config.items_max.saturating_sub(replica.len()),
            bytes: self.config.bytes_max.saturating_sub(replica.bytes()),
        };
        if !room.take(new, bytes) {
            return Err(Failure::LimitExceeded {
                detail: format!(
                    "the namespace has {} items of {} bytes and can hold {} of {}: forget some first",
                    replica.len(),
                    replica.bytes(),
                    self.config.items_max,
                    self.config.bytes_max
                ),
            });
        }
        let mut rooms = self.rooms.lock();
        if rooms.len() >= ROOMS_MAX {
            rooms.clear();
        }
        rooms.insert(namespace.to_owned(), room);
        Ok(())
    }

    fn append(
        &self,
        namespace: &str,
        records: Vec<Bytes>,
        context: &CallContext,
    ) -> Result<Position, Failure> {
        let log = &self.config.log;
        context
            .step("store.append", || {
                wait(log.append(&stream(namespace), Epoch::UNFENCED, records))
            })
            .map_err(store_failure)
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
            self.read_to_end(namespace, replica, Some(context), None)
        });
        open.memory_bytes
            .store(replica.memory_bytes(), Ordering::Relaxed);
        if caught_up.is_ok() && replica.is_worth_a_snapshot(SNAPSHOT_CHANGES_MIN) {
            self.shorten_log(namespace, replica, context);
        }
        caught_up
    }

    /// Applies all records there are, until `context` stops it, and counts what the one at
    /// `watched` made forgotten.
    fn read_to_end(
        &self,
        namespace: &str,
        replica: &mut Replica,
        context: Option<&CallContext>,
        watched: Option<Position>,
    ) -> Result<CaughtUp, Failure> {
        let from = replica.position();
        let mut forgotten = 0;
        let mut restarts = 0;
        loop {
            if let Some(stop) = context.and_then(CallContext::stopped) {
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
                return Ok(CaughtUp {
                    from,
                    to: replica.position(),
                    forgotten,
                });
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
            for (position, record) in records {
                let operation = read_record(namespace, position, &record);
                let made_forgotten = replica.apply(position, operation);
                if watched == Some(position) {
                    forgotten = made_forgotten;
                }
            }
        }
    }

    /// Puts a snapshot at the end of the log and forgets what came before it. The request goes on
    /// whether or not this works; it is tried again when the log has grown by as much again.
    fn shorten_log(&self, namespace: &str, replica: &mut Replica, context: &CallContext) {
        let as_of = replica.position();
        let written = context.step("store.append", || self.write_snapshot(namespace, replica));
        replica.note_snapshot();
        match written {
            Ok(()) => self.trim(namespace, as_of),
            Err(failure) => {
                tracing::warn!(namespace, ?failure, "could not shorten a memory log");
            }
        }
    }

    fn write_snapshot(&self, namespace: &str, replica: &Replica) -> Result<(), Failure> {
        let mut part = Vec::new();
        let mut bytes = 0;
        for item in replica.items() {
            bytes += item.bytes();
            part.push(Item::clone(item));
            if bytes >= SNAPSHOT_APPEND_BYTES {
                self.append_snapshot(namespace, replica.position(), std::mem::take(&mut part))?;
                bytes = 0;
            }
        }
        self.append_snapshot(namespace, replica.position(), part)
    }

    fn append_snapshot(
        &self,
        namespace: &str,
        Position(as_of): Position,
        items: Vec<Item>,
    ) -> Result<(), Failure> {
        let records: Vec<Bytes> = record_groups(items)
            .into_iter()
            .map(|items| encode(&Operation::Snapshot { as_of, items }))
            .collect::<Result<_, _>>()?;
        if !records.is_empty() {
            let log = &self.config.log;
            wait(log.append(&stream(namespace), Epoch::UNFENCED, records))
                .map_err(store_failure)?;
        }
        Ok(())
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
