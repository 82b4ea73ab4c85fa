//! The operator API and its page: what the fleet does, why, and the event feed.
//!
//! This crate shows, and passes orders on: to drain a worker, to change a pool. What it shows
//! comes from a [`SharedFleetView`], a [`Feed`] and a metrics [`Registry`]. The caller binds
//! the listener (loopback unless told otherwise) and mounts [`Console::configure`]. The server
//! should be built with `h1_allow_half_closed(false)`, so that a stream whose client went away
//! gives its place back at once and not with the next ping.

mod access;
mod change;
mod events;
mod fleet;
mod learned;
mod openapi;
mod order;
mod page;
mod probes;
mod problem;
mod query;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use actix_web::web::{self, ServiceConfig};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tidepool_core::status::SharedFleetView;
use tidepool_feed::Feed;
use tidepool_keda::Advisor;
use tokio::sync::{Semaphore, watch};

pub use access::OperatorToken;

/// Most streams of events at a time; further ones are refused with 503.
pub const EVENT_STREAMS_MAX: usize = 256;

/// What this process is, as `GET /v1/status` and `GET /version` tell it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Release.
    pub version: String,
    /// Commit that it was built from.
    pub commit: String,
    /// What it does, such as `all`, `balancer`, `node` or `controller`.
    pub role: String,
    /// Who decides about scaling, if anybody does.
    pub leader: Option<String>,
    /// Where it listens, by the name of the listener (`api`, `operator`, `node`).
    pub addresses: BTreeMap<String, String>,
    /// When it started.
    pub started: Instant,
}

/// What the console needs to work.
pub struct Setup {
    /// What this process is.
    pub identity: Identity,
    /// The fleet.
    pub fleet: SharedFleetView,
    /// What KEDA is told.
    pub advisor: Advisor,
    /// The event feed.
    pub feed: Feed,
    /// What `/metrics` shows. The console adds `tidepool_event_subscribers` and
    /// `tidepool_component_up`.
    pub registry: Registry,
    /// Whoever has it may use everything; without one, everybody may.
    pub operator_token: Option<OperatorToken>,
    /// Turns true when the process is about to go: `/readyz` says so and event streams end.
    pub draining: watch::Receiver<bool>,
}

/// The operator API, ready to be mounted into any number of server workers.
#[derive(Clone)]
pub struct Console {
    shared: web::Data<Shared>,
}

pub(crate) struct Shared {
    identity: Identity,
    fleet: SharedFleetView,
    advisor: Advisor,
    feed: Feed,
    registry: Registry,
    subscribers: IntGauge,
    components_up: IntGaugeVec,
    operator_token: Option<OperatorToken>,
    draining: watch::Receiver<bool>,
    event_streams: Arc<Semaphore>,
    openapi: serde_json::Value,
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

impl Console {
    /// Prepares the API.
    ///
    /// # Errors
    /// When the registry has one of the console's series already.
    pub fn new(setup: Setup) -> Result<Self, prometheus::Error> {
        let subscribers = IntGauge::new(
            "tidepool_event_subscribers",
            "Streams of the event feed that are open now",
        )?;
        setup.registry.register(Box::new(subscribers.clone()))?;
        let components_up = Opts::new(
            "tidepool_component_up",
            "Whether a part works (1) or not (0); a part that is turned off has no series",
        );
        let components_up = IntGaugeVec::new(components_up, &["component"])?;
        setup.registry.register(Box::new(components_up.clone()))?;
        let shared = Shared {
            openapi: openapi::document(&setup.identity.version),
            identity: setup.identity,
            fleet: setup.fleet,
            advisor: setup.advisor,
            feed: setup.feed,
            registry: setup.registry,
            subscribers,
            components_up,
            operator_token: setup.operator_token,
            draining: setup.draining,
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
        };
        Ok(Self {
            shared: web::Data::new(shared),
        })
    }

    /// Mounts all routes: `App::new().configure(|config| console.configure(config))`.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config
            .app_data(self.shared.clone())
            .service(routes::all(self.shared.openapi.clone()));
    }
}
