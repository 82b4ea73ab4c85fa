//! What every process of a cluster stands on: the store, the feed, spans, metrics, and the
//! listener for operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use prometheus::IntGauge;
use tidepool_console::{Console, Identity, OperatorToken, Setup};
use tidepool_core::NodeId;
use tidepool_core::status::SharedFleetView;
use tidepool_feed::{Feed, FeedConfig};
use tidepool_keda::Advisor;
use tidepool_link::{LinkConfig, Local};
use tidepool_telemetry::{Registry, Spans, build_registry};
use tidepool_wire::frame::Role;
use tokio::sync::watch;

use super::advertised;
use super::heard::Heard;
use super::listeners::{self, Listener};
use super::stores::Stores;
use super::{FLUSH_TIMEOUT, spans};
use crate::settings::Settings;
use crate::version::{COMMIT, VERSION};

/// What a role is built on.
pub(super) struct Ground {
    pub(super) name: NodeId,
    pub(super) stores: Stores,
    pub(super) feed: Feed,
    /// From whoever leads.
    pub(super) heard: Arc<Heard>,
    pub(super) spans: Spans,
    pub(super) registry: Registry,
    pub(super) draining: watch::Sender<bool>,
    started: Instant,
}

impl Ground {
    pub(super) async fn open(settings: &Settings, started: Instant) -> anyhow::Result<Self> {
        let name = settings.node.name.clone();
        // Whoever serves does not wait for the store: it may be away just now.
        let stores = Stores::join(&settings.store).await?;
        let feed_config = FeedConfig::new(format!("/tidepool/{name}"));
        Ok(Self {
            heard: Arc::new(Heard::follow(&stores.kv)),
            feed: Feed::following(Arc::clone(&stores.log), feed_config),
            spans: spans(&settings.telemetry, name.as_str())?,
            registry: build_registry(VERSION, COMMIT)?,
            draining: watch::Sender::new(false),
            name,
            stores,
            started,
        })
    }

    /// Serves operators.
    pub(super) fn serve_operators(
        &self,
        settings: &Settings,
        (role, addresses): (&str, BTreeMap<String, String>),
        (fleet, advisor): (SharedFleetView, Advisor),
    ) -> anyhow::Result<Listener> {
        let token = settings.http.operator_token.as_ref();
        listeners::serve_operators(&settings.http, |addr| {
            let mut addresses = addresses;
            let told = advertised::operator(settings, addr);
            addresses.insert("operator".to_owned(), told);
            Console::new(Setup {
                identity: Identity {
                    version: VERSION.to_owned(),
                    commit: COMMIT.to_owned(),
                    role: role.to_owned(),
                    leader: None,
                    addresses,
                    started: self.started,
                },
                fleet,
                advisor,
                feed: self.feed.clone(),
                registry: self.registry.clone(),
                operator_token: token.map(|token| OperatorToken::new(token.expose())),
                draining: self.draining.subscribe(),
            })
        })
    }

    /// Writes down what was told, and lets go of the store.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        match tokio::time::timeout(FLUSH_TIMEOUT, self.feed.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last events were not written"),
            Err(_elapsed) => tracing::warn!("the last events were not written in time"),
        }
        let (spans, stores) = (self.spans.clone(), self.stores.clone());
        // The exporter and the store wait with their threads blocked.
        tokio::task::spawn_blocking(move || {
            spans.shutdown();
            stores.close();
        })
        .await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Shows on the metrics whether this process decides.
pub(super) fn leader_gauge(registry: &Registry) -> anyhow::Result<IntGauge> {
    let help = "Whether this process decides about scaling (1) or not (0)";
    let leads = IntGauge::new("tidepool_leader", help)?;
    registry.register(Box::new(leads.clone()))?;
    Ok(leads)
}

/// What links need to know of this process.
pub(super) fn link_config(settings: &Settings, role: Role) -> anyhow::Result<LinkConfig> {
    let local = Local {
        role,
        name: settings.node.name.to_string(),
        instance: tidepool_link::instance_id().context("the system gives no random numbers")?,
    };
    let mut config = LinkConfig::new(local, settings.cluster.secret.clone());
    // A body may be as large as clients may send it, and an answer as large as that.
    config.limits = config.limits.with_messages_of(settings.http.body_bytes_max);
    Ok(config)
}
