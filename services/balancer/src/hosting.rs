//! The pools of a node as balancers use them: requests come over links and pass the same queue
//! and slot table as those that come over HTTP, and each balancer is told how many it may send.

mod credits;
mod exchange;
mod silence;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tidepool_core::{Deadline, PoolName};
use tidepool_handler::{Call, CallContext, Payload};
use tidepool_link::{Answer, Host, Peer, Steering};
use tidepool_telemetry::Spans;
use tidepool_wire::frame::{Ping, Reject, RejectReason, Request};

use crate::dispatch::Ask;
use crate::pool::Pool;
use crate::serve::{Served, Serving, serve};
use credits::Credits;
pub(crate) use credits::Offer;
use exchange::Exchange;

/// How often it is looked whether workers came or went.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What a node serves over its links.
pub struct HostingConfig {
    /// The pools.
    pub pools: Vec<Arc<Pool>>,
    /// Where spans go.
    pub spans: Spans,
    /// A request that takes longer is told whatever was decided for its trace.
    pub slow: Duration,
}

/// The pools of a node, for all threads that serve links.
#[derive(Clone)]
pub struct Hosting(Arc<Shared>);

struct Shared {
    pools: HashMap<PoolName, Arc<Pool>>,
    spans: Spans,
    slow: Duration,
    credits: Mutex<Credits>,
}

impl Hosting {
    /// Nobody is served before [`Hosting::host`] is handed to a server.
    #[must_use]
    pub fn new(config: HostingConfig) -> Self {
        let pools = config.pools.into_iter();
        let pools = pools.map(|pool| (pool.name().clone(), pool));
        Self(Arc::new(Shared {
            pools: pools.collect(),
            spans: config.spans,
            slow: config.slow,
            credits: Mutex::default(),
        }))
    }

    /// What a thread of the server asks.
    #[must_use]
    pub fn host(&self) -> Rc<dyn Host> {
        Rc::new(self.clone())
    }

    /// Tells balancers of slots as they come and go. Runs until it is dropped.
    pub async fn keep_told(self) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            self.tell();
        }
    }

    /// Tells balancers what they may send, where that has changed.
    fn tell(&self) {
        self.0
            .pools
            .values()
            .for_each(|pool| pool.send_back_if_deserted());
        let pools = self.0.pools.values();
        let slots = pools.map(|pool| (pool.name().clone(), pool.offered_slots()));
        self.0.credits.lock().tell(slots, Instant::now());
    }
}

impl Host for Hosting {
    fn request(&self, peer: &Rc<Peer>, request: Request, payload: Bytes) -> Answer {
        let now = Instant::now();
        let Some((pool, kind_index)) = self.0.find(&request) else {
            return Answer::Now(tidepool_link::Outcome::Rejected(Reject {
                reason: RejectReason::UnknownPool,
                retry_after_ms: 0,
            }));
        };
        let deadline = Deadline::from_now(now, Duration::from_micros(request.remaining_us));
        let context = CallContext::new(request.request_id, request.trace.child(), deadline);
        let ask = Ask {
            priority: request.priority,
            bytes: payload.len(),
            deadline,
            session: request.session,
            is_idempotent: request.idempotent,
        };
        let call = Call {
            input: Payload::new(request.input_format, payload),
            reply_format: request.reply_format,
            context: context.clone(),
        };
        let exchange = Exchange {
            peer: Rc::clone(peer),
            caller: request.trace,
            kind: request.kind,
            pool: Arc::clone(pool),
            context,
            begin: now,
        };
        match serve(pool, kind_index, ask, call, now) {
            Serving::Done(served) => Answer::Now(self.0.outcome(exchange, served)),
            Serving::Going(going) => {
                let shared = Arc::clone(&self.0);
                Answer::Later(Box::pin(
                    async move { shared.outcome(exchange, going.await) },
                ))
            }
        }
    }

    fn control_up(&self, peer: &Rc<Peer>, steering: Steering) {
        self.0.credits.lock().join(peer, steering, Instant::now());
        self.tell();
    }

    fn demand(&self, peer: &Rc<Peer>, ping: Ping) {
        self.0.credits.lock().want(peer, &ping, Instant::now());
        self.tell();
    }

    fn control_down(&self, peer: &Rc<Peer>) {
        self.0.credits.lock().leave(peer);
        self.tell();
    }
}

impl Shared {
    fn find(&self, request: &Request) -> Option<(&Arc<Pool>, usize)> {
        let pool = self.pools.get(&request.pool)?;
        let kinds = &pool.spec.kinds;
        let at = kinds.iter().position(|kind| *kind == request.kind)?;
        Some((pool, at))
    }

    fn outcome(&self, exchange: Exchange, served: Served) -> tidepool_link::Outcome {
        let took = exchange.begin.elapsed();
        let outcome = exchange::outcome(&served);
        exchange.log(&served);
        let is_failed = served.is_failure();
        let is_wanted = exchange.caller.sampled || is_failed || took >= self.slow;
        if is_wanted && self.spans.is_on() {
            let story = exchange.story(served);
            let spans = self.spans.clone();
            actix_web::rt::spawn(async move { story.tell(&spans) });
        }
        outcome
    }
}
