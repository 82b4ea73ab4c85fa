//! What operators see of the fleet: the shapes that the operator API serves and the commands
//! print. Built by those who know, read by those who show.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, PoolName, WorkerId};
use crate::order::{ChangeFuture, ImportFuture, PoolChange};
use crate::series::{SeriesAnswer, SeriesError, SeriesQuery};

/// One signal of the load score: workers that it asks for, as a share of the score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// Offered load in slots.
    pub slots: Option<f64>,
    /// Backlog over its drain time.
    pub queue: Option<f64>,
    /// CPU of the workers' own threads.
    pub cpu: Option<f64>,
    /// Memory, while it follows the work.
    pub memory: Option<f64>,
    /// Queue wait against the objective.
    pub latency: Option<f64>,
    /// Refusals and missed deadlines.
    pub errors: Option<f64>,
}

/// A pool in brief.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub pool: PoolName,
    /// The kinds it answers.
    pub kinds: Vec<String>,
    /// The policy that sizes it.
    pub policy: String,
    /// Workers that serve.
    pub ready: u32,
    /// Workers that load their handler.
    pub starting: u32,
    /// Workers that finish what they have.
    pub draining: u32,
    /// Workers wanted.
    pub target: u32,
    /// Lower bound of the target.
    pub min: u32,
    /// Upper bound of the target.
    pub max: u32,
    /// Load score: 0.80 is exactly enough workers.
    pub score: Option<f64>,
    /// The score that each signal alone would give; absent when not measured.
    pub signals: Signals,
    /// Whether scaling is paused.
    pub paused: bool,
    /// The target that an operator holds.
    #[serde(default)]
    pub pinned: Option<u32>,
    /// RFC 3339; when the first order of an operator ends.
    #[serde(default)]
    pub override_until: Option<String>,
    /// RFC 3339; when the pause or pin ends.
    #[serde(default)]
    pub hold_until: Option<String>,
    /// RFC 3339; when bounds that an operator set end, if they do.
    #[serde(default)]
    pub bounds_until: Option<String>,
    /// Why an operator holds the pool or has changed its bounds.
    #[serde(default)]
    pub reason: Option<String>,
    /// RFC 3339; until then no worker is retired.
    pub cooldown_until: Option<String>,
    /// Requests waiting.
    pub queued: u32,
    /// Slots in use.
    pub busy_slots: u32,
    /// Slots of ready workers.
    pub slots: u32,
    /// Age of the newest measurement in seconds; absent before the first.
    pub metrics_age_s: Option<f64>,
    /// The last decision; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// What policies in shadow would want.
    #[serde(default)]
    pub shadows: Vec<ShadowStatus>,
}

/// A policy that decides beside the live one, without effect. It tells what it would do now to the
/// fleet that the live policy runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// The policy.
    pub policy: String,
    /// Workers that it would make of the live target.
    pub target: u32,
    /// The load score that it sees.
    pub score: Option<f64>,
    /// Its last decision in one sentence.
    pub sentence: String,
}

/// What another number of workers would have meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterfactualStatus {
    /// The other number.
    pub workers: u32,
    /// Share of requests that would wait longer than the objective, 0 to 1.
    pub late_share: f64,
    /// The same share for the number that was decided.
    pub late_share_decided: f64,
    /// Both in one sentence.
    pub sentence: String,
}

/// When and on what ground a pool was last decided about, for those who scale by its target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When the target was last set, in milliseconds since the Unix epoch.
    pub changed_at_ms: Option<u64>,
    /// Workers that the largest signal asked for, before rounding and bounds; absent when nothing
    /// was measured.
    pub need: Option<f64>,
    /// Fencing epoch of the controller that decided.
    pub epoch: u64,
    /// Whether nothing was measured, so that the target is only held or guessed.
    pub blind: bool,
}

/// Why a pool has the size it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The pool.
    pub pool: PoolName,
    /// The last decision in one sentence.
    pub sentence: String,
    /// The decision with its numbers: the `data` of its `scaling.decided` event.
    pub decision: serde_json::Value,
    /// What keeps the next change from happening now, if anything.
    pub blocked_by: Option<String>,
    /// RFC 3339; earliest time at which the target can go down.
    pub earliest_change: Option<String>,
    /// What one worker fewer would have meant.
    #[serde(default)]
    pub counterfactual: Option<CounterfactualStatus>,
    /// What policies in shadow would want.
    #[serde(default)]
    pub shadows: Vec<ShadowStatus>,
    /// What the targets of shadows do not tell, when there are any.
    #[serde(default)]
    pub shadow_note: Option<String>,
}

/// A worker in brief.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker.
    pub id: WorkerId,
    /// Its pool.
    pub pool: PoolName,
    /// The node that hosts it.
    pub node: String,
    /// Its state.
    pub state: crate::fleet::WorkerState,
    /// Concurrent places.
    pub slots: u32,
    /// Places in use.
    pub busy: u32,
    /// RFC 3339 time of its launch.
    pub started_at: String,
    /// Seconds from launch to ready.
    pub startup_s: Option<f64>,
    /// Requests finished in its life.
    pub completed: u64,
    /// Panics in its life.
    pub panics: u64,
    /// CPU cores that its own threads use.
    pub cpu_cores: Option<f64>,
}

/// A node in brief. A number that it did not report is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: NodeId,
    /// `ready`, `draining` (it takes nothing new), `drained` (and has nothing left) or `silent`.
    pub state: String,
    /// Whether an operator drains it.
    pub is_drain_ordered: bool,
    /// Version of the program.
    pub version: String,
    /// Where balancers call it; absent in a single process.
    pub link_addr: Option<String>,
    /// Where its operators' routes are.
    pub operator_addr: Option<String>,
    /// Workers that have not stopped.
    pub workers: u32,
    /// Workers that it has room for, if that is bounded.
    pub workers_max: Option<u32>,
    /// Those workers by pool.
    pub pools: BTreeMap<PoolName, u32>,
    /// CPU cores in use by its process.
    pub process_cpu_cores: Option<f64>,
    /// CPU cores in use on its machine.
    pub machine_cpu_cores: Option<f64>,
    /// CPU cores that there are.
    pub cores: Option<u32>,
    /// Resident bytes of its process.
    pub memory_bytes: Option<u64>,
    /// Bytes that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// Seconds since its last report was new.
    pub age_s: Option<f64>,
}

/// Health of one part, for `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentHealth {
    /// Its name: `store`, `redis`, `otlp`, ...
    pub component: String,
    /// `ok`, `off`, `degraded` or `down`.
    pub state: String,
    /// One line for people.
    pub detail: String,
}

/// A drain could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// No such worker.
    #[error("there is no worker '{0}'")]
    Unknown(WorkerId),
    /// The node's mailbox is full or closed.
    #[error("the node is too busy to take the order; try again")]
    Busy,
    /// Another process has the worker, and takes the order.
    #[error("'{worker}' is on another process: give the order to http://{operator_addr}")]
    Elsewhere {
        /// The worker.
        worker: WorkerId,
        /// Where that process takes orders.
        operator_addr: String,
    },
}

/// A node could not be drained, or its drain not be undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeOrderError {
    /// No such node.
    #[error("there is no node '{0}'")]
    Unknown(NodeId),
    /// This process gives no orders to nodes.
    #[error("this process gives no orders to nodes: ask the controller")]
    NotHere,
    /// Too many nodes are drained.
    #[error("{0} nodes are drained already; undo some of them first")]
    TooMany(usize),
    /// The store does not answer.
    #[error("the order could not be kept: {0}")]
    Unavailable(String),
}

/// Done when an order about a node would survive a crash.
pub type NodeOrderFuture = Pin<Box<dyn Future<Output = Result<(), NodeOrderError>> + Send>>;

/// Whose word it is, where a process passes on what another one knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hearsay {
    /// The controller that leads, or led last.
    pub leader: String,
    /// Where it takes orders; empty if it has not said.
    pub operator_addr: String,
    /// Its fencing epoch.
    pub epoch: u64,
    /// Seconds since it said so, at most.
    pub age_s: f64,
    /// Pools that there are besides those that can be shown.
    #[serde(default)]
    pub pools_left_off: usize,
}

/// Whom to ask instead of a process that cannot tell, or takes no such order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referral {
    /// Why, and whom, as one sentence for people.
    pub detail: String,
    /// `HOST:PORT` where that process takes orders, if it has said so.
    pub operator_addr: Option<String>,
}

/// A window onto the running fleet. Calls that return no future are quick and take a snapshot.
pub trait FleetView: Send + Sync + 'static {
    /// Every pool.
    fn pools(&self) -> Vec<PoolStatus>;
    /// One pool's last decision.
    fn explain(&self, pool: &PoolName) -> Option<Explanation>;
    /// Every worker that has not stopped.
    fn workers(&self) -> Vec<WorkerStatus>;
    /// Starts to drain a worker; its pool starts another if it needs one.
    ///
    /// # Errors
    /// When there is no such worker or the order cannot be taken.
    fn drain(&self, worker: &WorkerId) -> Result<(), DrainError>;
    /// Changes what operators ask of a pool. Done when the change would survive a crash.
    fn change(&self, pool: &PoolName, change: PoolChange) -> ChangeFuture;
    /// The learned hours of the week of a pool, with the document that can be imported.
    fn pattern(&self, pool: &PoolName) -> Option<serde_json::Value>;
    /// The next 24 hours as the learned pattern expects them.
    fn forecast(&self, pool: &PoolName) -> Option<serde_json::Value>;
    /// Replaces what was learned by an exported pattern, on behalf of `by`.
    fn import_pattern(
        &self,
        pool: &PoolName,
        document: serde_json::Value,
        by: String,
    ) -> ImportFuture;
    /// Numbers over time.
    ///
    /// # Errors
    /// When no such series is kept, or more is asked for than an answer holds.
    fn series(&self, query: &SeriesQuery) -> Result<SeriesAnswer, SeriesError>;
    /// Every node.
    fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }
    /// Drains a node (`true`) or undoes that, on behalf of `by`: its workers move to other nodes and
    /// it gets no new ones.
    fn drain_node(&self, _node: &NodeId, _drain: bool, _by: String) -> NodeOrderFuture {
        Box::pin(std::future::ready(Err(NodeOrderError::NotHere)))
    }
    /// Who decides about scaling, where that changes.
    fn leader(&self) -> Option<String> {
        None
    }
    /// Why this process cannot decide about pools, and who can, if that is so.
    fn not_leading(&self) -> Option<Referral> {
        None
    }
    /// Who knows of every worker and node, if this process knows of its own at most.
    fn knows_only_its_own(&self) -> Option<Referral> {
        None
    }
    /// Whose word [`Self::pools`] is, if it is not this process's own.
    fn told_by(&self) -> Option<Hearsay> {
        None
    }
    /// What this process has yet to do before it should be called ready, if anything.
    fn unready(&self) -> Option<String> {
        None
    }
    /// Health of the parts.
    fn health(&self) -> Vec<ComponentHealth>;
}

/// A shared view.
pub type SharedFleetView = Arc<dyn FleetView>;
