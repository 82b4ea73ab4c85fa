//! One second of the supervisor, without its actor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidepool_core::{
    NodeId, NodeReport, PoolName, PoolReport, PoolSpec, SetTarget, Timestamp, TraceContext,
};
use tidepool_policy::{Bounds, Decision, Memory, Observation, Policy, decide};

use crate::confluence::{Confluence, Joined};
use crate::decision_log::{Decided, Entry, Place, Snapshot};
use crate::durable::Kept;
use crate::history::History;
use crate::intake::{PoolIntake, Startups};
use crate::keeper::{Inheritance, PoolState, Save};
use crate::learned::{self, Patterns};
use crate::metrics::Metrics;
use crate::nodes::{Fleet, Nodes};
use crate::observe::observe;
use crate::orders::OrderDesk;
use crate::orders::rules::Configured;
use crate::ports::{DecisionSpan, Ports};
use crate::shadow::Shadow;
use crate::story::{self, Told};
use crate::view::{LastChange, Seen, SupervisorView};

/// A pool that was decided about within this time is left alone by the tick.
const DECIDE_ANYHOW_AFTER: Duration = Duration::from_millis(900);
/// What is known of a pool is kept this often.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// A pool and how it is sized.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPlan {
    /// What it is.
    pub spec: PoolSpec,
    /// How it is sized.
    pub policy: Policy,
    /// Policies that decide beside it, without effect.
    pub shadows: Vec<Policy>,
}

impl PoolPlan {
    /// Bounds as they were configured.
    pub(crate) fn configured(&self) -> Configured {
        let Bounds { min, max, .. } = self.policy.bounds;
        Configured { min, max }
    }
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
    /// What holds wishes, as far as it was told.
    told: Told,
    decided: Option<Timestamp>,
    /// When its state was handed over to be kept.
    kept: Timestamp,
    /// When its learned pattern was.
    pattern_kept: Timestamp,
    shadows: Vec<Shadow>,
    log: Place,
}

/// The supervisor's state.
pub(crate) struct Control {
    pub(crate) epoch: u64,
    pub(crate) ports: Ports,
    pub(crate) view: SupervisorView,
    pools: BTreeMap<PoolName, Pool>,
    nodes: Nodes,
    balancers: Confluence,
    metrics: Metrics,
    orders: OrderDesk,
    patterns: Patterns,
    history: History,
}

/// What the supervisor shares with those who look and those who order.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) orders: OrderDesk,
    pub(crate) patterns: Patterns,
    pub(crate) history: History,
}

impl Control {
    pub(crate) fn new(
        epoch: u64,
        plans: Vec<PoolPlan>,
        (ports, metrics): (Ports, Metrics),
        (view, shared): (SupervisorView, Shared),
        mut inherited: Inheritance,
    ) -> Self {
        let now = (ports.now)();
        let pools = plans.into_iter().map(|plan| {
            let name = plan.spec.name.clone();
            let state = inherited.states.remove(&name).unwrap_or_default();
            (name, Pool::new(plan, state, now))
        });
        Self {
            epoch,
            pools: pools.collect(),
            ports,
            view,
            nodes: Nodes::default(),
            balancers: Confluence::default(),
            metrics,
            orders: shared.orders,
            patterns: shared.patterns,
            history: shared.history,
        }
    }

    /// Takes in a pool's report and decides about the pool at once, while it is news: a balancer
    /// reports early when requests queue up.
    pub(crate) fn take_pool(&mut self, report: PoolReport) {
        let now = (self.ports.now)();
        let (pools, mut around) = self.split();
        match pools.get_mut(&report.pool) {
            Some(pool) => {
                pool.intake.add(report, now);
                around.decide(pool, now);
            }
            None => tracing::debug!(pool = %report.pool, "a report of an unknown pool"),
        }
    }

    /// Takes in what is new of balancers, and decides about their pools at once.
    pub(crate) fn take_balancers(
        &mut self,
        present: &BTreeSet<String>,
        reports: Vec<(String, PoolReport)>,
    ) {
        let now = (self.ports.now)();
        self.balancers.keep_only(present);
        for (balancer, report) in reports {
            if self.pools.contains_key(&report.pool) {
                self.balancers.add(&balancer, report, now);
            }
        }
        let flown = self.balancers.flow();
        let (pools, mut around) = self.split();
        for Joined { report, received } in flown {
            if let Some(pool) = pools.get_mut(&report.pool) {
                pool.intake.add(report, received);
                around.decide(pool, now);
            }
        }
    }

    /// Takes in what is new of all nodes, and forgets those that are gone, without waiting for their
    /// silence. As [`Self::take_node`] then, but never on a part of the fleet.
    pub(crate) fn take_fleet(&mut self, present: &BTreeSet<NodeId>, reports: Vec<NodeReport>) {
        let now = (self.ports.now)();
        self.nodes.keep_only(present);
        for report in reports {
            self.nodes.add(report, now);
        }
        self.take_startups();
        self.decide_where(now, |pool| pool.memory.target().is_none());
    }

    /// Takes the numbers off the metrics, so that nobody reads those of a supervisor that ended.
    pub(crate) fn withdraw_metrics(&self) {
        self.metrics.withdraw();
    }

    /// Takes in a node's report. Pools whose live count was not known until now are decided about
    /// at once: a fresh fleet should not wait a second for its first workers.
    pub(crate) fn take_node(&mut self, report: NodeReport) {
        let now = (self.ports.now)();
        self.nodes.add(report, now);
        self.take_startups();
        self.decide_where(now, |pool| pool.memory.target().is_none());
    }

    /// Hands each pool how long its new workers took to start.
    fn take_startups(&mut self) {
        for (pool, startup) in self.nodes.take_startups() {
            if let Some(pool) = self.pools.get_mut(&pool) {
                pool.startups.add(startup);
            }
        }
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
        self.keep(now);
    }

    /// Hands over what is known of pools that was not kept for a while, a few at a time, so that a large
    /// fleet's turns spread over all ticks.
    fn keep(&mut self, now: Timestamp) {
        let (pools_max, mut patterns_left) = [KEEP_EVERY, learned::KEEP_EVERY]
            .map(|every| self.pools.len().div_ceil(ticks_of(every)))
            .into();
        let due = |pool: &&mut Pool| now.since(pool.kept) >= KEEP_EVERY;
        for pool in self.pools.values_mut().filter(due).take(pools_max) {
            pool.kept = now;
            let mut taken = (self.ports.keep)(pool.save(now));
            if patterns_left > 0 && now.since(pool.pattern_kept) >= learned::KEEP_EVERY {
                patterns_left -= 1;
                pool.pattern_kept = now;
                for save in self.patterns.saves(&pool.plan.spec.name, now) {
                    taken &= (self.ports.keep)(save);
                }
            }
            if !taken {
                tracing::debug!(pool = %pool.plan.spec.name, "too much waits to be kept");
            }
        }
    }

    /// What is known of every pool, to be kept before the end.
    pub(crate) fn save_all(&self) -> Vec<Save> {
        let now = (self.ports.now)();
        let patterns = self.pools.keys();
        let patterns = patterns.flat_map(|pool| self.patterns.saves(pool, now));
        let states = self.pools.values().map(|pool| pool.save(now));
        states.chain(patterns).collect()
    }

    fn decide_where(&mut self, now: Timestamp, wanted: impl Fn(&Pool) -> bool) {
        let (pools, mut around) = self.split();
        for pool in pools.values_mut().filter(|pool| wanted(pool)) {
            around.decide(pool, now);
        }
    }

    /// The pools, and what a decision about one of them needs beside it.
    fn split(&mut self) -> (&mut BTreeMap<PoolName, Pool>, Around<'_>) {
        let around = Around {
            epoch: self.epoch,
            ports: &self.ports,
            view: &self.view,
            nodes: &mut self.nodes,
            metrics: &self.metrics,
            orders: &self.orders,
            patterns: &self.patterns,
            history: &self.history,
        };
        (&mut self.pools, around)
    }
}

/// How many ticks there are in so long.
fn ticks_of(every: Duration) -> usize {
    usize::try_from(every.as_secs())
        .unwrap_or(usize::MAX)
        .max(1)
}

/// What all pools share.
struct Around<'a> {
    epoch: u64,
    ports: &'a Ports,
    view: &'a SupervisorView,
    nodes: &'a mut Nodes,
    metrics: &'a Metrics,
    orders: &'a OrderDesk,
    patterns: &'a Patterns,
    history: &'a History,
}

impl Around<'_> {
    /// Decides about a pool, sends its target, and shows and tells what came of it.
    fn decide(&mut self, pool: &mut Pool, now: Timestamp) {
        let (epoch, ports, metrics) = (self.epoch, self.ports, self.metrics);
        let begin = Instant::now();
        let name = &pool.plan.spec.name.clone();
        let fleet = self.nodes.fleet();
        let mut observation = pool.observe(fleet, now);
        observation.operator = self.orders.in_force(name, now);
        let assumed_s = pool.plan.policy.bounds.startup_s_assumed;
        self.patterns.attend(name, &mut observation, assumed_s, now);
        pool.log_snapshot(epoch, ports, now);
        for shadow in &mut pool.shadows {
            shadow.decide(&observation, &pool.memory, now);
        }
        let (decision, first) = pool.decide(&observation, now);
        pool.log_decision(&observation, &decision, ports, now);
        pool.send_target(epoch, ports);
        pool.tell(&decision, first, (now, begin), (epoch, ports, metrics));
        let workers = observation.workers;
        self.history
            .add(name, &decision, workers.unwrap_or_default(), now);
        self.view.put(Seen {
            plan: Arc::clone(&pool.plan),
            epoch,
            at: now,
            workers,
            by_state: fleet.workers_of(name).by_state(),
            shadows: pool.shadows.iter().filter_map(Shadow::status).collect(),
            newest: pool.intake.newest,
            last_change: pool.last_change.clone(),
            decision,
        });
    }
}

impl Pool {
    fn new(plan: PoolPlan, state: PoolState, now: Timestamp) -> Self {
        Self {
            shadows: plan.shadows.iter().cloned().map(Shadow::new).collect(),
            plan: Arc::new(plan),
            intake: PoolIntake::default(),
            startups: Startups::of(state.startups_s),
            memory: state.memory.taken_over(),
            seq: 0,
            last_change: None,
            told: Told::default(),
            decided: None,
            kept: now,
            pattern_kept: now,
            log: Place::default(),
        }
    }

    /// Logs what the next decision depends on, when it is time to.
    fn log_snapshot(&mut self, epoch: u64, ports: &Ports, now: Timestamp) {
        let Some(log) = ports.log.as_ref().filter(|_| self.log.wants_snapshot()) else {
            return;
        };
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch,
            policy: self.plan.policy.clone(),
            memory: self.memory.clone(),
        };
        let entry = Entry::Snapshot(Box::new(snapshot));
        self.log.put((&self.plan.spec.name, now), entry, log);
    }

    fn log_decision(
        &mut self,
        observation: &Observation,
        decision: &Decision,
        ports: &Ports,
        now: Timestamp,
    ) {
        let Some(log) = &ports.log else { return };
        let entry = Entry::Decided(Box::new(Decided {
            observation: observation.clone(),
            decision: decision.clone(),
        }));
        self.log.put((&self.plan.spec.name, now), entry, log);
    }

    fn save(&self, now: Timestamp) -> Save {
        let state = PoolState {
            memory: self.memory.clone(),
            startups_s: self.startups.seconds(),
        };
        Save::new(Kept::Memory, &self.plan.spec.name, state, now)
    }

    fn observe(&mut self, fleet: &Fleet, now: Timestamp) -> Observation {
        let spec = &self.plan.spec;
        let observation = observe(
            spec,
            &self.intake,
            fleet,
            self.startups.p95_s(),
            (&self.plan.policy.bounds, now),
        );
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
            self.told.forget();
            self.announce(decision, (now, begin), epoch, ports);
            // A change that stops short of the wish tells what held the rest.
            decision
                .blocked_by
                .map(|block| self.told.is_news(block, now));
        } else if decision
            .blocked_by
            .is_some_and(|block| self.told.is_news(block, now))
        {
            (ports.publish)(story::suppressed(&self.plan, decision, epoch));
        } else {
            return;
        }
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
            from: decision.from,
            to: decision.to,
            reason: decision.reason,
            sentence: sentence.into(),
            trace_id,
        });
    }
}
