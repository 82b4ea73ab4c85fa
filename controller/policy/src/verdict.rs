//! A target with its reasons, and the decision that is told of it.

use crate::clock::millis;
use crate::config::Policy;
use crate::decision::{Block, Bound, Decision, Direction, RateForecast, Reason, whole};
use crate::ewma::clean;
use crate::memory::Memory;
use crate::observation::Observation;
use crate::tidepool::{Appraisal, QUIET_S_MIN, have};

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

    pub(crate) fn blocked(target: u32, wanted: u32, block: Block) -> Self {
        Self {
            wanted,
            blocked_by: Some(block),
            ..Self::stay(target, Reason::Blocked)
        }
    }
}

pub(crate) fn direction(from: u32, to: u32) -> Direction {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => Direction::Up,
        std::cmp::Ordering::Less => Direction::Down,
        std::cmp::Ordering::Equal => Direction::Hold,
    }
}

/// Policy time at which the hold after taking over ends.
pub(crate) fn start_hold_ms(policy: &Policy, memory: &Memory) -> u64 {
    memory
        .began_ms
        .saturating_add(millis(policy.bounds.start_hold_s))
}

/// Policy time at which the cooldown ends.
pub(crate) fn cooldown_ms(policy: &Policy, memory: &Memory) -> u64 {
    let cooldown_ms = millis(policy.bounds.cooldown_s);
    memory
        .reversals
        .last()
        .map_or(0, |change| change.at_ms.saturating_add(cooldown_ms))
}

/// Earliest policy time at which a retirement from `target` could happen.
fn shrink_ms(policy: &Policy, memory: &Memory, target: u32, appraisal: &Appraisal) -> u64 {
    let now_ms = memory.clock.now_ms();
    let kept_ms = if target == 1 {
        memory.gaps.kept_until_ms(appraisal.startup_s)
    } else {
        0
    };
    // Who is needed now has to be spare for a while first.
    let needed = appraisal.raw_need.is_some_and(|need| whole(need) >= target);
    let quiet_s = appraisal.startup_s.max(QUIET_S_MIN);
    let quiet_ms = if needed {
        now_ms.saturating_add(millis(quiet_s))
    } else {
        0
    };
    start_hold_ms(policy, memory)
        .max(cooldown_ms(policy, memory))
        .max(memory.health.frozen_until_ms())
        .max(memory.burst.held_until_ms())
        .max(memory.dip.held_until_ms())
        .max(memory.reversals.earned_ms(&policy.bounds, now_ms))
        .max(kept_ms)
        .max(quiet_ms)
        .max(now_ms)
}

/// Earliest policy time at which growth that is held could go on, where that is known.
fn grow_ms(memory: &Memory, block: Option<Block>) -> Option<u64> {
    match block {
        Some(Block::NoEffect) => Some(memory.efficacy.frozen_until_ms()),
        Some(Block::Failing) => Some(memory.health.frozen_until_ms()),
        _ => None,
    }
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

/// A verdict on the way to becoming a decision.
pub(crate) struct Finding<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) memory: &'a Memory,
    pub(crate) observation: &'a Observation,
    pub(crate) appraisal: Appraisal,
    /// Target before.
    pub(crate) from: u32,
    pub(crate) verdict: Verdict,
    /// Wall time.
    pub(crate) now_ms: u64,
}

impl Finding<'_> {
    /// The decision with every number behind it.
    pub(crate) fn tell(self) -> Decision {
        let Self {
            policy,
            memory,
            observation,
            appraisal,
            from,
            verdict,
            now_ms,
        } = self;
        let policy_now_ms = memory.clock.now_ms();
        let wall = |at_ms: u64| now_ms.saturating_add(at_ms.saturating_sub(policy_now_ms));
        let held_ms = start_hold_ms(policy, memory).max(cooldown_ms(policy, memory));
        let can_shrink = verdict.to > policy.bounds.min && verdict.blocked_by != Some(Block::Blind);
        let shrink_ms = can_shrink.then(|| shrink_ms(policy, memory, verdict.to, &appraisal));
        let earliest_ms = match (shrink_ms, grow_ms(memory, verdict.blocked_by)) {
            (Some(shrink_ms), Some(grow_ms)) => Some(shrink_ms.min(grow_ms.max(policy_now_ms))),
            (shrink_ms, grow_ms) => shrink_ms.or(grow_ms),
        };
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
                None => earliest_ms.map(wall),
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
            service_counted_s: appraisal.service_counted_s,
            queued: observation.backlog.map(|backlog| clean(backlog.queued)),
            startup_s: appraisal.startup_s,
            quiet_s: verdict.quiet_s,
            infeasible: appraisal.infeasible,
            slots_per_worker: memory.slots_per_worker,
            wait_objective_s: appraisal.wait_objective_s,
            dip_is_guess: memory.dip.is_guess(),
        }
    }
}
