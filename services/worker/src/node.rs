//! The Node actor: keeps each pool of this process at its target, and reports once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture};
use parking_lot::RwLock;
use serde_json::json;
use tidepool_core::status::DrainError;
use tidepool_core::{
    EventDraft, NodeId, NodeReport, PoolName, PoolSpec, SetTarget, WorkerId, WorkerReport,
};
use tokio::sync::watch;

use crate::hosted::Pool;
use crate::membership::Membership;
use crate::reconcile::{Candidate, reconcile};
use crate::resources::Probe;
use crate::restart::RestartPolicy;
use crate::turn::turn;
use crate::worker::{Change, WorkerChanged};

/// How often the node reports and checks its pools.
const TICK: Duration = Duration::from_secs(1);
/// Messages that may wait for the node.
const MAILBOX_LEN: usize = 4096;
/// How long a pool whose worker gave up launches nothing.
const LAUNCH_HOLD: Duration = Duration::from_secs(10);
/// How long a worker must have served before a crash loop counts as over.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// A pool as this node hosts it.
pub struct PoolHosting {
    /// What it is.
    pub spec: PoolSpec,
    /// One handler for each of its kinds, in that order.
    pub handlers: Vec<Arc<dyn tidepool_handler::Handler>>,
    /// The table that its workers join.
    pub membership: Arc<dyn Membership>,
}

/// Whom the node tells.
#[derive(Clone)]
pub struct NodePorts {
    /// Takes the report of each second; must not block.
    pub reports: Arc<dyn Fn(NodeReport) + Send + Sync>,
    /// Takes events; must not block.
    pub events: Arc<dyn Fn(EventDraft) + Send + Sync>,
}

/// How a node names its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// It is the only one.
    Alone,
    /// One of several: its name is part of theirs.
    Among(NodeId),
}

impl Naming {
    pub(crate) fn name(&self, pool: &PoolName, n: u64) -> WorkerId {
        match self {
            Self::Alone => WorkerId::new(pool, n),
            Self::Among(node) => WorkerId::on_node(pool, n, node),
        }
    }
}

/// What a node is.
pub struct NodeConfig {
    /// Its name.
    pub node: NodeId,
    /// How its workers are named.
    pub naming: Naming,
    /// Its pools.
    pub pools: Vec<PoolHosting>,
    /// How its workers restart.
    pub restart: RestartPolicy,
    /// Whom it tells.
    pub ports: NodePorts,
}

/// Sets the number of workers that a pool should have here.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Target(pub SetTarget);

/// Drains one worker; its pool starts another if its target wants one.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<(), DrainError>")]
pub struct DrainWorker(pub WorkerId);

/// Asks for the workers that have not stopped.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Vec<WorkerReport>")]
pub struct AskStatus;

/// Drains everything; answered when the last worker has stopped.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Shutdown;

/// Hosts workers.
pub struct Node {
    node: NodeId,
    pools: BTreeMap<PoolName, Pool>,
    restart: RestartPolicy,
    ports: NodePorts,
    probe: Probe,
    view: Arc<RwLock<Vec<WorkerReport>>>,
    live: watch::Sender<usize>,
    stopping: bool,
}

impl Node {
    /// A node without workers; targets bring them.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let naming = &config.naming;
        let pools = config.pools.into_iter().map(|hosting| {
            let pool = Pool::new(hosting, naming.clone());
            (pool.spec.name.clone(), pool)
        });
        Self {
            node: config.node,
            pools: pools.collect(),
            restart: config.restart,
            ports: config.ports,
            probe: Probe::new(),
            view: Arc::default(),
            live: watch::Sender::new(0),
            stopping: false,
        }
    }

    /// The workers as of the last second, for those who must not wait.
    #[must_use]
    pub fn view(&self) -> Arc<RwLock<Vec<WorkerReport>>> {
        Arc::clone(&self.view)
    }

    fn event(&self, kind: &'static str, pool: &PoolName, data: serde_json::Value) {
        (self.ports.events)(EventDraft::of_pool(kind, pool, data));
    }

    /// Brings one pool towards its target. Publish afterwards.
    fn reconcile(&mut self, name: &PoolName, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        let wanted = if self.stopping {
            0
        } else {
            pool.target.as_ref().map_or(0, |t| t.n)
        };
        let candidates: Vec<Candidate> = pool
            .workers
            .iter()
            .map(|(id, entry)| Candidate {
                id: id.clone(),
                state: entry.state,
                busy: pool.membership.busy(id),
                launch: entry.launch,
            })
            .collect();
        let plan = reconcile(wanted, &candidates);
        for id in &plan.drain {
            pool.drain(id);
        }
        if pool.hold_until.is_some_and(|until| now < until) {
            return;
        }
        for _ in 0..plan.spawn {
            pool.spawn(self.restart, ctx);
        }
    }

    /// Updates what others see without asking.
    fn publish(&self) {
        let reports: Vec<WorkerReport> = self
            .pools
            .values()
            .flat_map(|pool| pool.reports(&self.node))
            .collect();
        self.live.send_replace(reports.len());
        *self.view.write() = reports;
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let names: Vec<PoolName> = self.pools.keys().cloned().collect();
        for name in &names {
            self.reconcile(name, ctx);
            self.end_crash_loop(name);
        }
        let now = Instant::now();
        self.pools
            .values_mut()
            .for_each(|pool| pool.measure_cpu(now));
        self.publish();
        let resources = self.probe.read();
        (self.ports.reports)(NodeReport {
            node: self.node.clone(),
            at: SystemTime::now().into(),
            process_cpu_cores: resources.process_cpu_cores,
            machine_cpu_cores: resources.machine_cpu_cores,
            cores: resources.cores,
            memory_bytes: resources.memory_bytes,
            memory_limit_bytes: resources.memory_limit_bytes,
            memory_used_bytes: resources.memory_used_bytes,
            workers: self.view.read().clone(),
        });
    }

    fn begin_crash_loop(&mut self, name: &PoolName, worker: &WorkerId) {
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        pool.hold_until = Some(Instant::now() + LAUNCH_HOLD);
        if !std::mem::replace(&mut pool.crash_loop, true) {
            let data = json!({
                "alertname": "WorkerCrashLoop", "severity": "critical", "pool": name,
                "worker": worker,
                "summary": format!(
                    "{worker} crashed {} times within {} s; its pool starts no other for {} s",
                    self.restart.restarts_max + 1,
                    self.restart.window.as_secs(),
                    LAUNCH_HOLD.as_secs(),
                ),
            });
            self.event("alert.firing", name, data);
        }
    }

    fn end_crash_loop(&mut self, name: &PoolName) {
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        let healthy = pool.workers.values().any(|w| {
            w.ready_since
                .is_some_and(|since| since.elapsed() >= HEALTHY_AFTER)
        });
        if pool.crash_loop && healthy {
            pool.crash_loop = false;
            let data = json!({
                "alertname": "WorkerCrashLoop", "severity": "critical", "pool": name,
                "summary": format!("workers of {name} have served for a minute without a crash"),
            });
            self.event("alert.resolved", name, data);
        }
    }
}

impl Actor for Node {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_LEN);
        // The first report is what a supervisor waits for to give the first targets.
        turn("node", || self.tick(ctx));
        ctx.run_interval(TICK, |node, ctx| turn("node", || node.tick(ctx)));
    }
}

impl Handler<Target> for Node {
    type Result = ();

    fn handle(&mut self, Target(target): Target, ctx: &mut Self::Context) {
        let name = target.pool.clone();
        let Some(pool) = self.pools.get_mut(&name) else {
            return;
        };
        let newer = pool
            .target
            .as_ref()
            .is_none_or(|held| target.supersedes(held.epoch, held.seq));
        if newer {
            pool.target = Some(target);
            self.reconcile(&name, ctx);
            self.publish();
        }
    }
}

impl Handler<WorkerChanged> for Node {
    type Result = ();

    fn handle(&mut self, message: WorkerChanged, ctx: &mut Self::Context) {
        let WorkerChanged { id, change } = message;
        let owner = self
            .pools
            .iter()
            .find(|(_, pool)| pool.workers.contains_key(&id));
        let Some(name) = owner.map(|(name, _)| name.clone()) else {
            return;
        };
        let told = self
            .pools
            .get_mut(&name)
            .and_then(|pool| pool.changed(&id, &change));
        if let Some((kind, data)) = told {
            self.event(kind, &name, data);
        }
        if matches!(change, Change::Stopped { gave_up: true }) {
            self.begin_crash_loop(&name, &id);
        }
        self.reconcile(&name, ctx);
        self.publish();
    }
}

impl Handler<DrainWorker> for Node {
    type Result = Result<(), DrainError>;

    fn handle(&mut self, DrainWorker(id): DrainWorker, ctx: &mut Self::Context) -> Self::Result {
        let owner = self
            .pools
            .iter()
            .find(|(_, pool)| pool.workers.contains_key(&id));
        let name = owner
            .map(|(name, _)| name.clone())
            .ok_or_else(|| DrainError::Unknown(id.clone()))?;
        let sent = self
            .pools
            .get_mut(&name)
            .is_some_and(|pool| pool.drain(&id));
        if !sent {
            return Err(DrainError::Busy);
        }
        self.reconcile(&name, ctx);
        self.publish();
        Ok(())
    }
}

impl Handler<AskStatus> for Node {
    type Result = MessageResult<AskStatus>;

    fn handle(&mut self, _ask: AskStatus, _ctx: &mut Self::Context) -> Self::Result {
        self.publish();
        MessageResult(self.view.read().clone())
    }
}

impl Handler<Shutdown> for Node {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let names: Vec<PoolName> = self.pools.keys().cloned().collect();
        for name in &names {
            self.reconcile(name, ctx);
        }
        self.publish();
        let mut live = self.live.subscribe();
        Box::pin(async move {
            // Ends with an error only when the node is gone, and its workers with it.
            let _ = live.wait_for(|n| *n == 0).await;
        })
    }
}
