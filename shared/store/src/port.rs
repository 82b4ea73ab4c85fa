//! The four ports: an append-only log, keys with values, leases, and who is there.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::error::StoreError;

/// An operation under way. Owns what it needs, so it can be spawned; does nothing until polled.
/// Dropping it does not undo what has begun.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Records of a stream with their positions, oldest first.
pub type Records = Vec<(Position, Bytes)>;

/// Place of a record in its stream. Records of a stream have consecutive positions that grow and
/// are never used twice, also not after [`Log::erase`]. The first one is whatever the store
/// says: do not expect a 1. A read whose first record is not at `after + 1` tells that the
/// records between were trimmed (or, from [`Position::START`], where the stream begins).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before the first record of any stream.
    pub const START: Self = Self(0);

    /// The position `n` records earlier, or [`Position::START`].
    #[must_use]
    pub fn back(self, n: u64) -> Self {
        Self(self.0.saturating_sub(n))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing epoch: who writes. A store refuses appends of an epoch lower than the stream has seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// For streams that anybody may write, such as a memory namespace.
    pub const UNFENCED: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of an append at an expected place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It happened; position of the last record.
    At(Position),
    /// Nothing was appended: the stream ends elsewhere.
    Moved {
        /// Position of the last record ever appended, as [`Log::tail`] gives it.
        tail: Position,
        /// The first records after the expected place, up to [`crate::MISSED_RECORDS_MAX`], so that
        /// who lost a race can try again at once; none when they were trimmed, or when the stream
        /// ends before the expected place.
        missed: Records,
    },
}

/// Append-only streams of records.
pub trait Log: Send + Sync + 'static {
    /// Adds records to the end of a stream, all or none, and gives the position of the last one.
    /// The stream comes into being with its first append. A higher `epoch` than the stream's
    /// becomes its epoch; without records that is all that happens, and the answer is the tail.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when `epoch` is lower than the stream's; limits; the back end's.
    fn append(&self, stream: &str, epoch: Epoch, records: Vec<Bytes>) -> StoreFuture<Position>;

    /// [`Log::append`], if the tail of the stream is still `expected`: for writers whose records
    /// follow from what the stream says. A writer that slept while others wrote is thus refused.
    /// An append that failed with [`StoreError::Unavailable`] may have happened; its records are
    /// then among those that the next one `missed`.
    ///
    /// # Errors
    /// As [`Log::append`].
    fn append_at(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Position,
        records: Vec<Bytes>,
    ) -> StoreFuture<Appended>;

    /// Up to `limit` records after a position, oldest first. Gives fewer than there are when
    /// `limit`, [`crate::READ_RECORDS_MAX`] or [`crate::READ_BYTES_MAX`] is reached; none only at
    /// the end. Sees everything acknowledged before the call.
    ///
    /// # Errors
    /// The back end's.
    fn read(&self, stream: &str, after: Position, limit: usize) -> StoreFuture<Records>;

    /// Position of the last record ever appended, also when it was trimmed since;
    /// [`Position::START`] for a stream that never was.
    ///
    /// # Errors
    /// The back end's.
    fn tail(&self, stream: &str) -> StoreFuture<Position>;

    /// Forgets all records up to and including a position.
    ///
    /// # Errors
    /// The back end's.
    fn trim(&self, stream: &str, up_to: Position) -> StoreFuture<()>;

    /// Forgets all records of a stream and takes it off [`Log::streams`]. Its epoch and its
    /// tail are kept, so that an old writer stays fenced and a reader that still holds a position
    /// is not misled when the name is used again.
    ///
    /// # Errors
    /// The back end's.
    fn erase(&self, stream: &str) -> StoreFuture<()>;

    /// Up to `limit` names of streams that start with `prefix`, in byte order.
    ///
    /// # Errors
    /// The back end's.
    fn streams(&self, prefix: &str, limit: usize) -> StoreFuture<Vec<String>>;
}

/// Tells writes of a key apart: each gives it another version. Only equality means something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version(pub u64);

impl Version {
    /// A version that no other write has, except once in 2^53 times. Drawn, not counted, so that
    /// a key that was deleted and set again cannot come back to a version that it had.
    pub(crate) fn fresh() -> Self {
        Self(fastrand::u64(1..1 << 53))
    }
}

/// A value and the write that it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// The bytes.
    pub bytes: Bytes,
    /// The write.
    pub version: Version,
}

/// Keys with values that may expire.
pub trait Kv: Send + Sync + 'static {
    /// The value of a key, unless it is absent or expired.
    ///
    /// # Errors
    /// The back end's.
    fn get(&self, key: &str) -> StoreFuture<Option<Value>>;

    /// Sets a key, with a time to live or for good.
    ///
    /// # Errors
    /// Limits; the back end's.
    fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<Version>;

    /// Sets a key if it still has the `expected` version (`None`: if it is absent or expired).
    /// Gives the new version, or nothing when it was not as expected.
    ///
    /// # Errors
    /// Limits; the back end's.
    fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>>;

    /// Removes a key and tells whether there was a value.
    ///
    /// # Errors
    /// The back end's.
    fn delete(&self, key: &str) -> StoreFuture<bool>;

    /// Reads a key and closes it to fenced writers of older epochs than `epoch`, in one step:
    /// what a new leader does before it goes on from what its predecessor kept. The epoch of a key
    /// stays when its value expires or is removed; unfenced writes do not look at it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the key has seen a higher epoch; limits; the back end's.
    fn fence(&self, key: &str, epoch: Epoch) -> StoreFuture<Option<Value>>;

    /// [`Kv::put`] for one writer at a time: a higher `epoch` than the key's becomes its epoch.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the key has seen a higher epoch; limits; the back end's.
    fn put_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Version>;

    /// [`Kv::compare_and_set`] for one writer at a time, as [`Kv::put_fenced`].
    ///
    /// # Errors
    /// As [`Kv::put_fenced`].
    fn compare_and_set_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>>;

    /// [`Kv::delete`] for one writer at a time, as [`Kv::put_fenced`].
    ///
    /// # Errors
    /// As [`Kv::put_fenced`].
    fn delete_fenced(&self, key: &str, epoch: Epoch) -> StoreFuture<bool>;
}

/// A lease that somebody holds now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Who.
    pub holder: String,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Time until it runs out unless renewed.
    pub remaining: Duration,
}

/// Rights that one holder has at a time, and that run out.
pub trait Lease: Send + Sync + 'static {
    /// Takes the lease when it is free, ran out, or is held under the same name (a holder that
    /// starts again supersedes itself). Gives an epoch higher than every one given before for
    /// this lease, or nothing while somebody else holds it.
    ///
    /// # Errors
    /// Limits; the back end's.
    fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> StoreFuture<Option<Epoch>>;

    /// Extends the lease to `ttl` from now. False when it is no longer held by `holder` under
    /// `epoch`: the holder must stop acting at once.
    ///
    /// # Errors
    /// Limits; the back end's.
    fn renew(&self, name: &str, holder: &str, epoch: Epoch, ttl: Duration) -> StoreFuture<bool>;

    /// Gives the lease up. False when it was no longer held by `holder` under `epoch`.
    ///
    /// # Errors
    /// The back end's.
    fn release(&self, name: &str, holder: &str, epoch: Epoch) -> StoreFuture<bool>;

    /// Who holds the lease now.
    ///
    /// # Errors
    /// The back end's.
    fn current(&self, name: &str) -> StoreFuture<Option<Held>>;
}

/// Members of a group and what each tells about itself, in byte order of their names.
pub type Members = Vec<(String, Bytes)>;

/// Who is there now. A member that does not announce itself again in time is no longer there.
///
/// Expiry goes by the back end's clock, so that members need not agree on the time. Redis has only
/// a wall clock: when that is set forward, members are gone until they announce themselves again.
pub trait Roster: Send + Sync + 'static {
    /// Says that a member of a group is there for `ttl` from now, and with which document; replaces
    /// what it said before.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when the group has [`crate::GROUP_LEN_MAX`] others, or the document
    /// more than [`crate::DOCUMENT_BYTES_MAX`]; other limits; the back end's.
    fn announce(
        &self,
        group: &str,
        member: &str,
        document: Bytes,
        ttl: Duration,
    ) -> StoreFuture<()>;

    /// Takes a member off at once. False when it was not there.
    ///
    /// # Errors
    /// The back end's.
    fn withdraw(&self, group: &str, member: &str) -> StoreFuture<bool>;

    /// Everybody who is there.
    ///
    /// # Errors
    /// The back end's.
    fn members(&self, group: &str) -> StoreFuture<Members>;
}
