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
//! Where there are several balancers, what they report becomes one stream first (`confluence`). A
//! supervisor that no longer leads is retired, and takes its numbers off the metrics.
//!
//! The policy's memory is kept in the store every half minute and at the end; a new supervisor goes
//! on with it, adopts what runs, and retires nothing for a while. Orders of operators are kept
//! before they count.

mod actor;
mod clock;
mod confluence;
mod control;
pub mod decision_log;
mod durable;
mod history;
mod intake;
mod keeper;
mod learned;
mod metrics;
mod nodes;
mod observe;
mod orders;
mod pattern_clock;
mod ports;
mod rival;
mod shadow;
mod slot_use;
mod story;
#[cfg(test)]
mod troubled;
mod view;

pub use actor::{
    BalancerReports, Checkpoint, FleetReports, NodeReports, PoolReports, Retire, Supervisor,
    SupervisorConfig, SupervisorError, Tick,
};
pub use clock::steady_wall_clock;
pub use control::PoolPlan;
pub use keeper::{Inheritance, Keeper, Save};
pub use learned::{Patterns, PatternsError, Publish};
pub use orders::{DeskPorts, OrderDesk};
pub use pattern_clock::Learning;
pub use ports::{DecisionSpan, Ports};
pub use shadow::SHADOWS_MAX;
pub use view::SupervisorView;
