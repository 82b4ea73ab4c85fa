//! Errors as callers see them: RFC 9457 problems with a stable code and what to do next.
//!
//! The cause that only the operator may know is logged where it happens, with the trace id.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use tidepool_core::problem::{PROBLEM_JSON, ProblemType, Subject, problem_json};
use tidepool_handler::{Failure, Fault};

use crate::dispatch::{Refusal, RefusalReason};
use crate::serve::Unserved;

/// Everything that can go wrong, one line each: name, status, title, whether the same request
/// may succeed later, and what to do.
macro_rules! codes {
    ($($variant:ident = $code:literal, $status:literal, $title:literal, $retryable:literal, $advice:literal;)*) => {
        /// A kind of problem.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Code { $($variant),* }

        impl Code {
            pub(crate) const ALL: &'static [Code] = &[$(Code::$variant),*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code),* }
            }

            pub(crate) fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }

            pub(crate) fn retryable(self) -> bool {
                match self { $(Code::$variant => $retryable),* }
            }

            pub(crate) fn advice(self) -> &'static str {
                match self { $(Code::$variant => $advice),* }
            }
        }
    };
}

codes! {
    Malformed = "malformed", 400, "The body cannot be read", false,
        "Send one JSON value as application/json, or one MessagePack value as application/msgpack.";
    BadHeader = "bad_header", 400, "A header cannot be read", false,
        "Correct the header that the detail names, or leave it out.";
    Unauthorized = "unauthorized", 401, "A token is needed", false,
        "Send the API token as 'Authorization: Bearer <token>'.";
    UnknownKind = "unknown_kind", 404, "There is no such kind", false,
        "GET /v1/kinds lists the kinds there are.";
    UnknownRequest = "unknown_request", 404, "There is no such accepted request", false,
        "Use the Location of the 202 answer; answers are kept for an hour.";
    NotFound = "not_found", 404, "There is nothing here", false,
        "See /docs for the routes there are.";
    MethodNotAllowed = "method_not_allowed", 405, "This method is not for this route", false,
        "Use one of the methods in the Allow header.";
    NotAcceptable = "not_acceptable", 406, "No answer in an accepted format", false,
        "Accept application/json or application/msgpack.";
    BodyTimeout = "body_timeout", 408, "The body came too slowly", true,
        "Send the body without pauses.";
    IdempotencyInProgress = "idempotency_in_progress", 409, "The same request is still running", true,
        "Wait for the first request with this Idempotency-Key to end, then ask again.";
    TooLarge = "too_large", 413, "The body is too large", false,
        "Split the request; GET /v1/kinds shows the limits.";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body has an unknown format", false,
        "Send application/json or application/msgpack, without a content encoding.";
    InvalidInput = "invalid_input", 422, "The input does not fit the kind", false,
        "Correct what errors[] points at; GET /v1/kinds has the schema.";
    LimitExceeded = "limit_exceeded", 422, "The work was stopped by a limit", false,
        "Ask for less, or raise the limit where the request allows it.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The Idempotency-Key belongs to another request", false,
        "Use a new key for a new request.";
    QuotaExceeded = "quota_exceeded", 429, "This caller has used up its quota", true,
        "Try again after Retry-After seconds; the RateLimit header says what is left.";
    HandlerFailed = "handler_failed", 500, "The handler failed", false,
        "Report the trace id to the operator.";
    HandlerPanicked = "handler_panicked", 500, "The handler crashed", false,
        "Report the trace id to the operator; other requests are not affected.";
    WorkerLost = "worker_lost", 500, "The node with the request was lost", false,
        "The request may have run. Send it again if running twice does no harm.";
    SetAside = "set_aside", 500, "The request was set aside", false,
        "Do not send it again unchanged: it may be what stops nodes. Report the trace id to the operator.";
    KindNotConfigured = "kind_not_configured", 501, "This kind is not configured here", false,
        "Ask the operator to put the kind into a pool.";
    Overloaded = "overloaded", 503, "Too much is waiting already", true,
        "Try again after Retry-After seconds.";
    Draining = "draining", 503, "This process is going away", true,
        "Try again after Retry-After seconds; another process will answer.";
    DependencyUnavailable = "dependency_unavailable", 503, "Something the kind needs is not available", true,
        "Try again after Retry-After seconds.";
    Interrupted = "interrupted", 503, "The accepted request was cut short", true,
        "Send the request again. It may have begun: use an Idempotency-Key if it must not run twice.";
    DeadlineExceeded = "deadline_exceeded", 504, "The deadline passed", true,
        "Ask for less, or allow more time with Tidepool-Deadline-Ms.";
}

impl Code {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

/// A problem before it is told.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) detail: String,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) allow: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_s: None,
            faults: Vec::new(),
            allow: None,
        }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..self
        }
    }

    pub(crate) fn response(&self, subject: Subject<'_>) -> HttpResponse {
        let code = self.code;
        let kind = ProblemType {
            code: code.as_str(),
            status: code.status(),
            title: code.title(),
            retryable: code.retryable(),
        };
        let status =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        response.content_type(PROBLEM_JSON);
        if !subject.request_id.is_empty() {
            response.insert_header(("x-request-id", subject.request_id));
        }
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(methods) = self.allow {
            response.insert_header((header::ALLOW, methods));
        }
        if code == Code::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"tidepool\""));
        }
        response.body(problem_json(kind, &self.detail, subject, &self.faults))
    }
}

/// Spreads callers that were refused together, by up to half of the advice.
fn jittered(retry_after_s: f64) -> u64 {
    let seconds = retry_after_s * (1.0 + fastrand::f64() / 2.0);
    // Between 1 and 45 by construction of the advice; the cast saturates.
    seconds.ceil() as u64
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (code, detail) = match refusal.reason {
            RefusalReason::QueueFull => (Code::Overloaded, "as many requests wait as may"),
            RefusalReason::QueueBytesFull => (Code::Overloaded, "as many bytes wait as may"),
            RefusalReason::WouldMissDeadline => (
                Code::Overloaded,
                "the request would wait longer than its deadline allows",
            ),
            RefusalReason::QueueStands => (
                Code::Overloaded,
                "more requests come than can be served in time",
            ),
            RefusalReason::Draining => (Code::Draining, "the process finishes what it has"),
            RefusalReason::NoNode => (Code::Overloaded, "no node would take the request"),
        };
        Self::new(code, detail).retry_after(jittered(refusal.retry_after_s))
    }
}

impl From<Unserved> for Problem {
    fn from(unserved: Unserved) -> Self {
        match unserved {
            Unserved::Refused(refusal) => refusal.into(),
            Unserved::DeadlineInQueue => Self::new(
                Code::DeadlineExceeded,
                "the deadline passed while the request waited",
            ),
            Unserved::TooLarge => Self::new(
                Code::TooLarge,
                "the input is larger than a node of its pool takes",
            ),
            Unserved::Panicked => {
                Self::new(Code::HandlerPanicked, "the handler crashed on this request")
            }
            Unserved::Failed(failure) => failure.into(),
            Unserved::Lost => Self::new(
                Code::WorkerLost,
                "the node that worked on the request was lost; it may have run, so repeat it only \
                 if that does no harm",
            ),
            Unserved::SetAside => Self::new(
                Code::SetAside,
                "two nodes were lost while they worked on this request; it may be what stops them, so \
                 do not send it again unchanged: report the trace id to the operator, who finds the \
                 cause in the logs of those nodes",
            ),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let detail = failure.to_string();
        match failure {
            Failure::Malformed { .. } => Self::new(Code::Malformed, detail),
            Failure::Invalid { faults } => Self {
                faults,
                ..Self::new(Code::InvalidInput, detail)
            },
            Failure::LimitExceeded { .. } => Self::new(Code::LimitExceeded, detail),
            Failure::DeadlineExceeded | Failure::Cancelled => {
                Self::new(Code::DeadlineExceeded, detail)
            }
            Failure::Dependency { .. } => {
                Self::new(Code::DependencyUnavailable, detail).retry_after(jittered(1.0))
            }
            Failure::Internal { .. } => Self::new(Code::HandlerFailed, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_overload_says_when_to_return() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
        }
        let refusal = Refusal {
            reason: RefusalReason::QueueFull,
            retry_after_s: 3.0,
        };
        let after = Problem::from(refusal).retry_after_s.unwrap();
        assert!((3..=5).contains(&after), "{after}");
    }

    #[test]
    fn causes_stay_with_the_operator() {
        let failure = Failure::Internal {
            cause: "secret path /x".to_owned(),
        };
        assert!(!Problem::from(failure).detail.contains("secret"));
    }
}
