//! The decision log: what every decision saw and what it was, in files of bounded size, so that it
//! can be decided again and compared.
//!
//! ```text
//! DIR/decisions-<ms>.log = frames;  frame = length (4 bytes, little endian), gzip of records
//! ```
//!
//! A record is MessagePack, which keeps numbers to the last bit. A snapshot of a pool's policy and
//! memory comes first, and again every ten minutes, so that a log whose beginning was removed can
//! still be replayed. Writing has a thread of its own: the supervisor hands records over and goes
//! on. Records are numbered by pool; where some are missing, a replay waits for the next snapshot.

mod reader;
mod replay;
mod writer;

use serde::{Deserialize, Serialize};
use tidepool_core::{PoolName, Timestamp};
use tidepool_policy::{Decision, Memory, Observation, Policy};

pub use reader::{Damage, LogError, read};
pub use replay::{Difference, PoolReplay, Replay, ReplayReport};
pub use writer::{DecisionLog, DecisionLogConfig};

/// Decisions of a pool from one snapshot to the next.
pub(crate) const SNAPSHOT_EVERY: u32 = 600;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The pool.
    pub pool: PoolName,
    /// Grows by one from record to record of a pool.
    pub seq: u64,
    /// When, by the clock that the decision saw.
    pub at: Timestamp,
    /// What.
    pub entry: Entry,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// All that the next decision depends on besides its observation.
    Snapshot(Box<Snapshot>),
    /// A decision and what it saw.
    Decided(Box<Decided>),
}

/// State of a pool between two decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Release that decides.
    pub version: String,
    /// Epoch of the supervisor.
    pub epoch: u64,
    /// How the pool is sized.
    pub policy: Policy,
    /// What the policy remembers.
    pub memory: Memory,
}

/// A decision and what it saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What was observed.
    pub observation: Observation,
    /// What was decided.
    pub decision: Decision,
}

/// Where a pool is in its log.
#[derive(Debug, Default)]
pub(crate) struct Place {
    seq: u64,
    /// Decisions until the next snapshot.
    until_snapshot: u32,
}

impl Place {
    /// Whether a snapshot has to come before the next decision.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.until_snapshot == 0
    }

    /// The next record; `took` tells whether the log took it.
    pub(crate) fn put(
        &mut self,
        (pool, at): (&PoolName, Timestamp),
        entry: Entry,
        took: impl FnOnce(Record) -> bool,
    ) {
        let next = match entry {
            Entry::Snapshot(_) => SNAPSHOT_EVERY,
            Entry::Decided(_) => self.until_snapshot.saturating_sub(1),
        };
        self.seq += 1;
        let record = Record {
            pool: pool.clone(),
            seq: self.seq,
            at,
            entry,
        };
        // What is missing can only be bridged by a snapshot.
        self.until_snapshot = if took(record) { next } else { 0 };
    }
}

#[cfg(test)]
mod tests;
