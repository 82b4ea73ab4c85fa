//! Keys as one writer at a time sees them, so that code written for [`Kv`] need not know that it
//! can be replaced: what its former self still wants to write is refused by the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::port::{Epoch, Kv, StoreFuture, Value, Version};

/// Keys under an epoch. Every write is fenced, and so is every read: reading a key closes it to
/// writers of older epochs, because whoever reads a state to go on from it must be the last to.
/// Readers that only look must not use this.
#[derive(Clone)]
pub struct FencedKv {
    kv: Arc<dyn Kv>,
    epoch: Epoch,
}

impl std::fmt::Debug for FencedKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FencedKv(at {})", self.epoch)
    }
}

impl FencedKv {
    /// The keys of `kv`, for the writer that holds `epoch`.
    #[must_use]
    pub fn new(kv: Arc<dyn Kv>, epoch: Epoch) -> Self {
        Self { kv, epoch }
    }
}

impl Kv for FencedKv {
    fn get(&self, key: &str) -> StoreFuture<Option<Value>> {
        self.kv.fence(key, self.epoch)
    }

    fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<Version> {
        self.kv.put_fenced(key, self.epoch, value, ttl)
    }

    fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        self.kv
            .compare_and_set_fenced(key, self.epoch, expected, value, ttl)
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        self.kv.delete_fenced(key, self.epoch)
    }

    fn fence(&self, key: &str, epoch: Epoch) -> StoreFuture<Option<Value>> {
        self.kv.fence(key, epoch)
    }

    fn put_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Version> {
        self.kv.put_fenced(key, epoch, value, ttl)
    }

    fn compare_and_set_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        self.kv
            .compare_and_set_fenced(key, epoch, expected, value, ttl)
    }

    fn delete_fenced(&self, key: &str, epoch: Epoch) -> StoreFuture<bool> {
        self.kv.delete_fenced(key, epoch)
    }
}
