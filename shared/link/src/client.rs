//! The calling end of a data link: calls in, answers out, all on one thread.
//!
//! A call is encoded straight into what the link writes next and wakes the link's task; its answer
//! finds it by slab key and generation, so an answer that comes late finds nobody. The task ends
//! when the connection does, or when nobody holds the link and no call is in flight.

mod calls;

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use tidepool_wire::frame::{Frame, LinkKind, Reject, Request, Response};
use tokio::sync::Notify;

use crate::config::LinkConfig;
use crate::duplex::{Duplex, Sweep};
use crate::greeting::{self, Greeted};
use crate::peer::{Closed, Peer};
use crate::transport::Transport;
use calls::Calls;

/// How a call ended. Every call has exactly one of these, unless it was dropped.
#[derive(Clone, PartialEq, Debug)]
pub enum CallEnd {
    /// The node gave it to a worker, or it died waiting for one.
    Answered(Response, Bytes),
    /// The node did not start it: it may be tried anywhere, whatever it does.
    Rejected(Reject),
    /// The link ended before the answer came.
    Lost {
        /// Whether any byte of it may have reached the node. If not, it was never started.
        sent: bool,
    },
    /// Its deadline passed. The node has been told.
    Expired {
        /// Whether any byte of it may have reached the node.
        sent: bool,
    },
}

/// A call was not taken: nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many calls in flight as there may be.
    #[error("too many calls in flight on the link")]
    InFlight,
    /// As many bytes wait to be written as may.
    #[error("too many bytes wait to be written to the link")]
    Bytes,
    /// The payload is larger than the peer takes.
    #[error("the payload is larger than the peer takes")]
    TooLarge,
    /// The link has ended.
    #[error("the link is closed")]
    Closed,
}

pub(crate) enum Status {
    Opening,
    Up(Rc<Peer>),
    Closed(Closed),
}

struct State {
    status: Status,
    calls: Calls,
    /// The task of the link, when it waits.
    task: Option<Waker>,
    /// Nobody holds the link any more.
    is_abandoned: bool,
    /// It is to end now.
    is_hung_up: bool,
}

struct Shared {
    state: RefCell<State>,
    closed: Notify,
}

impl Shared {
    /// Runs the task again. After the state was let go: a waker may run anything.
    fn wake_task(&self) {
        let task = self.state.borrow_mut().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn close(&self, why: Closed) {
        let wakers = {
            let mut state = self.state.borrow_mut();
            if matches!(state.status, Status::Closed(_)) {
                return;
            }
            state.status = Status::Closed(why);
            state.calls.lose_all();
            state.calls.take_ready()
        };
        self.closed.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Tells the task when nobody holds the link any more.
struct Held(Rc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_abandoned = true;
        self.0.wake_task();
    }
}

/// One connection to one node, for requests. Clones share it; stays on its thread.
#[derive(Clone)]
pub struct Link(Rc<Held>);

impl Link {
    /// Opens a link. Returns at once; the connection is made by a task of the current
    /// `LocalSet`, and what is called before it is there waits for it. A link that ends stays
    /// ended: open another one.
    #[must_use]
    pub fn open(transport: impl Transport, config: LinkConfig) -> Self {
        let shared = Rc::new(Shared {
            state: RefCell::new(State {
                status: Status::Opening,
                calls: Calls::new(config.limits),
                task: None,
                is_abandoned: false,
                is_hung_up: false,
            }),
            closed: Notify::new(),
        });
        let link = Self(Rc::new(Held(Rc::clone(&shared))));
        tokio::task::spawn_local(async move {
            let closes = Closing(shared);
            let why = Task::run(&closes.0, &transport, &config).await;
            tracing::debug!(%why, "a link to a node ended");
            closes.0.close(why);
        });
        link
    }

    fn shared(&self) -> &Rc<Shared> {
        &self.0.0
    }

    /// Sends a request, or keeps it until the connection is there. It says itself how long it is
    /// of use ([`Request::remaining_us`]); at `deadline` this side gives it up.
    ///
    /// # Errors
    /// When the link has no room or has ended. Nothing was sent then.
    pub fn call(&self, request: &Request, payload: Bytes, deadline: Instant) -> Result<Call, Full> {
        let shared = self.shared();
        let id = {
            let mut state = shared.state.borrow_mut();
            if matches!(state.status, Status::Closed(_)) || state.is_hung_up {
                return Err(Full::Closed);
            }
            state.calls.begin(request, payload, deadline)?
        };
        shared.wake_task();
        Ok(Call {
            shared: Rc::clone(shared),
            id,
            is_over: false,
        })
    }

    /// Whether the peer has proved who it is, and the link has not ended.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.shared().state.borrow().status, Status::Up(_))
    }

    /// The peer, while the link is up.
    #[must_use]
    pub fn peer(&self) -> Option<Rc<Peer>> {
        match &self.shared().state.borrow().status {
            Status::Up(peer) => Some(Rc::clone(peer)),
            Status::Opening | Status::Closed(_) => None,
        }
    }

    /// Calls that have not ended, or whose end was not yet looked at.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared().state.borrow().calls.len()
    }

    /// Why the link has ended, if it has.
    #[must_use]
    pub fn why_closed(&self) -> Option<Closed> {
        match &self.shared().state.borrow().status {
            Status::Closed(why) => Some(why.clone()),
            Status::Opening | Status::Up(_) => None,
        }
    }

    /// Waits for the end of the link.
    pub async fn closed(&self) -> Closed {
        let notified = self.shared().closed.notified();
        tokio::pin!(notified);
        // Registered before the look: there is one thread, but the look may be later.
        notified.as_mut().enable();
        if let Some(why) = self.why_closed() {
            return why;
        }
        notified.await;
        self.why_closed().unwrap_or(Closed::Here)
    }

    /// Ends the link now; calls in flight are lost.
    pub fn close(&self) {
        self.shared().state.borrow_mut().is_hung_up = true;
        self.shared().close(Closed::Here);
        self.shared().wake_task();
    }
}

/// Ends the link with its task, also when the task is ended by others.
struct Closing(Rc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(Closed::Here);
    }
}

/// A request on its way. Dropping it tells the node that nobody waits any more.
#[must_use = "dropping a call cancels it"]
pub struct Call {
    shared: Rc<Shared>,
    id: u64,
    is_over: bool,
}

impl Future for Call {
    type Output = CallEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallEnd> {
        let polled = self.shared.state.borrow_mut().calls.poll(self.id, cx);
        self.is_over = polled.is_ready();
        polled
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.shared.state.borrow_mut().calls.cancel(self.id);
        self.shared.wake_task();
    }
}

/// What the task of a link does.
struct Task<'a> {
    shared: &'a Shared,
    sweep: Sweep,
}

impl<'a> Task<'a> {
    async fn run(shared: &'a Shared, transport: &dyn Transport, config: &LinkConfig) -> Closed {
        let mut task = Self {
            shared,
            sweep: Sweep::new(config.patience.sweep),
        };
        let limit = config.patience.greeting;
        let opened = tokio::time::timeout(limit, async {
            greeting::open(transport.connect().await?, LinkKind::Data, config).await
        });
        let greeted = tokio::select! {
            opened = opened => match opened {
                Ok(Ok(greeted)) => greeted,
                Ok(Err(why)) => return why,
                Err(_) => return Closed::Silent(limit),
            },
            why = poll_fn(|cx| task.poll_opening(cx)) => return why,
        };
        let Greeted { peer, io, intake } = greeted;
        let mut duplex = Duplex::new(io, intake, config);
        shared.state.borrow_mut().up(peer);
        poll_fn(|cx| task.poll_up(cx, &mut duplex)).await
    }

    /// Looks after deadlines while there is no connection yet.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        let mut state = self.shared.state.borrow_mut();
        let ended = state.attend(cx);
        while let Some(now) = self.sweep.poll(cx, !state.calls.is_empty()) {
            state.calls.expire(now);
        }
        let wakers = state.calls.take_ready();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        ended
    }

    fn poll_up(&mut self, cx: &mut Context<'_>, duplex: &mut Duplex) -> Poll<Closed> {
        let mut state = self.shared.state.borrow_mut();
        let turned = self.turn(cx, &mut state, duplex);
        let wakers = state.calls.take_ready();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        match turned {
            Ok(polled) => polled,
            Err(why) => Poll::Ready(why),
        }
    }

    /// One turn: deadlines, answers, then one write of all that has gathered.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        state: &mut State,
        duplex: &mut Duplex,
    ) -> Result<Poll<Closed>, Closed> {
        while let Some(now) = self.sweep.poll(cx, state.calls.is_busy()) {
            state.calls.expire(now);
            duplex.look(state.calls.outbox(), now)?;
        }
        duplex.poll_frames(cx, |frame| {
            state.calls.take(frame).map(ControlFlow::Continue)
        })?;
        duplex.poll_flush(cx, state.calls.outbox())?;
        Ok(state.attend(cx))
    }
}

impl State {
    fn up(&mut self, peer: Peer) {
        self.calls.learn(&peer.limits);
        if !matches!(self.status, Status::Closed(_)) {
            self.status = Status::Up(Rc::new(peer));
        }
    }

    /// Keeps the waker; says whether the link is to end.
    fn attend(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        if self.is_hung_up || (self.is_abandoned && !self.calls.is_busy()) {
            return Poll::Ready(Closed::Here);
        }
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            task => *task = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// Frames that a data link has no use for.
pub(crate) fn unexpected(frame: &Frame) -> Closed {
    match frame {
        Frame::Hello(hello) => match &hello.refused {
            Some(words) => crate::Refused::ByPeer(words.clone()).into(),
            None => Closed::Protocol("a second greeting".to_owned()),
        },
        _ => Closed::Protocol("a frame that has no place on this link".to_owned()),
    }
}
