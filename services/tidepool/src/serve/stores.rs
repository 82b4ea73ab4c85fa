//! The store that durable things go to, embedded or Redis.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tidepool_core::status::ComponentHealth;
use tidepool_store::{EmbeddedStore, Kv, Lease, Log, RedisStore, Roster, StoreError};

use crate::settings::Store;

/// The ports of the store, and whom to ask how it does.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) log: Arc<dyn Log>,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) lease: Arc<dyn Lease>,
    pub(super) roster: Arc<dyn Roster>,
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Embedded(Arc<EmbeddedStore>),
    Redis(Arc<RedisStore>),
}

impl Stores {
    /// For the only process of an installation: a store that is away is told at once.
    pub(super) async fn open(configured: &Store) -> anyhow::Result<Self> {
        match configured {
            Store::Embedded { path } => Self::embedded(path),
            Store::Redis { url } => {
                let store = RedisStore::connect(url.expose()).await;
                let store = store.context("Redis cannot be used as the store")?;
                Ok(Self::redis(Arc::new(store)))
            }
        }
    }

    /// For one of several processes: a server that is away is waited for while it serves. One that
    /// holds what this release cannot read will not become better by waiting.
    pub(super) async fn join(configured: &Store) -> anyhow::Result<Self> {
        match configured {
            Store::Embedded { path } => Self::embedded(path),
            Store::Redis { url } => {
                let store = RedisStore::open(url.expose());
                let store = store.context("Redis cannot be used as the store")?;
                if let Err(error @ StoreError::Incompatible { .. }) = store.ping().await {
                    return Err(error).context("Redis cannot be used as the store");
                }
                Ok(Self::redis(Arc::new(store)))
            }
        }
    }

    fn embedded(path: &Path) -> anyhow::Result<Self> {
        let store = EmbeddedStore::open(path).context("the store cannot be opened")?;
        let store = Arc::new(store);
        Ok(Self {
            log: store.clone(),
            kv: store.clone(),
            lease: store.clone(),
            roster: store.clone(),
            backend: Backend::Embedded(store),
        })
    }

    fn redis(store: Arc<RedisStore>) -> Self {
        Self {
            log: store.clone(),
            kv: store.clone(),
            lease: store.clone(),
            roster: store.clone(),
            backend: Backend::Redis(store),
        }
    }

    /// Where data is, for the banner; no secrets.
    pub(super) fn place(&self) -> String {
        match &self.backend {
            Backend::Embedded(store) => format!("{} (kept)", store.path().display()),
            Backend::Redis(_) => "Redis".to_owned(),
        }
    }

    pub(super) fn health(&self) -> ComponentHealth {
        match &self.backend {
            Backend::Embedded(store) => store.health(),
            Backend::Redis(store) => store.health(),
        }
    }

    /// Makes sure that everything acknowledged is on disk, and lets others open it.
    pub(super) fn close(&self) {
        if let Backend::Embedded(store) = &self.backend {
            store.close();
        }
    }
}
