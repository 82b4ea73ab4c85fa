//! What is asked and answered about the number of nodes.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use tidepool_core::NodeId;

use crate::desired::Desired;
use crate::inventory::{Inventory, Targets};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $code)] $variant,)*
        }

        impl $name {
            /// The code in events and metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

codes! {
    /// Why there should be so many nodes.
    NodeReason {
        /// Workers do not fit on the nodes there are.
        Need = "need",
        /// Fewer nodes have been enough for long: one is being emptied.
        Idle = "idle",
        /// A node is empty and is given up.
        Released = "released",
        /// A node that was being emptied is needed after all.
        Recalled = "recalled",
        /// The lower bound.
        Minimum = "minimum",
        /// The upper bound.
        Maximum = "maximum",
        /// Nodes are starting, and will be enough.
        Starting = "starting",
        /// Enough nodes, none to give up.
        Steady = "steady",
        /// A change is wanted and something holds it; see `blocked_by`.
        Blocked = "blocked",
    }
}

codes! {
    /// What holds a wanted change.
    NodeBlock {
        /// What nodes report is too old to act on.
        Stale = "stale",
        /// The last starts failed.
        Backoff = "backoff",
        /// The upper bound is reached.
        Max = "max",
        /// Fewer would be enough, but not for long enough yet.
        Cooldown = "cooldown",
        /// A node is silent, so nobody knows what could be given up.
        Silence = "silence",
    }
}

/// Bounds and times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodePolicy {
    /// Fewest nodes that the provisioner should hold.
    pub nodes_min: u32,
    /// Most nodes that the provisioner should hold.
    pub nodes_max: u32,
    /// Milliseconds for which fewer nodes must have been enough before one is given up.
    pub idle_ms: u64,
    /// Milliseconds after which a node that has not joined counts as failed.
    pub startup_ms: u64,
    /// Workers that a new node can host; 0 takes the largest that was seen, and until one was seen
    /// one node is started at a time.
    pub node_capacity: u32,
    /// Workers for which there should be room beyond the need.
    pub headroom_workers: u32,
    /// Milliseconds to wait after a failed start; twice as many after each further one.
    pub backoff_ms: u64,
    /// Longest such wait, in milliseconds.
    pub backoff_max_ms: u64,
}

impl Default for NodePolicy {
    fn default() -> Self {
        Self {
            nodes_min: 0,
            nodes_max: 8,
            idle_ms: 300_000,
            startup_ms: 120_000,
            node_capacity: 0,
            headroom_workers: 1,
            backoff_ms: 5_000,
            backoff_max_ms: 300_000,
        }
    }
}

/// Which nodes a provisioner can give up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// Any that it holds.
    #[default]
    Any,
    /// These only, such as the highest ordinal of a stateful set.
    Only(BTreeSet<NodeId>),
}

/// What a provisioner holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// Nodes that exist or are starting, without those that are being stopped.
    pub existing: u32,
    /// Their names, also of those being stopped; empty when the provisioner cannot tell.
    pub names: BTreeSet<NodeId>,
    /// Which of them it can give up.
    pub removal: Removal,
    /// Starts that failed since it began to count.
    pub failed_starts: u64,
}

/// What a decision is made on. All parts are of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The nodes.
    pub inventory: &'a Inventory,
    /// Workers that every pool should have.
    pub targets: &'a Targets,
    /// What [`crate::place`] answered for this inventory and these targets.
    pub desired: &'a Desired,
    /// What the provisioner holds.
    pub fleet: &'a Fleet,
    /// Whether inventory, targets or fleet are too old to act on.
    pub is_stale: bool,
}

/// A node on its way out: it may be stopped, and then so many exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) node: NodeId,
    pub(crate) count: u32,
}

/// What one decision leaves for the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMemory {
    pub(crate) joined: u32,
    pub(crate) starting: u32,
    pub(crate) starting_since_ms: u64,
    /// Starting nodes that are not reckoned with any more.
    pub(crate) overdue: u32,
    pub(crate) failures: u32,
    pub(crate) failed_starts: Option<u64>,
    pub(crate) retry_at_ms: Option<u64>,
    pub(crate) fewer_since_ms: Option<u64>,
    pub(crate) draining: Option<NodeId>,
    /// Since when nobody has heard of the node that is draining.
    pub(crate) unheard_since_ms: Option<u64>,
    pub(crate) release: Option<Release>,
}

/// How many nodes there should be, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeDecision {
    /// Nodes that the provisioner holds.
    pub from: u32,
    /// Nodes that it should hold, those in `release` not among them.
    pub to: u32,
    /// Nodes that get nothing new: they are to be given up once they are empty.
    pub drain: BTreeSet<NodeId>,
    /// Those of them that are empty and may be stopped.
    pub release: BTreeSet<NodeId>,
    /// Why; low-cardinality.
    pub reason: NodeReason,
    /// What holds a wanted change.
    pub blocked_by: Option<NodeBlock>,
    /// Nodes that were wanted.
    pub wanted: u32,
    /// Workers that all pools should have.
    pub workers: u32,
    /// Workers for which nodes that serve or are silent have room.
    pub capacity: u32,
    /// Workers without a lasting place.
    pub unplaced: u32,
    /// When the next start is tried, in milliseconds since the Unix epoch, if the last failed.
    pub retry_at_ms: Option<u64>,
}

impl NodeDecision {
    /// Whether the number of nodes, or which of them serve, changes.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.from != self.to
            || matches!(
                self.reason,
                NodeReason::Idle | NodeReason::Recalled | NodeReason::Released
            )
    }

    /// The decision in one sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        crate::sentence::sentence(self)
    }
}
