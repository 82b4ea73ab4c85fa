//! What a node does with what comes over its links.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tidepool_wire::frame::{Credit, Ping, Reject, Request, Response};
use tokio::sync::watch;

use crate::peer::Peer;

/// What became of a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// A worker had it, or it died waiting for one. The payload of a failure is empty.
    Answered(Response, Bytes),
    /// It was not started.
    Rejected(Reject),
}

/// How a host answers.
pub enum Answer {
    /// At once: the answer goes out with the batch that the request came in.
    Now(Outcome),
    /// Later. Polled on the thread of the connection; dropped when the balancer cancels, when
    /// the link ends, and when the server stops.
    Later(LocalBoxFuture<'static, Outcome>),
}

/// Serves the requests of balancers. One per thread.
pub trait Host: 'static {
    /// Takes one request. Must return quickly: all links of the thread wait for it.
    fn request(&self, peer: &Rc<Peer>, request: Request, payload: Bytes) -> Answer;

    /// A balancer has opened its control link. `steering` reaches it from any thread.
    fn control_up(&self, peer: &Rc<Peer>, steering: Steering);

    /// A balancer is alive and says what it needs. The pong has been sent.
    fn demand(&self, peer: &Rc<Peer>, ping: Ping);

    /// A control link has ended. The balancer may have opened another one before.
    fn control_down(&self, peer: &Rc<Peer>);
}

/// Sends credits to one balancer, from any thread. Only the newest one is sent.
#[derive(Clone, Debug)]
pub struct Steering(pub(super) watch::Sender<Credit>);

impl Steering {
    /// Says what the balancer may have in flight from now on.
    pub fn credit(&self, credit: Credit) {
        self.0.send_replace(credit);
    }

    /// Whether the control link has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
