//! A node: workers, and the listener where balancers call them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use anyhow::Context;
use parking_lot::RwLock;
use prometheus::Registry;
use tidepool_balancer::{
    BalancerMetrics, Close, DismissWaiting, Hosting, HostingConfig, LoadBalancer, Pool,
};
use tidepool_cluster::{
    Announcer, DesiredState, Document, Follower, NODES, NodeDocument, NodeStanding, Nudge,
};
use tidepool_core::{NodeReport, PoolName, SetTarget};
use tidepool_link::Server;
use tidepool_wire::frame::Role;
use tidepool_worker::{Naming, Node, NodeConfig, NodePorts, RestartPolicy, Shutdown, Target};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ground::{self, Ground};
use super::listeners::Listener;
use super::readiness::Readiness;
use super::role_view::RoleView;
use super::{WORKERS_TIMEOUT, advertised, banner, crashes, keda, kinds, told_to_stop};
use crate::cli::Output;
use crate::settings::{self, Settings};
use crate::version::VERSION;

/// How long a node waits to be told what to run before it runs the least of each pool.
const ORDERS_AFTER: Duration = Duration::from_secs(2);

/// Serves until told to stop.
pub(super) async fn run(
    settings: &Settings,
    started: Instant,
    output: Output,
) -> anyhow::Result<()> {
    let node = NodeRole::start(settings, started).await?;
    banner::print(&node.facts(settings), output)?;
    told_to_stop().await?;
    node.stop(settings).await
}

struct NodeRole {
    ground: Ground,
    node: Addr<Node>,
    actor: Addr<LoadBalancer>,
    pools: Vec<Arc<Pool>>,
    links: Links,
    operators: Listener,
    announcer: Announcer,
    nudge: Nudge,
    orders: JoinHandle<()>,
}

impl NodeRole {
    async fn start(settings: &Settings, started: Instant) -> anyhow::Result<Self> {
        // First of all: what cannot be listened on is told before anything runs.
        let listener = bind(settings.node.addr)?;
        let ground = Ground::open(settings, started).await?;
        // Requests are counted once, by the balancer that they came to.
        let metrics = BalancerMetrics::register(&Registry::new())?;
        let log = Arc::clone(&ground.stores.log);
        let built = kinds::Pools::build(&settings.pools, log, &metrics)?;
        let kinds::Pools {
            pools, hostings, ..
        } = built;

        let latest: Arc<RwLock<Option<NodeReport>>> = Arc::default();
        let (nudge, newest) = (Nudge::default(), Arc::clone(&latest));
        let told = nudge.clone();
        let events = ground.feed.clone();
        let node = Node::new(NodeConfig {
            node: ground.name.clone(),
            naming: Naming::Among(ground.name.clone()),
            pools: hostings,
            restart: RestartPolicy::default(),
            ports: NodePorts {
                reports: Arc::new(move |report| {
                    *newest.write() = Some(report);
                    told.now();
                }),
                events: crashes::counted(&ground.registry, move |event| events.publish(event))?,
            },
        });
        let workers = node.view();
        let node = node.start();
        // Compares workers with one another; the pools report by their balancers.
        let actor = LoadBalancer::new(pools.clone(), Arc::new(|_| {})).start();

        let hosting = Hosting::new(HostingConfig {
            pools: pools.clone(),
            spans: ground.spans.clone(),
            slow: settings.telemetry.slow,
        });
        let links = Links::serve(settings, listener, hosting)?;
        let readiness = Arc::new(Readiness::default());
        let view = RoleView::node(
            &ground,
            node.clone(),
            Arc::clone(&workers),
            Arc::clone(&readiness),
        );
        let advisor = keda::advisor(&pools, &view);
        let link_addr = advertised::link(settings, links.addr);
        let addresses = BTreeMap::from([("node".to_owned(), link_addr)]);
        let operators = ground.serve_operators(settings, ("node", addresses), (view, advisor))?;

        let addresses = (links.addr, operators.addr);
        let announcer = announce(settings, &ground, addresses, (latest, nudge.clone()));
        let ordered = Ordered {
            node: node.clone(),
            readiness,
        };
        let orders = follow_orders(settings, &ground, ordered, &pools);
        Ok(Self {
            ground,
            node,
            actor,
            pools,
            links,
            operators,
            announcer,
            nudge,
            orders,
        })
    }

    /// Stops in order: nothing new, what there is is finished, workers drain.
    async fn stop(self, settings: &Settings) -> anyhow::Result<()> {
        tracing::info!("stopping: finishing what was let in");
        let grace = settings.http.shutdown_grace;
        let end = tokio::time::Instant::now() + grace.max(WORKERS_TIMEOUT);
        self.orders.abort();
        self.ground.draining.send_replace(true);
        self.nudge.now();
        self.links.server.drain();
        // An actor that is gone has nothing left to stop.
        let _ = self.actor.send(Close).await;
        // What waits here has not begun and may begin elsewhere.
        let _ = self.actor.send(DismissWaiting).await;
        if !self.links.server.stop(grace).await {
            tracing::warn!("some requests did not end within the grace period");
        }
        if tokio::time::timeout_at(end, self.node.send(Shutdown))
            .await
            .is_err()
        {
            let left: u32 = self.pools.iter().map(|pool| pool.busy_slots()).sum();
            tracing::warn!(left, "some work did not end within the grace period");
        }
        self.announcer.withdraw().await;
        self.operators.handle.stop(true).await;
        self.links.join();
        self.ground.close().await
    }

    fn facts(&self, settings: &Settings) -> banner::Facts {
        banner::Facts {
            role: Some("node"),
            api: None,
            operator: format!("http://{}", self.operators.addr),
            node: Some(self.links.addr.to_string()),
            keda: None,
            data: self.ground.stores.place(),
            pools: self.pools.iter().map(|p| p.name().to_string()).collect(),
            otlp: settings.telemetry.otlp_endpoint.clone(),
            has_tokens: settings.cluster.secret.is_some(),
        }
    }
}

/// Says that this node is there, and what it runs.
fn announce(
    settings: &Settings,
    ground: &Ground,
    (links, operators): (SocketAddr, SocketAddr),
    (latest, nudge): (Arc<RwLock<Option<NodeReport>>>, Nudge),
) -> Announcer {
    let document = NodeDocument {
        name: ground.name.to_string(),
        version: VERSION.to_owned(),
        link_addr: advertised::link(settings, links),
        operator_addr: advertised::operator(settings, operators),
        standing: NodeStanding::Ready,
        workers_max: settings.node.workers_max,
        report: None,
    };
    let draining = ground.draining.subscribe();
    Announcer::start(
        Arc::clone(&ground.stores.roster),
        NODES,
        ground.name.to_string(),
        nudge,
        move || announced(&document, &latest, &draining).to_bytes(),
    )
}

/// What the node says of itself now.
fn announced(
    document: &NodeDocument,
    latest: &RwLock<Option<NodeReport>>,
    draining: &watch::Receiver<bool>,
) -> NodeDocument {
    let standing = if *draining.borrow() {
        NodeStanding::Draining
    } else {
        NodeStanding::Ready
    };
    NodeDocument {
        standing,
        report: latest.read().clone(),
        ..document.clone()
    }
}

/// Hands the node what the controller wants of it; until one has said anything, the least that
/// each pool may have.
fn follow_orders(
    settings: &Settings,
    ground: &Ground,
    ordered: Ordered,
    pools: &[Arc<Pool>],
) -> JoinHandle<()> {
    let follower = Follower::start(Arc::clone(&ground.stores.log));
    let name = ground.name.clone();
    let names: Vec<PoolName> = pools.iter().map(|pool| pool.name().clone()).collect();
    let least = settings.pools.iter().map(least).collect::<Vec<_>>();
    // No controller shares a store of this process's own.
    let patience = match settings.store {
        settings::Store::Embedded { .. } => Duration::ZERO,
        settings::Store::Redis { .. } => ORDERS_AFTER,
    };
    tokio::spawn(async move {
        let mut reader = follower.reader();
        let targets_in = |state: &Option<Arc<DesiredState>>| {
            let state = state.as_ref()?;
            state.targets_of(&name, &names)
        };
        let told = reader.wait_for(|state| targets_in(state).is_some());
        if tokio::time::timeout(patience, told).await.is_err() {
            tracing::info!("no controller has said what to run: running the least of each pool");
            ordered.give(least);
        }
        loop {
            let targets = targets_in(&reader.borrow_and_update());
            if let Some(targets) = targets {
                ordered.give(targets);
            }
            if reader.changed().await.is_err() {
                return;
            }
        }
    })
}

/// Superseded by whatever a controller says: those begin with epoch 1.
fn least(pool: &settings::Pool) -> SetTarget {
    SetTarget {
        pool: pool.name.clone(),
        epoch: 0,
        seq: 1,
        n: pool.min,
    }
}

/// Who is told what this node is to run.
struct Ordered {
    node: Addr<Node>,
    readiness: Arc<Readiness>,
}

impl Ordered {
    fn give(&self, targets: Vec<SetTarget>) {
        self.readiness.want(&targets);
        for target in targets {
            if self.node.try_send(Target(target)).is_err() {
                tracing::warn!("the node is too busy to take a target; the next one is taken");
            }
        }
    }
}

fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    tidepool_link::bind(addr).with_context(|| {
        format!("cannot listen on {addr} (node.addr); is another tidepool running there?")
    })
}

/// The listener for balancers and the threads that serve it.
struct Links {
    addr: SocketAddr,
    server: Server,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Links {
    fn serve(settings: &Settings, listener: TcpListener, hosting: Hosting) -> anyhow::Result<Self> {
        let addr = listener.local_addr()?;
        let config = ground::link_config(settings, Role::Node)?;
        let server = Server::with_tls(config, settings.cluster.tls.clone());
        let accepting = server.clone();
        actix_web::rt::spawn(async move {
            if let Err(error) = accepting.accept(listener).await {
                tracing::error!(%error, "balancers cannot be served");
            }
        });
        let threads = (0..settings.node.threads)
            .map(|n| serve_links(n, server.clone(), hosting.clone()))
            .collect::<anyhow::Result<_>>()?;
        actix_web::rt::spawn(hosting.keep_told());
        Ok(Self {
            addr,
            server,
            threads,
        })
    }

    fn join(self) {
        for thread in self.threads {
            // A panic was logged where it happened.
            let _ = thread.join();
        }
    }
}

/// One thread that serves links: requests are polled where they are read.
fn serve_links(
    n: usize,
    server: Server,
    hosting: Hosting,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a thread for links cannot be started")?;
    let serve = move || {
        let local = tokio::task::LocalSet::new();
        let host: Rc<dyn tidepool_link::Host> = hosting.host();
        local.block_on(&runtime, server.run(host));
    };
    let thread = std::thread::Builder::new().name(format!("links-{n}"));
    thread
        .spawn(serve)
        .context("a thread for links cannot be started")
}
