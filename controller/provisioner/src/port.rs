//! What every provisioner does.

use std::collections::BTreeSet;
use std::future::Future;

use tidepool_core::NodeId;
use tidepool_placement::{Fleet, Removal};

use crate::plan::Plan;

/// Variables of a node, by its name.
pub type Environment = Box<dyn Fn(&NodeId) -> Vec<(String, String)> + Send + Sync>;

/// Whether a node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedState {
    /// It exists or is being started.
    Up,
    /// It was told to end and has not yet.
    Stopping,
}

/// A node that a provisioner holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNode {
    /// Its name.
    pub name: NodeId,
    /// Whether it is there.
    pub state: ObservedState,
}

/// What a provisioner holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Nodes that exist or are starting, without those that are being stopped.
    pub existing: u32,
    /// Those that it knows by name.
    pub nodes: Vec<ObservedNode>,
    /// Which of them it can give up.
    pub removal: Removal,
    /// Starts that failed since this provisioner began to count.
    pub failed_starts: u64,
}

impl Sighting {
    /// What a provisioner sees that knows each node by its name and can give up any of them.
    pub(crate) fn by_name(
        names: impl Iterator<Item = NodeId>,
        is_stopping: impl Fn(&NodeId) -> bool,
        failed_starts: u64,
    ) -> Self {
        let seen = |name: NodeId| ObservedNode {
            state: if is_stopping(&name) {
                ObservedState::Stopping
            } else {
                ObservedState::Up
            },
            name,
        };
        let nodes: Vec<_> = names.map(seen).collect();
        let is_up = |node: &&ObservedNode| node.state == ObservedState::Up;
        Self {
            existing: u32::try_from(nodes.iter().filter(is_up).count()).unwrap_or(u32::MAX),
            nodes,
            removal: Removal::Any,
            failed_starts,
        }
    }

    /// The same for [`tidepool_placement::nodes_wanted`].
    #[must_use]
    pub fn fleet(&self) -> Fleet {
        Fleet {
            existing: self.existing,
            names: self.nodes.iter().map(|node| node.name.clone()).collect(),
            removal: self.removal.clone(),
            failed_starts: self.failed_starts,
        }
    }

    /// What stopping `name` would leave is for `count` to say; this says whether it is held at all.
    #[must_use]
    pub fn holds(&self, name: &NodeId) -> bool {
        self.nodes.iter().any(|node| node.name == *name)
    }
}

/// What a provisioner should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Nodes that should exist, those of `drain` not among them.
    pub count: u32,
    /// Nodes that have nothing left to do and should end.
    pub drain: BTreeSet<NodeId>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as it should be.
    Unchanged,
    /// This was done.
    Changed(Plan),
    /// This would have been done, if this were not a trial or somebody could do it.
    Would(Plan),
}

/// Whether nodes may be started and stopped at this moment. Who leads may, and a leader that was
/// frozen in the middle of a call does not lead any more when it wakes: so it is asked again before
/// each step that changes something.
pub type MayAct<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// Asks it.
///
/// # Errors
/// [`ProvisionError::Deposed`] when it may not.
pub(crate) fn check(may_act: MayAct<'_>) -> Result<(), ProvisionError> {
    if may_act() {
        Ok(())
    } else {
        Err(ProvisionError::Deposed)
    }
}

/// A provisioner could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Not within its time; what was begun is seen at the next observation.
    #[error("{what} took longer than {limit_ms} ms")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How long, in milliseconds.
        limit_ms: u64,
    },
    /// A permission is missing; repeating the call does not help.
    #[error("{what} is forbidden; grant {grant}")]
    Forbidden {
        /// What was tried.
        what: String,
        /// What has to be granted, as an operator would write it.
        grant: String,
    },
    /// What should be scaled or started from is not there.
    #[error("{0} does not exist")]
    Absent(String),
    /// Somebody else decides about the same number.
    #[error("{0} owns the number of nodes: give it up there, or set provisioner.kind to none")]
    Owned(String),
    /// It would have stopped another node than the one that is empty.
    #[error("{would} would be stopped, and not {drained}, which is empty")]
    WrongNode {
        /// Who would go.
        would: String,
        /// Who should.
        drained: String,
    },
    /// The caller may not act any more; what was done before stays.
    #[error("this process may not start or stop nodes any more")]
    Deposed,
    /// A node could not be started.
    #[error("node {name} does not start: {why}")]
    Start {
        /// Its name.
        name: NodeId,
        /// Why.
        why: String,
    },
    /// Another failure, worth a repetition later.
    #[error("{what} failed: {why}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// Starts and stops nodes.
pub trait Provisioner {
    /// What there is.
    ///
    /// # Errors
    /// When it cannot be told; then nothing is known, which is not the same as nothing being there.
    fn observe(&self) -> impl Future<Output = Result<Sighting, ProvisionError>> + Send;

    /// Makes it `desired`, as long as `may_act` says so before each step. Repeating a call is
    /// harmless.
    ///
    /// # Errors
    /// When something could not be done; what was done before stays.
    fn set(
        &self,
        desired: &Desired,
        may_act: MayAct<'_>,
    ) -> impl Future<Output = Result<Outcome, ProvisionError>> + Send;
}

/// The provisioner that the configuration names.
#[derive(Debug)]
pub enum AnyProvisioner {
    /// None.
    Nothing(crate::Nothing),
    /// Processes of this machine.
    Processes(Box<crate::Processes>),
    /// Replicas of a workload.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<crate::Kubernetes>),
    /// Containers of this machine.
    #[cfg(feature = "docker")]
    Containers(Box<crate::Containers>),
}

impl Provisioner for AnyProvisioner {
    async fn observe(&self) -> Result<Sighting, ProvisionError> {
        match self {
            Self::Nothing(nothing) => nothing.observe().await,
            Self::Processes(processes) => processes.observe().await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.observe().await,
            #[cfg(feature = "docker")]
            Self::Containers(containers) => containers.observe().await,
        }
    }

    async fn set(&self, desired: &Desired, may_act: MayAct<'_>) -> Result<Outcome, ProvisionError> {
        match self {
            Self::Nothing(nothing) => nothing.set(desired, may_act).await,
            Self::Processes(processes) => processes.set(desired, may_act).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(kubernetes) => kubernetes.set(desired, may_act).await,
            #[cfg(feature = "docker")]
            Self::Containers(containers) => containers.set(desired, may_act).await,
        }
    }
}
