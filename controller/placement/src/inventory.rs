//! Which nodes there are and what they run, as their last reports told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidepool_core::{NodeId, PoolName};

/// Whether a node takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Runs and takes workers.
    Ready,
    /// Is to be emptied: gets nothing new, and keeps what nobody has taken over yet.
    Draining,
    /// Has not reported for a moment. Its workers count as running; nothing is added to it. One that
    /// stays silent is lost: it leaves the inventory, and what it had is placed elsewhere.
    Silent,
}

/// A process that hosts workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Whether it takes work.
    pub state: NodeState,
    /// Workers that it can host, of all pools together.
    pub capacity: u32,
    /// Workers that it reports to run, without those that are starting.
    #[serde(default)]
    pub running: BTreeMap<PoolName, u32>,
    /// Workers that it has in whatever state, those that end included: a worker that serves no new
    /// requests may still have some.
    #[serde(default)]
    pub present: u32,
}

impl Node {
    /// A ready node that runs nothing.
    #[must_use]
    pub fn ready(capacity: u32) -> Self {
        Self {
            state: NodeState::Ready,
            capacity,
            running: BTreeMap::new(),
            present: 0,
        }
    }

    /// Workers that it reports to run.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.running
            .values()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// All nodes, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Node>,
}

/// Workers that every pool should have.
pub type Targets = BTreeMap<PoolName, u32>;
