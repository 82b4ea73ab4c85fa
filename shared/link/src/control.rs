//! The balancer's end of a control link: credits and drains come, signs of life go.
//!
//! What comes is absolute, so a reader that is late finds the newest of each and nothing piles up.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidepool_wire::frame::{Credit, Frame, LinkKind, Ping};
use tokio::sync::{Notify, watch};

use crate::config::LinkConfig;
use crate::duplex::{Duplex, Sweep};
use crate::greeting::{self, Greeted};
use crate::outbox::Outbox;
use crate::peer::{Closed, Peer};
use crate::transport::Transport;

/// What happened on a control link, in the order in which it is told.
#[derive(Clone, PartialEq, Debug)]
pub enum ControlEvent {
    /// The node has proved who it is. Told once, first.
    Up(Rc<Peer>),
    /// The node lets nothing new in. Told once.
    Drain,
    /// What may be in flight from now on; older ones were left out.
    Credit(Credit),
    /// The node is alive; with the nonce of the newest ping that it answered.
    Pong(u64),
    /// The link has ended. Told once, last.
    Down(Closed),
}

/// What was not told yet.
#[derive(Default)]
struct Mailbox {
    up: Option<Rc<Peer>>,
    drain: bool,
    credit: Option<Credit>,
    pong: Option<u64>,
    down: Option<Closed>,
    is_over: bool,
}

impl Mailbox {
    fn next(&mut self) -> Option<ControlEvent> {
        if let Some(peer) = self.up.take() {
            Some(ControlEvent::Up(peer))
        } else if std::mem::take(&mut self.drain) {
            Some(ControlEvent::Drain)
        } else if let Some(credit) = self.credit.take() {
            Some(ControlEvent::Credit(credit))
        } else if let Some(nonce) = self.pong.take() {
            Some(ControlEvent::Pong(nonce))
        } else {
            let why = self.down.take()?;
            self.is_over = true;
            Some(ControlEvent::Down(why))
        }
    }
}

#[derive(Default)]
struct Shared {
    mailbox: RefCell<Mailbox>,
    changed: Notify,
}

impl Shared {
    fn tell(&self, put: impl FnOnce(&mut Mailbox)) {
        put(&mut self.mailbox.borrow_mut());
        self.changed.notify_one();
    }
}

/// The control link to one node. Dropping it closes the connection.
pub struct Control {
    shared: Rc<Shared>,
    pings: watch::Sender<Ping>,
}

impl Control {
    /// Opens a link. Returns at once; a task of the current `LocalSet` makes the connection.
    #[must_use]
    pub fn open(transport: impl Transport, config: LinkConfig) -> Self {
        let shared = Rc::new(Shared::default());
        let (pings, latest) = watch::channel(Ping::default());
        let told = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let why = run(&told, &transport, &config, latest).await;
            told.tell(|mailbox| mailbox.down = Some(why));
        });
        Self { shared, pings }
    }

    /// The next event; `None` after [`ControlEvent::Down`]. Nothing is lost when the future is
    /// dropped.
    pub async fn next(&mut self) -> Option<ControlEvent> {
        loop {
            let event = self.shared.mailbox.borrow_mut().next();
            if event.is_some() || self.shared.mailbox.borrow().is_over {
                return event;
            }
            self.shared.changed.notified().await;
        }
    }

    /// Sends a sign of life with what is needed. One that was not sent yet is replaced.
    pub fn ping(&self, ping: Ping) {
        self.pings.send_replace(ping);
    }
}

async fn run(
    shared: &Shared,
    transport: &dyn Transport,
    config: &LinkConfig,
    mut pings: watch::Receiver<Ping>,
) -> Closed {
    let limit = config.patience.greeting;
    let opened = tokio::time::timeout(limit, async {
        greeting::open(transport.connect().await?, LinkKind::Control, config).await
    });
    let greeted = tokio::select! {
        opened = opened => match opened {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(why)) => return why,
            Err(_) => return Closed::Silent(limit),
        },
        () = dropped(pings.clone()) => return Closed::Here,
    };
    let Greeted { peer, io, intake } = greeted;
    let mut line = Line {
        duplex: Duplex::new(io, intake, config),
        outbox: Outbox::default(),
        sweep: Sweep::new(config.patience.sweep),
    };
    shared.tell(|mailbox| mailbox.up = Some(Rc::new(peer)));
    loop {
        tokio::select! {
            biased;
            changed = pings.changed() => match changed {
                Ok(()) => {
                    let ping = pings.borrow_and_update().clone();
                    line.outbox.push(&Frame::Ping(ping));
                }
                Err(_) => return Closed::Here,
            },
            why = poll_fn(|cx| line.poll(cx, |frame, _| take(shared, frame))) => return why,
        }
    }
}

/// Waits until nobody holds the link.
async fn dropped(mut pings: watch::Receiver<Ping>) {
    while pings.changed().await.is_ok() {}
}

fn take(shared: &Shared, frame: Frame) -> Result<(), Closed> {
    match frame {
        Frame::Credit(credit) => shared.tell(|mailbox| mailbox.credit = Some(credit)),
        Frame::Drain => shared.tell(|mailbox| mailbox.drain = true),
        Frame::Pong { nonce } => shared.tell(|mailbox| mailbox.pong = Some(nonce)),
        frame => return Err(crate::client::unexpected(&frame)),
    }
    Ok(())
}

/// A connection with few frames: those of a control link, on either end.
pub(crate) struct Line {
    pub(crate) duplex: Duplex,
    pub(crate) outbox: Outbox,
    pub(crate) sweep: Sweep,
}

impl Line {
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnMut(Frame, &mut Outbox) -> Result<(), Closed>,
    ) -> Poll<Closed> {
        match self.turn(cx, take) {
            Ok(()) => Poll::Pending,
            Err(why) => Poll::Ready(why),
        }
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Frame, &mut Outbox) -> Result<(), Closed>,
    ) -> Result<(), Closed> {
        let outbox = &mut self.outbox;
        self.duplex
            .poll_frames(cx, |frame| take(frame, outbox).map(ControlFlow::Continue))?;
        self.duplex.poll_flush(cx, &mut self.outbox)?;
        while let Some(now) = self.sweep.poll(cx, !self.outbox.is_empty()) {
            self.duplex.look(&self.outbox, now)?;
        }
        Ok(())
    }
}
