//! The balancer: the HTTP API for clients, and one bounded queue with a slot table for each pool.

mod actor;
mod dispatch;
mod http;
mod metrics;
mod pool;
mod queue;
mod serve;
mod spans;

pub use actor::{Close, DismissWaiting, LoadBalancer, ReportPorts};
pub use http::{Api, ApiConfig, Keep, KindRoute, Quota, front};
pub use metrics::{BalancerMetrics, PoolMetrics};
pub use pool::{Pool, PoolTable};
