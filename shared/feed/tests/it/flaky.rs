//! A log that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tidepool_store::{
    Appended, EmbeddedStore, Epoch, Log, Position, Records, StoreError, StoreFuture,
};

/// A real log with a switch.
pub(crate) struct FlakyLog {
    inner: EmbeddedStore,
    fails: AtomicBool,
    fails_after: Arc<AtomicBool>,
}

impl FlakyLog {
    pub(crate) fn new() -> Self {
        Self {
            inner: EmbeddedStore::ephemeral().unwrap(),
            fails: AtomicBool::new(false),
            fails_after: Arc::default(),
        }
    }

    /// Whether appends fail.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Whether appends happen but are answered with an error.
    pub(crate) fn fail_after_appending(&self, fails: bool) {
        self.fails_after.store(fails, Ordering::SeqCst);
    }
}

fn failure() -> StoreError {
    StoreError::Unavailable {
        backend: "test",
        reason: "switched off".to_owned(),
    }
}

impl Log for FlakyLog {
    fn append(&self, stream: &str, epoch: Epoch, records: Vec<Bytes>) -> StoreFuture<Position> {
        if self.fails.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(failure())));
        }
        let append = self.inner.append(stream, epoch, records);
        let fails_after = Arc::clone(&self.fails_after);
        Box::pin(async move {
            let position = append.await?;
            if fails_after.load(Ordering::SeqCst) {
                return Err(failure());
            }
            Ok(position)
        })
    }

    fn append_at(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Position,
        records: Vec<Bytes>,
    ) -> StoreFuture<Appended> {
        self.inner.append_at(stream, epoch, expected, records)
    }

    fn read(&self, stream: &str, after: Position, limit: usize) -> StoreFuture<Records> {
        self.inner.read(stream, after, limit)
    }

    fn tail(&self, stream: &str) -> StoreFuture<Position> {
        self.inner.tail(stream)
    }

    fn trim(&self, stream: &str, up_to: Position) -> StoreFuture<()> {
        self.inner.trim(stream, up_to)
    }

    fn erase(&self, stream: &str) -> StoreFuture<()> {
        self.inner.erase(stream)
    }

    fn streams(&self, prefix: &str, limit: usize) -> StoreFuture<Vec<String>> {
        self.inner.streams(prefix, limit)
    }
}
