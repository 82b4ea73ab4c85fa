//! What operators may see, kept beside the actor so that looking never waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidepool_core::order::{ChangeFuture, PoolChange, Standing};
use tidepool_core::series::{SeriesAnswer, SeriesError, SeriesQuery};
use tidepool_core::status::{CounterfactualStatus, Decided, Explanation, PoolStatus, ShadowStatus};
use tidepool_core::{PoolName, Timestamp, TraceId, WorkerState};
use tidepool_policy::{Block, Counterfactual, Decision, Reason, WorkerCounts};
use tidepool_profile::Forecast;

use crate::control::{PoolPlan, Shared};
use crate::intake::Newest;
use crate::learned::Patterns;
use crate::orders::rules::{self, Configured};
use crate::slot_use::SlotUse;
use crate::story;

/// A pool at its last decision.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) plan: Arc<PoolPlan>,
    pub(crate) epoch: u64,
    pub(crate) at: Timestamp,
    pub(crate) decision: Decision,
    /// As far as they are known.
    pub(crate) workers: Option<WorkerCounts>,
    /// How many are in each state, in the order of [`WorkerState::ALL`].
    pub(crate) by_state: [u32; WorkerState::ALL.len()],
    pub(crate) shadows: Vec<ShadowStatus>,
    pub(crate) newest: Option<Newest>,
    /// The decision that set the target: when, its sentence and its trace.
    pub(crate) last_change: Option<LastChange>,
}

impl Seen {
    /// Seconds since the newest report when it was decided; nothing before the first.
    pub(crate) fn metrics_age_s(&self) -> Option<f64> {
        let newest = self.newest?;
        Some(self.at.seconds_since(newest.received))
    }
}

/// The decision that set the present target.
#[derive(Clone, Debug)]
pub(crate) struct LastChange {
    pub(crate) at: Timestamp,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) reason: Reason,
    pub(crate) sentence: Arc<str>,
    pub(crate) trace_id: TraceId,
}

/// A window onto the supervisor's last decisions. Cheap to clone; every call takes a snapshot.
#[derive(Clone, Debug)]
pub struct SupervisorView {
    seen: Arc<RwLock<BTreeMap<PoolName, Seen>>>,
    shared: Shared,
}

impl SupervisorView {
    pub(crate) fn new(shared: Shared) -> Self {
        let seen = Arc::default();
        Self { seen, shared }
    }

    pub(crate) fn put(&self, seen: Seen) {
        let name = seen.plan.spec.name.clone();
        self.seen.write().insert(name, seen);
    }

    /// Shows every pool, with what its learned hours expect. Who decides waits for one pool at most.
    pub(crate) fn each(&self, mut show: impl FnMut(&Seen, Option<Forecast>)) {
        let pools: Vec<PoolName> = self.seen.read().keys().cloned().collect();
        for pool in &pools {
            let learned = self.shared.patterns.forecast_of(pool);
            if let Some(seen) = self.seen.read().get(pool) {
                show(seen, learned);
            }
        }
    }

    /// Changes what operators ask of a pool; done when the change would survive a crash.
    #[must_use]
    pub fn change(&self, pool: &PoolName, change: PoolChange) -> ChangeFuture {
        self.shared.orders.change(pool, change)
    }

    /// Writes no orders any more: another supervisor is about to read them.
    pub async fn close_orders(&self) {
        self.shared.orders.close().await;
    }

    /// The learned patterns.
    #[must_use]
    pub fn patterns(&self) -> &Patterns {
        &self.shared.patterns
    }

    /// Numbers over time.
    ///
    /// # Errors
    /// When no such series is kept, or more is asked for than an answer holds.
    pub fn series(&self, query: &SeriesQuery, now: Timestamp) -> Result<SeriesAnswer, SeriesError> {
        self.shared.history.read(query, now)
    }

    fn status(&self, seen: &Seen) -> PoolStatus {
        status(seen, &self.shared.orders.standing(&seen.plan.spec.name))
    }

    /// Every pool that was decided about, by name.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStatus> {
        let seen = self.seen.read();
        seen.values().map(|seen| self.status(seen)).collect()
    }

    /// One pool.
    #[must_use]
    pub fn pool(&self, pool: &PoolName) -> Option<PoolStatus> {
        self.seen.read().get(pool).map(|seen| self.status(seen))
    }

    /// Why a pool has the size it has, as of the last second.
    #[must_use]
    pub fn explain(&self, pool: &PoolName) -> Option<Explanation> {
        let seen = self.seen.read().get(pool).cloned()?;
        Some(explanation(&seen, &self.shared.orders.standing(pool)))
    }
}

fn status(seen: &Seen, standing: &Standing) -> PoolStatus {
    let Seen { plan, decision, .. } = seen;
    let Configured { min, max } = rules::bounds(plan.configured(), standing);
    let newest = seen.newest;
    let use_of = newest.map_or_else(SlotUse::default, |newest| SlotUse::of(newest, seen.workers));
    let workers = seen.workers.unwrap_or_default();
    PoolStatus {
        pool: plan.spec.name.clone(),
        kinds: plan.spec.kinds.iter().map(ToString::to_string).collect(),
        policy: plan.policy.rule.name().to_owned(),
        ready: workers.ready,
        starting: workers.starting,
        draining: workers.draining,
        target: decision.to,
        min,
        max,
        score: decision.score,
        signals: story::signals(decision),
        paused: standing.is_paused(),
        pinned: standing.pinned(),
        override_until: standing.until().map(Timestamp::rfc3339),
        hold_until: standing.hold.as_ref().map(|hold| hold.until.rfc3339()),
        bounds_until: standing
            .bounds
            .as_ref()
            .and_then(|bounds| Some(bounds.until?.rfc3339())),
        reason: standing.reason().map(str::to_owned),
        cooldown_until: decision.cooldown_until_ms.map(|ms| Timestamp(ms).rfc3339()),
        queued: use_of.queued,
        busy_slots: use_of.busy,
        slots: use_of.slots,
        metrics_age_s: seen.metrics_age_s(),
        decided: Some(decided(seen)),
        shadows: seen.shadows.clone(),
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

fn explanation(seen: &Seen, standing: &Standing) -> Explanation {
    let decision = &seen.decision;
    let change = seen.last_change.as_ref();
    let order = order_sentence(standing);
    // The decision knows that somebody holds it, and not who: an order is named once.
    let hold = order.as_deref().filter(|_| standing.hold.is_some());
    let hold = hold.filter(|_| decision.tells_hold());
    let is_named = hold.is_some();
    let mut sentence = hold.map_or_else(|| decision.sentence(), |by| decision.sentence_under(by));
    // A pool at rest is explained by what brought it to its size.
    if let Some(change) = change.filter(|change| change.at < seen.at) {
        let ago_s = seen.at.since(change.at).as_secs();
        let brief = format!("{} -> {}", change.from, change.to);
        let told = if is_named && change.reason == Reason::Pinned {
            &brief
        } else {
            &*change.sentence
        };
        sentence = format!("{sentence}. Last change {ago_s} s ago: {told}");
    }
    if let Some(order) = order.filter(|_| !is_named) {
        sentence = format!("{sentence}. {order}");
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
        counterfactual: decision.counterfactual().map(counterfactual),
        shadow_note: (!seen.shadows.is_empty()).then(|| SHADOW_NOTE.to_owned()),
        shadows: seen.shadows.clone(),
    }
}

/// What a shadow can and cannot tell.
const SHADOW_NOTE: &str = "A shadow decides about the live fleet, from its present target on: it \
                           tells what it would do to this fleet now, not what a fleet of its own \
                           would have come to.";

fn counterfactual(other: Counterfactual) -> CounterfactualStatus {
    let share = |share: f64| format!("{:.3} %", share * 100.0);
    let workers = match other.workers {
        0 => "no worker".to_owned(),
        1 => "1 worker".to_owned(),
        n => format!("{n} workers"),
    };
    CounterfactualStatus {
        workers: other.workers,
        late_share: other.late_share,
        late_share_decided: other.late_share_decided,
        sentence: format!(
            "With {workers}, one fewer, {} of requests would wait longer than the objective, \
             instead of {}.",
            share(other.late_share),
            share(other.late_share_decided)
        ),
    }
}

/// What an operator holds, until when, and why.
fn order_sentence(standing: &Standing) -> Option<String> {
    let (what, by, until) = match (&standing.hold, &standing.bounds) {
        (Some(hold), _) => {
            let what = hold.pin.map_or_else(
                || "paused it".to_owned(),
                |pin| format!("pinned it to {pin}"),
            );
            (what, &hold.by, Some(hold.until))
        }
        (None, Some(bounds)) => ("set its bounds".to_owned(), &bounds.by, bounds.until),
        (None, None) => return None,
    };
    let until = until.map_or_else(
        || "until they are taken back".to_owned(),
        |until| format!("until {until}"),
    );
    let why = standing.reason();
    let why = why.map_or_else(String::new, |reason| format!(" ({reason})"));
    Some(format!("{by} {what} {until}{why}"))
}
