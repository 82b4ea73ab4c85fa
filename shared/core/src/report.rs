//! What workers, pools and nodes tell the supervisor every second. A number that was not
//! measured is absent; it is never zero.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counts::LatencyCounts;
use crate::fleet::WorkerState;
use crate::ids::{NodeId, PoolName, WorkerId};
use crate::timestamp::Timestamp;

/// One worker at the end of a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub id: WorkerId,
    /// Its pool.
    pub pool: PoolName,
    /// The node that hosts it.
    pub node: NodeId,
    /// Its state.
    pub state: WorkerState,
    /// Concurrent places.
    pub slots: u32,
    /// Places in use.
    pub busy: u32,
    /// When it was asked to start.
    pub started_at: Timestamp,
    /// How long it took from launch to ready, once it was.
    pub startup: Option<Duration>,
    /// Requests finished in its life.
    pub completed: u64,
    /// Panics in its life.
    pub panics: u64,
    /// CPU seconds per second that its own threads used in the window, if it has such threads.
    pub cpu_cores: Option<f64>,
}

/// One pool over one window of about a second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolReport {
    /// The pool.
    pub pool: PoolName,
    /// End of the window.
    pub at: Timestamp,
    /// Length of the window.
    pub window: Duration,
    /// Requests that came, admitted or refused.
    pub arrivals: u64,
    /// Requests that got an answer from a handler, also a failed one.
    pub completed: u64,
    /// Requests refused because the queue was full or the wait too long.
    pub refused: u64,
    /// Requests whose deadline passed, waiting or running.
    pub deadline_missed: u64,
    /// Requests given up by their caller.
    pub cancelled: u64,
    /// Answers that were failures of the handler or of what it depends on.
    pub failed: u64,
    /// Requests waiting at the end of the window.
    pub queued: u32,
    /// Bytes of the bodies that wait.
    pub queued_bytes: u64,
    /// Age of the oldest waiting request.
    pub oldest_wait: Duration,
    /// Slots in use at the end of the window.
    pub busy_slots: u32,
    /// Slots of ready workers at the end of the window.
    pub ready_slots: u32,
    /// Slot-seconds in use within the window (its time integral).
    pub busy_slot_s: f64,
    /// Waits for a slot that ended in the window.
    pub wait: LatencyCounts,
    /// Times that a slot was held, for releases in the window.
    pub work: LatencyCounts,
}

/// One node at the end of a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// End of the window.
    pub at: Timestamp,
    /// CPU cores in use by this process.
    pub process_cpu_cores: Option<f64>,
    /// CPU cores in use by the whole machine.
    pub machine_cpu_cores: Option<f64>,
    /// CPU cores there are.
    pub cores: u32,
    /// Resident bytes of this process.
    pub memory_bytes: Option<u64>,
    /// Bytes it may use: the control group's limit, or the machine's memory.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes in use on the machine, against the same limit.
    pub memory_used_bytes: Option<u64>,
    /// Its workers.
    pub workers: Vec<WorkerReport>,
}
