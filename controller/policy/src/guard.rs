//! What bounds, cooldown, budgets and doubts leave of what a rule would like to do.
//!
//! Growth is held only by the upper bound, the launch limit, failing answers and a full node;
//! retirement also by everything that could make it a mistake. The bounds are obeyed at once,
//! whatever else holds.

use crate::config::Policy;
use crate::decision::{Block, Bound, Decision, Direction, Reason};
use crate::efficacy::{Growth, Hearing};
use crate::ewma::clean;
use crate::launch::Allowance;
use crate::memory::Memory;
use crate::observation::Observation;
use crate::order;
use crate::retire::Retirement;
use crate::tidepool::{Appraisal, have};
use crate::verdict::{Finding, Verdict, cooldown_ms, direction, start_hold_ms};

/// What a case is judged by.
#[derive(Clone, Copy)]
struct Case<'a> {
    policy: &'a Policy,
    observation: &'a Observation,
    appraisal: &'a Appraisal,
    sight: Sight,
    target: u32,
}

/// A wish for more workers.
#[derive(Clone, Copy)]
struct Wish {
    wanted: u32,
    reason: Reason,
    /// Requests wait and there is no worker at all.
    cold: bool,
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
    let tell = |memory: &Memory, from: u32, verdict: Verdict, appraisal: Appraisal| {
        let finding = Finding {
            policy,
            memory,
            observation,
            appraisal,
            from,
            verdict,
            now_ms,
        };
        finding.tell()
    };
    let Some(target) = memory.target else {
        let verdict = Verdict::blocked(bounds.min, bounds.min, Block::Blind);
        return tell(memory, bounds.min, verdict, appraisal);
    };
    hear(memory, observation, appraisal.startup_s);
    let case = Case {
        policy,
        observation,
        appraisal: &appraisal,
        sight,
        target,
    };
    let judged = judge(memory, &case);
    let mut verdict = afford(policy, memory, target, judged);
    if let Some(order) = observation.operator.filter(|o| o.in_force(now_ms)) {
        verdict = order::obey(&order, target, verdict);
    }
    verdict = keep_within(policy, verdict);
    if !memory.decided && verdict.to == target && verdict.blocked_by.is_none() {
        verdict.reason = Reason::Adopted;
    }
    memory.decided = true;
    record(policy, memory, observation, target, &verdict);
    tell(memory, target, verdict, appraisal)
}

/// Hears what became of the workers that were added last.
fn hear(memory: &mut Memory, observation: &Observation, startup_s: f64) {
    let service_s = memory.service.mean_s().unwrap_or(0.0);
    let now_ms = memory.clock.now_ms();
    let hearing = Hearing {
        now_ms,
        startup_s,
        service_s,
        wary: is_wary(memory),
        slow: memory.slowdown.is_slow(),
        settled: memory.slowdown.is_settled(now_ms),
    };
    if memory.efficacy.judge(observation, &hearing) == Some(true) && hearing.slow {
        let busy_slots = observation.backlog.map_or(0.0, |b| clean(b.busy_slots));
        memory.slowdown.prove(service_s, busy_slots);
    }
}

/// Whether it is in doubt that more workers help: requests take longer than usual, or growth was
/// frozen a moment ago.
fn is_wary(memory: &Memory) -> bool {
    let now_ms = memory.clock.now_ms();
    memory.slowdown.is_slow()
        || memory.health.lately_frozen(now_ms)
        || memory.efficacy.lately_frozen(now_ms)
}

/// The bounds are obeyed at once.
fn keep_within(policy: &Policy, verdict: Verdict) -> Verdict {
    let kept = policy.bounds.clamp(verdict.to);
    let (reason, bound) = match kept.cmp(&verdict.to) {
        std::cmp::Ordering::Equal => return verdict,
        std::cmp::Ordering::Greater => (Reason::Minimum, Bound::Min),
        std::cmp::Ordering::Less => (Reason::Maximum, Bound::Max),
    };
    Verdict {
        bounded_by: Some(bound),
        ..Verdict::stay(kept, reason)
    }
}

/// What the worker-hours that were saved up leave of a verdict.
fn afford(policy: &Policy, memory: &Memory, target: u32, verdict: Verdict) -> Verdict {
    let bounds = &policy.bounds;
    let Some(worker_h) = bounds.spend_worker_h else {
        return verdict;
    };
    let limit = memory.spend.limit(worker_h).max(bounds.min);
    let wanted = verdict.wanted;
    if verdict.to <= limit {
        return verdict;
    }
    if limit == target {
        return Verdict::blocked(target, wanted, Block::Spend);
    }
    let reason = if limit < target {
        Reason::Spend
    } else {
        verdict.reason
    };
    Verdict {
        wanted,
        bounded_by: Some(Bound::Spend),
        ..Verdict::stay(limit, reason)
    }
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
    let imposed = [
        Reason::Pinned,
        Reason::Minimum,
        Reason::Maximum,
        Reason::Spend,
    ];
    if imposed.contains(&verdict.reason) {
        return;
    }
    if direction == Direction::Up {
        let workers = observation.workers;
        memory.efficacy.grew(Growth {
            ready: workers.map_or(from, |workers| workers.ready),
            have: from,
            to: verdict.to,
            service_s: memory.service.mean_s(),
        });
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

fn judge(memory: &mut Memory, case: &Case<'_>) -> Verdict {
    let Case {
        policy,
        observation,
        appraisal,
        sight,
        target,
    } = *case;
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
        let wish = Wish {
            wanted,
            reason,
            cold,
        };
        return grow(memory, case, wish);
    }
    match appraisal.retirement {
        Some(retirement) => retire(memory, case, retirement),
        None if sight.blind => Verdict::blocked(target, target, Block::Blind),
        None => Verdict::stay(target, Reason::Steady),
    }
}

/// What holds all growth.
fn growth_block(memory: &Memory, case: &Case<'_>, wish: Wish) -> Option<Block> {
    let bounds = &case.policy.bounds;
    let now_ms = memory.clock.now_ms();
    let node_is_full = |share: f64| share >= bounds.node_memory_share_max;
    if case.target >= bounds.max {
        Some(Block::Max)
    } else if wish.cold {
        // A pool without workers starts one whatever is wrong: nothing else can show a recovery.
        None
    } else if memory.health.frozen(now_ms) {
        Some(Block::Failing)
    } else if case.observation.node_memory_share.is_some_and(node_is_full) {
        Some(Block::NodeMemory)
    } else if memory.efficacy.frozen(now_ms) {
        Some(Block::NoEffect)
    } else if case.appraisal.unsettled {
        Some(Block::Unsettled)
    } else {
        None
    }
}

fn grow(memory: &mut Memory, case: &Case<'_>, wish: Wish) -> Verdict {
    let (bounds, target, wanted) = (&case.policy.bounds, case.target, wish.wanted);
    if let Some(block) = growth_block(memory, case, wish) {
        return Verdict::blocked(target, wanted, block);
    }
    let now_ms = memory.clock.now_ms();
    let startup_s = case.appraisal.startup_s;
    let allowance = Allowance::of(bounds);
    let launches = memory.launch.limit(now_ms, target, startup_s, allowance);
    let probe = memory.efficacy.step_max();
    let launches = probe.map_or(launches, |step| launches.min(target.saturating_add(step)));
    let unproven = if !wish.cold && is_wary(memory) {
        let slowdown = &memory.slowdown;
        let settled = !slowdown.is_slow() || slowdown.is_settled(now_ms);
        memory.efficacy.unproven_limit(target, settled)
    } else {
        u32::MAX
    };
    // The tightest of the three is the one that is named.
    let (limit, bound, block) = [
        (bounds.max, Bound::Max, Block::Max),
        (launches, Bound::LaunchRate, Block::LaunchRate),
        (unproven, Bound::Unproven, Block::Unproven),
    ]
    .into_iter()
    .min_by_key(|(limit, ..)| *limit)
    .unwrap_or((bounds.max, Bound::Max, Block::Max));
    if limit <= target {
        return Verdict::blocked(target, wanted, block);
    }
    Verdict {
        to: wanted.min(limit),
        wanted,
        bounded_by: (limit < wanted).then_some(bound),
        ..Verdict::stay(target, wish.reason)
    }
}

fn retire(memory: &Memory, case: &Case<'_>, retirement: Retirement) -> Verdict {
    let (policy, target) = (case.policy, case.target);
    let to = policy.bounds.clamp(retirement.to);
    if to >= target {
        return Verdict {
            bounded_by: Some(Bound::Min),
            ..Verdict::stay(target, Reason::Steady)
        };
    }
    // Falling asleep is another matter than shrinking: the last one is kept for a while.
    let kept_until_ms = memory.gaps.kept_until_ms(case.appraisal.startup_s);
    let kept = to == 0 && memory.clock.now_ms() < kept_until_ms;
    let block = retirement_block(policy, memory, case.sight)
        .or_else(|| (!retirement.affordable).then_some(Block::ReversalBudget))
        .or_else(|| (kept && target == 1).then_some(Block::KeepAlive));
    if let Some(block) = block {
        return Verdict {
            quiet_s: retirement.quiet_s,
            ..Verdict::blocked(target, to, block)
        };
    }
    let bounded_by = if kept {
        Some(Bound::KeepAlive)
    } else if to > retirement.to {
        Some(Bound::Min)
    } else {
        retirement.stepped.then_some(Bound::RetireStep)
    };
    let to = to.max(u32::from(kept));
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
