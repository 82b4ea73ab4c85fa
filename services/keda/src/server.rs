//! The listener of the gRPC service, on a thread of its own: whatever its callers do, decisions
//! are made elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::activity::{Activity, STREAMS_MAX};
use crate::advisor::Advisor;
use crate::connections::incoming;
use crate::scaler::{ExternalScalerServer, Scaler};
use crate::token::Guard;

/// Most connections; KEDA's operator shares one among all its ScaledObjects.
const CONNECTIONS_MAX: usize = 64;
/// Most calls of one connection at a time, open streams among them.
const CALLS_MAX: u32 = 256;
/// Largest message that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Largest head of a call, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Longest time that a call may take until its answer begins.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the first words of a connection.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is still there, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Longest time that calls may take to end once told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What the listener needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub addr: SocketAddr,
    /// What callers have to show, if anything.
    pub token: Option<String>,
}

/// The listener could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not of this machine.
    #[error("cannot listen on {addr}; is another program listening there?")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system refuses a thread, or what it needs.
    #[error("cannot start the thread of the listener")]
    Thread(#[from] std::io::Error),
}

/// A listener that runs. Dropping it ends it as [`Server::stop`] does, without the wait.
pub struct Server {
    addr: SocketAddr,
    stopping: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// Listens and answers from now on.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(config: Config, advisor: Advisor) -> Result<Self, StartError> {
        let refused = |source| StartError::Listen {
            addr: config.addr,
            source,
        };
        let listener = std::net::TcpListener::bind(config.addr).map_err(refused)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stopping, is_stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let work = move || {
            if let Err(error) =
                runtime.block_on(serve(listener, config.token, advisor, is_stopping))
            {
                tracing::error!(%error, "KEDA is no longer answered");
            }
            // Nobody waits when the process ends without a stop.
            let _ = end.send(());
        };
        std::thread::Builder::new()
            .name("keda".into())
            .spawn(work)?;
        Ok(Self {
            addr,
            stopping,
            ended,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more calls, ends the streams, and lets running calls end within a second.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        // An error means that the thread has ended already.
        let _ = self.ended.await;
    }
}

async fn serve(
    listener: std::net::TcpListener,
    token: Option<String>,
    advisor: Advisor,
    stopping: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let listener = TcpListener::from_std(listener)?;
    let activity = Activity::new(advisor.clone(), stopping.clone());
    let scaler = Scaler {
        advisor,
        activity: activity.clone(),
        guard: Guard::new(token),
    };
    let service = ExternalScalerServer::new(scaler).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(CALLS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(PING.0))
        .http2_keepalive_timeout(Some(PING.1))
        .timeout(CALL_TIMEOUT)
        .serve_with_incoming_shutdown(
            service,
            incoming(listener, CONNECTIONS_MAX, PREFACE_TIMEOUT),
            stopped(stopping.clone()),
        );
    let overdue = async {
        stopped(stopping).await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tracing::debug!(STREAMS_MAX, CONNECTIONS_MAX, "KEDA is answered");
    tokio::select! {
        ended = serving => Ok(ended?),
        () = overdue => Ok(()),
        () = activity.keep_looking() => Ok(()),
    }
}

/// Waits until told to stop, or until nobody is left who could tell.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
