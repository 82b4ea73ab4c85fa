//! Starts everything in one process, waits for the signal to stop, and stops in order: nothing
//! new in, what was let in is answered, workers drain, what was told is written down.

mod advertised;
mod apart;
mod balancer;
mod banner;
mod controller;
mod crashes;
mod epoch;
mod ground;
mod heard;
mod keda;
mod kinds;
mod listeners;
mod node;
mod reach;
mod readiness;
mod role_view;
mod set_aside;
mod stores;
mod succession;
mod supervision;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context};
use actix_web::web;
use anyhow::Context as _;
use tidepool_balancer::{
    Api, ApiConfig, BalancerMetrics, Close, DismissWaiting, Keep, LoadBalancer, Pool,
};
use tidepool_console::{Console, Identity, OperatorToken, Setup};
use tidepool_core::NodeId;
use tidepool_core::status::SharedFleetView;
use tidepool_feed::{Feed, FeedConfig};
use tidepool_telemetry::{Registry, Sampler, Spans, SpansConfig, build_registry, init_logs};
use tidepool_worker::{Naming, Node, NodeConfig, NodePorts, PoolHosting, RestartPolicy};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(crate) use self::apart::fault;
use self::kinds::Pools;
use self::listeners::Listener;
use self::stores::Stores;
use self::succession::{Seat, Succession};
use self::view::View;
use crate::cli::Output;
use crate::settings::{self, Settings};
use crate::version::{COMMIT, VERSION};

/// Name of the only node of a single process.
const NODE: &str = "local";
/// Most bytes of bodies held at a time, in bodies of the largest size.
const BODIES_MAX: usize = 32;
/// How long before the end of the grace those who still wait are refused.
const DISMISS_BEFORE: Duration = Duration::from_secs(1);
/// Least time that workers get to end once the last request has been answered.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the last events to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// Clients on one side, links to nodes on the other.
    Balancer,
    /// Workers.
    Node,
    /// How many workers, and where.
    Controller,
}

/// Serves until told to stop.
///
/// # Errors
/// When a part cannot be started.
pub(crate) fn run(settings: Settings, role: Role, output: Output) -> anyhow::Result<()> {
    let started = Instant::now();
    init_logs(
        log_format(&settings.telemetry),
        &settings.telemetry.log_level,
    )?;
    if let Some(warning) = apart::warning(role, &settings) {
        tracing::warn!("{warning}");
    }
    actix::System::new().block_on(async move {
        match role {
            Role::All => {}
            Role::Balancer => return balancer::run(&settings, started, output).await,
            Role::Node => return node::run(&settings, started, output).await,
            Role::Controller => return controller::run(&settings, started, output).await,
        }
        let running = Running::start(&settings, started).await?;
        banner::print(&running.facts(&settings), output)?;
        told_to_stop().await?;
        running.stop(&settings).await
    })
}

/// Everything that runs.
struct Running {
    api: web::Data<Api>,
    clients: Listener,
    operators: Listener,
    keda: Option<tidepool_keda::Server>,
    balancer: Addr<LoadBalancer>,
    seat: Seat,
    /// Sees to it that somebody decides, as long as it is held.
    succession: Succession,
    node: Addr<Node>,
    pools: Vec<Arc<Pool>>,
    draining: watch::Sender<bool>,
    feed: Feed,
    spans: Spans,
    stores: Stores,
}

impl Running {
    async fn start(settings: &Settings, started: Instant) -> anyhow::Result<Self> {
        let stores = Stores::open(&settings.store).await?;
        let feed_config = FeedConfig::new(format!("/tidepool/{NODE}"));
        let feed = Feed::start(Arc::clone(&stores.log), feed_config).await;
        let feed = feed.context("the event feed cannot be read from the store")?;
        let spans = spans(&settings.telemetry, NODE)?;
        let registry = build_registry(VERSION, COMMIT)?;
        ground::leader_gauge(&registry)?.set(1);
        let metrics = BalancerMetrics::register(&registry)?;
        let mut built = Pools::build(&settings.pools, Arc::clone(&stores.log), &metrics)?;
        let api = web::Data::new(client_api(settings, &mut built, &stores, &spans, metrics));
        let Pools {
            pools, hostings, ..
        } = built;
        let outside = (&feed, &spans, &registry);
        let actors = Actors::start(settings, &stores, (&pools, hostings), outside).await?;
        let clients = listeners::serve_clients(&settings.http, api.clone())?;
        let (draining, is_draining) = watch::channel(false);
        let view = View {
            name: NodeId::new(NODE)?,
            seat: actors.seat.clone(),
            workers: actors.workers,
            node: actors.node.clone(),
            stores: stores.clone(),
            spans: spans.clone(),
        };
        let view: SharedFleetView = Arc::new(view);
        let advisor = keda::advisor(&pools, &view);
        let keda = keda::serve(settings, &advisor)?;
        let token = settings.http.operator_token.as_ref();
        let operators = listeners::serve_operators(&settings.http, |addr| {
            Console::new(Setup {
                identity: identity(
                    started,
                    &clients,
                    advertised::operator(settings, addr),
                    keda.as_ref(),
                ),
                fleet: view,
                advisor,
                feed: feed.clone(),
                registry,
                operator_token: token.map(|token| OperatorToken::new(token.expose())),
                draining: is_draining,
            })
        })?;
        let (balancer, node) = (actors.balancer, actors.node);
        Ok(Self {
            api,
            clients,
            operators,
            keda,
            balancer,
            seat: actors.seat,
            succession: actors.succession,
            node,
            pools,
            draining,
            feed,
            spans,
            stores,
        })
    }

    /// Stops in order. Each step has a bound.
    async fn stop(mut self, settings: &Settings) -> anyhow::Result<()> {
        tracing::info!("stopping: finishing what was let in");
        self.api.drain();
        self.draining.send_replace(true);
        self.finish_requests(settings.http.shutdown_grace).await;
        self.operators.handle.stop(true).await;
        drop(self.succession);
        if let Some(keda) = self.keda.take() {
            keda.stop().await;
        }
        if tokio::time::timeout(FLUSH_TIMEOUT, self.seat.keep_state())
            .await
            .is_err()
        {
            tracing::warn!("what the controller learned last was not written in time");
        }
        match tokio::time::timeout(FLUSH_TIMEOUT, self.feed.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last events were not written"),
            Err(_elapsed) => tracing::warn!("the last events were not written in time"),
        }
        let (spans, stores, seat) = (self.spans, self.stores, self.seat);
        // The exporter and the store wait with their threads blocked.
        tokio::task::spawn_blocking(move || {
            seat.flush_log();
            spans.shutdown();
            stores.close();
        })
        .await?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Answers what was let in: what runs is finished, what waits is served while there is time
    /// and refused before there is none, and the workers drain.
    async fn finish_requests(&self, grace: Duration) {
        let end = tokio::time::Instant::now() + grace;
        finish_clients(&self.api, &self.clients, &self.balancer, grace).await;
        let end = end.max(tokio::time::Instant::now() + WORKERS_TIMEOUT);
        let drained = self.node.send(tidepool_worker::Shutdown);
        if tokio::time::timeout_at(end, drained).await.is_err() {
            let left: u32 = self.pools.iter().map(|pool| pool.busy_slots()).sum();
            tracing::warn!(left, "some work did not end within the grace period");
        }
    }

    fn facts(&self, settings: &Settings) -> banner::Facts {
        banner::Facts {
            role: None,
            api: Some(format!("http://{}", self.clients.addr)),
            node: None,
            operator: format!("http://{}", self.operators.addr),
            keda: self.keda.as_ref().map(|keda| keda.addr().to_string()),
            data: self.stores.place(),
            pools: self
                .pools
                .iter()
                .map(|pool| pool.name().to_string())
                .collect(),
            otlp: settings.telemetry.otlp_endpoint.clone(),
            has_tokens: settings.http.api_token.is_some(),
        }
    }
}

/// Answers the clients that were let in: what runs is finished, what waits is served while there
/// is time and refused before there is none.
async fn finish_clients(
    api: &Api,
    clients: &Listener,
    balancer: &Addr<LoadBalancer>,
    grace: Duration,
) {
    let end = tokio::time::Instant::now() + grace;
    // An actor that is gone has nothing left to stop.
    let _ = balancer.send(Close).await;
    let dismisser = balancer.clone();
    let dismissal = actix_web::rt::spawn(async move {
        tokio::time::sleep_until(end - DISMISS_BEFORE.min(grace / 2)).await;
        let _ = dismisser.send(DismissWaiting).await;
    });
    clients.handle.stop(true).await;
    // Those who were accepted to be answered later have no connection to wait for.
    let accepted = api.finish_accepted();
    if tokio::time::timeout_at(end, accepted).await.is_err() {
        tracing::warn!("some accepted requests did not end; they will be told as interrupted");
    }
    dismissal.abort();
}

/// The actors and what others look at them through.
struct Actors {
    balancer: Addr<LoadBalancer>,
    seat: Seat,
    succession: Succession,
    node: Addr<Node>,
    workers: Arc<parking_lot::RwLock<Vec<tidepool_core::WorkerReport>>>,
}

impl Actors {
    async fn start(
        settings: &Settings,
        stores: &Stores,
        (pools, hostings): (&[Arc<Pool>], Vec<PoolHosting>),
        (feed, spans, registry): (&Feed, &Spans, &Registry),
    ) -> anyhow::Result<Self> {
        let to_supervisor = supervision::Mailbox::default();
        let events = feed.clone();
        let node = Node::new(NodeConfig {
            node: NodeId::new(NODE)?,
            naming: Naming::Alone,
            pools: hostings,
            restart: RestartPolicy::default(),
            ports: NodePorts {
                reports: to_supervisor.node_reports(),
                events: crashes::counted(registry, move |event| events.publish(event))?,
            },
        });
        let workers = node.view();
        // It begins last: its first report brings up the first workers, if somebody is there to decide.
        let begins = Context::<Node>::new();
        let (target, told, traced) = (begins.address(), feed.clone(), spans.clone());
        let ground = succession::Ground {
            kv: Arc::clone(&stores.kv),
            plans: supervision::plans(&settings.pools, pools),
            settings: settings.controller.clone(),
            feed: feed.clone(),
            registry: registry.clone(),
            restarts: succession::RESTARTS,
            retry: succession::RETRY,
            ports: Box::new(move |estate| {
                supervision::ports(supervision::to_node(&target), &told, &traced, estate)
            }),
        };
        let (seat, succession) = succession::start(ground).await?;
        to_supervisor.connect(seat.clone());
        let node = begins.run(node);
        seat.first_decisions(pools.len()).await;
        let balancer = LoadBalancer::new(pools.to_vec(), to_supervisor.pool_reports()).start();
        Ok(Self {
            balancer,
            seat,
            succession,
            node,
            workers,
        })
    }
}

/// The API for clients; takes the routes of the pools.
fn client_api(
    settings: &Settings,
    pools: &mut Pools,
    stores: &Stores,
    spans: &Spans,
    metrics: BalancerMetrics,
) -> Api {
    let http = &settings.http;
    let token = http.api_token.as_ref();
    Api::new(ApiConfig {
        kinds: std::mem::take(&mut pools.routes),
        unconfigured: std::mem::take(&mut pools.unconfigured),
        body_bytes_max: http.body_bytes_max,
        body_bytes_total_max: http.body_bytes_max.saturating_mul(BODIES_MAX),
        body_read_timeout: http.body_read_timeout,
        token: token.map(|token| token.expose().to_owned()),
        keep: Some(Keep {
            kv: Arc::clone(&stores.kv),
            log: Arc::clone(&stores.log),
            is_only: matches!(settings.store, settings::Store::Embedded { .. }),
        }),
        quota: http.quota,
        sampler: Sampler::new(settings.telemetry.sample_ratio),
        spans: spans.clone(),
        slow: settings.telemetry.slow,
        metrics,
        version: VERSION,
        commit: COMMIT,
    })
}

fn identity(
    started: Instant,
    clients: &Listener,
    operators: String,
    keda: Option<&tidepool_keda::Server>,
) -> Identity {
    let addresses = [("api", clients.addr.to_string()), ("operator", operators)].into_iter();
    let addresses = addresses.chain(keda.map(|keda| ("keda", keda.addr().to_string())));
    Identity {
        version: VERSION.to_owned(),
        commit: COMMIT.to_owned(),
        role: "all".to_owned(),
        leader: Some(NODE.to_owned()),
        addresses: addresses
            .map(|(name, addr)| (name.to_owned(), addr))
            .collect::<BTreeMap<_, _>>(),
        started,
    }
}

fn spans(telemetry: &settings::Telemetry, node: &str) -> anyhow::Result<Spans> {
    let Some(endpoint) = &telemetry.otlp_endpoint else {
        return Ok(Spans::off());
    };
    let config = SpansConfig {
        otlp_endpoint: endpoint.clone(),
        version: VERSION.to_owned(),
        node: node.to_owned(),
    };
    Spans::to_collector(&config).context("telemetry.otlp_endpoint cannot be used")
}

fn log_format(telemetry: &settings::Telemetry) -> tidepool_telemetry::LogFormat {
    match telemetry.log_format {
        settings::LogFormat::Text => tidepool_telemetry::LogFormat::Text,
        settings::LogFormat::Json => tidepool_telemetry::LogFormat::Json,
    }
}

/// Waits for SIGTERM or Ctrl-C. A second one ends the process at once.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    actix_web::rt::spawn(async move {
        next().await;
        crate::exit::complain("stopped at once, by a second signal");
        std::process::exit(1);
    });
    Ok(())
}
