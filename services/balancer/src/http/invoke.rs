//! `POST /v1/invoke/{kind}`: the hot path.

use std::sync::Arc;
use std::time::Instant;

use actix_http::Message;
use actix_web::dev::{Payload as BodyStream, RequestHead};
use actix_web::http::Method;
use actix_web::rt::System;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tidepool_core::{Deadline, SpanId, TraceContext};
use tidepool_handler::{Call, CallContext, Failure, Format, KindSpec, Payload};

use super::accepted::{Accepted, Guard};
use super::body::{Coming, Held};
use super::front::kind_name;
use super::head::{Fields, Identity, Wishes, session_of};
use super::idempotency::{self, Claim};
use super::kept::Ledger;
use super::problem::{Code, Problem};
use super::quota::Standing;
use super::respond::{Attempt, Outgoing, Seen, Visit};
use super::{Api, KindRoute, auth};
use crate::dispatch::Ask;
use crate::metrics::method_label;
use crate::serve::{Served, Serving, Unserved, serve};

/// An answer to a request.
pub(crate) enum Answer {
    /// It is here.
    Ready(Outgoing),
    /// Somebody has to wait. Dropping the future cancels the request.
    Later(LocalBoxFuture<'static, Outgoing>),
}

/// A request whose body has been read.
struct Asked {
    route: Arc<KindRoute>,
    wishes: Wishes,
    input: Payload,
    held: Held,
    deadline: Deadline,
}

/// Answers one request for a kind.
pub(crate) fn invoke(api: &Arc<Api>, head: Message<RequestHead>, payload: BodyStream) -> Answer {
    let begin = Instant::now();
    let fields = Fields::find(head.headers());
    let identity = Identity::read(&fields, api.sampler);
    let mut quota = None;
    let wishes = find(api, &head, &fields, &mut quota, begin)
        .and_then(|route| Ok((route, Wishes::read(&fields)?)));
    let announced = fields.announced();
    let method = method_label(head.method.as_str());
    let mut visit = Visit {
        head,
        seen: Seen {
            identity,
            method,
            route: None,
            begin,
        },
        quota,
    };
    let (route, wishes) = match wishes {
        Ok(found) => found,
        Err(problem) => return visit.refused(api, problem),
    };
    visit.seen.route = Some(Arc::clone(&route));
    match Coming::new(payload, announced, api.body_limits, &api.body_budget) {
        Ok(coming) => visit.wait_for(api, route, wishes, coming),
        Err(problem) => visit.refused(api, problem),
    }
}

/// The checks that need no body.
fn find(
    api: &Api,
    head: &RequestHead,
    fields: &Fields<'_>,
    standing: &mut Option<Standing>,
    now: Instant,
) -> Result<Arc<KindRoute>, Problem> {
    if head.method != Method::POST {
        let problem = Problem::new(Code::MethodNotAllowed, "a request is sent with POST");
        return Err(Problem {
            allow: Some("POST"),
            ..problem
        });
    }
    auth::check(fields.authorization, api.token.as_deref())?;
    if let Some(quotas) = &api.quotas {
        // Without a token to send, what is sent as one says nothing.
        let token = fields.authorization.filter(|_| api.token.is_some());
        let (left, taken) = quotas.take(token, head.peer_addr, now);
        *standing = Some(left);
        taken?;
    }
    let name = kind_name(&head.uri).unwrap_or_default();
    let name = &*name;
    api.kind(name).cloned().ok_or_else(|| {
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

impl Asked {
    fn new(
        route: Arc<KindRoute>,
        wishes: Wishes,
        bytes: Bytes,
        held: Held,
        begin: Instant,
    ) -> Self {
        let input = Payload {
            bytes,
            format: wishes.input_format,
        };
        Self {
            deadline: wishes.deadline_from(begin, route.pool.spec.deadline_ms),
            route,
            wishes,
            input,
            held,
        }
    }
}

impl Visit {
    fn refused(self, api: &Api, problem: Problem) -> Answer {
        Answer::Ready(self.finish(api, Attempt::refused(problem)))
    }

    /// Waits for the body, unless the request would be turned away anyhow: refusing
    /// is cheapest before its body has been read.
    fn wait_for(
        self,
        api: &Arc<Api>,
        route: Arc<KindRoute>,
        wishes: Wishes,
        coming: Coming,
    ) -> Answer {
        if let Some(refusal) = route.pool.refuses_all() {
            route.pool.arrive(route.kind_index).refuse();
            return self.refused(api, refusal.into());
        }
        let api = Arc::clone(api);
        Answer::Later(Box::pin(async move {
            match coming.read().await {
                Ok((bytes, held)) => {
                    let asked = Asked::new(route, wishes, bytes, held, self.seen.begin);
                    self.proceed(&api, asked, Instant::now()).await
                }
                Err(problem) => self.finish(&api, Attempt::refused(problem)),
            }
        }))
    }

    /// Has a request done that has been read at `now`. What is rare is boxed: this future is moved.
    async fn proceed(self, api: &Arc<Api>, mut asked: Asked, now: Instant) -> Outgoing {
        if asked.wishes.respond_async
            && let Some(accepted) = &api.accepted
        {
            return self.accept(api, Arc::clone(accepted), asked).await;
        }
        if let Some((key, ledger)) = key_of(api, &mut asked) {
            return self.proceed_apart(api, ledger, key, asked).await;
        }
        let attempt = match work(asked, &self.seen.identity, now) {
            Working::Ended(attempt) => attempt,
            Working::Going(going, job) => job.attempt(going.await, &self.seen.identity),
        };
        self.finish(api, attempt)
    }

    /// Has a request with a key done, apart from the connection: a caller that loses it asks
    /// again with the same key, and is to find the answer of this run instead of starting
    /// another beside it.
    fn proceed_apart(
        self,
        api: &Arc<Api>,
        ledger: Arc<Ledger>,
        key: String,
        asked: Asked,
    ) -> LocalBoxFuture<'static, Outgoing> {
        let api = Arc::clone(api);
        let identity = self.seen.identity.clone();
        let running = actix_web::rt::spawn(keyed(ledger, key, asked, identity));
        Box::pin(async move {
            let attempt = running.await.unwrap_or_else(|_| {
                let detail = "the request ended without an answer";
                Attempt::refused(Problem::new(Code::HandlerFailed, detail))
            });
            self.finish(&api, attempt)
        })
    }
}

impl Visit {
    /// Accepts a request and has it done where no connection and no thread of a connection
    /// matters: its caller asks for the answer later.
    fn accept(
        self,
        api: &Arc<Api>,
        accepted: Arc<Accepted>,
        asked: Asked,
    ) -> LocalBoxFuture<'static, Outgoing> {
        let api = Arc::clone(api);
        Box::pin(async move {
            if let Some(refusal) = asked.route.pool.refuses_all() {
                asked.route.pool.arrive(asked.route.kind_index).refuse();
                return self.finish(&api, Attempt::refused(refusal.into()));
            }
            let remaining = asked.deadline.remaining(Instant::now());
            let kind = asked.route.spec.kind.clone();
            let attempt = match accepted.accept(kind.as_str(), remaining).await {
                Err(problem) => Attempt::refused(problem),
                Ok(guard) => {
                    let attempt = Attempt::accepted(&guard);
                    let (api, seen) = (Arc::clone(&api), self.seen.clone());
                    apart(move || answer_later(api, guard, asked, seen));
                    attempt
                }
            };
            self.finish(&api, attempt)
        })
    }
}

/// Begins something on the thread that outlives those of the connections.
fn apart<F: Future<Output = ()> + 'static>(begin: impl FnOnce() -> F + Send + 'static) {
    let Some(system) = System::try_current() else {
        actix_web::rt::spawn(begin());
        return;
    };
    // When the thread is gone already the process ends: what was accepted is dropped, which says
    // so to whoever asks.
    let _ = system.arbiter().spawn_fn(move || {
        actix_web::rt::spawn(begin());
    });
}

/// Does an accepted request and writes its answer down.
async fn answer_later(api: Arc<Api>, guard: Guard, mut asked: Asked, seen: Seen) {
    let attempt = match key_of(&api, &mut asked) {
        Some((key, ledger)) => keyed(ledger, key, asked, seen.identity.clone()).await,
        None => run(asked, &seen.identity).await,
    };
    api.metrics.accepted_ended(attempt.result.is_ok());
    guard.settle(&attempt.result).await;
    let status = attempt
        .result
        .as_ref()
        .map_or_else(|p| p.code.status(), |_| 200);
    seen.tell(&api, attempt, status, Instant::now());
}

/// The key of a request, where answers are kept for keys.
fn key_of(api: &Api, asked: &mut Asked) -> Option<(String, Arc<Ledger>)> {
    let key = asked.wishes.idempotency_key.take();
    key.zip(api.idempotency.clone())
}

/// Does a request that nobody has to be told of meanwhile.
async fn run(asked: Asked, identity: &Identity) -> Attempt {
    match work(asked, identity, Instant::now()) {
        Working::Ended(attempt) => attempt,
        Working::Going(going, job) => job.attempt(going.await, identity),
    }
}

/// Runs a request with a key to its end, or gives the answer of the one before.
async fn keyed(ledger: Arc<Ledger>, key: String, asked: Asked, identity: Identity) -> Attempt {
    let remaining = asked.deadline.remaining(Instant::now());
    let kind = asked.route.spec.kind.clone();
    let format = asked.wishes.reply_format;
    match idempotency::claim(&ledger, kind.as_str(), &key, &asked.input, remaining).await {
        Err(problem) => Attempt::refused(problem),
        Ok(Claim::Replay(result)) => {
            Attempt::replayed(result.and_then(|kept| in_format(kept, format)))
        }
        Ok(Claim::Run(ticket)) => {
            let attempt = run(asked, &identity).await;
            ticket.settle(&attempt.result).await;
            attempt
        }
    }
}

/// A kept answer in the format that this caller wants.
pub(super) fn in_format(payload: Payload, format: Format) -> Result<Payload, Problem> {
    payload
        .transcode(format)
        .map_err(|error| Problem::from(Failure::from(error)))
}

/// What is kept of a request while its pool does the work.
struct Job {
    route: Arc<KindRoute>,
    input: Payload,
    context: CallContext,
    admitted: Instant,
    /// Its bytes count until its work has ended.
    _held: Held,
}

enum Working {
    Ended(Attempt),
    Going(LocalBoxFuture<'static, Served>, Job),
}

/// What requests that belong together by what they are about share, and whether this one may run
/// twice, where its input tells.
fn peek(spec: &KindSpec, input: &Payload) -> (Option<u64>, bool) {
    let members = [spec.affinity, spec.idempotent.member()];
    let [about, deed] = match members {
        [None, None] => [None, None],
        members => input.text_members(members),
    };
    let affinity = about.map(|text| session_of(text.as_bytes()));
    (affinity, spec.idempotent.of(deed.as_deref()))
}

/// Has the pool do the work.
fn work(asked: Asked, identity: &Identity, now: Instant) -> Working {
    let Asked {
        route,
        wishes,
        input,
        held,
        deadline,
    } = asked;
    let (affinity, is_idempotent) = peek(&route.spec, &input);
    let ask = Ask {
        priority: wishes.priority,
        bytes: input.bytes.len(),
        deadline,
        session: wishes.session.or(affinity),
        is_idempotent,
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
    let serving = serve(&route.pool, route.kind_index, ask, call, now);
    let job = Job {
        route,
        input,
        context,
        admitted: now,
        _held: held,
    };
    match serving {
        Serving::Done(served) => {
            let ended = served.times.map(|times| times.end);
            let attempt = job.attempt(served, identity);
            Working::Ended(Attempt { ended, ..attempt })
        }
        Serving::Going(going) => Working::Going(going, job),
    }
}

impl Job {
    fn attempt(self, served: Served, identity: &Identity) -> Attempt {
        let result = served.result;
        Attempt {
            result: result
                .map_err(|unserved| explain(unserved, &self.route, &self.input, identity)),
            admitted: Some(self.admitted),
            waited: served.waited,
            times: served.times,
            worker: served.worker,
            context: Some(self.context),
            replayed: false,
            location: None,
            ended: None,
        }
    }
}

/// Tells the operator the cause, and gives the caller every fault of a wrong input.
fn explain(unserved: Unserved, route: &KindRoute, input: &Payload, identity: &Identity) -> Problem {
    let kind = route.spec.kind.as_str();
    let trace_id = identity.trace.trace_id;
    match &unserved {
        Unserved::Panicked => tracing::error!(%trace_id, kind, "the handler panicked"),
        Unserved::Lost => tracing::warn!(%trace_id, kind, "a node was lost with the request"),
        Unserved::SetAside => {
            tracing::error!(%trace_id, kind, "two nodes were lost with the request: set aside");
            route.pool.tell_set_aside(&route.spec.kind, trace_id);
        }
        Unserved::Failed(Failure::Internal { cause }) => {
            tracing::error!(%trace_id, kind, cause, "the handler failed");
        }
        Unserved::Failed(Failure::Dependency { dependency, cause }) => {
            tracing::warn!(%trace_id, kind, %dependency, cause, "a dependency is not available");
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
