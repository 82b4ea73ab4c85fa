//! From a request to a slot: one bounded queue with a slot table for each pool, and the two ways
//! in. Clients come over HTTP; balancers come over links, to the pools of a node.

mod actor;
mod dispatch;
mod health;
mod hosting;
mod http;
mod metrics;
mod pool;
mod pulse;
mod queue;
mod remote;
mod serve;
mod shares;
mod slots;
mod spans;
mod standing;

pub use actor::{Close, DismissWaiting, LoadBalancer, ReportPorts};
pub use hosting::{Hosting, HostingConfig};
pub use http::{Api, ApiConfig, Keep, KindRoute, Quota, front};
pub use metrics::{BalancerMetrics, PoolMetrics};
pub use pool::{OnSetAside, Pool, PoolTable, SetAside};
pub use remote::{Dialing, LinkedNodes, Nodes};
