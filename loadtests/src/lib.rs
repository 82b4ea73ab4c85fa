//! Open-loop load for Tidepool: requests leave at the times that a plan says, whether or not
//! earlier ones have come back, and latency counts from the intended start.
//!
//! A closed loop waits for an answer before it sends the next request, so a stalled server
//! slows its own test down and hides the stall. Here a stall shows in full: every request that
//! should have started during it carries the wait, and what the generator could not send is
//! counted as dropped. Beside the percentiles a run records how the pool was scaled meanwhile.
//!
//! The story in modules: a [`scenario`] (or a recorded [`trace`]) gives a [`plan`] of rates and
//! a [`mix`] of bodies; [`arrivals`] turns the plan into instants; the generator paces and
//! sends; [`report`] has the numbers and [`threshold`] judges them.

pub mod arrivals;
pub mod cli;
pub mod mix;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod span;
pub mod threshold;
pub mod trace;

mod client;
mod error;
mod generator;
mod outcome;
mod progress;
mod recorder;
mod run;
mod scaling;
mod watch;

pub use cli::{Defaults, Format, LoadCommand, run};
pub use error::{Error, Exit};
