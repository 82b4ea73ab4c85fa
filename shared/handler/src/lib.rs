//! The contract between workers and handlers.
//!
//! A [`Handler`] describes a kind and starts [`Instance`]s of it, one per worker. An instance
//! turns a [`Call`] into [`Work`]: an answer at once, a future that waits, or a closure that
//! computes. The worker decides where each of them runs, so that a handler never has to think
//! about threads, and a mailbox is never blocked by one.

mod call;
mod failure;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use tidepool_core::Kind;

pub use call::{Call, CallContext, Recorded, Stop};
pub use failure::Failure;
pub use tidepool_wire::{Fault, Format, Payload};

/// What an instance answers.
pub type Reply = Result<Payload, Failure>;

/// How an instance answers.
pub enum Work {
    /// The answer is there; it cost next to nothing.
    Ready(Reply),
    /// The answer needs waiting, not computing. Polled where the request arrived; dropping it
    /// cancels it.
    Wait(LocalBoxFuture<'static, Reply>),
    /// The answer needs computing. Runs on a thread of the worker; it must look at
    /// [`CallContext::stopped`] at least every few milliseconds when it takes long.
    Compute(Box<dyn FnOnce() -> Reply + Send>),
}

impl Work {
    /// Work that waits.
    pub fn wait(future: impl Future<Output = Reply> + 'static) -> Self {
        Self::Wait(Box::pin(future))
    }

    /// Work that computes.
    pub fn compute(run: impl FnOnce() -> Reply + Send + 'static) -> Self {
        Self::Compute(Box::new(run))
    }
}

/// What is known of a kind before any request: shown by `GET /v1/kinds` and used for checks.
#[derive(Clone, Debug)]
pub struct KindSpec {
    /// Its name.
    pub kind: Kind,
    /// One sentence for people.
    pub summary: &'static str,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// Limits that a caller can run into, by name.
    pub limits: Value,
    /// An input that works, for the documentation.
    pub example: Value,
    /// Which requests may run twice: those lost with a node go to another one.
    pub idempotent: Idempotent,
    /// Concurrent places in a worker unless configured: 1 for kinds that compute.
    pub slots_default: u32,
    /// Top-level member of the input, a text, by which requests belong together: those with the
    /// same one go to the same node while it has a free slot, which then has at hand what they need.
    pub affinity: Option<&'static str>,
}

/// Whether running a request twice is the same as running it once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idempotent {
    /// For every request of the kind.
    Always,
    /// For none.
    #[default]
    Never,
    /// For those whose top-level member of this name, a text, is one of these.
    Where(&'static str, &'static [&'static str]),
}

impl Idempotent {
    /// The member of the input that tells, if one does.
    #[must_use]
    pub fn member(self) -> Option<&'static str> {
        match self {
            Self::Always | Self::Never => None,
            Self::Where(member, _) => Some(member),
        }
    }

    /// For a request with this text in that member.
    #[must_use]
    pub fn of(self, text: Option<&str>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Where(_, texts) => text.is_some_and(|text| texts.contains(&text)),
        }
    }
}

/// A kind of work and how to start it.
pub trait Handler: Send + Sync + 'static {
    /// What is known of the kind.
    fn spec(&self) -> &KindSpec;

    /// Starts an instance for one worker. May take long (load a dictionary); it runs on a thread
    /// of the worker, never on a runtime thread.
    ///
    /// # Errors
    /// When the instance cannot serve; the worker tries again with a backoff.
    fn start(&self) -> Result<Arc<dyn Instance>, StartError>;
}

/// A started handler in one worker. Called concurrently, up to the worker's slots.
pub trait Instance: Send + Sync + 'static {
    /// Takes one request. Must return quickly: anything longer than some microseconds belongs
    /// into the returned [`Work`].
    fn call(&self, call: Call) -> Work;
}

/// A handler could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);
