//! The connection to the server: time limits, a second try where it is safe, a circuit that
//! opens when the server is away, and a probe that closes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult};
use tidepool_core::Timestamp;
use tidepool_core::status::ComponentHealth;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::circuit::{Circuit, Era, probe_delay, unavailable};
use super::layout::settle;
use super::patience::outlast;
use super::refusal::{Effect, explain};
use super::server::{Server, warnings};
use crate::clock::{Clock, steady_clock};
use crate::error::StoreError;
use crate::layout::Layout;
use crate::port::StoreFuture;

/// An operation answers or fails within this time. A little less than the second that is
/// promised, because the failure has to travel too.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(900);
/// What an operation under way has left when the server falls silent for another one: whoever waits
/// for its turn behind it must not wait for as long once more.
const LAST_CHANCE: Duration = Duration::from_millis(200);
/// The setting that says when what was written is on the disk.
const FSYNC: &str = "appendfsync";
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// One probe, with the connection that it makes.
const PROBE_TIMEOUT: Duration = Duration::from_millis(600);
/// A connection that leads to a replica is given up at most this often.
const REPLACE_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at the layout over a connection that stands.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Operations under way; further ones wait, within their time limit.
const IN_FLIGHT_MAX: usize = 1_024;
/// Operations under way or waiting; further ones fail at once.
const ADMITTED_MAX: usize = 16_384;

#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.shared.server.name)
    }
}

struct Shared {
    server: Server,
    layout: Layout,
    current: Mutex<Current>,
    admitted: Semaphore,
    in_flight: Semaphore,
    circuit: Mutex<Circuit>,
    /// The era in which the server was lost last.
    lost: watch::Sender<Option<Era>>,
    is_probed: AtomicBool,
    clock: Clock,
    runtime: Handle,
}

struct Current {
    connection: ConnectionManager,
    made_at: Timestamp,
    /// Tells this connection from those before it.
    number: u64,
    /// When its server last said that this release can read what it holds.
    settled_at: Option<Timestamp>,
}

impl Current {
    fn new(connection: ConnectionManager, made_at: Timestamp) -> Self {
        Self {
            connection,
            made_at,
            number: 0,
            settled_at: None,
        }
    }

    fn replace(&mut self, connection: ConnectionManager, now: Timestamp) {
        let number = self.number + 1;
        *self = Self {
            number,
            ..Self::new(connection, now)
        };
    }

    /// Whether the operation that is about to go has to look at the layout first: the first over a
    /// connection, and one every so often, as releases come and go around a connection that stands.
    fn is_look_due(&mut self, now: Timestamp) -> bool {
        match self.settled_at {
            None => true,
            Some(at) if now.since(at) < LOOK_EVERY => false,
            Some(_) => {
                // The others go on meanwhile.
                self.settled_at = Some(now);
                true
            }
        }
    }
}

impl Link {
    /// Prepares a link and begins to connect. Needs a tokio runtime around it.
    pub(super) fn open(url: &str, layout: Layout) -> Result<Self, StoreError> {
        let server = Server::parse(url)?;
        let runtime = Handle::try_current().map_err(|_| StoreError::Invalid {
            what: "the Redis store",
            reason: "needs a tokio runtime to be used in",
        })?;
        let connection = lazy_connection(&server.client).map_err(|error| explain(&error).1)?;
        let clock = steady_clock();
        let made_at = clock();
        let shared = Arc::new(Shared {
            server,
            layout,
            current: Mutex::new(Current::new(connection, made_at)),
            admitted: Semaphore::new(ADMITTED_MAX),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            circuit: Mutex::default(),
            lost: watch::Sender::default(),
            is_probed: AtomicBool::new(false),
            clock,
            runtime,
        });
        shared.start_probing();
        Ok(Self { shared })
    }

    pub(super) fn health(&self) -> ComponentHealth {
        let now = (self.shared.clock)();
        let circuit = self.shared.circuit.lock();
        circuit.health(&self.shared.server.name, now)
    }

    /// Runs an operation on the runtime of the link and gives it up when it takes too long.
    pub(super) fn run<T, F>(
        &self,
        operation: impl Fn(ConnectionManager) -> F + Send + Sync + 'static,
    ) -> StoreFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = RedisResult<T>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let era = shared.circuit.lock().admit()?;
            let runtime = shared.runtime.clone();
            let task = async move {
                let Ok(_place) = shared.admitted.try_acquire() else {
                    return Err(unavailable(format!(
                        "{ADMITTED_MAX} operations wait for it"
                    )));
                };
                let outcome = tokio::select! {
                    outcome = shared.attempt(operation) => outcome,
                    () = shared.silence(era) => return Err(shared.fell_silent(era)),
                };
                match outcome {
                    Ok(value) => {
                        shared.answered(era);
                        Ok(value)
                    }
                    Err(error) => Err(shared.failed(era, &error)),
                }
            };
            // Fails only when the runtime shuts down.
            runtime.spawn(task).await.map_err(|_| StoreError::Closed)?
        })
    }
}

impl Shared {
    /// Tries once, and once more when the server refused the connection: the refusal may be an
    /// old one, and nothing was sent yet.
    async fn attempt<T, F>(&self, operation: impl Fn(ConnectionManager) -> F) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let _place = self.in_flight.acquire().await;
        match self.once(&operation).await {
            Err(error) if error.is_connection_refusal() => self.once(&operation).await,
            outcome => outcome,
        }
    }

    /// The first operations may be faster than the first probe; they look at the layout too.
    async fn once<T, F>(&self, operation: &impl Fn(ConnectionManager) -> F) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let now = (self.clock)();
        let (mut connection, number, is_look_due) = {
            let mut current = self.current.lock();
            let is_look_due = current.is_look_due(now);
            (current.connection.clone(), current.number, is_look_due)
        };
        if is_look_due {
            let looked = settle(&mut connection, self.layout).await;
            let mut current = self.current.lock();
            // What was seen over another connection says nothing of where this one leads.
            if current.number == number {
                current.settled_at = looked.is_ok().then_some(now);
            }
            drop(current);
            looked?;
        }
        operation(connection).await
    }

    /// Ends when an operation of this era has waited for long enough.
    async fn silence(&self, era: Era) {
        let mut lost = self.lost.subscribe();
        let others = async {
            // The sender is here.
            let _ = lost.wait_for(|lost| *lost == Some(era)).await;
            outlast(LAST_CHANCE).await;
        };
        tokio::select! {
            () = others => {}
            () = outlast(OPERATION_TIMEOUT) => {}
        }
    }

    fn connection(&self) -> ConnectionManager {
        self.current.lock().connection.clone()
    }

    fn answered(&self, era: Era) {
        if era.is_first() {
            self.circuit.lock().answered(era, (self.clock)());
        }
    }

    fn failed(self: &Arc<Self>, era: Era, error: &RedisError) -> StoreError {
        let (effect, error) = explain(error);
        match effect {
            Effect::Away => self.lose(era, &error),
            Effect::Refused | Effect::Moved => {
                let (now, reason) = ((self.clock)(), reason(&error));
                if self.circuit.lock().refused(reason, now) {
                    tracing::error!(server = self.server.name, reason, "Redis refuses");
                }
            }
        }
        if effect == Effect::Moved {
            self.replace_connection();
        }
        error
    }

    /// A connection through a dead network never breaks by itself, it just says nothing. The probe
    /// makes another.
    fn fell_silent(self: &Arc<Self>, era: Era) -> StoreError {
        let reason = format!("no answer within {} ms", OPERATION_TIMEOUT.as_millis());
        let error = unavailable(reason);
        self.lose(era, &error);
        error
    }

    fn lose(self: &Arc<Self>, era: Era, error: &StoreError) {
        let (now, reason) = ((self.clock)(), reason(error));
        let is_incompatible = matches!(error, StoreError::Incompatible { .. });
        let is_news = {
            let mut circuit = self.circuit.lock();
            if is_incompatible {
                circuit.mismatched(era, reason, now)
            } else {
                circuit.lost(era, reason, now)
            }
        };
        if is_news {
            self.lost.send_replace(Some(era));
            let what = if is_incompatible { "of no use" } else { "away" };
            tracing::error!(server = self.server.name, reason, "Redis is {what}");
        }
        self.start_probing();
    }

    /// After a failover the same name may lead to another server.
    fn replace_connection(&self) {
        let now = (self.clock)();
        let mut current = self.current.lock();
        if now.since(current.made_at) >= REPLACE_EVERY
            && let Ok(connection) = lazy_connection(&self.server.client)
        {
            current.replace(connection, now);
        }
    }

    fn start_probing(self: &Arc<Self>) {
        if !self.is_probed.swap(true, Ordering::AcqRel) {
            self.runtime.spawn(probe(Arc::downgrade(self)));
        }
    }

    /// Connects anew, asks for a sign of life, and looks at the layout.
    async fn knock(&self) -> Result<ConnectionManager, StoreError> {
        let knock = async {
            let mut connection = lazy_connection(&self.server.client)?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            settle(&mut connection, self.layout).await?;
            Ok(connection)
        };
        match tokio::time::timeout(PROBE_TIMEOUT, knock).await {
            Ok(outcome) => outcome.map_err(|error: RedisError| explain(&error).1),
            Err(_) => Err(unavailable(format!(
                "no answer within {} ms",
                PROBE_TIMEOUT.as_millis()
            ))),
        }
    }

    /// Lets operations through again, over the connection of the probe.
    fn welcome(&self, connection: ConnectionManager) {
        let now = (self.clock)();
        {
            let mut current = self.current.lock();
            current.replace(connection, now);
            current.settled_at = Some(now);
        }
        self.is_probed.store(false, Ordering::Release);
        let away = self.circuit.lock().back(now);
        if let Some(away) = away {
            let away_ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(server = self.server.name, away_ms, "Redis is back");
        }
    }

    /// Tells once what in the server's settings can lose data. Not being allowed to look is no
    /// fault.
    async fn look_at_settings(&self) {
        let mut connection = self.connection();
        let asked = redis::cmd("INFO")
            .query_async::<String>(&mut connection)
            .await;
        let fsync = redis::cmd("CONFIG")
            .arg(&["GET", FSYNC])
            .query_async::<HashMap<String, String>>(&mut connection)
            .await;
        let fsync = fsync.unwrap_or_default().remove(FSYNC);
        let found = asked.map_or_else(|_| Vec::new(), |info| warnings(&info, fsync.as_deref()));
        for warning in &found {
            tracing::warn!(server = self.server.name, "{warning}");
        }
        self.circuit.lock().warn(found);
    }
}

/// Knocks until the server answers or nobody uses the link any more.
async fn probe(link: Weak<Shared>) {
    let mut failed = 0_u32;
    loop {
        tokio::time::sleep(probe_delay(failed)).await;
        let Some(shared) = link.upgrade() else {
            return;
        };
        let era = shared.circuit.lock().era();
        match shared.knock().await {
            Ok(connection) => {
                shared.welcome(connection);
                let look = shared.look_at_settings();
                let _ = tokio::time::timeout(PROBE_TIMEOUT, look).await;
                return;
            }
            Err(error) => {
                shared.lose(era, &error);
                failed = failed.saturating_add(1);
            }
        }
    }
}

fn reason(error: &StoreError) -> &str {
    match error {
        StoreError::Unavailable { reason, .. }
        | StoreError::Refused { reason, .. }
        | StoreError::Incompatible { reason, .. } => reason,
        _ => "it cannot be used",
    }
}

/// Connects when it is first used. Failed attempts are not repeated behind the caller's back:
/// an error that is told at once is worth more than one that is told late.
fn lazy_connection(client: &Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(IN_FLIGHT_MAX);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
