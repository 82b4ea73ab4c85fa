//! The Redis back end: shared by several processes.
//!
//! Whatever must happen at once (a fenced append, a compare-and-set, a lease) is a script, so the
//! server itself refuses what is out of date. All keys of one stream, key or lease share a hash
//! tag, as Redis Cluster wants it. An acknowledged write is as durable as the server's
//! `appendonly` and `appendfsync` settings make it.
//!
//! Positions and lease epochs start from the server's clock. Both therefore keep growing even
//! when the server lost its data and came back empty.

mod circuit;
mod kv;
mod layout;
mod link;
mod names;
mod patience;
mod refusal;
mod roster;
mod script;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::ConnectionManager;
use redis::{RedisResult, ScriptInvocation};
use tidepool_core::status::ComponentHealth;

use crate::error::StoreError;
use crate::layout::Layout;
use crate::limits::{
    MISSED_RECORDS_MAX, READ_BYTES_MAX, READ_RECORDS_MAX, check, check_append, check_epoch,
    check_name, ttl_ms,
};
use crate::port::{Appended, Epoch, Held, Lease, Log, Position, Records, StoreFuture};
use link::Link;
use names::{INDEX, lease_keys, stream_keys};
use script::{Scripts, scripts};

/// Records fetched at a time, so that one answer stays small.
const CHUNK: usize = 256;

/// The store in a Redis server. Clones share one connection. When the server does not answer, the
/// first operation under way fails within a second, the others soon after it and new ones at once,
/// until a probe, twice a second, finds it back.
#[derive(Clone, Debug)]
pub struct RedisStore {
    link: Link,
}

impl RedisStore {
    /// Connects to a server, such as `redis://127.0.0.1:6379/`, and waits until it answers. See
    /// [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`]; [`StoreError::Unavailable`] when the server does not answer within a
    /// second, [`StoreError::Refused`] when it does not let us in, [`StoreError::Incompatible`] when
    /// a release that this one cannot follow has written there.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::open(url)?;
        store.ping().await?;
        Ok(store)
    }

    /// The store in a server that need not be there yet; it is sought until it is. Until then
    /// operations fail at once, and [`Self::health`] says so.
    ///
    /// The URL is `redis://[user:password@]host:port/[db]`, or `rediss://` for TLS; there
    /// `?ca_file=<path>` names certificates (PEM) to trust instead of those of the system. Must be
    /// called within a tokio runtime, which from then on carries the store's traffic; its futures
    /// can be awaited anywhere.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the URL is none, [`StoreError::Io`] when its certificates
    /// cannot be read.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_as(url, Layout::CURRENT)
    }

    /// The file that `?ca_file=<path>` of a URL names: whoever takes the URL elsewhere takes it along.
    #[must_use]
    pub fn ca_file(url: &str) -> Option<PathBuf> {
        server::split_ca_file(url).1
    }

    /// [`Self::open`], as a release of another layout: what two releases do to one store can be
    /// tried out with it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(url: &str, layout: Layout) -> Result<Self, StoreError> {
        Ok(Self {
            link: Link::open(url, layout)?,
        })
    }

    /// Whether the server is there (`ok`), refuses some operations (`degraded`) or is away since
    /// some time (`down`), and why. Without secrets.
    #[must_use]
    pub fn health(&self) -> ComponentHealth {
        self.link.health()
    }

    /// Asks the server for a sign of life, after a look at the layout of what it holds.
    ///
    /// # Errors
    /// When there is none within a second; [`StoreError::Incompatible`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.link
            .run(|mut redis| async move { redis::cmd("PING").exec_async(&mut redis).await })
            .await
    }

    fn append_records(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Option<Position>,
        records: Vec<Bytes>,
    ) -> (Arc<Append>, StoreFuture<Outcome>) {
        let append = Arc::new(Append {
            stream: stream.to_owned(),
            epoch,
            expected,
            records,
        });
        let running = Arc::clone(&append);
        let outcome = self.run(move |redis, scripts| {
            let append = Arc::clone(&running);
            async move { append.run(redis, scripts).await }
        });
        (append, outcome)
    }

    fn run<T, F>(
        &self,
        operation: impl Fn(ConnectionManager, &'static Scripts) -> F + Send + Sync + 'static,
    ) -> StoreFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = RedisResult<T>> + Send + 'static,
    {
        self.link.run(move |redis| operation(redis, scripts()))
    }
}

/// What the append script answers: a word, a number and records.
type Answer = (String, u64, Vec<StreamEntry>);

/// What became of an append.
enum Outcome {
    At(Position),
    Fenced(Epoch),
    Moved { tail: Position, missed: Records },
    Unlisted,
}

impl Outcome {
    fn parse((word, number, missed): Answer) -> RedisResult<Self> {
        Ok(match word.as_str() {
            "ok" => Self::At(Position(number)),
            "fenced" => Self::Fenced(Epoch(number)),
            "moved" => Self::Moved {
                tail: Position(number),
                missed: missed.into_iter().map(record).collect::<Result<_, _>>()?,
            },
            _ => Self::Unlisted,
        })
    }
}

/// What is to be appended, and where.
struct Append {
    stream: String,
    epoch: Epoch,
    /// The tail that the stream must have, if any.
    expected: Option<Position>,
    records: Vec<Bytes>,
}

impl Append {
    /// Appends, and lists the stream first when it is new. The list is in another slot than the
    /// stream, so both cannot change at once: listing before and after means that a stream with
    /// records is always listed, whatever an `erase` does in between.
    async fn run(
        &self,
        mut redis: ConnectionManager,
        scripts: &'static Scripts,
    ) -> RedisResult<Outcome> {
        let first = self.attempt(scripts, 0).invoke_async(&mut redis).await?;
        match Outcome::parse(first)? {
            Outcome::Unlisted => {}
            done => return Ok(done),
        }
        let mut list = redis::cmd("ZADD");
        list.arg(INDEX).arg(0).arg(&self.stream);
        list.exec_async(&mut redis).await?;
        let second = self.attempt(scripts, 1).invoke_async(&mut redis).await?;
        list.exec_async(&mut redis).await?;
        Outcome::parse(second)
    }

    fn attempt(&self, scripts: &'static Scripts, listed: u8) -> ScriptInvocation<'static> {
        let [meta, log] = stream_keys(&self.stream);
        let expected = self
            .expected
            .map_or_else(|| "any".to_owned(), |position| position.to_string());
        let mut call = scripts.append.prepare_invoke();
        call.key(meta).key(log);
        call.arg(self.epoch.0).arg(listed);
        call.arg(expected).arg(MISSED_RECORDS_MAX);
        for record in &self.records {
            call.arg(&record[..]);
        }
        call
    }

    /// The refusal by a newer epoch.
    fn fenced(&self, current: Epoch) -> StoreError {
        StoreError::Fenced {
            name: self.stream.clone(),
            epoch: self.epoch,
            current,
        }
    }
}

/// The refusal while another process takes the stream off the list.
fn being_erased() -> StoreError {
    StoreError::Unavailable {
        backend: "redis",
        reason: "the stream is being erased".to_owned(),
    }
}

/// Id and fields of a record as the server gives them.
type StreamEntry = (String, Vec<(String, Vec<u8>)>);

fn record((id, fields): StreamEntry) -> RedisResult<(Position, Bytes)> {
    let position = id.split_once('-').and_then(|(ms, _)| ms.parse().ok());
    let (Some(position), Some((_, body))) = (position, fields.into_iter().next()) else {
        return Err((redis::ErrorKind::UnexpectedReturnType, "not a record").into());
    };
    Ok((Position(position), Bytes::from(body)))
}

async fn read(
    mut redis: ConnectionManager,
    stream: String,
    after: Position,
    limit: usize,
) -> RedisResult<Records> {
    let [_, log] = stream_keys(&stream);
    let (mut records, mut bytes, mut after) = (Records::new(), 0, after.0);
    while records.len() < limit && bytes < READ_BYTES_MAX {
        let count = CHUNK.min(limit - records.len());
        let chunk: Vec<StreamEntry> = redis::cmd("XRANGE")
            .arg(&log)
            .arg(format!("{}-0", after.saturating_add(1)))
            .arg("+")
            .arg("COUNT")
            .arg(count)
            .query_async(&mut redis)
            .await?;
        let is_last = chunk.len() < count;
        for entry in chunk {
            let (position, body) = record(entry)?;
            if bytes >= READ_BYTES_MAX {
                return Ok(records);
            }
            bytes += body.len();
            after = position.0;
            records.push((position, body));
        }
        if is_last {
            break;
        }
    }
    Ok(records)
}

impl Log for RedisStore {
    fn append(&self, stream: &str, epoch: Epoch, records: Vec<Bytes>) -> StoreFuture<Position> {
        check!(check_append(stream, epoch, &records));
        let (append, appended) = self.append_records(stream, epoch, None, records);
        Box::pin(async move {
            match appended.await? {
                // Never moved: no place was asked for.
                Outcome::At(position) | Outcome::Moved { tail: position, .. } => Ok(position),
                Outcome::Fenced(current) => Err(append.fenced(current)),
                Outcome::Unlisted => Err(being_erased()),
            }
        })
    }

    fn append_at(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Position,
        records: Vec<Bytes>,
    ) -> StoreFuture<Appended> {
        check!(check_append(stream, epoch, &records));
        let (append, appended) = self.append_records(stream, epoch, Some(expected), records);
        Box::pin(async move {
            match appended.await? {
                Outcome::At(position) => Ok(Appended::At(position)),
                Outcome::Moved { tail, missed } => Ok(Appended::Moved { tail, missed }),
                Outcome::Fenced(current) => Err(append.fenced(current)),
                Outcome::Unlisted => Err(being_erased()),
            }
        })
    }

    fn read(&self, stream: &str, after: Position, limit: usize) -> StoreFuture<Records> {
        check!(check_name("the name of a stream", stream));
        let (stream, limit) = (stream.to_owned(), limit.min(READ_RECORDS_MAX));
        self.run(move |redis, _| read(redis, stream.clone(), after, limit))
    }

    fn tail(&self, stream: &str) -> StoreFuture<Position> {
        check!(check_name("the name of a stream", stream));
        let [meta, _] = stream_keys(stream);
        self.run(move |mut redis, _| {
            let meta = meta.clone();
            async move {
                let tail: Option<u64> = redis::cmd("HGET")
                    .arg(meta)
                    .arg("tail")
                    .query_async(&mut redis)
                    .await?;
                Ok(Position(tail.unwrap_or(0)))
            }
        })
    }

    fn trim(&self, stream: &str, up_to: Position) -> StoreFuture<()> {
        check!(check_name("the name of a stream", stream));
        let [_, log] = stream_keys(stream);
        self.run(move |mut redis, _| {
            let log = log.clone();
            async move {
                redis::cmd("XTRIM")
                    .arg(log)
                    .arg("MINID")
                    .arg(format!("{}-0", up_to.0.saturating_add(1)))
                    .exec_async(&mut redis)
                    .await
            }
        })
    }

    fn erase(&self, stream: &str) -> StoreFuture<()> {
        check!(check_name("the name of a stream", stream));
        let name = stream.to_owned();
        self.run(move |mut redis, scripts| {
            let name = name.clone();
            async move {
                let [meta, log] = stream_keys(&name);
                redis::cmd("ZREM")
                    .arg(INDEX)
                    .arg(name)
                    .exec_async(&mut redis)
                    .await?;
                let mut call = scripts.erase.prepare_invoke();
                call.key(meta).key(log).invoke_async(&mut redis).await
            }
        })
    }

    fn streams(&self, prefix: &str, limit: usize) -> StoreFuture<Vec<String>> {
        let (prefix, limit) = (prefix.to_owned(), limit.min(READ_RECORDS_MAX));
        self.run(move |mut redis, _| {
            // No byte of UTF-8 is 0xff, so this is above every name with the prefix.
            let from = [b"[", prefix.as_bytes()].concat();
            let to = [b"(", prefix.as_bytes(), b"\xff"].concat();
            async move {
                redis::cmd("ZRANGE")
                    .arg(INDEX)
                    .arg(from)
                    .arg(to)
                    .arg("BYLEX")
                    .arg("LIMIT")
                    .arg(0)
                    .arg(limit)
                    .query_async(&mut redis)
                    .await
            }
        })
    }
}

impl Lease for RedisStore {
    fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> StoreFuture<Option<Epoch>> {
        let ((), (), ttl) = check!(
            check_name("the name of a lease", name),
            check_name("the holder of a lease", holder),
            ttl_ms(ttl)
        );
        let ([held, last], holder) = (lease_keys(name), holder.to_owned());
        self.run(move |mut redis, scripts| {
            let mut call = scripts.acquire.prepare_invoke();
            call.key(&held).key(&last).arg(&holder).arg(ttl);
            async move {
                let epoch: Option<u64> = call.invoke_async(&mut redis).await?;
                Ok(epoch.map(Epoch))
            }
        })
    }

    fn renew(&self, name: &str, holder: &str, epoch: Epoch, ttl: Duration) -> StoreFuture<bool> {
        let ((), (), (), ttl) = check!(
            check_name("the name of a lease", name),
            check_name("the holder of a lease", holder),
            check_epoch(epoch),
            ttl_ms(ttl)
        );
        let ([held, _], holder) = (lease_keys(name), holder.to_owned());
        self.run(move |mut redis, scripts| {
            let mut call = scripts.renew.prepare_invoke();
            call.key(&held).arg(&holder).arg(epoch.0).arg(ttl);
            async move { call.invoke_async(&mut redis).await }
        })
    }

    fn release(&self, name: &str, holder: &str, epoch: Epoch) -> StoreFuture<bool> {
        check!(
            check_name("the name of a lease", name),
            check_name("the holder of a lease", holder),
            check_epoch(epoch)
        );
        let ([held, _], holder) = (lease_keys(name), holder.to_owned());
        self.run(move |mut redis, scripts| {
            let mut call = scripts.release.prepare_invoke();
            call.key(&held).arg(&holder).arg(epoch.0);
            async move { call.invoke_async(&mut redis).await }
        })
    }

    fn current(&self, name: &str) -> StoreFuture<Option<Held>> {
        check!(check_name("the name of a lease", name));
        let [held, _] = lease_keys(name);
        self.run(move |mut redis, scripts| {
            let mut call = scripts.current.prepare_invoke();
            call.key(&held);
            async move {
                let found: Option<(String, u64, u64)> = call.invoke_async(&mut redis).await?;
                Ok(found.map(|(holder, epoch, remaining_ms)| Held {
                    holder,
                    epoch: Epoch(epoch),
                    remaining: Duration::from_millis(remaining_ms),
                }))
            }
        })
    }
}
