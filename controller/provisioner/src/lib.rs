//! Starts and stops nodes.
//!
//! A provisioner is told a number and never a step: [`Provisioner::set`] makes it so, and told again it
//! does nothing. What it holds is read from the world each time ([`Provisioner::observe`]) and not from
//! memory, so that a new leader finds what an old one left. Each call is bounded in time.
//!
//! | kind | holds |
//! |---|---|
//! | [`Nothing`] | nothing; it says what would be needed |
//! | [`Processes`] | processes on this machine |
//! | `Kubernetes` | the replicas of one Deployment or StatefulSet |
//! | `Containers` | containers of this machine's Docker engine |

#[cfg(feature = "docker")]
mod docker;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod nothing;
pub mod plan;
pub mod port;
mod process;
mod procfs;

#[cfg(feature = "docker")]
pub use docker::{ContainerConfig, Containers};
#[cfg(feature = "kubernetes")]
pub use kubernetes::{Kubernetes, KubernetesConfig, Workload, WorkloadKind};
pub use nothing::Nothing;
pub use plan::{Limits, Plan, StartLimit};
pub use port::{
    AnyProvisioner, Desired, Environment, MayAct, ObservedNode, ObservedState, Outcome,
    ProvisionError, Provisioner, Sighting,
};
pub use process::{ProcessConfig, Processes};
