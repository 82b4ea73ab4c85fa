//! The answer to a request, and what is counted and told once it is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::{Message, Response};
use actix_web::body::EitherBody;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use bytes::Bytes;
use tidepool_core::SpanId;
use tidepool_core::problem::Subject;
use tidepool_handler::{CallContext, Payload};

use super::accepted::Guard;
use super::head::Identity;
use super::problem::Problem;
use super::quota::Standing;
use super::timing::server_timing;
use super::{Api, KindRoute};
use crate::pool::WorkerName;
use crate::serve::WorkTimes;
use crate::spans::{Stay, Story};

/// The route as metrics and spans name it.
pub(crate) const ROUTE: &str = "/v1/invoke/{kind}";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const WORKER: HeaderName = HeaderName::from_static("tidepool-worker");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What goes out: bytes at once for what was asked, and a box for what is rare.
pub(crate) type Outgoing = Response<EitherBody<Bytes>>;

/// A request that got as far as its pool.
pub(super) struct Attempt {
    pub(super) result: Result<Payload, Problem>,
    pub(super) admitted: Option<Instant>,
    pub(super) waited: Duration,
    pub(super) times: Option<WorkTimes>,
    pub(super) worker: Option<WorkerName>,
    /// When the answer was there, for those that cost no wait: saves a look at the clock.
    pub(super) ended: Option<Instant>,
    pub(super) context: Option<CallContext>,
    pub(super) replayed: bool,
    /// Where the answer can be asked for later.
    pub(super) location: Option<String>,
}

impl Attempt {
    pub(super) fn accepted(guard: &Guard) -> Self {
        Self {
            location: Some(guard.location()),
            ..Self::without_work(Ok(guard.body()))
        }
    }

    pub(super) fn refused(problem: Problem) -> Self {
        Self::without_work(Err(problem))
    }

    pub(super) fn replayed(result: Result<Payload, Problem>) -> Self {
        Self {
            replayed: true,
            ..Self::without_work(result)
        }
    }

    fn without_work(result: Result<Payload, Problem>) -> Self {
        Self {
            result,
            replayed: false,
            location: None,
            admitted: None,
            waited: Duration::ZERO,
            times: None,
            worker: None,
            ended: None,
            context: None,
        }
    }
}

/// A request whose head has been read.
pub(super) struct Visit {
    pub(super) head: Message<RequestHead>,
    pub(super) seen: Seen,
    pub(super) quota: Option<Standing>,
}

/// What the spans of a request need of its head.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) method: &'static str,
    pub(super) route: Option<Arc<KindRoute>>,
    pub(super) begin: Instant,
}

impl Visit {
    /// The answer; after it, counters, and spans if somebody will look at them.
    pub(super) fn finish(self, api: &Api, attempt: Attempt) -> Outgoing {
        let response = self.respond(&attempt);
        let status = response.status();
        let end = attempt.ended.unwrap_or_else(Instant::now);
        let took = end.saturating_duration_since(self.seen.begin);
        if status == StatusCode::OK {
            api.invoked_ok.observe(took.as_secs_f64());
        } else {
            api.metrics
                .http(self.seen.method, ROUTE, status.as_str())
                .observe(took.as_secs_f64());
        }
        // The spans of an accepted request are told when it has ended.
        if attempt.location.is_none() {
            self.seen.tell(api, attempt, status.as_u16(), end);
        }
        response
    }

    fn respond(&self, attempt: &Attempt) -> Outgoing {
        let identity = &self.seen.identity;
        let request_id = identity.echoed_id();
        let mut response = match &attempt.result {
            Ok(payload) => {
                let body = EitherBody::left(payload.bytes.clone());
                let mut response = Response::with_body(StatusCode::OK, body);
                let media_type = HeaderValue::from_static(payload.format.media_type());
                response.headers_mut().insert(CONTENT_TYPE, media_type);
                response
            }
            Err(problem) => problem
                .response(Subject {
                    instance: self.head.uri.path(),
                    request_id: &request_id,
                    trace_id: &identity.trace.trace_id.to_string(),
                })
                .map_body(|_, body| EitherBody::right(body))
                .into(),
        };
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_bytes(&identity.trace.traceparent()) {
            headers.insert(TRACERESPONSE, value);
        }
        if let Ok(value) = HeaderValue::try_from(request_id) {
            headers.insert(REQUEST_ID, value);
        }
        if let Some(worker) = &attempt.worker {
            headers.insert(WORKER, worker.0.clone());
        }
        if let Some(times) = attempt.times {
            let work = times.end.saturating_duration_since(times.begin);
            headers.insert(SERVER_TIMING, server_timing(attempt.waited, work));
        }
        if let Some(location) = &attempt.location
            && let Ok(location) = HeaderValue::from_str(location)
        {
            *response.status_mut() = StatusCode::ACCEPTED;
            let headers = response.headers_mut();
            headers.insert(LOCATION, location);
            headers.insert(APPLIED, HeaderValue::from_static("respond-async"));
        }
        let headers = response.headers_mut();
        if let Some(standing) = self.quota {
            standing.tell(headers);
        }
        if attempt.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        debug_assert!(headers.contains_key(ALLOW) || response.status() != 405);
        response
    }
}

impl Seen {
    /// Tells the spans, if somebody will look at them.
    pub(super) fn tell(self, api: &Api, attempt: Attempt, status: u16, end: Instant) {
        let took = end.saturating_duration_since(self.begin);
        let keep = self.identity.trace.sampled || status >= 500 || took >= api.slow;
        if keep && api.spans.is_on() {
            let story = self.story(attempt, status, end);
            let spans = api.spans.clone();
            actix_web::rt::spawn(async move { story.tell(&spans) });
        }
    }

    fn story(self, attempt: Attempt, status: u16, end: Instant) -> Story {
        // Only names of kinds that exist: what else callers send is not for labels.
        let (kind, pool) = self.route.as_ref().map_or_else(
            || ("unknown".to_owned(), String::new()),
            |route| (route.spec.kind.to_string(), route.pool.name().to_string()),
        );
        let handler = attempt
            .context
            .as_ref()
            .map_or_else(SpanId::random, |c| c.trace.span_id);
        Story {
            method: self.method,
            request_id: self.identity.echoed_id(),
            trace: self.identity.trace,
            parent: self.identity.parent,
            status,
            begin: self.begin,
            end,
            stay: Stay {
                handler,
                kind,
                pool,
                admitted: attempt.admitted,
                waited: attempt.waited,
                times: attempt.times,
                worker: attempt.worker,
                steps: attempt
                    .context
                    .map(|c| c.take_recorded())
                    .unwrap_or_default(),
                error: attempt.result.err().map(|problem| problem.code.as_str()),
            },
        }
    }
}
