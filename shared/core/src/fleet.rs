//! What the fleet looks like and what it is asked to become.

use serde::{Deserialize, Serialize};

use crate::ids::{Kind, PoolName};

/// Life of a worker. Only `Ready` workers get new work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Loading its handler.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what it has, getting nothing new.
    Draining,
    /// Its handler panicked or failed to start; waiting for its backoff.
    Crashed,
    /// Gone.
    Stopped,
}

impl WorkerState {
    /// All states, in the order that metrics list them.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ready,
        Self::Draining,
        Self::Crashed,
        Self::Stopped,
    ];

    /// The label of metrics and of JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a pool is, fixed while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    /// Its name.
    pub name: PoolName,
    /// The kinds its workers answer.
    pub kinds: Vec<Kind>,
    /// Concurrent places in each worker, at least one.
    pub slots: u32,
    /// Most requests that may wait.
    pub queue_len_max: usize,
    /// Most bytes of bodies that may wait.
    pub queue_bytes_max: usize,
    /// Objective for the time from arrival to answer, in milliseconds; a wait for a slot that is
    /// longer misses it whatever the work takes.
    pub slo_ms: u64,
    /// Deadline of a request that names none, in milliseconds.
    pub deadline_ms: u64,
}

/// The desired number of workers. Repeating one is harmless; an older `(epoch, seq)` is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetTarget {
    /// The pool.
    pub pool: PoolName,
    /// Fencing epoch of the controller that decided.
    pub epoch: u64,
    /// Order of decisions within an epoch.
    pub seq: u64,
    /// Workers wanted.
    pub n: u32,
}

impl SetTarget {
    /// Whether this target supersedes one decided at `(epoch, seq)`.
    #[must_use]
    pub fn supersedes(&self, epoch: u64, seq: u64) -> bool {
        (self.epoch, self.seq) > (epoch, seq)
    }
}
