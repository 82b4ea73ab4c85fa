//! One term of leadership: a supervisor under one epoch, fed with what balancers and nodes announce,
//! and what it wants put onto nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use anyhow::Context;
use parking_lot::Mutex;
use serde_json::json;
use tidepool_cluster::{DesiredState, fence, publish};
use tidepool_core::{EventDraft, NodeId, NodeReport, SetTarget};
use tidepool_placement::Targets;
use tidepool_store::{FencedKv, Kv, StoreError};
use tidepool_supervisor::decision_log::DecisionLog;
use tidepool_supervisor::{
    BalancerReports, Checkpoint, FleetReports, Keeper, Retire, Save, Supervisor,
};
use tokio::task::JoinHandle;

use super::leadership::Mandate;
use super::news::{Balancers, Nodes};
use super::placing::{Placing, inventory};
use super::sizing::{Placed, Shared, Sizing};
use super::{Base, Sitting, telling};
use crate::serve::supervision::{self, Estate};

use super::drains::Drains;

/// How often it is looked what is new.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What was seen of the store longer ago is nothing to act on.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// Longest wait for the last states to be written.
const KEEP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for an actor to answer.
const ACTOR_TIMEOUT: Duration = Duration::from_secs(1);

/// What a leader that had to stop had in mind, for the case that nobody leads in between.
pub(super) struct Carried {
    epoch: u64,
    saves: Vec<Save>,
}

/// A term.
pub(super) struct Reign {
    pub(super) mandate: Arc<Mandate>,
    pub(super) supervisor: Addr<Supervisor>,
    keeper: Keeper,
    log: Option<DecisionLog>,
    pub(super) steering: JoinHandle<()>,
    pub(super) sizing: JoinHandle<()>,
    pub(super) telling: JoinHandle<()>,
}

impl Reign {
    /// Shuts out older leaders, goes on from what they left, and begins to decide. What was carried
    /// over is used up by a term that begins, and kept for the next try by one that cannot.
    pub(super) async fn begin(
        base: &Arc<Base>,
        mandate: Arc<Mandate>,
        before: Option<&str>,
        carried: &mut Option<Carried>,
    ) -> anyhow::Result<Self> {
        let begun = Self::try_to_begin(base, mandate, before, carried.as_ref()).await;
        if begun.is_ok() {
            *carried = None;
        } else {
            // Who gives events their ids is who leads, and this process may not lead next.
            follow_feed(base).await;
        }
        begun
    }

    async fn try_to_begin(
        base: &Arc<Base>,
        mandate: Arc<Mandate>,
        before: Option<&str>,
        carried: Option<&Carried>,
    ) -> anyhow::Result<Self> {
        let epoch = mandate.epoch;
        let shut_out = fence(&base.ground.stores.log, epoch.0).await;
        // What the follower saw last may be older: it looks by itself, and may have been cut off. It
        // stands in for a store that lost its data.
        let record = shut_out
            .context("older leaders cannot be shut out")?
            .map(Arc::new)
            .or_else(|| base.desired.reader().borrow().clone());
        base.ground.feed.lead(epoch).await?;
        let plain = Arc::clone(&base.ground.stores.kv);
        let kv: Arc<dyn Kv> = Arc::new(FencedKv::new(plain, epoch));
        restore(&kv, carried, record.as_deref()).await?;
        let plans = supervision::plans(&base.settings.pools, &base.pools);
        let pools = plans.len();
        let (feed, settings) = (&base.ground.feed, &base.settings.controller);
        let estate = Estate::load(&kv, plans, settings, feed).await?;
        let drains = Drains::open(kv, feed.clone()).await?;
        let (keeper, log) = (estate.keeper.clone(), estate.log.clone());

        let targets = Arc::new(Mutex::new(Targets::new()));
        let ports = ports(base, &estate, &mandate, Arc::clone(&targets));
        let (view, supervisor) = supervision::start(epoch.0, estate, ports, &base.ground.registry)?;
        feed.publish(changed(base.ground.name.as_str(), before, epoch.0));
        let telling = telling::run(Arc::clone(base), Arc::clone(&mandate), view.clone());
        *base.sitting.write() = Some(Sitting {
            view,
            drains: drains.clone(),
        });
        let shared = Arc::new(Shared::default());
        let steering = Steering {
            shared: Arc::clone(&shared),
            base: Arc::clone(base),
            mandate: Arc::clone(&mandate),
            supervisor: supervisor.clone(),
            targets,
            pools,
            drains,
            balancers: Balancers::default(),
            knows_fleet: false,
            nodes: Nodes::expecting(nodes_of(record.as_deref()), Instant::now()),
            placing: Placing::from(record.as_deref(), epoch.0),
        };
        let sizing = Sizing::run(Arc::clone(base), Arc::clone(&mandate), shared);
        Ok(Self {
            sizing: actix_web::rt::spawn(sizing),
            telling: actix_web::rt::spawn(telling),
            mandate,
            supervisor,
            keeper,
            log,
            steering: actix_web::rt::spawn(steering.run()),
        })
    }

    /// What this term cannot go on without and has lost, if anything: it would renew its lease and
    /// decide nothing.
    pub(super) fn lost(&self) -> Option<&'static str> {
        let parts = [
            (!self.supervisor.connected(), "the supervisor"),
            (self.steering.is_finished(), "the placing of workers"),
            (self.sizing.is_finished(), "the sizing of the fleet"),
            (self.telling.is_finished(), "the telling of the pools"),
        ];
        let lost = parts.into_iter().find(|(is_lost, _)| *is_lost);
        lost.map(|(_, part)| part)
    }

    /// Ends the term. What the supervisor knows is written down while the mandate holds; it is given
    /// back for the case that it does not.
    pub(super) async fn end(self, base: &Base) -> Carried {
        self.steering.abort();
        self.sizing.abort();
        self.telling.abort();
        *base.sitting.write() = None;
        let saves = tokio::time::timeout(ACTOR_TIMEOUT, self.supervisor.send(Checkpoint)).await;
        let saves = saves.ok().and_then(Result::ok).unwrap_or_default();
        if self.mandate.holds(Instant::now()) {
            let kept = self.keeper.finish(saves.clone());
            if tokio::time::timeout(KEEP_TIMEOUT, kept).await.is_err() {
                tracing::warn!("what the controller learned last was not written in time");
            }
        }
        self.mandate.end();
        if self.supervisor.send(Retire).await.is_err() {
            tracing::debug!("the supervisor has ended by itself");
        }
        follow_feed(base).await;
        if let Some(log) = self.log {
            // It waits with its thread blocked.
            let _ = tokio::task::spawn_blocking(move || log.flush()).await;
        }
        Carried {
            epoch: self.mandate.epoch.0,
            saves,
        }
    }
}

async fn follow_feed(base: &Base) {
    if let Err(error) = base.ground.feed.follow().await {
        tracing::debug!(%error, "the feed cannot follow");
    }
}

/// Puts back what this process had in mind when it last led, unless somebody led since: a store that
/// was away for a while is no reason to forget. A term begins with all of it or not at all.
async fn restore(
    kv: &Arc<dyn Kv>,
    carried: Option<&Carried>,
    record: Option<&DesiredState>,
) -> anyhow::Result<()> {
    let Some(carried) = carried else {
        return Ok(());
    };
    if record.is_some_and(|record| record.epoch > carried.epoch) {
        return Ok(());
    }
    let put_back = Save::write_all(&carried.saves, kv).await;
    put_back.context("what this controller knew when it last led cannot be put back")
}

fn nodes_of(record: Option<&DesiredState>) -> impl Iterator<Item = NodeId> {
    let nodes = record.map(|record| record.nodes.keys().cloned().collect::<Vec<_>>());
    nodes.unwrap_or_default().into_iter()
}

fn changed(leader: &str, before: Option<&str>, epoch: u64) -> EventDraft {
    let sentence = match before.filter(|before| *before != leader) {
        Some(before) => format!("{leader} leads in place of {before}, under epoch {epoch}"),
        None => format!("{leader} leads, under epoch {epoch}"),
    };
    let data = json!({
        "leader": leader, "previous": before, "epoch": epoch, "sentence": sentence,
    });
    EventDraft::new("leader.changed", data)
}

/// What the supervisor reaches out to; nothing of it works once the mandate is over.
fn ports(
    base: &Base,
    estate: &Estate,
    mandate: &Arc<Mandate>,
    targets: Arc<Mutex<Targets>>,
) -> tidepool_supervisor::Ports {
    let take = move |target: SetTarget| {
        targets.lock().insert(target.pool, target.n);
        true
    };
    let (feed, spans) = (&base.ground.feed, &base.ground.spans);
    let mandate = Arc::clone(mandate);
    let may_act = move || mandate.holds(Instant::now());
    supervision::guarded(
        supervision::ports(take, feed, spans, estate),
        &(Arc::new(may_act) as _),
    )
}

/// Feeds the supervisor and places what it wants.
struct Steering {
    shared: Arc<Shared>,
    base: Arc<Base>,
    mandate: Arc<Mandate>,
    supervisor: Addr<Supervisor>,
    targets: Arc<Mutex<Targets>>,
    /// How many pools there are.
    pools: usize,
    drains: Drains,
    balancers: Balancers,
    nodes: Nodes,
    /// Whether the supervisor has been told of all nodes.
    knows_fleet: bool,
    placing: Placing,
}

impl Steering {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            if self.mandate.holds(now) {
                self.look(now);
                self.place(now).await;
            }
        }
    }

    /// Hands the supervisor what is new. While the store is away that is nothing: what was seen
    /// last must not look like news.
    fn look(&mut self, now: Instant) {
        let is_fresh =
            |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < FRESH_FOR);
        let nodes = self.base.nodes.seen();
        if is_fresh(nodes.at) {
            let news = self.nodes.look(&nodes.members, now);
            for event in news.events {
                self.base.ground.feed.publish(event);
            }
            self.tell_nodes(news.reports, news.has_changed);
        }
        let balancers = self.base.balancers.seen();
        if is_fresh(balancers.at) {
            let reports = self.balancers.look(&balancers.members, now);
            let present = self.balancers.present();
            if !reports.is_empty() {
                self.tell(BalancerReports { present, reports });
            }
        }
    }

    /// Nothing of the nodes is told before all that an earlier leader knew have been heard of, or are
    /// known to be gone: who takes over a part of a fleet would shrink the rest.
    fn tell_nodes(&mut self, new: Vec<NodeReport>, has_changed: bool) {
        let reports = match (self.knows_fleet, self.nodes.is_whole()) {
            (true, _) => new,
            (false, true) => self.nodes.reports().cloned().collect(),
            (false, false) => return,
        };
        self.knows_fleet = true;
        if has_changed || !reports.is_empty() {
            let present = self.nodes.names();
            self.tell(FleetReports { present, reports });
        }
    }

    fn tell<M>(&self, message: M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        Supervisor: actix::Handler<M>,
    {
        if self.supervisor.try_send(message).is_err() {
            tracing::warn!("the supervisor is too busy for a report; the next second brings more");
        }
    }

    /// Says what every node is to run, once it is known what every pool wants.
    async fn place(&mut self, now: Instant) {
        let targets = self.targets.lock().clone();
        if targets.len() < self.pools {
            return;
        }
        let mut drained = self.drains.nodes();
        drained.extend(self.shared.drain.lock().iter().cloned());
        let inventory = inventory(self.nodes.known(), &drained, now);
        let state = self.placing.place(&inventory, &targets, &drained, now);
        *self.shared.placed.lock() = Some(Placed {
            desired: self.placing.desired().clone(),
            at: now,
            inventory,
            targets,
        });
        let Some(state) = state else { return };
        match publish(&self.base.ground.stores.log, &state).await {
            Ok(()) => self.placing.said(state, now),
            Err(StoreError::Fenced { current, .. }) => {
                tracing::warn!(epoch = %self.mandate.epoch, %current, "another controller leads");
                self.mandate.end();
            }
            Err(error) => tracing::debug!(%error, "what nodes are to run cannot be said"),
        }
    }
}
