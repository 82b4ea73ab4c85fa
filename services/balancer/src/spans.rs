//! The spans of one request, built from recorded times after the answer.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use tidepool_core::{SpanId, TraceContext, WorkerId};
use tidepool_handler::Recorded;
use tidepool_telemetry::{SpanKind, SpanRecord, Spans};

use crate::serve::WorkTimes;

/// Everything there is to tell about a request that has ended.
pub(crate) struct Story {
    pub(crate) trace: TraceContext,
    pub(crate) parent: Option<SpanId>,
    /// The span that the handler's steps are children of.
    pub(crate) handler: SpanId,
    pub(crate) kind: String,
    pub(crate) pool: String,
    pub(crate) request_id: String,
    pub(crate) status: u16,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    /// When it was admitted, after its body was read.
    pub(crate) admitted: Option<Instant>,
    pub(crate) waited: Duration,
    pub(crate) times: Option<WorkTimes>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) steps: Vec<Recorded>,
    pub(crate) error: Option<&'static str>,
}

/// Turns instants of the monotonic clock into wall time.
struct Wall {
    now: SystemTime,
    at: Instant,
}

impl Wall {
    fn of(&self, instant: Instant) -> SystemTime {
        self.now - self.at.saturating_duration_since(instant)
    }
}

impl Story {
    /// Hands all spans of the request over.
    pub(crate) fn tell(self, spans: &Spans) {
        let wall = Wall {
            now: SystemTime::now(),
            at: Instant::now(),
        };
        let span = |name: Cow<'static, str>, id, parent, kind, begin, end| SpanRecord {
            name,
            context: TraceContext {
                span_id: id,
                ..self.trace
            },
            parent,
            kind,
            begin: wall.of(begin),
            end: wall.of(end),
            attributes: Vec::new(),
            error: None,
        };
        let inner = |name: Cow<'static, str>, parent, begin, end| {
            span(
                name,
                SpanId::random(),
                Some(parent),
                SpanKind::Internal,
                begin,
                end,
            )
        };
        let root = self.trace.span_id;
        if let Some(admitted) = self.admitted {
            if self.waited > Duration::ZERO {
                let mut queue = inner("queue".into(), root, admitted, admitted + self.waited);
                queue
                    .attributes
                    .push(("tidepool.pool", self.pool.clone().into()));
                spans.record(queue);
            }
        }
        if let Some(times) = self.times {
            spans.record(inner("dispatch".into(), root, times.granted, times.begin));
            let mut worker = inner("worker".into(), root, times.begin, times.end);
            if let Some(id) = &self.worker {
                worker
                    .attributes
                    .push(("tidepool.worker", id.to_string().into()));
            }
            let name = format!("handler {}", self.kind).into();
            let parent = Some(worker.context.span_id);
            let mut handler = span(
                name,
                self.handler,
                parent,
                SpanKind::Internal,
                times.begin,
                times.end,
            );
            handler.error = self.error.map(Cow::Borrowed);
            spans.record(worker);
            spans.record(handler);
        }
        for step in &self.steps {
            let mut child = inner(step.name.into(), self.handler, step.begin, step.end);
            child.error = step.failed.then_some(Cow::Borrowed("failed"));
            spans.record(child);
        }
        let name = "POST /v1/invoke/{kind}".into();
        let mut server = span(
            name,
            root,
            self.parent,
            SpanKind::Server,
            self.begin,
            self.end,
        );
        server.attributes = vec![
            ("http.request.method", "POST".into()),
            ("http.route", "/v1/invoke/{kind}".into()),
            ("http.response.status_code", i64::from(self.status).into()),
            ("tidepool.kind", self.kind.clone().into()),
            ("tidepool.request_id", self.request_id.clone().into()),
        ];
        // As HTTP conventions have it, a caller's mistake is no error of the server.
        server.error = self.error.filter(|_| self.status >= 500).map(Cow::Borrowed);
        spans.record(server);
    }
}
