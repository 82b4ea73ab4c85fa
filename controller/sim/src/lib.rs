//! Autoscalers on recorded traces: the very `decide` that runs live, its rivals, and the cheapest
//! fleet that somebody who knew the future could have run.

pub mod baselines;
pub mod bound;
mod chance;
pub mod conditions;
pub mod contest;
pub mod engine;
mod fleet;
pub mod foresight;
pub mod frontier;
pub mod live;
pub mod model;
pub mod offered;
pub mod outcome;
pub mod parallel;
pub mod record;
pub mod scaler;
pub mod scenario;
pub mod smooth;
pub mod trace;
mod wheel;
pub mod workload;
