//! The Supervisor actor: every second it turns the reports of pools and nodes into one observation
//! a pool, asks the policy for a decision, and repeats the wanted size to the nodes.
//!
//! ```text
//! reports -> Intake -> Observation -> decide -> SetTarget, events, span, metrics, view
//! ```
//!
//! Everything but the actor's shell is synchronous and takes time as an argument. What it reaches
//! out to (nodes, feed, telemetry, clock) comes in as [`Ports`]. A target is sent again every
//! second, so that losing one is harmless, and carries an epoch, so that one of a deposed supervisor
//! is ignored.
//!
//! The policy's memory lives as long as the actor; a new one adopts what runs.

mod actor;
mod clock;
mod control;
mod intake;
mod metrics;
mod observe;
mod ports;
mod story;
mod view;

pub use actor::{NodeReports, PoolReports, Supervisor, SupervisorConfig, SupervisorError};
pub use clock::steady_wall_clock;
pub use control::PoolPlan;
pub use ports::{DecisionSpan, Ports};
pub use view::SupervisorView;
