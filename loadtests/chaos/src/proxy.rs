//! A TCP proxy that is as bad as a network can be, on command: late, narrow, silent in one
//! direction or both, breaking off, or passing on something else than it got.
//!
//! Silence is that of a network that loses every packet and whose ends repeat them: nothing is
//! lost, everything comes when the way is open again. A connection that is begun meanwhile is taken
//! and hears nothing. What waits is bounded ([`HELD_MAX`] pieces of [`PIECE_BYTES`] in each
//! direction of each connection); beyond that the sender waits, as it would for its own kernel.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Pieces of one direction that are held at most.
pub const HELD_MAX: usize = 64;
/// Longest piece that is passed on at once, in bytes.
pub const PIECE_BYTES: usize = 16 * 1024;
/// Connections at a time; more wait to be taken.
const CONNECTIONS_MAX: usize = 1_024;

/// What happens to bytes of one direction.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Way {
    /// Nothing comes through.
    pub is_shut: bool,
    /// How long a piece is on its way.
    pub delay: Duration,
    /// Up to so much longer, at random; order is kept.
    pub jitter: Duration,
    /// Most bytes a second of each connection.
    pub bytes_per_s: Option<u32>,
    /// The connection is reset once it has passed so many bytes.
    pub close_after: Option<u64>,
    /// Of every so many pieces, one has a byte changed.
    pub corrupt_every: Option<u64>,
    /// Of every so many pieces, one is passed on twice.
    pub double_every: Option<u64>,
}

impl Way {
    /// Nothing comes through.
    #[must_use]
    pub fn shut() -> Self {
        Self {
            is_shut: true,
            ..Self::default()
        }
    }

    /// Everything comes late.
    #[must_use]
    pub fn late(delay: Duration, jitter: Duration) -> Self {
        Self {
            delay,
            jitter,
            ..Self::default()
        }
    }
}

/// Both directions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Weather {
    /// From who connects to who listens.
    pub there: Way,
    /// Back.
    pub back: Way,
}

#[derive(Clone, PartialEq, Debug)]
struct State {
    weather: Weather,
    upstream: SocketAddr,
    /// Counts resets: connections of an older count are reset.
    resets: u64,
}

/// A proxy that runs until it is dropped; its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    state: watch::Sender<State>,
    open: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of this machine, for `upstream`. What it draws follows from `seed`.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(upstream: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (state, seen) = watch::channel(State {
            weather: Weather::default(),
            upstream,
            resets: 0,
        });
        let open = Arc::new(AtomicU64::new(0));
        let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let task = tokio::spawn(accept(listener, seen, Arc::clone(&open), rng));
        Ok(Self {
            addr,
            state,
            open,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Changes what happens to bytes from now on, also of connections that are open.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Resets all connections: both ends see RST, and nothing of what was held.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Rng = Arc<Mutex<fastrand::Rng>>;

async fn accept(
    listener: TcpListener,
    state: watch::Receiver<State>,
    open: Arc<AtomicU64>,
    rng: Rng,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX || connections.try_join_next().is_some() {
            if connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
        }
        match listener.accept().await {
            Ok((client, _)) => {
                let (state, open, rng) = (state.clone(), Arc::clone(&open), Arc::clone(&rng));
                connections.spawn(async move {
                    open.fetch_add(1, Ordering::Relaxed);
                    pass(client, state, rng).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            // No descriptors, or a client that is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One connection, from its beginning to its end.
async fn pass(client: TcpStream, mut state: watch::Receiver<State>, rng: Rng) {
    let begun = state.borrow_and_update().clone();
    let Ok(server) = TcpStream::connect(begun.upstream).await else {
        // As if the one behind had refused.
        let _ = client.set_zero_linger();
        return;
    };
    // Latency is for `Way` to make.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = direction(
        from_client,
        to_server,
        state.clone(),
        |w| w.there,
        Arc::clone(&rng),
    );
    let back = direction(from_server, to_client, state.clone(), |w| w.back, rng);
    // What is dropped on its way resets its connection.
    tokio::select! {
        _ = state.wait_for(|state| state.resets > begun.resets) => {}
        _ = async { tokio::try_join!(there, back) } => {}
    }
}

/// The connection did not end in order.
struct Broken;

struct Piece {
    due: Instant,
    bytes: Bytes,
}

async fn direction(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    way: fn(&Weather) -> Way,
    rng: Rng,
) -> Result<(), Broken> {
    let (held, pieces) = mpsc::channel(HELD_MAX);
    let to = Half(Some(to));
    let read = read(from, held, state.clone(), way, rng);
    let write = write(to, pieces, state, way);
    tokio::try_join!(read, write)?;
    Ok(())
}

/// A half that resets its connection when it is dropped before its end.
struct Half(Option<OwnedWriteHalf>);

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            let stream: &TcpStream = to.as_ref();
            // It is closed one way or the other.
            let _ = stream.set_zero_linger();
            // Otherwise the other side would see an orderly end first.
            to.forget();
        }
    }
}

async fn read(
    mut from: OwnedReadHalf,
    held: mpsc::Sender<Piece>,
    state: watch::Receiver<State>,
    way: fn(&Weather) -> Way,
    rng: Rng,
) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    let mut last = Instant::now();
    let mut count = 0_u64;
    loop {
        buffer.reserve(PIECE_BYTES);
        let read = (&mut from)
            .take(PIECE_BYTES as u64)
            .read_buf(&mut buffer)
            .await;
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(Broken),
        }
        count += 1;
        let way = way(&state.borrow().weather);
        let every = |n: Option<u64>| n.is_some_and(|n| count.is_multiple_of(n));
        if every(way.corrupt_every)
            && let Some(byte) = buffer.last_mut()
        {
            *byte ^= 0x01;
        }
        let jitter = rng.lock().map_or(0.0, |mut rng| rng.f64());
        last = last.max(Instant::now() + way.delay + way.jitter.mul_f64(jitter));
        let bytes = buffer.split().freeze();
        for _ in 0..=u8::from(every(way.double_every)) {
            let bytes = bytes.clone();
            let piece = Piece { due: last, bytes };
            held.send(piece).await.map_err(|_| Broken)?;
        }
    }
}

async fn write(
    mut half: Half,
    mut pieces: mpsc::Receiver<Piece>,
    mut state: watch::Receiver<State>,
    way: fn(&Weather) -> Way,
) -> Result<(), Broken> {
    let mut passed = 0_u64;
    while let Some(piece) = pieces.recv().await {
        tokio::time::sleep_until(piece.due).await;
        let now = open(&mut state, way).await?;
        let left = now
            .close_after
            .map_or(u64::MAX, |most| most.saturating_sub(passed));
        let length = piece
            .bytes
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let to = half.0.as_mut().ok_or(Broken)?;
        let written = to.write_all(&piece.bytes[..length]).await;
        if written.is_err() || length < piece.bytes.len() {
            return Err(Broken);
        }
        passed += length as u64;
        if let Some(bytes_per_s) = now.bytes_per_s {
            let pause = length as f64 / f64::from(bytes_per_s.max(1));
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        }
    }
    // An orderly end is passed on once all that came before it was.
    open(&mut state, way).await?;
    let mut to = half.0.take().ok_or(Broken)?;
    to.shutdown().await.map_err(|_| Broken)
}

/// Waits until the way is not shut; says what it is like then.
async fn open(state: &mut watch::Receiver<State>, way: fn(&Weather) -> Way) -> Result<Way, Broken> {
    let state = state.wait_for(|state| !way(&state.weather).is_shut).await;
    // An error means that the proxy is gone.
    state.map(|state| way(&state.weather)).map_err(|_| Broken)
}

#[cfg(test)]
mod tests;
