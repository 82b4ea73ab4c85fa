//! A balancer: clients on one side, links to nodes on the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use actix_web::web;
use parking_lot::Mutex;
use tidepool_balancer::{Api, BalancerMetrics, Dialing, LinkedNodes, LoadBalancer, Nodes, Pool};
use tidepool_cluster::{
    Announcer, BALANCERS, BalancerDocument, BalancerStanding, Document, NodeDocument, Nudge,
    ReportWindows, Roll,
};
use tidepool_core::PoolReport;
use tidepool_wire::frame::Role;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::ground::{self, Ground};
use super::listeners::{self, Listener};
use super::reach::Reach;
use super::role_view::RoleView;
use super::{advertised, banner, client_api, finish_clients, keda, kinds, set_aside, told_to_stop};
use crate::cli::Output;
use crate::settings::{NodeSource, Settings};
use crate::version::VERSION;

/// How often it is looked who is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a name is resolved.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until told to stop.
pub(super) async fn run(
    settings: &Settings,
    started: Instant,
    output: Output,
) -> anyhow::Result<()> {
    let balancer = Balancer::start(settings, started).await?;
    banner::print(&balancer.facts(settings), output)?;
    told_to_stop().await?;
    balancer.stop(settings).await
}

struct Balancer {
    ground: Ground,
    api: web::Data<Api>,
    clients: Listener,
    operators: Listener,
    actor: Addr<LoadBalancer>,
    pools: Vec<Arc<Pool>>,
    announcer: Announcer,
    /// Links end with these.
    nodes: Nodes,
    _links: AbortOnDropHandle<()>,
    directory: Directory,
}

impl Balancer {
    async fn start(settings: &Settings, started: Instant) -> anyhow::Result<Self> {
        let ground = Ground::open(settings, started).await?;
        let metrics = BalancerMetrics::register(&ground.registry)?;
        let log = Arc::clone(&ground.stores.log);
        let mut built = kinds::Pools::build(&settings.pools, log, &metrics)?;
        let api = client_api(settings, &mut built, &ground.stores, &ground.spans, metrics);
        let api = web::Data::new(api);
        let pools = built.pools;
        set_aside::tell(&pools, &ground.feed);

        let dialing = Dialing {
            link: ground::link_config(settings, Role::Balancer)?,
            tls: settings.cluster.tls.clone(),
        };
        let directory = Directory::follow(&settings.cluster.nodes, &ground);
        let nodes = Nodes::follow(pools.clone(), dialing, directory.addresses.clone());

        let (windows, nudge) = (
            Arc::new(Mutex::new(ReportWindows::default())),
            Nudge::default(),
        );
        let (kept, news) = (Arc::clone(&windows), nudge.clone());
        let reports = move |reports: Vec<PoolReport>| {
            kept.lock().add(reports);
            news.now();
        };
        let actor = LoadBalancer::new(pools.clone(), Arc::new(reports)).start();

        let clients = listeners::serve_clients(&settings.http, api.clone())?;
        let (reach, links) = watch_links(nodes.linked());
        let view = RoleView::balancer(&ground, pools.clone(), (nodes.linked(), reach));
        let advisor = keda::advisor(&pools, &view);
        let addresses = BTreeMap::from([("api".to_owned(), clients.addr.to_string())]);
        let operators =
            ground.serve_operators(settings, ("balancer", addresses), (view, advisor))?;

        let operator_addr = advertised::operator(settings, operators.addr);
        let name = ground.name.to_string();
        let draining = ground.draining.subscribe();
        let document = move || {
            let standing = if *draining.borrow() {
                BalancerStanding::Stopping
            } else {
                BalancerStanding::Serving
            };
            let document = BalancerDocument {
                name: name.clone(),
                version: VERSION.to_owned(),
                operator_addr: operator_addr.clone(),
                standing,
                windows: windows.lock().kept(),
            };
            document.to_bytes()
        };
        let roster = Arc::clone(&ground.stores.roster);
        let member = ground.name.to_string();
        let announcer = Announcer::start(roster, BALANCERS, member, nudge, document);
        Ok(Self {
            ground,
            api,
            clients,
            operators,
            actor,
            pools,
            announcer,
            nodes,
            _links: links,
            directory,
        })
    }

    /// Stops in order: what was let in is answered while the links are there.
    async fn stop(self, settings: &Settings) -> anyhow::Result<()> {
        tracing::info!("stopping: finishing what was let in");
        self.api.drain();
        self.ground.draining.send_replace(true);
        let grace = settings.http.shutdown_grace;
        finish_clients(&self.api, &self.clients, &self.actor, grace).await;
        self.announcer.take_leave().await;
        drop((self.nodes, self.directory));
        self.operators.handle.stop(true).await;
        self.ground.close().await
    }

    fn facts(&self, settings: &Settings) -> banner::Facts {
        banner::Facts {
            role: Some("balancer"),
            api: Some(format!("http://{}", self.clients.addr)),
            operator: format!("http://{}", self.operators.addr),
            node: None,
            keda: None,
            data: self.ground.stores.place(),
            pools: self.pools.iter().map(|p| p.name().to_string()).collect(),
            otlp: settings.telemetry.otlp_endpoint.clone(),
            has_tokens: settings.http.api_token.is_some(),
        }
    }
}

/// Notes when links come and go, also while nobody asks.
fn watch_links(linked: LinkedNodes) -> (Arc<Reach>, AbortOnDropHandle<()>) {
    let reach = Arc::new(Reach::default());
    let seen = Arc::clone(&reach);
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            ticks.tick().await;
            seen.see(linked.count(), Instant::now());
        }
    });
    (reach, AbortOnDropHandle::new(task))
}

/// Where the nodes are, as far as is known; ends with what it follows.
struct Directory {
    addresses: watch::Receiver<Vec<String>>,
    _source: Option<AbortOnDropHandle<()>>,
}

impl Directory {
    fn follow(source: &NodeSource, ground: &Ground) -> Self {
        let (sender, addresses) = watch::channel(Vec::new());
        let source = match source {
            NodeSource::Listed(nodes) => {
                sender.send_replace(nodes.clone());
                None
            }
            NodeSource::Dns(name) => Some(tokio::spawn(resolve(name.clone(), sender))),
            NodeSource::Roster => {
                let roster = Arc::clone(&ground.stores.roster);
                let roll = Roll::<NodeDocument>::follow(roster, LOOK_INTERVAL);
                Some(tokio::spawn(follow_roll(roll, sender)))
            }
        };
        Self {
            addresses,
            _source: source.map(AbortOnDropHandle::new),
        }
    }
}

fn replace(sender: &watch::Sender<Vec<String>>, mut found: Vec<String>) {
    found.sort();
    found.dedup();
    sender.send_if_modified(|known| {
        let is_new = *known != found;
        *known = found;
        is_new
    });
}

async fn follow_roll(roll: Roll<NodeDocument>, sender: watch::Sender<Vec<String>>) {
    let mut reader = roll.reader();
    while reader.changed().await.is_ok() {
        let seen = reader.borrow_and_update().clone();
        let found = seen.members.values().map(|node| node.link_addr.clone());
        replace(&sender, found.collect());
    }
}

async fn resolve(name: String, sender: watch::Sender<Vec<String>>) {
    loop {
        match tokio::net::lookup_host(&name).await {
            // Who is not found any more may still be there: its link says when it is not.
            Ok(found) => replace(&sender, found.map(|addr| addr.to_string()).collect()),
            Err(error) => tracing::warn!(name, %error, "the nodes cannot be looked up"),
        }
        tokio::time::sleep(RESOLVE_INTERVAL).await;
    }
}
