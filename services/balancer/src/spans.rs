//! The spans of one request, built from recorded times after the answer.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use tidepool_core::{SpanId, TraceContext};
use tidepool_handler::Recorded;
use tidepool_telemetry::{SpanKind, SpanRecord, Spans};

use crate::pool::WorkerName;
use crate::serve::WorkTimes;

/// Everything there is to tell about a request of a client that has ended.
pub(crate) struct Story {
    pub(crate) method: &'static str,
    pub(crate) trace: TraceContext,
    pub(crate) parent: Option<SpanId>,
    pub(crate) request_id: String,
    pub(crate) status: u16,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) stay: Stay,
}

/// A request that came over a link and has ended.
pub(crate) struct LinkStory {
    /// The balancer's call, which is the parent of all of it.
    pub(crate) caller: TraceContext,
    /// The balancer.
    pub(crate) peer: String,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) stay: Stay,
}

/// What happened to a request between its arrival in a pool and its end.
pub(crate) struct Stay {
    /// The span that the handler's steps are children of; or the call to a node, whose
    /// spans are.
    pub(crate) handler: SpanId,
    pub(crate) kind: String,
    pub(crate) pool: String,
    /// When it was admitted, after its body was read.
    pub(crate) admitted: Option<Instant>,
    pub(crate) waited: Duration,
    pub(crate) times: Option<WorkTimes>,
    pub(crate) worker: Option<WorkerName>,
    pub(crate) steps: Vec<Recorded>,
    pub(crate) error: Option<&'static str>,
}

/// Makes spans of one trace; turns instants of the monotonic clock into wall time.
struct Teller {
    trace: TraceContext,
    now: SystemTime,
    at: Instant,
}

impl Teller {
    fn wall(&self, instant: Instant) -> SystemTime {
        self.now - self.at.saturating_duration_since(instant)
    }

    fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        parent: Option<SpanId>,
        (begin, end): (Instant, Instant),
    ) -> SpanRecord {
        SpanRecord {
            name: name.into(),
            context: self.trace.child(),
            parent,
            kind: SpanKind::Internal,
            begin: self.wall(begin),
            end: self.wall(end),
            attributes: Vec::new(),
            error: None,
        }
    }
}

impl Teller {
    fn of(trace: TraceContext) -> Self {
        Self {
            trace,
            now: SystemTime::now(),
            at: Instant::now(),
        }
    }
}

impl Story {
    /// Hands all spans of the request over.
    pub(crate) fn tell(self, spans: &Spans) {
        let teller = Teller::of(self.trace);
        self.stay.tell(&teller, spans);
        spans.record(self.server(&teller));
    }

    /// The HTTP request as a whole.
    fn server(&self, teller: &Teller) -> SpanRecord {
        SpanRecord {
            context: self.trace,
            kind: SpanKind::Server,
            attributes: vec![
                ("http.request.method", self.method.into()),
                ("http.route", "/v1/invoke/{kind}".into()),
                ("http.response.status_code", i64::from(self.status).into()),
                ("tidepool.kind", self.stay.kind.clone().into()),
                ("tidepool.request_id", self.request_id.clone().into()),
            ],
            // As HTTP conventions have it, a caller's mistake is no error of the server.
            error: self
                .stay
                .error
                .filter(|_| self.status >= 500)
                .map(Cow::Borrowed),
            ..teller.span(
                format!("{} /v1/invoke/{{kind}}", self.method),
                self.parent,
                (self.begin, self.end),
            )
        }
    }
}

impl LinkStory {
    /// Hands all spans of the request over.
    pub(crate) fn tell(self, spans: &Spans) {
        let trace = self.caller.child();
        let teller = Teller::of(trace);
        self.stay.tell(&teller, spans);
        spans.record(SpanRecord {
            context: trace,
            kind: SpanKind::Server,
            attributes: vec![
                ("tidepool.kind", self.stay.kind.clone().into()),
                ("tidepool.peer", self.peer.into()),
            ],
            error: self.stay.error.map(Cow::Borrowed),
            ..teller.span("node", Some(self.caller.span_id), (self.begin, self.end))
        });
    }
}

impl Stay {
    fn tell(&self, teller: &Teller, spans: &Spans) {
        let told = self.queue(teller).into_iter().chain(self.work(teller));
        told.for_each(|span| spans.record(span));
        for step in &self.steps {
            let mut span = teller.span(step.name, Some(self.handler), (step.begin, step.end));
            span.error = step.failed.then_some(Cow::Borrowed("failed"));
            spans.record(span);
        }
    }

    /// The wait for a slot, also when it was none.
    fn queue(&self, teller: &Teller) -> Option<SpanRecord> {
        let admitted = self.admitted?;
        let times = (admitted, admitted + self.waited);
        let span = teller.span("queue", Some(teller.trace.span_id), times);
        Some(SpanRecord {
            attributes: vec![("tidepool.pool", self.pool.clone().into())],
            ..span
        })
    }

    /// From the slot to the answer: dispatch, and then the worker or the call to its node.
    fn work(&self, teller: &Teller) -> Vec<SpanRecord> {
        let Some(times) = self.times else {
            return Vec::new();
        };
        let root = Some(teller.trace.span_id);
        let dispatch = teller.span("dispatch", root, (times.granted, times.begin));
        if times.is_remote {
            return vec![dispatch, self.call(teller, times)];
        }
        let mut worker = teller.span("worker", root, (times.begin, times.end));
        worker.attributes.extend(self.worker_attribute());
        let handler = SpanRecord {
            context: self.inner(teller),
            error: self.error.map(Cow::Borrowed),
            ..teller.span(
                format!("handler {}", self.kind),
                Some(worker.context.span_id),
                (times.begin, times.end),
            )
        };
        vec![dispatch, worker, handler]
    }

    /// The call to a node, which tells of the rest itself.
    fn call(&self, teller: &Teller, times: WorkTimes) -> SpanRecord {
        SpanRecord {
            context: self.inner(teller),
            kind: SpanKind::Client,
            attributes: self.worker_attribute().into_iter().collect(),
            error: self.error.map(Cow::Borrowed),
            ..teller.span(
                format!("call {}", self.kind),
                Some(teller.trace.span_id),
                (times.begin, times.end),
            )
        }
    }

    fn inner(&self, teller: &Teller) -> TraceContext {
        TraceContext {
            span_id: self.handler,
            ..teller.trace
        }
    }

    fn worker_attribute(&self) -> Option<tidepool_telemetry::Attribute> {
        let worker = self.worker.as_ref()?;
        Some(("tidepool.worker", worker.as_str().to_owned().into()))
    }
}
