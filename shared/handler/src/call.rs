//! One request as a handler sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidepool_core::{Deadline, RequestId, TraceContext};
use tidepool_wire::{Format, Payload};

use crate::{Failure, Reply};

/// Most spans that a handler may record for one request; further ones are dropped.
const RECORDED_MAX: usize = 32;

/// Why work should end early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The caller went away.
    Cancelled,
    /// The deadline passed.
    Deadline,
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::Deadline => Self::DeadlineExceeded,
        }
    }
}

/// A step inside a handler, such as an append to the store; becomes a span of the trace.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Low-cardinality name, such as `store.append`.
    pub name: &'static str,
    /// When it began.
    pub begin: Instant,
    /// When it ended.
    pub end: Instant,
    /// Whether it failed.
    pub failed: bool,
}

#[derive(Debug)]
struct Shared {
    cancelled: AtomicBool,
    recorded: Mutex<Vec<Recorded>>,
}

/// Who asks, until when, and whether they still care. Clones share the cancellation.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The request.
    pub request_id: RequestId,
    /// Its place in the trace; the parent of what the handler does.
    pub trace: TraceContext,
    /// When the answer stops being useful.
    pub deadline: Deadline,
    shared: Arc<Shared>,
}

impl CallContext {
    /// A context that nobody has cancelled yet.
    #[must_use]
    pub fn new(request_id: RequestId, trace: TraceContext, deadline: Deadline) -> Self {
        let shared = Shared {
            cancelled: AtomicBool::new(false),
            recorded: Mutex::default(),
        };
        Self {
            request_id,
            trace,
            deadline,
            shared: Arc::new(shared),
        }
    }

    /// Tells the work that nobody waits for it any more.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the work should end now, and why. Cheap enough for inner loops every
    /// thousand steps.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        if self.shared.cancelled.load(Ordering::Relaxed) {
            Some(Stop::Cancelled)
        } else if self.deadline.has_passed(Instant::now()) {
            Some(Stop::Deadline)
        } else {
            None
        }
    }

    /// Runs a step and records it as a span. Only for steps worth seeing: IO, index, engine.
    ///
    /// # Errors
    /// Those of the step.
    pub fn step<T, E>(
        &self,
        name: &'static str,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let begin = Instant::now();
        let result = run();
        self.record(Recorded {
            name,
            begin,
            end: Instant::now(),
            failed: result.is_err(),
        });
        result
    }

    /// Records a step that has ended.
    pub fn record(&self, step: Recorded) {
        let mut recorded = self.shared.recorded.lock();
        if recorded.len() < RECORDED_MAX {
            recorded.push(step);
        }
    }

    /// Takes what was recorded.
    #[must_use]
    pub fn take_recorded(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.shared.recorded.lock())
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The input as it came.
    pub input: Payload,
    /// The format that the caller wants back.
    pub reply_format: Format,
    /// Who asks, and until when.
    pub context: CallContext,
}

impl Call {
    /// The input as a value.
    ///
    /// # Errors
    /// [`Failure::Malformed`] or [`Failure::Invalid`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(self.input.decode()?)
    }

    /// The answer in the format that the caller wants.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the value has no representation in that format.
    pub fn reply<T: Serialize>(&self, output: &T) -> Reply {
        Ok(Payload::encode(output, self.reply_format)?)
    }
}
