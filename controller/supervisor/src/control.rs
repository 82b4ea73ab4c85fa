//! One second of the supervisor, without its actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidepool_core::{
    NodeReport, PoolName, PoolReport, PoolSpec, SetTarget, Timestamp, TraceContext, WorkerState,
};
use tidepool_policy::{Block, Decision, Memory, Observation, Policy, decide};

use crate::intake::{Nodes, PoolIntake, Startups};
use crate::metrics::Metrics;
use crate::observe::observe;
use crate::ports::{DecisionSpan, Ports};
use crate::story;
use crate::view::{LastChange, Seen, SupervisorView};

/// A pool that was decided about within this time is left alone by the tick.
const DECIDE_ANYHOW_AFTER: Duration = Duration::from_millis(900);
/// The same wish held for the same reason is told again only after this long.
const RETELL_AFTER: Duration = Duration::from_secs(60);

/// A pool and how it is sized.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPlan {
    /// What it is.
    pub spec: PoolSpec,
    /// How it is sized.
    pub policy: Policy,
}

/// One pool under control.
struct Pool {
    plan: Arc<PoolPlan>,
    intake: PoolIntake,
    startups: Startups,
    memory: Memory,
    /// Order of the target within the epoch; grows when the target changes.
    seq: u64,
    last_change: Option<LastChange>,
    /// What held the last wish that was told, and when.
    told: Option<(Block, Timestamp)>,
    decided: Option<Timestamp>,
}

/// The supervisor's state.
pub(crate) struct Control {
    pub(crate) epoch: u64,
    pub(crate) ports: Ports,
    pub(crate) view: SupervisorView,
    pools: BTreeMap<PoolName, Pool>,
    nodes: Nodes,
    metrics: Metrics,
}

impl Control {
    pub(crate) fn new(epoch: u64, plans: Vec<PoolPlan>, ports: Ports, metrics: Metrics) -> Self {
        let pools = plans.into_iter().map(|plan| {
            let pool = Pool {
                plan: Arc::new(plan),
                intake: PoolIntake::default(),
                startups: Startups::default(),
                memory: Memory::default(),
                seq: 0,
                last_change: None,
                told: None,
                decided: None,
            };
            (pool.plan.spec.name.clone(), pool)
        });
        Self {
            epoch,
            ports,
            view: SupervisorView::default(),
            pools: pools.collect(),
            nodes: Nodes::default(),
            metrics,
        }
    }

    /// Takes in a pool's report and decides about the pool at once, while it is news: a balancer
    /// reports early when requests queue up.
    pub(crate) fn take_pool(&mut self, report: &PoolReport) {
        let now = (self.ports.now)();
        match self.pools.get_mut(&report.pool) {
            Some(pool) => pool.intake.add(report, now),
            None => tracing::debug!(pool = %report.pool, "a report of an unknown pool"),
        }
        self.decide_where(now, |pool| pool.plan.spec.name == report.pool);
    }

    /// Takes in a node's report. Pools whose live count was not known until now are decided about
    /// at once: a fresh fleet should not wait a second for its first workers.
    pub(crate) fn take_node(&mut self, report: NodeReport) {
        let now = (self.ports.now)();
        self.nodes.add(report, now);
        self.decide_where(now, |pool| pool.memory.target().is_none());
    }

    /// Decides about the pools that nothing was heard of for about a second: no news must not
    /// mean no decision.
    pub(crate) fn tick(&mut self) {
        let now = (self.ports.now)();
        self.nodes.forget_silent(now);
        self.decide_where(now, |pool| {
            pool.decided
                .is_none_or(|decided| now.since(decided) >= DECIDE_ANYHOW_AFTER)
        });
    }

    fn decide_where(&mut self, now: Timestamp, wanted: impl Fn(&Pool) -> bool) {
        let Self {
            epoch,
            ports,
            view,
            pools,
            nodes,
            metrics,
        } = self;
        for pool in pools.values_mut().filter(|pool| wanted(pool)) {
            let begin = Instant::now();
            let observation = pool.observe(nodes, now);
            let (decision, first) = pool.decide(&observation, now);
            pool.send_target(*epoch, ports);
            pool.tell(&decision, first, (now, begin), (*epoch, ports, metrics));
            metrics.show(&pool.plan.spec.name, &decision, observation.work_age_s);
            pool.show_workers(nodes, metrics);
            view.put(Seen {
                plan: Arc::clone(&pool.plan),
                epoch: *epoch,
                at: now,
                workers: observation.workers.unwrap_or_default(),
                newest: pool.intake.newest,
                last_change: pool.last_change.clone(),
                decision,
            });
        }
    }
}

impl Pool {
    fn observe(&mut self, nodes: &Nodes, now: Timestamp) -> Observation {
        let spec = &self.plan.spec;
        self.startups.observe(nodes.workers_of(&spec.name));
        let observation = observe(spec, &self.intake, nodes, self.startups.p95_s(), now);
        self.intake.clear();
        self.decided = Some(now);
        observation
    }

    /// Decides; tells also whether this is the first decision with a known live count.
    fn decide(&mut self, observation: &Observation, now: Timestamp) -> (Decision, bool) {
        let known = self.memory.target().is_some();
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = decide(&self.plan.policy, memory, observation, now.0);
        self.memory = memory;
        let first = !known && self.memory.target().is_some();
        if first || decision.is_change() {
            self.seq += 1;
        }
        (decision, first)
    }

    /// Repeats the wanted size. Until the live count is known there is none to repeat.
    fn send_target(&self, epoch: u64, ports: &Ports) {
        let Some(n) = self.memory.target() else {
            return;
        };
        let pool = self.plan.spec.name.clone();
        let seq = self.seq;
        let target = SetTarget {
            pool,
            epoch,
            seq,
            n,
        };
        if !(ports.set_target)(target) {
            tracing::warn!(pool = %self.plan.spec.name, "the nodes are too busy to take a target; it is repeated");
        }
    }

    fn tell(
        &mut self,
        decision: &Decision,
        first: bool,
        (now, begin): (Timestamp, Instant),
        outside: (u64, &Ports, &Metrics),
    ) {
        let (epoch, ports, metrics) = outside;
        if first || decision.is_change() {
            self.announce(decision, (now, begin), epoch, ports);
        } else if decision
            .blocked_by
            .is_some_and(|block| self.is_news(block, now))
        {
            (ports.publish)(story::suppressed(&self.plan, decision, epoch));
        } else {
            return;
        }
        self.told = decision.blocked_by.map(|block| (block, now));
        metrics.count(&self.plan.spec.name, decision);
    }

    /// Tells of a decision that set the target, in a trace of its own.
    fn announce(
        &mut self,
        decision: &Decision,
        (now, begin): (Timestamp, Instant),
        epoch: u64,
        ports: &Ports,
    ) {
        let plan = &self.plan;
        let sentence = decision.sentence();
        let context = TraceContext::root(true);
        let trace_id = context.trace_id;
        tracing::info!(pool = %plan.spec.name, %trace_id, "{sentence}");
        (ports.publish)(story::decided(plan, decision, epoch, trace_id));
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(now.0);
        (ports.span)(DecisionSpan {
            name: "scaling.decide",
            context,
            begin: at,
            end: at + begin.elapsed(),
            attributes: story::attributes(plan, decision),
        });
        self.last_change = Some(LastChange {
            at: now,
            sentence: sentence.into(),
            trace_id,
        });
    }

    /// Whether a held wish has not been told for a while. The time is renewed while it goes on, so
    /// that a wish that lasts is told once.
    fn is_news(&mut self, block: Block, now: Timestamp) -> bool {
        match &mut self.told {
            Some((told, at)) if *told == block && now.since(*at) < RETELL_AFTER => {
                *at = now;
                false
            }
            _ => true,
        }
    }

    fn show_workers(&self, nodes: &Nodes, metrics: &Metrics) {
        let name = &self.plan.spec.name;
        for state in WorkerState::ALL {
            let here = nodes
                .workers_of(name)
                .filter(|worker| worker.state == state);
            metrics.show_workers(name, state, here.count());
        }
    }
}
