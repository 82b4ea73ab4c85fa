//! The embedded back end: one SQLite file in one directory, for one process.
//!
//! A single thread writes. It takes everything that waits, runs it in one transaction, makes it
//! durable with one `fsync` and only then answers, so that many concurrent writers share the
//! cost of the disk. Other threads read through connections of their own and never wait for it.

mod directory;
mod engine;
mod kv;
mod lease;
mod log;
mod roster;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidepool_core::Timestamp;
use tidepool_core::status::ComponentHealth;

use crate::clock::{Clock, steady_clock};
use crate::error::StoreError;
use crate::limits::{
    READ_RECORDS_MAX, check, check_append, check_document, check_epoch, check_member, check_name,
    check_value, ttl_ms,
};
use crate::port::{
    Appended, Epoch, Held, Kv, Lease, Log, Members, Position, Records, Roster, StoreFuture, Value,
    Version,
};
use directory::Directory;
use engine::Engine;
use roster::Groups;

/// How hard to try to keep what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Durability {
    /// Through power loss: every commit waits for the disk.
    Synced,
    /// Not at all: for tests and `--ephemeral`.
    Scratch,
}

/// The store in a directory of this machine. Clones share it; the last one to go closes it.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    present: Arc<Present>,
}

/// The roster, and the time that it goes by.
struct Present {
    groups: Mutex<Groups>,
    clock: Clock,
}

impl std::fmt::Debug for Present {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Present").field(&self.groups).finish()
    }
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created (for this user only) when it is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::NewerSchema`], [`StoreError::Corrupt`] and
    /// [`StoreError::Io`], each naming the file. Nothing is ever deleted.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with_clock(path, steady_clock())
    }

    /// [`Self::open`], with expiry going by `clock`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_clock(path: impl Into<PathBuf>, clock: Clock) -> Result<Self, StoreError> {
        let directory = Directory::open(path.into())?;
        Self::start(directory, Durability::Synced, clock)
    }

    /// An empty store in a temporary directory that goes away with it.
    ///
    /// # Errors
    /// When there is no place for temporary files.
    pub fn ephemeral() -> Result<Self, StoreError> {
        Self::ephemeral_with_clock(steady_clock())
    }

    /// [`Self::ephemeral`], with expiry going by `clock`.
    ///
    /// # Errors
    /// As [`Self::ephemeral`].
    pub fn ephemeral_with_clock(clock: Clock) -> Result<Self, StoreError> {
        Self::start(Directory::scratch()?, Durability::Scratch, clock)
    }

    fn start(
        directory: Directory,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let engine = Engine::start(directory, durability, Arc::clone(&clock))?;
        Ok(Self {
            engine: Arc::new(engine),
            present: Arc::new(Present {
                groups: Mutex::default(),
                clock,
            }),
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.engine.path()
    }

    /// Whether the store can write, and if not, why.
    #[must_use]
    pub fn health(&self) -> ComponentHealth {
        self.engine.health()
    }

    /// Finishes what was asked for before, closes the files and lets another process in. Blocks
    /// for as long as a commit takes. Operations after it, through any clone, give
    /// [`StoreError::Closed`]. Dropping the last clone does the same.
    pub fn close(&self) {
        self.engine.close();
    }

    fn with_groups<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Groups, Timestamp) -> Result<T, StoreError>,
    ) -> StoreFuture<T> {
        let outcome = if self.engine.is_closed() {
            Err(StoreError::Closed)
        } else {
            let now = (self.present.clock)();
            run(&mut self.present.groups.lock(), now)
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Roster for EmbeddedStore {
    fn announce(
        &self,
        group: &str,
        member: &str,
        document: Bytes,
        ttl: Duration,
    ) -> StoreFuture<()> {
        let ((), (), ttl_ms) = check!(
            check_member(group, member),
            check_document(&document),
            ttl_ms(ttl)
        );
        self.with_groups(|groups, now| groups.announce(group, member, document, ttl_ms, now))
    }

    fn withdraw(&self, group: &str, member: &str) -> StoreFuture<bool> {
        check!(check_member(group, member));
        self.with_groups(|groups, now| Ok(groups.withdraw(group, member, now)))
    }

    fn members(&self, group: &str) -> StoreFuture<Members> {
        check!(check_name("the name of a group", group));
        self.with_groups(|groups, now| Ok(groups.members(group, now)))
    }
}

impl Log for EmbeddedStore {
    fn append(&self, stream: &str, epoch: Epoch, records: Vec<Bytes>) -> StoreFuture<Position> {
        check!(check_append(stream, epoch, &records));
        let stream = stream.to_owned();
        let bytes = records.iter().map(Bytes::len).sum();
        self.engine.write(bytes, move |db, _| {
            log::append(db, &stream, epoch, &records)
        })
    }

    fn append_at(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Position,
        records: Vec<Bytes>,
    ) -> StoreFuture<Appended> {
        check!(check_append(stream, epoch, &records));
        let stream = stream.to_owned();
        let bytes = records.iter().map(Bytes::len).sum();
        self.engine.write(bytes, move |db, _| {
            log::append_at(db, &stream, epoch, expected, &records)
        })
    }

    fn read(&self, stream: &str, after: Position, limit: usize) -> StoreFuture<Records> {
        check!(check_name("the name of a stream", stream));
        let (stream, limit) = (stream.to_owned(), limit.min(READ_RECORDS_MAX));
        self.engine
            .read(move |db, _| log::read(db, &stream, after, limit))
    }

    fn tail(&self, stream: &str) -> StoreFuture<Position> {
        check!(check_name("the name of a stream", stream));
        let stream = stream.to_owned();
        self.engine.read(move |db, _| log::tail(db, &stream))
    }

    fn trim(&self, stream: &str, up_to: Position) -> StoreFuture<()> {
        check!(check_name("the name of a stream", stream));
        let stream = stream.to_owned();
        self.engine
            .write(0, move |db, _| log::trim(db, &stream, up_to).map(Ok))
    }

    fn erase(&self, stream: &str) -> StoreFuture<()> {
        check!(check_name("the name of a stream", stream));
        let stream = stream.to_owned();
        self.engine
            .write(0, move |db, _| log::erase(db, &stream).map(Ok))
    }

    fn streams(&self, prefix: &str, limit: usize) -> StoreFuture<Vec<String>> {
        let (prefix, limit) = (prefix.to_owned(), limit.min(READ_RECORDS_MAX));
        self.engine
            .read(move |db, _| log::streams(db, &prefix, limit))
    }
}

impl Kv for EmbeddedStore {
    fn get(&self, key: &str) -> StoreFuture<Option<Value>> {
        check!(check_name("a key", key));
        let key = key.to_owned();
        self.engine.read(move |db, now| kv::get(db, &key, now))
    }

    fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<Version> {
        let ((), (), ttl_ms) = check!(
            check_name("a key", key),
            check_value(&value),
            ttl.map(ttl_ms).transpose()
        );
        let key = key.to_owned();
        self.engine.write(value.len(), move |db, now| {
            kv::put(db, &key, &value, ttl_ms, now).map(Ok)
        })
    }

    fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        let ((), (), ttl_ms) = check!(
            check_name("a key", key),
            check_value(&value),
            ttl.map(ttl_ms).transpose()
        );
        let key = key.to_owned();
        self.engine.write(value.len(), move |db, now| {
            kv::compare_and_set(db, &key, expected, &value, ttl_ms, now).map(Ok)
        })
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        check!(check_name("a key", key));
        let key = key.to_owned();
        self.engine
            .write(0, move |db, now| kv::delete(db, &key, now).map(Ok))
    }

    fn fence(&self, key: &str, epoch: Epoch) -> StoreFuture<Option<Value>> {
        check!(check_name("a key", key), check_epoch(epoch));
        let key = key.to_owned();
        self.engine.write(0, move |db, now| {
            kv::fenced(db, &key, epoch, || kv::get(db, &key, now))
        })
    }

    fn put_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Version> {
        let ((), (), (), ttl_ms) = check!(
            check_name("a key", key),
            check_epoch(epoch),
            check_value(&value),
            ttl.map(ttl_ms).transpose()
        );
        let key = key.to_owned();
        self.engine.write(value.len(), move |db, now| {
            kv::fenced(db, &key, epoch, || kv::put(db, &key, &value, ttl_ms, now))
        })
    }

    fn compare_and_set_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        let ((), (), (), ttl_ms) = check!(
            check_name("a key", key),
            check_epoch(epoch),
            check_value(&value),
            ttl.map(ttl_ms).transpose()
        );
        let key = key.to_owned();
        self.engine.write(value.len(), move |db, now| {
            kv::fenced(db, &key, epoch, || {
                kv::compare_and_set(db, &key, expected, &value, ttl_ms, now)
            })
        })
    }

    fn delete_fenced(&self, key: &str, epoch: Epoch) -> StoreFuture<bool> {
        check!(check_name("a key", key), check_epoch(epoch));
        let key = key.to_owned();
        self.engine.write(0, move |db, now| {
            kv::fenced(db, &key, epoch, || kv::delete(db, &key, now))
        })
    }
}

impl Lease for EmbeddedStore {
    fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> StoreFuture<Option<Epoch>> {
        let ((), (), ttl_ms) = check!(
            check_name("the name of a lease", name),
            check_name("the holder of a lease", holder),
            ttl_ms(ttl)
        );
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.engine.write(0, move |db, now| {
            lease::acquire(db, &name, &holder, ttl_ms, now).map(Ok)
        })
    }

    fn renew(&self, name: &str, holder: &str, epoch: Epoch, ttl: Duration) -> StoreFuture<bool> {
        let ((), (), (), ttl_ms) = check!(
            check_name("the name of a lease", name),
            check_name("the holder of a lease", holder),
            check_epoch(epoch),
            ttl_ms(ttl)
        );
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.engine.write(0, move |db, now| {
            lease::renew(db, &name, &holder, epoch, ttl_ms, now).map(Ok)
        })
    }

    fn release(&self, name: &str, holder: &str, epoch: Epoch) -> StoreFuture<bool> {
        check!(
            check_name("the name of a lease", name),
            check_name("the holder of a lease", holder),
            check_epoch(epoch)
        );
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.engine.write(0, move |db, now| {
            lease::release(db, &name, &holder, epoch, now).map(Ok)
        })
    }

    fn current(&self, name: &str) -> StoreFuture<Option<Held>> {
        check!(check_name("the name of a lease", name));
        let name = name.to_owned();
        self.engine
            .read(move |db, now| lease::current(db, &name, now))
    }
}
