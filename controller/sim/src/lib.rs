//! Autoscalers on recorded traces: the very `decide` that runs live, its rivals, and the cheapest
//! fleet that somebody who knew the future could have run.

pub mod bound;
pub mod scaler;
