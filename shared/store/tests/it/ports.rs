//! A back end under test, and time that passes when the test says so.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidepool_core::Timestamp;
use tidepool_store::{Clock, Epoch, Kv, Lease, Log, Position, Records, Roster};

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Short enough to be waited for where time is real.
pub(crate) const TTL: Duration = Duration::from_millis(60);
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// Time that passes when the test says so.
#[derive(Clone)]
pub(crate) struct TestTime(Arc<AtomicU64>);

impl TestTime {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || Timestamp(time.0.load(Ordering::SeqCst)))
    }

    pub(crate) fn pass(&self, duration: Duration) {
        let ms = u64::try_from(duration.as_millis()).unwrap();
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// A back end under test.
pub(crate) struct Ports {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) roster: Arc<dyn Roster>,
    /// Absent where time is real.
    pub(crate) time: Option<TestTime>,
    /// What must live as long.
    pub(crate) _keep: Box<dyn Any + Send>,
}

impl Ports {
    /// Waits until `ttl` is over, as seen by `is_over`.
    pub(crate) async fn outlast<F: Future<Output = bool>>(
        &self,
        ttl: Duration,
        is_over: impl Fn() -> F,
    ) {
        if let Some(time) = &self.time {
            time.pass(ttl);
            assert!(is_over().await, "it did not expire in time");
            return;
        }
        let begin = Instant::now();
        while !is_over().await {
            assert!(begin.elapsed() < PATIENCE, "it did not expire");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn append(&self, stream: &str, records: &[&str]) -> Position {
        let records = records.iter().map(|r| Bytes::from((*r).to_owned()));
        let appended = self.log.append(stream, Epoch::UNFENCED, records.collect());
        appended.await.unwrap()
    }

    pub(crate) async fn all(&self, stream: &str) -> Records {
        let read = self.log.read(stream, Position::START, 10_000);
        read.await.unwrap()
    }

    pub(crate) async fn bodies(&self, stream: &str) -> Vec<String> {
        let records = self.all(stream).await;
        let text = |(_, body): (_, Bytes)| String::from_utf8(body.to_vec()).unwrap();
        records.into_iter().map(text).collect()
    }
}
