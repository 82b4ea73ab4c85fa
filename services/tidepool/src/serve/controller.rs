//! A controller: one of those that contend for the lease leads. It decides how many workers each
//! pool has, and on which nodes they are; the others stand by, show what is announced, and take over
//! within seconds.

mod drains;
mod election;
mod leadership;
mod news;
mod placing;
mod reign;
mod sizing;
mod telling;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use prometheus::{IntGauge, Registry};
use tidepool_balancer::{BalancerMetrics, Pool};
use tidepool_cluster::{
    Announcer, BalancerDocument, CONTROLLERS, ControllerDocument, Document, Follower, NodeDocument,
    Nudge, Roll,
};
use tidepool_core::status::SharedFleetView;
use tidepool_supervisor::SupervisorView;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::drains::Drains;
use self::election::{Election, Seat};
use self::reign::Reign;
use self::view::ClusterView;
use super::ground::{self, Ground};
use super::listeners::Listener;
use super::{advertised, banner, keda, kinds, told_to_stop};
use crate::cli::Output;
use crate::settings::Settings;
use crate::version::VERSION;

/// How often it is looked who is there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked whether a term does its work; one that could not begin is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A process in which so many terms in a row could not begin lets another one lead.
const BEGINS_MAX: u32 = 4;
/// Longest time that a term may take to end when the process stops.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides until told to stop.
pub(super) async fn run(
    settings: &Settings,
    started: Instant,
    output: Output,
) -> anyhow::Result<()> {
    let controller = Controller::start(settings, started).await?;
    banner::print(&controller.facts(settings), output)?;
    told_to_stop().await?;
    controller.stop().await
}

/// What a controller is, whether it leads or not.
struct Base {
    settings: Settings,
    ground: Ground,
    pools: Vec<Arc<Pool>>,
    balancers: Roll<BalancerDocument>,
    nodes: Roll<NodeDocument>,
    controllers: Roll<ControllerDocument>,
    /// What the one who leads wants.
    desired: Follower,
    leads: IntGauge,
    /// Where this controller takes orders, once it listens.
    operator_addr: OnceLock<String>,
    sitting: RwLock<Option<Sitting>>,
}

/// What operators see and order while this controller leads.
#[derive(Clone)]
struct Sitting {
    view: SupervisorView,
    drains: Drains,
}

impl Base {
    /// Opens the store and begins to follow what is told there.
    async fn open(settings: &Settings, started: Instant) -> anyhow::Result<Arc<Self>> {
        let ground = Ground::open(settings, started).await?;
        // Nothing is served here: the pools only say what they are.
        let metrics = BalancerMetrics::register(&Registry::new())?;
        let log = Arc::clone(&ground.stores.log);
        let pools = kinds::Pools::build(&settings.pools, log, &metrics)?.pools;
        let leads = ground::leader_gauge(&ground.registry)?;
        let roster = &ground.stores.roster;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            balancers: Roll::follow(Arc::clone(roster), LOOK_EVERY),
            nodes: Roll::follow(Arc::clone(roster), LOOK_EVERY),
            controllers: Roll::follow(Arc::clone(roster), LOOK_EVERY),
            desired: Follower::start(Arc::clone(&ground.stores.log)),
            sitting: RwLock::default(),
            operator_addr: OnceLock::new(),
            leads,
            pools,
            ground,
        }))
    }
}

struct Controller {
    base: Arc<Base>,
    election: Election,
    operators: Listener,
    keda: Option<tidepool_keda::Server>,
    announcer: Announcer,
    office: JoinHandle<()>,
    leave: oneshot::Sender<()>,
}

impl Controller {
    async fn start(settings: &Settings, started: Instant) -> anyhow::Result<Self> {
        let base = Base::open(settings, started).await?;
        let lease = Arc::clone(&base.ground.stores.lease);
        let instance = tidepool_link::instance_id()?;
        let election = Election::start(lease, base.ground.name.as_str(), instance);
        let (operators, keda) = serve_operators(settings, &base, &election)?;
        let operator_addr = advertised::operator(settings, operators.addr);
        let _ = base.operator_addr.set(operator_addr.clone());
        let announcer = announce(&base, operator_addr);
        let (leave, left) = oneshot::channel();
        let office = hold_office(Arc::clone(&base), election.reader(), left);
        Ok(Self {
            base,
            election,
            operators,
            keda,
            announcer,
            office: actix_web::rt::spawn(office),
            leave,
        })
    }

    /// Stops in order: what is known is written down while this process leads, then it lets another
    /// one lead.
    async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping");
        self.base.ground.draining.send_replace(true);
        let _ = self.leave.send(());
        if tokio::time::timeout(END_TIMEOUT, self.office)
            .await
            .is_err()
        {
            tracing::warn!("what the controller knows was not written in time");
        }
        self.election.resign().await;
        self.announcer.withdraw().await;
        if let Some(keda) = self.keda {
            keda.stop().await;
        }
        self.operators.handle.stop(true).await;
        self.base.ground.close().await
    }

    fn facts(&self, settings: &Settings) -> banner::Facts {
        banner::Facts {
            role: Some("controller"),
            api: None,
            operator: format!("http://{}", self.operators.addr),
            node: None,
            keda: self.keda.as_ref().map(|keda| keda.addr().to_string()),
            data: self.base.ground.stores.place(),
            pools: self
                .base
                .pools
                .iter()
                .map(|pool| pool.name().to_string())
                .collect(),
            otlp: settings.telemetry.otlp_endpoint.clone(),
            has_tokens: settings.http.operator_token.is_some(),
        }
    }
}

fn serve_operators(
    settings: &Settings,
    base: &Arc<Base>,
    election: &Election,
) -> anyhow::Result<(Listener, Option<tidepool_keda::Server>)> {
    let view: SharedFleetView = Arc::new(ClusterView {
        base: Arc::clone(base),
        seat: election.reader(),
    });
    let advisor = keda::advisor(&base.pools, &view);
    let keda = keda::serve(settings, &advisor)?;
    let addresses = keda
        .iter()
        .map(|keda| ("keda".to_owned(), keda.addr().to_string()));
    let addresses: BTreeMap<_, _> = addresses.collect();
    let about = ("controller", addresses);
    let operators = base
        .ground
        .serve_operators(settings, about, (view, advisor))?;
    Ok((operators, keda))
}

fn announce(base: &Base, operator_addr: String) -> Announcer {
    let document = ControllerDocument {
        name: base.ground.name.to_string(),
        version: VERSION.to_owned(),
        operator_addr,
    };
    let (roster, member) = (&base.ground.stores.roster, document.name.clone());
    Announcer::start(
        Arc::clone(roster),
        CONTROLLERS,
        member,
        Nudge::default(),
        move || document.to_bytes(),
    )
}

/// Begins and ends terms as the lease comes and goes. A process that has the lease and can make
/// nothing of it gives it up.
async fn hold_office(
    base: Arc<Base>,
    mut seats: watch::Receiver<Seat>,
    mut left: oneshot::Receiver<()>,
) {
    let (mut reign, mut carried): (Option<Reign>, _) = (None, None);
    let mut failed = 0;
    loop {
        let seat = seats.borrow_and_update().clone();
        if let Some(over) = reign.take_if(|reign| is_over(reign, &seat)) {
            base.leads.set(0);
            carried = Some(over.end(&base).await);
        }
        let granted = seat.mandate.filter(|mandate| !mandate.is_resigned());
        if let Some(mandate) = granted.filter(|_| reign.is_none()) {
            let begun = Arc::clone(&mandate);
            match Reign::begin(&base, begun, seat.before.as_deref(), &mut carried).await {
                Ok(begun) => {
                    base.leads.set(1);
                    (reign, failed) = (Some(begun), 0);
                }
                Err(error) => {
                    tracing::warn!(%error, "this controller cannot begin to lead");
                    failed += 1;
                }
            }
            if failed >= BEGINS_MAX {
                tracing::warn!("this controller lets another one lead");
                mandate.resign();
                failed = 0;
            }
        }
        tokio::select! {
            changed = seats.changed() => if changed.is_err() { break },
            _ = &mut left => break,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
    if let Some(over) = reign {
        base.leads.set(0);
        over.end(&base).await;
    }
}

/// Whether a term has to end: it lost its mandate, or a part that it cannot do without.
fn is_over(reign: &Reign, seat: &Seat) -> bool {
    if let Some(part) = reign.lost() {
        tracing::error!(
            part,
            "this controller lost a part of itself and leads no more"
        );
        reign.mandate.resign();
        return true;
    }
    let granted = seat.mandate.as_ref();
    granted.is_none_or(|granted| !Arc::ptr_eq(granted, &reign.mandate))
}
