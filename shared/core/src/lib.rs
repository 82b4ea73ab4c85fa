//! The values that flow through Tidepool: ids, deadlines, reports, fleet states, events.
//!
//! Nothing here does IO, reads a clock or sleeps: time is always an argument, so that
//! every rule built on these types can be tested without waiting.

pub mod counts;
pub mod deadline;
pub mod event;
pub mod fleet;
pub mod histogram;
pub mod ids;
pub mod order;
pub mod problem;
pub mod report;
pub mod series;
pub mod status;
pub mod timestamp;
pub mod trace;

pub use counts::LatencyCounts;
pub use deadline::Deadline;
pub use event::{Event, EventDraft, EventId};
pub use fleet::{PoolSpec, SetTarget, WorkerState};
pub use histogram::LatencyHistogram;
pub use ids::{InvalidName, Kind, NodeId, PoolName, Priority, RequestId, WorkerId};
pub use report::{NodeReport, PoolReport, WorkerReport};
pub use timestamp::Timestamp;
pub use trace::{SpanId, TraceContext, TraceId};
