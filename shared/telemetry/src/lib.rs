//! How Tidepool is seen from outside: spans of every hop, Prometheus metrics, structured logs.
//!
//! Spans are built from recorded times after the answer has gone out, and only when somebody
//! will look at them: sampled, failed or slow. A span per request through the `tracing` layer
//! would cost more than the rest of the hot path.

pub mod logs;
pub mod metrics;
pub mod propagation;
pub mod sampling;
pub mod spans;

pub use logs::{LogFormat, init_logs};
pub use metrics::{Registry, build_registry};
pub use propagation::remote_context;
pub use sampling::Sampler;
pub use spans::{
    Attribute, ExportHealth, SpanKind, SpanRecord, Spans, SpansConfig, TelemetryError,
};
