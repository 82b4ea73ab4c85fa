//! A store in trouble, for tests: something happens before each access, and the access may fail.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidepool_store::{Epoch, Kv, StoreError, StoreFuture, Value, Version};

/// What is about to be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Get,
    Put,
    Delete,
}

/// Tells whether an access succeeds.
type Before = dyn Fn(Access, &str) -> bool + Send + Sync;

/// Keys of another store, unless `before` lets an access fail.
pub(crate) struct TroubledKv {
    kv: Arc<dyn Kv>,
    before: Box<Before>,
}

impl TroubledKv {
    pub(crate) fn over(
        kv: &Arc<dyn Kv>,
        before: impl Fn(Access, &str) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn Kv> {
        let (kv, before) = (Arc::clone(kv), Box::new(before));
        Arc::new(Self { kv, before })
    }

    fn access<T: Send + 'static>(
        &self,
        access: Access,
        key: &str,
        then: impl FnOnce(&dyn Kv) -> StoreFuture<T>,
    ) -> StoreFuture<T> {
        if (self.before)(access, key) {
            return then(&*self.kv);
        }
        let reason = "planted".to_owned();
        let backend = "a store in trouble";
        Box::pin(async { Err(StoreError::Unavailable { backend, reason }) })
    }
}

impl Kv for TroubledKv {
    fn get(&self, key: &str) -> StoreFuture<Option<Value>> {
        self.access(Access::Get, key, |kv| kv.get(key))
    }

    fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> StoreFuture<Version> {
        self.access(Access::Put, key, |kv| kv.put(key, value, ttl))
    }

    fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        let set = |kv: &dyn Kv| kv.compare_and_set(key, expected, value, ttl);
        self.access(Access::Put, key, set)
    }

    fn delete(&self, key: &str) -> StoreFuture<bool> {
        self.access(Access::Delete, key, |kv| kv.delete(key))
    }

    fn fence(&self, key: &str, epoch: Epoch) -> StoreFuture<Option<Value>> {
        self.access(Access::Get, key, |kv| kv.fence(key, epoch))
    }

    fn put_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Version> {
        self.access(Access::Put, key, |kv| kv.put_fenced(key, epoch, value, ttl))
    }

    fn compare_and_set_fenced(
        &self,
        key: &str,
        epoch: Epoch,
        expected: Option<Version>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreFuture<Option<Version>> {
        let set = |kv: &dyn Kv| kv.compare_and_set_fenced(key, epoch, expected, value, ttl);
        self.access(Access::Put, key, set)
    }

    fn delete_fenced(&self, key: &str, epoch: Epoch) -> StoreFuture<bool> {
        self.access(Access::Delete, key, |kv| kv.delete_fenced(key, epoch))
    }
}
