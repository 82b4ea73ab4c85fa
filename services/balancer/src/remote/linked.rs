//! A node as this process calls it: a link for each of the threads that have called it.
//!
//! A call never leaves its thread: it is written into that thread's own link and its answer is
//! read there.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use tidepool_core::PoolSpec;
use tidepool_handler::Failure;
use tidepool_link::{Full, Link, LinkConfig, Tcp};
use tidepool_wire::Payload;
use tidepool_wire::frame::{Failed, FailureCode, RejectReason, Request, Response};
use tokio::sync::watch;

use super::{Answered, CallEnd, CallFailure, Order, Reach};
use crate::pool::WorkerName;

/// How calls get to nodes.
#[derive(Clone, Debug)]
pub struct Dialing {
    /// What links need to know of this process.
    pub link: LinkConfig,
    /// Mutual TLS, where it is configured.
    pub tls: Option<tidepool_link::Tls>,
}

impl Dialing {
    /// The way to one address.
    pub(super) fn transport(&self, addr: &str) -> Tcp {
        Tcp::new(addr).with_tls(self.tls.clone())
    }
}

thread_local! {
    /// The links of this thread, by the life of the node that they lead to.
    static LINKS: RefCell<Vec<(u64, Link)>> = const { RefCell::new(Vec::new()) };
}

/// One life of a node, from its greeting to its silence.
pub(super) struct LinkedNode {
    name: String,
    addr: String,
    dialing: Arc<Dialing>,
    /// Tells lives of nodes apart within this process.
    life: u64,
    /// Becomes true when nothing is to be expected of it any more.
    is_over: watch::Sender<bool>,
}

impl LinkedNode {
    pub(super) fn new(name: String, addr: String, dialing: Arc<Dialing>, life: u64) -> Self {
        Self {
            name,
            addr,
            dialing,
            life,
            is_over: watch::Sender::new(false),
        }
    }

    /// Ends all links to it, on every thread: what was under way is lost now, not at its
    /// deadline.
    pub(super) fn end(&self) {
        self.is_over.send_replace(true);
    }

    /// This thread's link.
    fn link(&self) -> Link {
        LINKS.with_borrow_mut(|links| {
            let is_open = |link: &Link| link.why_closed().is_none();
            let own = links.iter().find(|(life, _)| *life == self.life);
            if let Some((_, link)) = own.filter(|(_, link)| is_open(link)) {
                return link.clone();
            }
            links.retain(|(life, link)| *life != self.life && is_open(link));
            let transport = self.dialing.transport(&self.addr);
            let link = Link::open(transport, self.dialing.link.clone());
            actix_web::rt::spawn(end_with(link.clone(), self.is_over.subscribe()));
            links.push((self.life, link.clone()));
            link
        })
    }
}

/// Ends a link with its node.
async fn end_with(link: Link, mut is_over: watch::Receiver<bool>) {
    tokio::select! {
        // An error says that nobody knows the node any more.
        _ = is_over.wait_for(|is_over| *is_over) => link.close(),
        _ = link.closed() => {}
    }
}

impl Reach for LinkedNode {
    fn node(&self) -> &str {
        &self.name
    }

    fn call(&self, pool: &PoolSpec, order: Order) -> LocalBoxFuture<'static, CallEnd> {
        let Some(request) = request(pool, &order) else {
            return Box::pin(std::future::ready(CallEnd::Rejected));
        };
        let input = order.call.input.bytes;
        let called = self.link().call(&request, input, order.ask.deadline.0);
        Box::pin(async move {
            match called {
                Err(Full::TooLarge) => without_worker(CallFailure::TooLarge),
                Err(Full::InFlight | Full::Bytes | Full::Closed) => CallEnd::Rejected,
                Ok(call) => end(call.await),
            }
        })
    }
}

/// The request as it travels. Nothing for a kind that the pool does not have.
fn request(pool: &PoolSpec, order: &Order) -> Option<Request> {
    let context = &order.call.context;
    let remaining = order.ask.deadline.remaining(Instant::now());
    Some(Request {
        request_id: context.request_id,
        pool: pool.name.clone(),
        kind: pool.kinds.get(order.kind_index)?.clone(),
        trace: context.trace,
        remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
        priority: order.ask.priority,
        idempotent: order.ask.is_idempotent,
        input_format: order.call.input.format,
        reply_format: order.call.reply_format,
        session: order.ask.session,
    })
}

/// An end that no worker had a part in.
fn without_worker(failure: CallFailure) -> CallEnd {
    CallEnd::Answered(Answered {
        result: Err(failure),
        worker: None,
        queued: Duration::ZERO,
    })
}

fn end(end: tidepool_link::CallEnd) -> CallEnd {
    match end {
        tidepool_link::CallEnd::Answered(response, payload) => {
            CallEnd::Answered(answered(response, payload))
        }
        tidepool_link::CallEnd::Rejected(reject) => match reject.reason {
            RejectReason::TooLarge => without_worker(CallFailure::TooLarge),
            _ => CallEnd::Rejected,
        },
        tidepool_link::CallEnd::Lost { sent } => CallEnd::Lost { is_sent: sent },
        tidepool_link::CallEnd::Expired { .. } => {
            without_worker(CallFailure::Failed(Failure::DeadlineExceeded))
        }
    }
}

fn answered(response: Response, payload: bytes::Bytes) -> Answered {
    let result = match response.failed {
        None => Ok(Payload::new(response.format, payload)),
        Some(failed) => Err(failure(failed)),
    };
    Answered {
        result,
        worker: response.worker.as_ref().map(WorkerName::of),
        queued: Duration::from_micros(u64::from(response.queued_us)),
    }
}

fn failure(failed: Failed) -> CallFailure {
    let Failed {
        code,
        detail,
        faults,
        dependency,
    } = failed;
    // The node has logged the cause, with the id of the trace.
    let cause = "see the log of the node".to_owned();
    CallFailure::Failed(match code {
        FailureCode::Malformed => Failure::Malformed { detail },
        FailureCode::Invalid => Failure::Invalid { faults },
        FailureCode::LimitExceeded => Failure::LimitExceeded { detail },
        FailureCode::DeadlineExceeded => Failure::DeadlineExceeded,
        FailureCode::Cancelled => Failure::Cancelled,
        FailureCode::Dependency => Failure::Dependency {
            dependency: dependency.unwrap_or_default().into(),
            cause,
        },
        FailureCode::Internal => Failure::Internal { cause },
        FailureCode::Panicked => return CallFailure::Panicked,
        FailureCode::DeadlineInQueue => return CallFailure::DeadlineInQueue,
    })
}
