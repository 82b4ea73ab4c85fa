//! One request of a balancer and its answer: from what happened to what is told to whom.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidepool_core::{Kind, TraceContext, WorkerId};
use tidepool_handler::{CallContext, Failure, Format};
use tidepool_link::{Outcome, Peer};
use tidepool_wire::frame::{Failed, FailureCode, Reject, RejectReason, Response};

use crate::dispatch::RefusalReason;
use crate::pool::Pool;
use crate::serve::{Served, Unserved};
use crate::spans::{LinkStory, Stay};

/// A request that came over a link.
pub(super) struct Exchange {
    pub(super) peer: Rc<Peer>,
    /// The balancer's call.
    pub(super) caller: TraceContext,
    pub(super) kind: Kind,
    pub(super) pool: Arc<Pool>,
    pub(super) context: CallContext,
    pub(super) begin: Instant,
}

impl Exchange {
    /// Tells the operator the cause of a failure; the balancer is told only the kind of it.
    pub(super) fn log(&self, served: &Served) {
        let trace_id = self.caller.trace_id;
        let kind = self.kind.as_str();
        match &served.result {
            Err(Unserved::Panicked) => tracing::error!(%trace_id, kind, "the handler panicked"),
            Err(Unserved::Failed(Failure::Internal { cause })) => {
                tracing::error!(%trace_id, kind, cause, "the handler failed");
            }
            Err(Unserved::Failed(Failure::Dependency { dependency, cause })) => {
                tracing::warn!(%trace_id, kind, %dependency, cause, "a dependency is not available");
            }
            _ => {}
        }
    }

    pub(super) fn story(self, served: Served) -> LinkStory {
        let error = served.result.as_ref().err().map(error_name);
        LinkStory {
            caller: self.caller,
            peer: self.peer.name.clone(),
            begin: self.begin,
            end: Instant::now(),
            stay: Stay {
                handler: self.context.trace.span_id,
                kind: self.kind.to_string(),
                pool: self.pool.name().to_string(),
                admitted: Some(self.begin),
                waited: served.waited,
                times: served.times,
                worker: served.worker,
                steps: self.context.take_recorded(),
                error,
            },
        }
    }
}

fn error_name(unserved: &Unserved) -> &'static str {
    match unserved {
        Unserved::Refused(_) => "refused",
        Unserved::DeadlineInQueue => "deadline_exceeded",
        Unserved::TooLarge => "too_large",
        Unserved::Panicked => "handler_panicked",
        Unserved::Lost | Unserved::SetAside => "worker_lost",
        Unserved::Failed(failure) => match failure {
            Failure::Malformed { .. } => "malformed",
            Failure::Invalid { .. } => "invalid_input",
            Failure::LimitExceeded { .. } => "limit_exceeded",
            Failure::DeadlineExceeded => "deadline_exceeded",
            Failure::Cancelled => "cancelled",
            Failure::Dependency { .. } => "dependency_unavailable",
            Failure::Internal { .. } => "handler_failed",
        },
    }
}

/// What the balancer is told.
pub(super) fn outcome(served: &Served) -> Outcome {
    let work = served
        .times
        .map(|t| t.end.saturating_duration_since(t.begin));
    let answer = |format, failed| Response {
        format,
        worker: served
            .worker
            .as_ref()
            .map(|worker| WorkerId::from_text(worker.as_str())),
        queued_us: micros(served.waited),
        work_us: micros(work.unwrap_or_default()),
        failed,
    };
    match &served.result {
        Ok(payload) => Outcome::Answered(answer(payload.format, None), payload.bytes.clone()),
        Err(Unserved::Refused(refusal)) => Outcome::Rejected(Reject {
            reason: match refusal.reason {
                RefusalReason::QueueFull
                | RefusalReason::QueueBytesFull
                | RefusalReason::QueueStands
                | RefusalReason::NoNode => RejectReason::QueueFull,
                RefusalReason::WouldMissDeadline => RejectReason::WouldMissDeadline,
                RefusalReason::Draining => RejectReason::Draining,
            },
            // Between 1 and 30 s; the cast saturates.
            retry_after_ms: (refusal.retry_after_s * 1_000.0) as u32,
        }),
        Err(unserved) => {
            Outcome::Answered(answer(Format::Json, Some(failed(unserved))), Bytes::new())
        }
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn failed(unserved: &Unserved) -> Failed {
    let of = |code| Failed {
        code,
        detail: String::new(),
        faults: Vec::new(),
        dependency: None,
    };
    match unserved {
        Unserved::DeadlineInQueue => of(FailureCode::DeadlineInQueue),
        Unserved::Panicked => of(FailureCode::Panicked),
        // Only those who call nodes lose them, or are refused for their size.
        Unserved::Refused(_) | Unserved::TooLarge | Unserved::Lost | Unserved::SetAside => {
            of(FailureCode::Internal)
        }
        Unserved::Failed(failure) => match failure {
            Failure::Malformed { detail } => Failed {
                detail: detail.clone(),
                ..of(FailureCode::Malformed)
            },
            Failure::Invalid { faults } => Failed {
                faults: faults.clone(),
                ..of(FailureCode::Invalid)
            },
            Failure::LimitExceeded { detail } => Failed {
                detail: detail.clone(),
                ..of(FailureCode::LimitExceeded)
            },
            Failure::DeadlineExceeded => of(FailureCode::DeadlineExceeded),
            Failure::Cancelled => of(FailureCode::Cancelled),
            Failure::Dependency { dependency, .. } => Failed {
                dependency: Some(dependency.to_string()),
                ..of(FailureCode::Dependency)
            },
            Failure::Internal { .. } => of(FailureCode::Internal),
        },
    }
}
