//! The connection to the server: time limits, a second try where it is safe, and a fresh
//! connection when the old one went silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult};
use tidepool_core::status::ComponentHealth;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::error::StoreError;
use crate::port::StoreFuture;
use crate::vitals::Vitals;

/// An operation answers or fails within this time. A little less than the second that is
/// promised, because the failure has to travel too.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(900);
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// A silent connection is given up at most this often.
const REPLACE_EVERY: Duration = Duration::from_secs(1);
/// Operations under way; further ones wait, within their time limit.
const IN_FLIGHT_MAX: usize = 1_024;

#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link(redis)")
    }
}

struct Shared {
    client: Client,
    current: Mutex<Current>,
    in_flight: Semaphore,
    vitals: Vitals,
    runtime: Handle,
}

struct Current {
    connection: ConnectionManager,
    made_at: Instant,
}

impl Link {
    /// Prepares a link; connects on first use. Needs a tokio runtime around it.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let invalid = |reason| StoreError::Invalid {
            what: "the Redis URL",
            reason,
        };
        let runtime =
            Handle::try_current().map_err(|_| invalid("needs a tokio runtime to be used in"))?;
        let client = Client::open(url)
            .map_err(|_| invalid("must look like redis://[user:password@]host:port/[db]"))?;
        let connection = lazy_connection(&client).map_err(|error| unavailable(&error))?;
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                current: Mutex::new(Current {
                    connection,
                    made_at: Instant::now(),
                }),
                in_flight: Semaphore::new(IN_FLIGHT_MAX),
                vitals: Vitals::default(),
                runtime,
            }),
        })
    }

    pub(super) fn health(&self) -> ComponentHealth {
        self.shared.vitals.health("redis", "connected")
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
            let runtime = shared.runtime.clone();
            let task = async move {
                let limited = tokio::time::timeout(OPERATION_TIMEOUT, shared.attempt(operation));
                let outcome = match limited.await {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(error)) => Err(unavailable(&error)),
                    Err(_) => Err(shared.give_up_connection()),
                };
                shared.vitals.note("redis", outcome.as_ref().map(|_| ()));
                outcome
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
        match operation(self.connection()).await {
            Err(error) if error.is_connection_refusal() => operation(self.connection()).await,
            outcome => outcome,
        }
    }

    fn connection(&self) -> ConnectionManager {
        self.current.lock().connection.clone()
    }

    /// A connection through a dead network never breaks by itself, it just says nothing.
    fn give_up_connection(&self) -> StoreError {
        let mut current = self.current.lock();
        if current.made_at.elapsed() >= REPLACE_EVERY
            && let Ok(connection) = lazy_connection(&self.client)
        {
            *current = Current {
                connection,
                made_at: Instant::now(),
            };
        }
        StoreError::Unavailable {
            backend: "redis",
            reason: format!("no answer within {} ms", OPERATION_TIMEOUT.as_millis()),
        }
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

fn unavailable(error: &RedisError) -> StoreError {
    StoreError::Unavailable {
        backend: "redis",
        reason: error.to_string(),
    }
}
