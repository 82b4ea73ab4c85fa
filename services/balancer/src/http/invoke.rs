//! `POST /v1/invoke/{kind}`: the hot path.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::{ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, dev};
use tidepool_core::{Deadline, SpanId, TraceContext, WorkerId};
use tidepool_handler::{Call, CallContext, Failure, Format, Payload};
use tidepool_store::Kv;

use super::body::{self, Held};
use super::head::{Identity, Wishes};
use super::idempotency::{self, Claim};
use super::problem::{Code, Problem, Subject};
use super::{Api, KindRoute, auth};
use crate::dispatch::Ask;
use crate::metrics::method_label;
use crate::serve::{Served, Unserved, WorkTimes, serve};
use crate::spans::Story;

/// The route as metrics and spans name it.
pub(crate) const ROUTE: &str = "/v1/invoke/{kind}";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const WORKER: HeaderName = HeaderName::from_static("tidepool-worker");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A request that got as far as its pool.
struct Attempt {
    result: Result<Payload, Problem>,
    admitted: Option<Instant>,
    waited: Duration,
    times: Option<WorkTimes>,
    worker: Option<WorkerId>,
    context: Option<CallContext>,
    replayed: bool,
}

impl Attempt {
    fn refused(problem: Problem) -> Self {
        Self::without_work(Err(problem))
    }

    fn replayed(result: Result<Payload, Problem>) -> Self {
        Self {
            replayed: true,
            ..Self::without_work(result)
        }
    }

    fn without_work(result: Result<Payload, Problem>) -> Self {
        Self {
            result,
            replayed: false,
            admitted: None,
            waited: Duration::ZERO,
            times: None,
            worker: None,
            context: None,
        }
    }
}

/// Answers one request.
pub(crate) async fn invoke(
    request: &HttpRequest,
    payload: dev::Payload,
    api: &Api,
) -> HttpResponse {
    let begin = Instant::now();
    let identity = Identity::read(request.headers(), api.sampler);
    let name = request.match_info().unprocessed();
    let name = name.strip_prefix('/').unwrap_or(name);
    let attempt = match find(api, request, name) {
        Ok(route) => attempt(api, route, request, payload, &identity, begin).await,
        Err(problem) => Attempt::refused(problem),
    };
    let response = respond(&attempt, &identity, request.path());
    let method = method_label(request.method().as_str());
    let answered = (method, response.status());
    finish(api, attempt, identity, name, begin, answered);
    response
}

/// The checks that need no body.
fn find<'a>(
    api: &'a Api,
    request: &HttpRequest,
    name: &str,
) -> Result<&'a Arc<KindRoute>, Problem> {
    if request.method() != Method::POST {
        let problem = Problem::new(Code::MethodNotAllowed, "a request is sent with POST");
        return Err(Problem {
            allow: Some("POST"),
            ..problem
        });
    }
    auth::check(request.headers(), api.token.as_deref())?;
    api.kinds.get(name).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        if api.unconfigured.iter().any(|kind| kind.as_str() == name) {
            Problem::new(
                Code::KindNotConfigured,
                format!("the kind '{shown}' is in no pool"),
            )
        } else {
            Problem::new(Code::UnknownKind, format!("there is no kind '{shown}'"))
        }
    })
}

/// A request whose body has been read.
struct Asked {
    wishes: Wishes,
    input: Payload,
    held: Held,
    deadline: Deadline,
}

async fn attempt(
    api: &Api,
    route: &Arc<KindRoute>,
    request: &HttpRequest,
    payload: dev::Payload,
    identity: &Identity,
    begin: Instant,
) -> Attempt {
    let mut asked = match read(api, route, request, payload, begin).await {
        Ok(asked) => asked,
        Err(problem) => return Attempt::refused(problem),
    };
    let key = asked.wishes.idempotency_key.take();
    let Some((key, kv)) = key.zip(api.idempotency.clone()) else {
        return work(route, asked, identity).await;
    };
    // Apart from the connection: a caller that loses it asks again with the same key, and is to
    // find the answer of this run instead of starting another beside it.
    let running = keyed(kv, key, Arc::clone(route), asked, identity.clone());
    actix_web::rt::spawn(running).await.unwrap_or_else(|_| {
        let detail = "the request ended without an answer";
        Attempt::refused(Problem::new(Code::HandlerFailed, detail))
    })
}

/// Runs a request with a key to its end, or gives the answer of the one before.
async fn keyed(
    kv: Arc<dyn Kv>,
    key: String,
    route: Arc<KindRoute>,
    asked: Asked,
    identity: Identity,
) -> Attempt {
    let remaining = asked.deadline.remaining(Instant::now());
    let (kind, format) = (route.spec.kind.as_str(), asked.wishes.reply_format);
    match idempotency::claim(&kv, kind, &key, &asked.input, remaining).await {
        Err(problem) => Attempt::refused(problem),
        Ok(Claim::Replay(result)) => Attempt::replayed(in_format(result, format)),
        Ok(Claim::Run(ticket)) => {
            let attempt = work(&route, asked, &identity).await;
            ticket.settle(&attempt.result).await;
            attempt
        }
    }
}

/// A kept answer in the format that this caller wants.
fn in_format(result: Result<Payload, Problem>, format: Format) -> Result<Payload, Problem> {
    result.and_then(|payload| {
        payload
            .transcode(format)
            .map_err(|error| Problem::from(Failure::from(error)))
    })
}

/// Has the pool do the work.
async fn work(route: &KindRoute, asked: Asked, identity: &Identity) -> Attempt {
    let Asked {
        wishes,
        input,
        held,
        deadline,
    } = asked;
    let ask = Ask {
        priority: wishes.priority,
        bytes: input.bytes.len(),
        deadline,
        session: wishes.session,
    };
    let trace = TraceContext {
        span_id: SpanId::random(),
        ..identity.trace
    };
    let context = CallContext::new(identity.request_id, trace, deadline);
    let call = Call {
        input: input.clone(),
        reply_format: wishes.reply_format,
        context: context.clone(),
    };
    let admitted = Instant::now();
    let served = serve(&route.pool, route.kind_index, ask, call).await;
    drop(held);
    let Served {
        result,
        waited,
        times,
        worker,
    } = served;
    let result = result.map_err(|unserved| explain(unserved, route, &input, identity));
    Attempt {
        result,
        admitted: Some(admitted),
        waited,
        times,
        worker,
        context: Some(context),
        replayed: false,
    }
}

async fn read(
    api: &Api,
    route: &KindRoute,
    request: &HttpRequest,
    payload: dev::Payload,
    begin: Instant,
) -> Result<Asked, Problem> {
    let wishes = Wishes::read(request.headers())?;
    // Refusing is cheapest before the body has been read.
    if let Some(refusal) = route.pool.refuses_all() {
        route
            .pool
            .arrive(route.kind_index)
            .end(crate::pool::Outcome::Refused);
        return Err(refusal.into());
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let announced = length
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    let (bytes, held) = body::read(payload, announced, api.body_limits, &api.body_budget).await?;
    let input = Payload {
        bytes,
        format: wishes.input_format,
    };
    let deadline = wishes.deadline_from(begin, route.pool.spec.deadline_ms);
    Ok(Asked {
        wishes,
        input,
        held,
        deadline,
    })
}

/// Tells the operator the cause, and gives the caller every fault of a wrong input.
fn explain(unserved: Unserved, route: &KindRoute, input: &Payload, identity: &Identity) -> Problem {
    let kind = route.spec.kind.as_str();
    let trace_id = identity.trace.trace_id;
    match &unserved {
        Unserved::Panicked => tracing::error!(%trace_id, kind, "the handler panicked"),
        Unserved::Failed(Failure::Internal { cause }) => {
            tracing::error!(%trace_id, kind, cause, "the handler failed");
        }
        Unserved::Failed(Failure::Dependency { dependency, cause }) => {
            tracing::warn!(%trace_id, kind, dependency, cause, "a dependency is not available");
        }
        _ => {}
    }
    let mut problem = Problem::from(unserved);
    if problem.code == Code::InvalidInput {
        for fault in route.faults(input) {
            if problem
                .faults
                .iter()
                .all(|known| known.pointer != fault.pointer)
            {
                problem.faults.push(fault);
            }
        }
    }
    problem
}

fn respond(attempt: &Attempt, identity: &Identity, path: &str) -> HttpResponse {
    let request_id = identity.echoed_id();
    let mut response = match &attempt.result {
        Ok(payload) => {
            let mut response = HttpResponse::new(StatusCode::OK).set_body(payload.bytes.clone());
            let media_type = HeaderValue::from_static(payload.format.media_type());
            response
                .headers_mut()
                .insert(actix_web::http::header::CONTENT_TYPE, media_type);
            response.map_into_boxed_body()
        }
        Err(problem) => problem.response(Subject {
            instance: path,
            request_id: &request_id,
            trace_id: &identity.trace.trace_id.to_string(),
        }),
    };
    let headers = response.headers_mut();
    let mut insert = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    insert(TRACERESPONSE, identity.trace.traceparent());
    insert(REQUEST_ID, request_id);
    if let Some(worker) = &attempt.worker {
        insert(WORKER, worker.to_string());
    }
    if let Some(times) = attempt.times {
        insert(SERVER_TIMING, server_timing(attempt.waited, times));
    }
    if attempt.replayed {
        insert(REPLAYED, "true".to_owned());
    }
    debug_assert!(headers.contains_key(ALLOW) || response.status() != 405);
    response
}

/// `queue;dur=1.234, work;dur=5.678` in milliseconds.
fn server_timing(waited: Duration, times: WorkTimes) -> String {
    let work = times.end.saturating_duration_since(times.begin);
    let mut text = String::with_capacity(48);
    text.push_str("queue;dur=");
    push_ms(&mut text, waited);
    text.push_str(", work;dur=");
    push_ms(&mut text, work);
    text
}

/// Milliseconds with three decimals.
fn push_ms(text: &mut String, duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if us < 1_000 {
        // The usual case, without the machinery of formatting.
        text.push_str("0.");
        for digit in [us / 100, us / 10 % 10, us % 10] {
            text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        }
    } else {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}.{:03}", us / 1_000, us % 1_000);
    }
}

/// Counts the request, and tells its spans after the answer has gone out.
fn finish(
    api: &Api,
    attempt: Attempt,
    identity: Identity,
    name: &str,
    begin: Instant,
    (method, status): (&'static str, StatusCode),
) {
    let end = Instant::now();
    let took = end.saturating_duration_since(begin);
    if status == StatusCode::OK {
        api.invoked_ok.observe(took.as_secs_f64());
    } else {
        api.metrics
            .http(method, ROUTE, status.as_str())
            .observe(took.as_secs_f64());
    }
    let keep = identity.trace.sampled || status.as_u16() >= 500 || took >= api.slow;
    if !keep || !api.spans.is_on() {
        return;
    }
    let pool = api
        .kinds
        .get(name)
        .map(|route| route.pool.name().to_string());
    let handler = attempt
        .context
        .as_ref()
        .map_or_else(SpanId::random, |c| c.trace.span_id);
    let story = Story {
        method,
        request_id: identity.echoed_id(),
        trace: identity.trace,
        parent: identity.parent,
        handler,
        // Only names of kinds that exist: what else callers send is not for labels.
        kind: if pool.is_some() {
            name.to_owned()
        } else {
            "unknown".to_owned()
        },
        pool: pool.unwrap_or_default(),
        status: status.as_u16(),
        begin,
        end,
        admitted: attempt.admitted,
        waited: attempt.waited,
        times: attempt.times,
        worker: attempt.worker,
        steps: attempt
            .context
            .map(|c| c.take_recorded())
            .unwrap_or_default(),
        error: attempt.result.err().map(|problem| problem.code.as_str()),
    };
    let spans = api.spans.clone();
    actix_web::rt::spawn(async move { story.tell(&spans) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_is_in_milliseconds() {
        let begin = Instant::now();
        let times = WorkTimes {
            granted: begin,
            begin,
            end: begin + Duration::from_micros(12_034),
        };
        let text = server_timing(Duration::from_micros(7), times);
        assert_eq!(text, "queue;dur=0.007, work;dur=12.034");
    }
}
