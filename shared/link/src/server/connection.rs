//! One link on the node's end: read all, call the host for each, write once.

use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, Aborted, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, Stream};
use tidepool_wire::frame::{Credit, Frame, HelloLimits, Reject, RejectReason, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::{Answer, Host, Outcome, Phase, Steering};
use crate::config::{Limits, LinkConfig};
use crate::control::Line;
use crate::duplex::{Duplex, Sweep};
use crate::greeting::Greeted;
use crate::intake::Partials;
use crate::outbox::Outbox;
use crate::peer::{Closed, Peer};
use crate::transport::Io;

/// How long a peer has to take the last answers and close its end.
const LINGER: Duration = Duration::from_secs(1);
/// When a request that was rejected for the moment may be worth another try, in ms.
const RETRY_AFTER_MS: u32 = 100;

/// Serves a control link until it ends.
pub(super) async fn control(
    greeted: Greeted,
    config: &LinkConfig,
    mut phase: watch::Receiver<Phase>,
    mut working: watch::Receiver<usize>,
    host: Rc<dyn Host>,
) -> Closed {
    let Greeted { peer, io, intake } = greeted;
    let peer = Rc::new(peer);
    // Dropped after the channel: the host knows the link that has ended by its steering.
    let _down = Down(Rc::clone(&host), Rc::clone(&peer));
    let mut line = Line {
        duplex: Duplex::new(io, intake, config),
        outbox: Outbox::default(),
        sweep: Sweep::new(config.patience.sweep),
    };
    let (sender, mut credits) = watch::channel(Credit::default());
    host.control_up(&peer, Steering(sender));
    let mut is_told = false;
    loop {
        let now = *phase.borrow_and_update();
        if now >= Phase::Draining && !is_told {
            line.outbox.push(&Frame::Drain);
            is_told = true;
        }
        // A balancer takes the end of this link for that of the node and gives up all calls to it.
        let is_over = now >= Phase::Stopping && *working.borrow_and_update() == 0;
        if is_over && line.outbox.is_empty() {
            linger(line.duplex.into_io()).await;
            return Closed::Here;
        }
        tokio::select! {
            biased;
            _ = phase.changed() => {}
            Ok(()) = working.changed(), if now >= Phase::Stopping => {}
            Ok(()) = credits.changed() => {
                let credit = credits.borrow_and_update().clone();
                line.outbox.push(&Frame::Credit(credit));
            }
            why = poll_fn(|cx| {
                let polled = line.poll(cx, |frame, outbox| heard(&*host, &peer, frame, outbox));
                // What there was to say has been said: look whether to stop.
                let is_done = is_over && line.outbox.is_empty();
                match polled {
                    Poll::Pending if is_done => Poll::Ready(None),
                    polled => polled.map(Some),
                }
            }) => if let Some(why) = why { return why },
        }
    }
}

struct Down(Rc<dyn Host>, Rc<Peer>);

impl Drop for Down {
    fn drop(&mut self) {
        self.0.control_down(&self.1);
    }
}

fn heard(
    host: &dyn Host,
    peer: &Rc<Peer>,
    frame: Frame,
    outbox: &mut Outbox,
) -> Result<(), Closed> {
    match frame {
        Frame::Ping(ping) => {
            outbox.push(&Frame::Pong { nonce: ping.nonce });
            host.demand(peer, ping);
            Ok(())
        }
        frame => Err(crate::client::unexpected(&frame)),
    }
}

/// Serves a data link until it ends.
pub(super) async fn data(
    greeted: Greeted,
    config: &LinkConfig,
    mut phase: watch::Receiver<Phase>,
    host: Rc<dyn Host>,
) -> Closed {
    let Greeted { peer, io, intake } = greeted;
    let mut duplex = Duplex::new(io, intake, config);
    let mut sweep = Sweep::new(config.patience.sweep);
    let mut requests = Requests::new(Rc::new(peer), config.limits, host);
    loop {
        requests.phase = *phase.borrow_and_update();
        let polled = poll_fn(|cx| requests.poll(cx, &mut duplex, &mut sweep));
        tokio::select! {
            biased;
            _ = phase.changed() => {}
            why = polled => {
                if why == Closed::Here {
                    linger(duplex.into_io()).await;
                }
                return why;
            }
        }
    }
}

/// Lets the peer read the last answers: closing on what it has sent meanwhile would reset them.
async fn linger(mut io: Box<dyn Io>) {
    let last = async {
        let _ = io.shutdown().await;
        let mut rest = [0; 4096];
        while io.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, last).await;
}

/// An answer that is not there yet.
struct Job {
    id: u64,
    future: Abortable<LocalBoxFuture<'static, Outcome>>,
}

impl Future for Job {
    type Output = (u64, Result<Outcome, Aborted>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        Pin::new(&mut self.future)
            .poll(cx)
            .map(|outcome| (id, outcome))
    }
}

/// The requests of one link.
struct Requests {
    peer: Rc<Peer>,
    theirs: HelloLimits,
    limits: Limits,
    host: Rc<dyn Host>,
    phase: Phase,
    outbox: Outbox,
    partials: Partials<Request>,
    jobs: FuturesUnordered<Job>,
    /// How to end each job.
    aborts: HashMap<u64, AbortHandle>,
}

impl Requests {
    fn new(peer: Rc<Peer>, limits: Limits, host: Rc<dyn Host>) -> Self {
        Self {
            theirs: peer.limits,
            peer,
            limits,
            host,
            phase: Phase::Serving,
            outbox: Outbox::default(),
            partials: Partials::new(limits.partial_bytes, limits.message_bytes),
            jobs: FuturesUnordered::new(),
            aborts: HashMap::new(),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        duplex: &mut Duplex,
        sweep: &mut Sweep,
    ) -> Poll<Closed> {
        match self.turn(cx, duplex, sweep) {
            Ok(true) => Poll::Ready(Closed::Here),
            Ok(false) => Poll::Pending,
            Err(why) => Poll::Ready(why),
        }
    }

    /// One turn: everything that was read, every answer that is ready, one write. Answers whether
    /// the link has nothing left to do.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        duplex: &mut Duplex,
        sweep: &mut Sweep,
    ) -> Result<bool, Closed> {
        // A peer that does not read gets no further work done, and its own writing stops too.
        if !self.is_full() {
            duplex.poll_frames(cx, |frame| {
                self.take(frame)?;
                Ok(match self.is_full() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            self.poll_jobs(cx);
        }
        let was_full = self.is_full();
        duplex.poll_flush(cx, &mut self.outbox)?;
        while let Some(now) = sweep.poll(cx, !self.outbox.is_empty()) {
            duplex.look(&self.outbox, now)?;
        }
        if was_full && !self.is_full() {
            cx.waker().wake_by_ref();
        }
        Ok(self.phase >= Phase::Stopping
            && self.jobs.is_empty()
            && self.partials.len() == 0
            && self.outbox.is_empty())
    }

    fn is_full(&self) -> bool {
        self.outbox.queued_bytes() >= self.limits.queued_bytes
    }

    fn poll_jobs(&mut self, cx: &mut Context<'_>) {
        while !self.is_full() {
            let Poll::Ready(Some((id, outcome))) = Pin::new(&mut self.jobs).poll_next(cx) else {
                return;
            };
            self.aborts.remove(&id);
            if let Ok(outcome) = outcome {
                self.answer(id, outcome);
            }
        }
    }

    fn answer(&mut self, id: u64, outcome: Outcome) {
        match outcome {
            Outcome::Answered(response, payload) => self.respond(id, response, payload),
            Outcome::Rejected(reject) => self.outbox.push(&Frame::Reject { id, reject }),
        }
    }

    fn respond(&mut self, id: u64, response: Response, payload: Bytes) {
        if payload.len() <= self.theirs.message_bytes as usize {
            self.outbox.push_response(id, &response, payload);
            return;
        }
        let failed = tidepool_wire::frame::Failed {
            code: tidepool_wire::frame::FailureCode::LimitExceeded,
            detail: format!(
                "the answer has {} bytes, {} are passed on",
                payload.len(),
                self.theirs.message_bytes
            ),
            faults: Vec::new(),
            dependency: None,
        };
        let failed = Response {
            failed: Some(failed),
            ..response
        };
        self.outbox.push_response(id, &failed, Bytes::new());
    }

    fn take(&mut self, frame: Frame) -> Result<(), Closed> {
        match frame {
            Frame::Request {
                id,
                request,
                payload,
                more,
            } => {
                if self.aborts.contains_key(&id) || self.partials.contains(id) {
                    return Err(Closed::Protocol(
                        "a call that is in flight already".to_owned(),
                    ));
                }
                if let Some(reason) = self.refusal() {
                    self.reject(id, reason);
                } else if payload.len() > self.limits.message_bytes {
                    // Sent before the caller knew what this node takes.
                    self.reject(id, RejectReason::TooLarge);
                } else if more {
                    let begun = self.partials.begin(id, request, &payload);
                    if begun.is_err() {
                        self.reject(id, RejectReason::TooLarge);
                    }
                } else {
                    self.begin(id, request, payload);
                }
            }
            Frame::Chunk { id, payload, more } => match self.partials.add(id, &payload, more) {
                Ok(Some((request, payload))) => self.begin(id, request, payload),
                Ok(None) => {}
                Err(_) => self.reject(id, RejectReason::TooLarge),
            },
            Frame::Cancel { id } => {
                self.partials.forget(id);
                self.outbox.drop_bulk(id);
                if let Some(abort) = self.aborts.remove(&id) {
                    abort.abort();
                }
            }
            frame => return Err(crate::client::unexpected(&frame)),
        }
        Ok(())
    }

    /// Why nothing new is taken, if so.
    fn refusal(&self) -> Option<RejectReason> {
        if self.phase >= Phase::Draining {
            Some(RejectReason::Draining)
        } else if self.jobs.len() + self.partials.len() >= self.limits.in_flight {
            Some(RejectReason::QueueFull)
        } else {
            None
        }
    }

    fn reject(&mut self, id: u64, reason: RejectReason) {
        let reject = Reject {
            reason,
            retry_after_ms: RETRY_AFTER_MS,
        };
        self.outbox.push(&Frame::Reject { id, reject });
    }

    fn begin(&mut self, id: u64, request: Request, payload: Bytes) {
        match self.host.request(&self.peer, request, payload) {
            Answer::Now(outcome) => self.answer(id, outcome),
            Answer::Later(future) => {
                let (abort, registration) = AbortHandle::new_pair();
                self.aborts.insert(id, abort);
                let future = Abortable::new(future, registration);
                self.jobs.push(Job { id, future });
            }
        }
    }
}
