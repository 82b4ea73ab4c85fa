//! What operators may see, kept beside the actor so that looking never waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidepool_core::status::{Decided, Explanation, PoolStatus};
use tidepool_core::{PoolName, Timestamp, TraceId};
use tidepool_policy::{Block, Decision, Reason, WorkerCounts};

use crate::control::PoolPlan;
use crate::intake::Newest;
use crate::story;

/// A pool at its last decision.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) plan: Arc<PoolPlan>,
    pub(crate) epoch: u64,
    pub(crate) at: Timestamp,
    pub(crate) decision: Decision,
    pub(crate) workers: WorkerCounts,
    pub(crate) newest: Option<Newest>,
    /// The decision that set the target: when, its sentence and its trace.
    pub(crate) last_change: Option<LastChange>,
}

/// The decision that set the present target.
#[derive(Clone, Debug)]
pub(crate) struct LastChange {
    pub(crate) at: Timestamp,
    pub(crate) sentence: Arc<str>,
    pub(crate) trace_id: TraceId,
}

/// A window onto the supervisor's last decisions. Cheap to clone; every call takes a snapshot.
#[derive(Clone, Debug, Default)]
pub struct SupervisorView(Arc<RwLock<BTreeMap<PoolName, Seen>>>);

impl SupervisorView {
    pub(crate) fn put(&self, seen: Seen) {
        let name = seen.plan.spec.name.clone();
        self.0.write().insert(name, seen);
    }

    /// Every pool that was decided about, by name.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStatus> {
        self.0.read().values().map(status).collect()
    }

    /// One pool.
    #[must_use]
    pub fn pool(&self, pool: &PoolName) -> Option<PoolStatus> {
        self.0.read().get(pool).map(status)
    }

    /// Why a pool has the size it has, as of the last second.
    #[must_use]
    pub fn explain(&self, pool: &PoolName) -> Option<Explanation> {
        let seen = self.0.read().get(pool).cloned()?;
        Some(explanation(&seen))
    }
}

fn status(seen: &Seen) -> PoolStatus {
    let Seen { plan, decision, .. } = seen;
    PoolStatus {
        pool: plan.spec.name.clone(),
        kinds: plan.spec.kinds.iter().map(ToString::to_string).collect(),
        policy: plan.policy.rule.name().to_owned(),
        ready: seen.workers.ready,
        starting: seen.workers.starting,
        draining: seen.workers.draining,
        target: decision.to,
        min: plan.policy.bounds.min,
        max: plan.policy.bounds.max,
        score: decision.score,
        signals: story::signals(decision),
        paused: false,
        cooldown_until: decision.cooldown_until_ms.map(|ms| Timestamp(ms).rfc3339()),
        queued: seen.newest.map_or(0, |newest| newest.queued),
        busy_slots: seen.newest.map_or(0, |newest| newest.busy_slots),
        slots: seen.newest.map_or(0, |newest| newest.ready_slots),
        metrics_age_s: seen
            .newest
            .map(|newest| seen.at.seconds_since(newest.received)),
        decided: Some(decided(seen)),
    }
}

fn decided(seen: &Seen) -> Decided {
    let decision = &seen.decision;
    Decided {
        at_ms: seen.at.0,
        changed_at_ms: seen.last_change.as_ref().map(|change| change.at.0),
        need: decision.raw_need,
        epoch: seen.epoch,
        blind: decision.blocked_by == Some(Block::Blind) || decision.reason == Reason::BlindMedian,
    }
}

fn explanation(seen: &Seen) -> Explanation {
    let decision = &seen.decision;
    let change = seen.last_change.as_ref();
    let mut sentence = decision.sentence();
    // A pool at rest is explained by what brought it to its size.
    if let Some(change) = change.filter(|change| change.at < seen.at) {
        let ago_s = seen.at.since(change.at).as_secs();
        sentence = format!("{sentence}. Last change {ago_s} s ago: {}", change.sentence);
    }
    Explanation {
        pool: seen.plan.spec.name.clone(),
        sentence,
        decision: story::data(
            &seen.plan,
            decision,
            seen.epoch,
            change.map(|change| change.trace_id),
        ),
        blocked_by: decision.blocked_by.map(|block| block.to_string()),
        earliest_change: story::earliest_change(decision),
    }
}
