//! Faults in a real cluster, and a judge who was not there.
//!
//! A run starts the program itself as balancers, nodes and controllers beside a real Redis, sends
//! requests at a fixed rate whatever comes back, and kills, freezes, cuts off and restarts parts
//! of it by a plan. The client writes down what it saw ([`history`]); [`check`] reads that and
//! nothing else, and says which laws were broken.

mod attack;
pub mod check;
mod client;
mod cluster;
pub mod compose;
mod director;
mod disk;
pub mod history;
mod net;
mod process;
pub mod proxy;
mod quota;
pub mod run;
pub mod scenario;
mod tool;
mod watch;
