//! The node's end of links: connections taken, greeted, and given to threads for good.
//!
//! [`Server::accept`] takes connections and hands each to the thread that has the fewest;
//! [`Server::run`] is such a thread, with a [`Host`] of its own. A process may have several.

mod connection;
mod host;
mod rebuffs;

use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidepool_wire::frame::LinkKind;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub use host::{Answer, Host, Outcome, Steering};
use rebuffs::Rebuffs;

use crate::config::LinkConfig;
use crate::greeting;
use crate::peer::Closed;
use crate::transport;
#[cfg(feature = "tls")]
use crate::transport::tls::Tls;

/// Most connections whose peer has not proved who it is.
const STRANGERS_MAX: usize = 64;
/// Most connections.
const CONNECTIONS_MAX: usize = 4_096;
/// Connections that a thread was handed and has not looked at.
const HANDED_MAX: usize = 64;
/// Time in which balancers have heard of a drain and stopped sending.
const HEARD_AFTER: Duration = Duration::from_millis(300);
/// Pause after a connection could not be taken, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far a server is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It rejects what is new.
    Draining,
    /// It closes links once what is in flight was answered.
    Stopping,
    /// It closes links.
    Stopped,
}

struct Shared {
    config: LinkConfig,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    phase: watch::Sender<Phase>,
    strangers: Arc<Semaphore>,
    threads: Mutex<Vec<Thread>>,
    open: watch::Sender<usize>,
    /// Data links that are open.
    working: watch::Sender<usize>,
    rebuffs: Mutex<Rebuffs>,
}

/// A thread that connections are handed to.
struct Thread {
    sender: mpsc::Sender<Handed>,
    open: Arc<AtomicUsize>,
}

/// A connection on its way to a thread.
struct Handed {
    stream: std::net::TcpStream,
    stranger: OwnedSemaphorePermit,
    counted: Counted,
}

/// Counts a connection as long as there is one.
struct Counted {
    shared: Arc<Shared>,
    thread: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.thread.fetch_sub(1, Ordering::Relaxed);
        self.shared.open.send_modify(|open| *open -= 1);
    }
}

/// The links of a node. Clones are the same server and may be on any thread.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl Server {
    /// A server without TLS.
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        Self(Arc::new(Shared {
            config,
            #[cfg(feature = "tls")]
            tls: None,
            phase: watch::Sender::new(Phase::Serving),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            threads: Mutex::default(),
            open: watch::Sender::new(0),
            working: watch::Sender::new(0),
            rebuffs: Mutex::default(),
        }))
    }

    /// A server with mutual TLS, if it is configured.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(config: LinkConfig, tls: Option<Tls>) -> Self {
        let Self(shared) = Self::new(config);
        let shared = Arc::into_inner(shared).map(|shared| Shared { tls, ..shared });
        Self(Arc::new(shared.unwrap_or_else(|| {
            unreachable!("nobody else has seen the server")
        })))
    }

    /// Takes connections until the server stops.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn accept(&self, listener: TcpListener) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut phase = self.0.phase.subscribe();
        loop {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase >= Phase::Stopping) => return Ok(()),
                accepted = listener.accept() => match accepted.and_then(|(stream, _)| stream.into_std()) {
                    Ok(stream) => self.hand(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a connection of a balancer could not be taken");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Hands a connection to the thread with the fewest; closes it when there is no room.
    fn hand(&self, stream: std::net::TcpStream) {
        let threads = self.0.threads.lock();
        let fewest = threads
            .iter()
            .min_by_key(|thread| thread.open.load(Ordering::Relaxed));
        let stranger = Arc::clone(&self.0.strangers).try_acquire_owned();
        let is_full = *self.0.open.borrow() >= CONNECTIONS_MAX;
        let (Some(thread), Ok(stranger), false) = (fewest, stranger, is_full) else {
            tracing::warn!("a connection of a balancer was closed: there are too many");
            return;
        };
        thread.open.fetch_add(1, Ordering::Relaxed);
        self.0.open.send_modify(|open| *open += 1);
        let counted = Counted {
            shared: Arc::clone(&self.0),
            thread: Arc::clone(&thread.open),
        };
        // A thread that does not look loses the connection; the balancer tries again.
        let _ = thread.sender.try_send(Handed {
            stream,
            stranger,
            counted,
        });
    }

    /// Serves the connections of this thread, until the server stops. Within a `LocalSet`.
    pub async fn run(&self, host: Rc<dyn Host>) {
        let (sender, mut handed) = mpsc::channel(HANDED_MAX);
        let open = Arc::new(AtomicUsize::new(0));
        self.0.threads.lock().push(Thread {
            sender: sender.clone(),
            open: Arc::clone(&open),
        });
        let _leaves = Leaves(self, sender);
        let mut phase = self.0.phase.subscribe();
        let mut links = JoinSet::new();
        loop {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Stopped) => break,
                Some(_) = links.join_next(), if !links.is_empty() => {}
                Some(handed) = handed.recv() => {
                    let (server, host) = (self.clone(), Rc::clone(&host));
                    links.spawn_local(async move { server.link(handed, host).await });
                }
            }
        }
        // What was not over by now is cut off.
        links.shutdown().await;
    }

    async fn link(&self, handed: Handed, host: Rc<dyn Host>) {
        let Handed {
            stream,
            stranger,
            counted: _counted,
        } = handed;
        let config = &self.0.config;
        let limit = config.patience.greeting;
        let from = stream.peer_addr().ok().map(|addr| addr.ip());
        let greeted = tokio::time::timeout(limit, self.welcome(stream)).await;
        drop(stranger);
        let greeted = match greeted.unwrap_or(Err(Closed::Silent(limit))) {
            Ok(greeted) => greeted,
            Err(why) => return self.rebuff(from, &why),
        };
        self.0.rebuffs.lock().forgive(from);
        let (name, kind) = (greeted.peer.name.clone(), greeted.peer.kind);
        let phase = self.0.phase.subscribe();
        let why = match kind {
            LinkKind::Data => {
                let _working = Working::begin(&self.0.working);
                connection::data(greeted, config, phase, host).await
            }
            LinkKind::Control => {
                let working = self.0.working.subscribe();
                connection::control(greeted, config, phase, working, host).await
            }
        };
        tracing::debug!(peer = %name, kind = kind.as_str(), %why, "a link ended");
    }

    /// Tells why a link was not made: a refusal once, for it does not pass by itself.
    fn rebuff(&self, from: Option<IpAddr>, why: &Closed) {
        if let Closed::Refused(refused) = why
            && !self.0.rebuffs.lock().note(from, refused)
        {
            return tracing::debug!(?from, %why, "a link was not made, again");
        }
        tracing::warn!(?from, %why, "a link was not made");
    }

    async fn welcome(&self, stream: std::net::TcpStream) -> Result<greeting::Greeted, Closed> {
        let connected = transport::plain(TcpStream::from_std(stream)?)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.0.tls {
            return greeting::welcome(tls.accept(connected).await?, &self.0.config).await;
        }
        greeting::welcome(connected, &self.0.config).await
    }

    /// Rejects new requests from now on and tells every balancer. Links stay.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Drains, answers what is in flight, closes every link, the control links last; after
    /// `patience` also those that still have something in flight. Answers whether all ended by
    /// themselves.
    pub async fn stop(&self, patience: Duration) -> bool {
        let end = tokio::time::Instant::now() + patience;
        self.drain();
        if self.connections() > 0 {
            // What was sent before its sender heard of the drain is rejected, not cut off.
            tokio::time::sleep(HEARD_AFTER.min(patience)).await;
        }
        self.advance(Phase::Stopping);
        let mut open = self.0.open.subscribe();
        let ended = open.wait_for(|open| *open == 0);
        let in_time = tokio::time::timeout_at(end, ended).await.is_ok();
        self.advance(Phase::Stopped);
        in_time
    }

    fn advance(&self, to: Phase) {
        self.0.phase.send_if_modified(|phase| {
            let advances = *phase < to;
            if advances {
                *phase = to;
            }
            advances
        });
    }

    /// Greetings that ended with a refusal, of either side.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.0.rebuffs.lock().count()
    }

    /// Connections that are open, greeted or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.0.open.borrow()
    }
}

/// Counts a data link as long as there is one.
struct Working<'a>(&'a watch::Sender<usize>);

impl<'a> Working<'a> {
    fn begin(working: &'a watch::Sender<usize>) -> Self {
        working.send_modify(|count| *count += 1);
        Self(working)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Takes a thread out of the list when it ends.
struct Leaves<'a>(&'a Server, mpsc::Sender<Handed>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let mut threads = self.0.0.threads.lock();
        threads.retain(|thread| !thread.sender.same_channel(&self.1));
    }
}
