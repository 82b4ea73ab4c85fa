//! Lets a cluster that insists on KEDA and its HorizontalPodAutoscaler use Tidepool's brain: the
//! number of workers that each pool should have, as a document and as KEDA's external scaler.
//!
//! ```text
//! PoolStatus -> Advisor -> GET /v1/pools/{pool}/keda      (console)
//!                       -> externalscaler.ExternalScaler  (gRPC, feature `grpc`)
//! ```
//!
//! Both tell the same number under the same rule: what is not known is an error, never a zero.
//! KEDA then falls back to what its user asked for, where a zero would take the fleet away.

#[cfg(feature = "grpc")]
mod activity;
mod advice;
mod advisor;
#[cfg(feature = "grpc")]
mod connections;
#[cfg(feature = "grpc")]
mod proto;
#[cfg(feature = "grpc")]
mod scaler;
#[cfg(feature = "grpc")]
mod server;
#[cfg(feature = "grpc")]
mod token;

pub use advice::{Advice, NoAdvice, RETRY_AFTER_S, SILENT_AFTER, STALE_AFTER};
pub use advisor::{Advisor, Clock, Statuses};
#[cfg(feature = "grpc")]
pub use server::{Config, Server, StartError};
