//! What a controller shows operators: the whole cluster, as far as it is announced; while it leads,
//! how pools are sized and why; and else what it has heard of that from the one who leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tidepool_cluster::{DesiredState, NodeDocument, NodeStanding};
use tidepool_core::order::{ChangeError, ChangeFuture, ImportFuture, PoolChange};
use tidepool_core::series::{SeriesAnswer, SeriesError, SeriesQuery};
use tidepool_core::status::{
    ComponentHealth, DrainError, Explanation, FleetView, Hearsay, NodeOrderError, NodeOrderFuture,
    NodeStatus, PoolStatus, Referral, Signals, WorkerStatus,
};
use tidepool_core::{NodeId, PoolName, Timestamp, WorkerId, WorkerReport, WorkerState};
use tidepool_supervisor::{PoolPlan, SupervisorView};
use tokio::sync::watch;

use super::election::Seat;
use super::leadership::Standing;
use super::{Base, Sitting};
use crate::serve::supervision;
use crate::serve::view::{otlp, status};

/// One controller's window onto the cluster.
pub(super) struct ClusterView {
    pub(super) base: Arc<Base>,
    pub(super) seat: watch::Receiver<Seat>,
}

impl ClusterView {
    fn sitting(&self) -> Option<Sitting> {
        self.base.sitting.read().clone()
    }

    fn documents(&self) -> Vec<Arc<NodeDocument>> {
        let seen = self.base.nodes.seen();
        seen.members.values().cloned().collect()
    }

    /// Where the controller of that name takes orders.
    fn operator_addr(&self, leader: &str) -> Option<String> {
        let seen = self.base.controllers.seen();
        let document = seen.members.get(leader)?;
        Some(document.operator_addr.clone())
    }

    fn leadership(&self) -> ComponentHealth {
        let seat = self.seat.borrow();
        let (state, detail) = match (seat.standing, &seat.leader) {
            (Standing::Leading { epoch, .. }, _) => {
                ("ok", format!("this process leads, under epoch {epoch}"))
            }
            (Standing::Standby, Some(leader)) => ("ok", format!("standby; {leader} leads")),
            (Standing::Standby, None) => ("degraded", "standby; nobody is known to lead".into()),
            (Standing::Away { since }, _) => {
                let seconds = since.elapsed().as_secs();
                let detail = format!(
                    "scaling is frozen: the store has not been heard of for {seconds} s; what runs \
                     goes on"
                );
                ("degraded", detail)
            }
        };
        ComponentHealth {
            component: "leadership".to_owned(),
            state: state.to_owned(),
            detail,
        }
    }

    fn cluster(&self) -> ComponentHealth {
        let (nodes, balancers) = (self.base.nodes.seen(), self.base.balancers.seen());
        let seen = nodes.at.map_or_else(
            || "never".to_owned(),
            |at| format!("{:.1} s ago", at.elapsed().as_secs_f64()),
        );
        let state = if nodes.members.is_empty() {
            "degraded"
        } else {
            "ok"
        };
        ComponentHealth {
            component: "cluster".to_owned(),
            state: state.to_owned(),
            detail: format!(
                "{} nodes and {} balancers, last seen {seen}",
                nodes.members.len(),
                balancers.members.len()
            ),
        }
    }
}

impl FleetView for ClusterView {
    fn pools(&self) -> Vec<PoolStatus> {
        match self.sitting() {
            Some(sitting) => pools_of(&self.base, &sitting.view),
            None => self.base.ground.heard.pools(),
        }
    }

    fn explain(&self, pool: &PoolName) -> Option<Explanation> {
        self.sitting()?.view.explain(pool)
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        let documents = self.documents();
        let reports = documents.iter().filter_map(|node| node.report.as_ref());
        let workers = reports.flat_map(|report| &report.workers);
        workers.map(status).collect()
    }

    fn drain(&self, worker: &WorkerId) -> Result<(), DrainError> {
        let documents = self.documents();
        let host = documents.iter().find(|node| {
            let workers = node.report.iter().flat_map(|report| &report.workers);
            workers.into_iter().any(|known| known.id == *worker)
        });
        Err(match host {
            Some(host) => DrainError::Elsewhere {
                worker: worker.clone(),
                operator_addr: host.operator_addr.clone(),
            },
            None => DrainError::Unknown(worker.clone()),
        })
    }

    fn change(&self, pool: &PoolName, change: PoolChange) -> ChangeFuture {
        match self.sitting() {
            Some(sitting) => sitting.view.change(pool, change),
            None => Box::pin(std::future::ready(Err(no_longer()))),
        }
    }

    fn pattern(&self, pool: &PoolName) -> Option<serde_json::Value> {
        self.sitting()?.view.patterns().pattern(pool)
    }

    fn forecast(&self, pool: &PoolName) -> Option<serde_json::Value> {
        self.sitting()?.view.patterns().forecast(pool, now())
    }

    fn import_pattern(
        &self,
        pool: &PoolName,
        document: serde_json::Value,
        by: String,
    ) -> ImportFuture {
        match self.sitting() {
            Some(sitting) => {
                let patterns = sitting.view.patterns().clone();
                Box::pin(patterns.import(pool.clone(), document, by))
            }
            None => Box::pin(std::future::ready(Err(no_longer()))),
        }
    }

    fn series(&self, query: &SeriesQuery) -> Result<SeriesAnswer, SeriesError> {
        match self.sitting() {
            Some(sitting) => sitting.view.series(query, now()),
            None => Err(SeriesError::Unknown(query.name.clone())),
        }
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let sitting = self.sitting();
        let drained = sitting.map(|sitting| sitting.drains.nodes());
        let drained = drained.unwrap_or_else(|| {
            let said = self.base.desired.reader().borrow().clone();
            said.map(|said| said.drained.clone()).unwrap_or_default()
        });
        let seen = self.base.nodes.seen();
        let documents = seen.members.iter();
        documents
            .filter_map(|(member, document)| {
                let node = NodeId::new(&document.name).ok()?;
                let is_drained = drained.contains(&node);
                // By this clock: those of other machines differ.
                let age_s = seen.changed_at.get(member)?.elapsed().as_secs_f64();
                Some(node_status(node, document, is_drained, age_s))
            })
            .collect()
    }

    fn drain_node(&self, node: &NodeId, drain: bool, by: String) -> NodeOrderFuture {
        let failed = |error| Box::pin(std::future::ready(Err(error))) as NodeOrderFuture;
        let Some(sitting) = self.sitting() else {
            return failed(NodeOrderError::Unavailable(NO_LONGER.to_owned()));
        };
        let seen = self.base.nodes.seen();
        let present = seen
            .members
            .keys()
            .filter_map(|name| NodeId::new(name).ok());
        let present: std::collections::BTreeSet<_> = present.collect();
        if !present.contains(node) && !sitting.drains.nodes().contains(node) {
            return failed(NodeOrderError::Unknown(node.clone()));
        }
        Box::pin(sitting.drains.order((node.clone(), drain), by, present))
    }

    fn leader(&self) -> Option<String> {
        self.seat.borrow().leader.clone()
    }

    fn not_leading(&self) -> Option<Referral> {
        if self.base.sitting.read().is_some() {
            return None;
        }
        let seat = self.seat.borrow().clone();
        let to_nobody = |detail: &str| (detail.to_owned(), None);
        let (detail, operator_addr) = match (seat.standing, seat.leader) {
            (Standing::Leading { .. }, _) => to_nobody("this controller has just begun to lead"),
            (Standing::Away { .. }, _) => {
                to_nobody("the store does not answer, so no controller leads")
            }
            (Standing::Standby, Some(leader)) => match self.operator_addr(&leader) {
                Some(addr) => (format!("{leader} leads: ask http://{addr}"), Some(addr)),
                None => (format!("{leader} leads, or did so last"), None),
            },
            (Standing::Standby, None) => to_nobody("no controller is known to lead"),
        };
        Some(Referral {
            detail,
            operator_addr,
        })
    }

    fn told_by(&self) -> Option<Hearsay> {
        let leads = self.base.sitting.read().is_some();
        let heard = &self.base.ground.heard;
        (!leads).then(|| heard.told_by()).flatten()
    }

    fn health(&self) -> Vec<ComponentHealth> {
        vec![
            self.base.ground.stores.health(),
            otlp(&self.base.ground.spans),
            self.leadership(),
            self.cluster(),
        ]
    }
}

/// Every pool as the one who leads knows it. One that has not been decided about is what it was
/// configured to be, runs what is announced, and is to run what was said last.
pub(super) fn pools_of(base: &Base, decided: &SupervisorView) -> Vec<PoolStatus> {
    let mut pools = decided.pools();
    let is_decided = |name: &PoolName| pools.iter().any(|pool| pool.pool == *name);
    let plans = supervision::plans(&base.settings.pools, &base.pools);
    let rest: Vec<PoolPlan> = plans
        .into_iter()
        .filter(|plan| !is_decided(&plan.spec.name))
        .collect();
    if !rest.is_empty() {
        let nodes = base.nodes.seen();
        let said = base.desired.reader().borrow().clone();
        let undecided = |plan| undecided(&plan, &nodes.members, said.as_deref());
        pools.extend(rest.into_iter().map(undecided));
        pools.sort_by(|a, b| a.pool.cmp(&b.pool));
    }
    pools
}

fn undecided(
    plan: &PoolPlan,
    nodes: &BTreeMap<String, Arc<NodeDocument>>,
    said: Option<&DesiredState>,
) -> PoolStatus {
    let name = &plan.spec.name;
    let reports = nodes.values().filter_map(|node| node.report.as_ref());
    let workers: Vec<&WorkerReport> = reports
        .flat_map(|report| &report.workers)
        .filter(|worker| worker.pool == *name)
        .collect();
    let count = |state| {
        let found = workers.iter().filter(|worker| worker.state == state);
        u32::try_from(found.count()).unwrap_or(u32::MAX)
    };
    let orders = said.into_iter().flat_map(|said| said.nodes.values());
    let ready = workers
        .iter()
        .filter(|worker| worker.state == WorkerState::Ready);
    let (busy_slots, slots) = ready.fold((0, 0), |(busy, slots), worker| {
        (busy + worker.busy, slots + worker.slots)
    });
    PoolStatus {
        pool: name.clone(),
        kinds: plan.spec.kinds.iter().map(ToString::to_string).collect(),
        policy: plan.policy.rule.name().to_owned(),
        ready: count(WorkerState::Ready),
        starting: count(WorkerState::Starting),
        draining: count(WorkerState::Draining),
        target: orders.filter_map(|orders| orders.get(name)).sum(),
        min: plan.policy.bounds.min,
        max: plan.policy.bounds.max,
        score: None,
        signals: Signals::default(),
        paused: false,
        pinned: None,
        override_until: None,
        hold_until: None,
        bounds_until: None,
        reason: None,
        cooldown_until: None,
        queued: 0,
        busy_slots,
        slots,
        metrics_age_s: None,
        decided: None,
        shadows: Vec::new(),
    }
}

const NO_LONGER: &str = "this controller does not lead any more";

fn no_longer() -> ChangeError {
    ChangeError::Unavailable(NO_LONGER.into())
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn node_status(node: NodeId, document: &NodeDocument, is_drained: bool, age_s: f64) -> NodeStatus {
    let report = document.report.as_ref();
    let mut pools = BTreeMap::new();
    for worker in report.iter().flat_map(|report| &report.workers) {
        *pools.entry(worker.pool.clone()).or_default() += 1;
    }
    let workers = pools.values().sum();
    let is_draining = is_drained || document.standing == NodeStanding::Draining;
    let state = match (is_draining, workers) {
        (false, _) => "ready",
        (true, 0) => "drained",
        (true, _) => "draining",
    };
    NodeStatus {
        node,
        state: state.to_owned(),
        is_drain_ordered: is_drained,
        version: document.version.clone(),
        link_addr: Some(document.link_addr.clone()),
        operator_addr: Some(document.operator_addr.clone()),
        workers,
        workers_max: Some(document.workers_max),
        pools,
        process_cpu_cores: report.and_then(|report| report.process_cpu_cores),
        machine_cpu_cores: report.and_then(|report| report.machine_cpu_cores),
        cores: report.map(|report| report.cores),
        memory_bytes: report.and_then(|report| report.memory_bytes),
        memory_limit_bytes: report.and_then(|report| report.memory_limit_bytes),
        age_s: report.map(|_| age_s),
    }
}
