//! What bounds, cooldown, budgets and doubts leave of what a rule would like to do.
//!
//! Growth is held only by the upper bound, the launch limit, failing answers and a full node;
//! retirement also by everything that could make it a mistake. The bounds are obeyed at once,
//! whatever else holds.

use crate::clock::millis;
use crate::config::Policy;
use crate::decision::{Block, Bound, Decision, Direction, RateForecast, Reason};
use crate::ewma::clean;
use crate::memory::Memory;
use crate::observation::Observation;
use crate::order;
use crate::retire::Retirement;
use crate::tidepool::{Appraisal, have};

/// A target with its reasons.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) to: u32,
    pub(crate) wanted: u32,
    pub(crate) reason: Reason,
    pub(crate) blocked_by: Option<Block>,
    pub(crate) bounded_by: Option<Bound>,
    pub(crate) quiet_s: Option<f64>,
}

impl Verdict {
    pub(crate) fn stay(target: u32, reason: Reason) -> Self {
        Self {
            to: target,
            wanted: target,
            reason,
            blocked_by: None,
            bounded_by: None,
            quiet_s: None,
        }
    }

    fn blocked(target: u32, wanted: u32, block: Block) -> Self {
        Self {
            wanted,
            blocked_by: Some(block),
            ..Self::stay(target, Reason::Blocked)
        }
    }
}

/// Which measurements can be relied on.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// Nothing is known.
    blind: bool,
    /// Something is missing: never lower.
    doubtful: bool,
}

impl Sight {
    fn of(policy: &Policy, observation: &Observation, partial: bool) -> Self {
        let fresh =
            |age_s: Option<f64>| age_s.is_some_and(|age_s| age_s <= policy.bounds.stale_after_s);
        let work = fresh(observation.work_age_s);
        let workers = fresh(observation.workers_age_s) && observation.workers.is_some();
        Self {
            blind: !work && !workers,
            doubtful: !work || !workers || partial,
        }
    }
}

/// Turns an appraisal into a decision and records what follows from it.
pub(crate) fn settle(
    policy: &Policy,
    memory: &mut Memory,
    observation: &Observation,
    appraisal: Appraisal,
    now_ms: u64,
) -> Decision {
    let bounds = &policy.bounds;
    let sight = Sight::of(policy, observation, appraisal.partial);
    note_blindness(memory, sight);
    let Some(target) = memory.target else {
        let verdict = Verdict::blocked(bounds.min, bounds.min, Block::Blind);
        return compose(
            policy,
            memory,
            observation,
            appraisal,
            (bounds.min, verdict),
            now_ms,
        );
    };
    let startup_s = appraisal.startup_s;
    let efficacy = &mut memory.efficacy;
    efficacy.judge(memory.clock.now_ms(), observation, startup_s);
    let mut verdict = judge(policy, memory, observation, &appraisal, sight, target);
    if let Some(order) = observation.operator.filter(|o| o.in_force(now_ms)) {
        verdict = order::obey(&order, target, verdict);
    }
    let kept = bounds.clamp(verdict.to);
    if kept != verdict.to {
        let (reason, bound) = if kept > verdict.to {
            (Reason::Minimum, Bound::Min)
        } else {
            (Reason::Maximum, Bound::Max)
        };
        verdict = Verdict {
            bounded_by: Some(bound),
            ..Verdict::stay(kept, reason)
        };
    }
    if !memory.decided && verdict.to == target && verdict.blocked_by.is_none() {
        verdict.reason = Reason::Adopted;
    }
    memory.decided = true;
    record(policy, memory, observation, target, &verdict);
    compose(
        policy,
        memory,
        observation,
        appraisal,
        (target, verdict),
        now_ms,
    )
}

/// Takes note of a change of the target. What bounds and operators bring about is not the rule
/// changing its mind: it neither costs a reversal nor tries whether workers help.
fn record(
    policy: &Policy,
    memory: &mut Memory,
    observation: &Observation,
    from: u32,
    verdict: &Verdict,
) {
    let direction = direction(from, verdict.to);
    if direction == Direction::Hold {
        return;
    }
    memory.target = Some(verdict.to);
    let imposed = [Reason::Pinned, Reason::Minimum, Reason::Maximum].contains(&verdict.reason);
    if imposed {
        return;
    }
    if direction == Direction::Up {
        let ready = observation.workers.map_or(from, |workers| workers.ready);
        let service_s = memory.service.mean_s();
        memory.efficacy.grew(ready, service_s);
    } else {
        memory.efficacy.shrank();
    }
    let now_ms = memory.clock.now_ms();
    memory.reversals.record(direction, now_ms, &policy.bounds);
}

fn note_blindness(memory: &mut Memory, sight: Sight) {
    if sight.blind {
        let now_ms = memory.clock.now_ms();
        memory.blind_since_ms.get_or_insert(now_ms);
    } else {
        memory.blind_since_ms = None;
    }
}

fn judge(
    policy: &Policy,
    memory: &mut Memory,
    observation: &Observation,
    appraisal: &Appraisal,
    sight: Sight,
    target: u32,
) -> Verdict {
    let queued = observation.backlog.map_or(0.0, |b| clean(b.queued));
    let cold = have(memory, observation) == 0 && queued > 0.0;
    let blind_s = memory
        .blind_since_ms
        .map_or(0.0, |since_ms| memory.clock.seconds_since(since_ms));
    let median_to = appraisal
        .median_to
        .filter(|_| sight.blind && blind_s >= policy.bounds.blind_after_s)
        .unwrap_or(0);
    let wanted = appraisal.grow_to.max(u32::from(cold)).max(median_to);
    if wanted > target {
        let reason = if cold {
            Reason::ColdStart
        } else if median_to == wanted {
            Reason::BlindMedian
        } else if appraisal.learned {
            Reason::LearnedFloor
        } else {
            Reason::Need
        };
        return grow(
            policy,
            memory,
            observation,
            appraisal,
            (target, wanted, reason, cold),
        );
    }
    match appraisal.retirement {
        Some(retirement) => retire(policy, memory, sight, target, retirement),
        None if sight.blind => Verdict::blocked(target, target, Block::Blind),
        None => Verdict::stay(target, Reason::Steady),
    }
}

fn grow(
    policy: &Policy,
    memory: &mut Memory,
    observation: &Observation,
    appraisal: &Appraisal,
    (target, wanted, reason, cold): (u32, u32, Reason, bool),
) -> Verdict {
    let bounds = &policy.bounds;
    let now_ms = memory.clock.now_ms();
    if target >= bounds.max {
        return Verdict::blocked(target, wanted, Block::Max);
    }
    // A pool without workers starts one whatever is wrong: nothing else can show a recovery.
    if !cold && memory.health.frozen(now_ms) {
        return Verdict::blocked(target, wanted, Block::Failing);
    }
    let node_is_full = |share: f64| share >= bounds.node_memory_share_max;
    if !cold && observation.node_memory_share.is_some_and(node_is_full) {
        return Verdict::blocked(target, wanted, Block::NodeMemory);
    }
    if !cold && memory.efficacy.frozen(now_ms) {
        return Verdict::blocked(target, wanted, Block::NoEffect);
    }
    let step = (bounds.launch_step, bounds.launch_factor);
    let limit = memory
        .launch
        .limit(now_ms, target, appraisal.startup_s, step);
    if limit <= target {
        return Verdict::blocked(target, wanted, Block::LaunchRate);
    }
    let probe = memory.efficacy.step_max();
    let limit = probe.map_or(limit, |step| limit.min(target.saturating_add(step)));
    let to = wanted.min(limit).min(bounds.max);
    let bounded_by = if to == wanted {
        None
    } else if to == bounds.max {
        Some(Bound::Max)
    } else {
        Some(Bound::LaunchRate)
    };
    Verdict {
        to,
        wanted,
        bounded_by,
        ..Verdict::stay(target, reason)
    }
}

fn retire(
    policy: &Policy,
    memory: &Memory,
    sight: Sight,
    target: u32,
    retirement: Retirement,
) -> Verdict {
    let to = policy.bounds.clamp(retirement.to);
    if to >= target {
        return Verdict {
            bounded_by: Some(Bound::Min),
            ..Verdict::stay(target, Reason::Steady)
        };
    }
    let block = retirement_block(policy, memory, sight);
    let unaffordable = || (!retirement.affordable).then_some(Block::ReversalBudget);
    if let Some(block) = block.or_else(unaffordable) {
        return Verdict {
            quiet_s: retirement.quiet_s,
            ..Verdict::blocked(target, to, block)
        };
    }
    let bounded_by = if to > retirement.to {
        Some(Bound::Min)
    } else {
        retirement.stepped.then_some(Bound::RetireStep)
    };
    Verdict {
        to,
        wanted: to,
        bounded_by,
        quiet_s: retirement.quiet_s,
        ..Verdict::stay(target, retirement.reason)
    }
}

fn retirement_block(policy: &Policy, memory: &Memory, sight: Sight) -> Option<Block> {
    let now_ms = memory.clock.now_ms();
    if sight.blind {
        Some(Block::Blind)
    } else if sight.doubtful {
        Some(Block::StaleMetrics)
    } else if memory.health.frozen(now_ms) {
        Some(Block::Failing)
    } else if now_ms < start_hold_ms(policy, memory) {
        Some(Block::StartHold)
    } else if now_ms < cooldown_ms(policy, memory) {
        Some(Block::Cooldown)
    } else if now_ms < memory.burst.held_until_ms() {
        Some(Block::Burst)
    } else if now_ms < memory.dip.held_until_ms() {
        Some(Block::Dip)
    } else {
        None
    }
}

/// Policy time at which the hold after taking over ends.
fn start_hold_ms(policy: &Policy, memory: &Memory) -> u64 {
    memory
        .began_ms
        .saturating_add(millis(policy.bounds.start_hold_s))
}

/// Policy time at which the cooldown ends.
fn cooldown_ms(policy: &Policy, memory: &Memory) -> u64 {
    let cooldown_ms = millis(policy.bounds.cooldown_s);
    memory
        .reversals
        .last()
        .map_or(0, |change| change.at_ms.saturating_add(cooldown_ms))
}

fn direction(from: u32, to: u32) -> Direction {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => Direction::Up,
        std::cmp::Ordering::Less => Direction::Down,
        std::cmp::Ordering::Equal => Direction::Hold,
    }
}

/// Earliest policy time at which a retirement could happen.
fn earliest_ms(policy: &Policy, memory: &Memory) -> u64 {
    let now_ms = memory.clock.now_ms();
    start_hold_ms(policy, memory)
        .max(cooldown_ms(policy, memory))
        .max(memory.health.frozen_until_ms())
        .max(memory.burst.held_until_ms())
        .max(memory.dip.held_until_ms())
        .max(memory.reversals.earned_ms(&policy.bounds, now_ms))
        .max(now_ms)
}

/// When the pause or pin that is in force ends, if one is; `Some(None)` for one without an end.
#[expect(
    clippy::option_option,
    reason = "no order is not the same as an order without an end"
)]
fn order_ends_ms(observation: &Observation, now_ms: u64) -> Option<Option<u64>> {
    let order = observation.operator.filter(|o| o.in_force(now_ms))?;
    (order.paused || order.pin.is_some()).then_some(order.until_ms)
}

fn compose(
    policy: &Policy,
    memory: &Memory,
    observation: &Observation,
    appraisal: Appraisal,
    (from, verdict): (u32, Verdict),
    now_ms: u64,
) -> Decision {
    let policy_now_ms = memory.clock.now_ms();
    let wall = |at_ms: u64| now_ms.saturating_add(at_ms.saturating_sub(policy_now_ms));
    let held_ms = start_hold_ms(policy, memory).max(cooldown_ms(policy, memory));
    let can_shrink = verdict.to > policy.bounds.min && verdict.blocked_by != Some(Block::Blind);
    Decision {
        from,
        to: verdict.to,
        direction: direction(from, verdict.to),
        reason: verdict.reason,
        score: appraisal.score,
        needs: appraisal.needs,
        winner: appraisal.winner,
        raw_need: appraisal.raw_need,
        bounded_by: verdict.bounded_by,
        wanted: verdict.wanted,
        blocked_by: verdict.blocked_by,
        earliest_change_ms: match order_ends_ms(observation, now_ms) {
            Some(ends_ms) => ends_ms,
            None => can_shrink.then(|| wall(earliest_ms(policy, memory))),
        },
        cooldown_until_ms: (held_ms > policy_now_ms).then(|| wall(held_ms)),
        observed_rate: appraisal.observed_rate,
        forecast: appraisal.forecast.map(|forecast| RateForecast {
            // The rule gives it relative to now, which only this end knows.
            at_ms: now_ms.saturating_add(forecast.at_ms),
            ..forecast
        }),
        have: have(memory, observation),
        service_s: appraisal.service_s,
        queued: observation.backlog.map(|backlog| clean(backlog.queued)),
        startup_s: appraisal.startup_s,
        quiet_s: verdict.quiet_s,
        infeasible: appraisal.infeasible,
        slots_per_worker: memory.slots_per_worker,
        wait_objective_s: appraisal.wait_objective_s,
    }
}
