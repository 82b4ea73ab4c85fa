//! The default rule: size to the need, retire by the price of a reversal.

use crate::clock::seconds;
use crate::config::{Policy, TidepoolConfig};
use crate::decision::{Needs, RateForecast, Reason, SCORE_IDLE, Signal, score, whole};
use crate::memory::Memory;
use crate::observation::Observation;
use crate::reversal::REVERSAL_MS;
use crate::signals::{self, Assessment};

/// Shortest time over which a lower need must have held before anything is retired.
const QUIET_S_MIN: f64 = 15.0;
/// A need that swings for as long as this does not level out.
const LEVELLED_S: f64 = 60.0;
/// 99th percentile of a normal distribution, in standard deviations.
const P99_DEVIATIONS: f64 = 2.33;

/// What a rule makes of a pool, before bounds and doubts.
#[derive(Clone, Debug)]
pub(crate) struct Appraisal {
    pub(crate) needs: Needs,
    pub(crate) winner: Option<Signal>,
    pub(crate) raw_need: Option<f64>,
    pub(crate) score: Option<f64>,
    /// Workers needed at least.
    pub(crate) grow_to: u32,
    /// Whether the learned pattern is why.
    pub(crate) learned: bool,
    /// Workers for the learned median, for when nothing else is known.
    pub(crate) median_to: Option<u32>,
    pub(crate) retirement: Option<Retirement>,
    /// Whether a signal that used to be measured is missing.
    pub(crate) partial: bool,
    pub(crate) observed_rate: Option<f64>,
    pub(crate) forecast: Option<RateForecast>,
    pub(crate) service_s: Option<f64>,
    pub(crate) startup_s: f64,
    pub(crate) infeasible: bool,
    pub(crate) wait_objective_s: f64,
}

/// A wish for fewer workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retirement {
    pub(crate) to: u32,
    pub(crate) reason: Reason,
    /// Seconds for which that would have been enough.
    pub(crate) quiet_s: Option<f64>,
    /// Whether fewer still would do and only the step is smaller.
    pub(crate) stepped: bool,
    /// Whether the budget of reversals has room for it.
    pub(crate) affordable: bool,
}

/// Appraises a pool and records its need.
pub(crate) fn appraise(
    policy: &Policy,
    config: &TidepoolConfig,
    memory: &mut Memory,
    observation: &Observation,
) -> Appraisal {
    let assessment = signals::assess(policy, config, memory, observation);
    let largest = assessment.needs.largest();
    let raw_need = largest.map(|(_, need)| need);
    let have = have(memory, observation);
    let score = raw_need.map(|need| score(need, have));
    if let Some(need) = raw_need {
        memory.peaks.record(memory.clock.now_ms(), need);
    }
    let now_ms = memory.clock.now_ms();
    memory.burst.see(now_ms, assessment.fast_need, have);
    let wish = |quiet_s_min: f64| {
        let (need, score) = (raw_need?, score?);
        if score < SCORE_IDLE {
            idle(memory, quiet_s_min, whole(need))
        } else {
            surplus(config, memory, quiet_s_min, need)
        }
    };
    let quick = assessment.startup_s.max(QUIET_S_MIN);
    let retirement = if memory.reversals.exhausted(&policy.bounds) {
        // Hold high: only what was not needed for so long that it will hardly be wanted back.
        let patient = seconds(REVERSAL_MS).max(quick);
        wish(patient).or_else(|| {
            wish(quick).map(|retirement| Retirement {
                affordable: false,
                ..retirement
            })
        })
    } else {
        wish(quick)
    };
    let winner = largest.map(|(signal, _)| signal);
    Appraisal {
        winner,
        raw_need,
        score,
        grow_to: raw_need.map_or(0, whole),
        learned: assessment.learned && winner == Some(Signal::Slots),
        median_to: assessment.median_need.map(whole),
        retirement,
        partial: assessment.partial,
        observed_rate: assessment.outlook.map(|outlook| outlook.recent),
        forecast: forecast(&assessment, observation),
        service_s: assessment.service_s,
        startup_s: assessment.startup_s,
        infeasible: assessment.infeasible,
        wait_objective_s: assessment.wait_objective_s,
        needs: assessment.needs,
    }
}

/// Workers that serve or start; the target while the nodes are silent.
pub(crate) fn have(memory: &Memory, observation: &Observation) -> u32 {
    observation
        .workers
        .map(|workers| workers.have())
        .or(memory.target)
        .unwrap_or(0)
}

/// Far too many: down to what was needed since a worker launched now could have been there.
fn idle(memory: &Memory, quiet_s_min: f64, need: u32) -> Option<Retirement> {
    let target = memory.target?;
    let now_ms = memory.clock.now_ms();
    // While the need still falls, wait for it to level out: one step instead of several.
    let levelled = |peak: f64, quiet_s: f64| whole(peak) <= need + 1 || quiet_s >= LEVELLED_S;
    let (quiet_s, peak) = memory
        .peaks
        .since(now_ms, quiet_s_min)
        .find(|(quiet_s, peak)| levelled(*peak, *quiet_s))?;
    let enough = whole(peak).max(need);
    let to = enough.max(memory.burst.floor(now_ms, target));
    (to < target).then_some(Retirement {
        to,
        reason: Reason::Idle,
        quiet_s: Some(quiet_s),
        stepped: to > enough,
        affordable: true,
    })
}

/// Some to spare: retire those whose absence over a window would have saved more than a reversal
/// costs, a step at a time.
fn surplus(
    config: &TidepoolConfig,
    memory: &Memory,
    quiet_s_min: f64,
    need: f64,
) -> Option<Retirement> {
    let target = memory.target?;
    let now_ms = memory.clock.now_ms();
    let price = memory.reversals.price_s(config) * memory.fleet.value();
    let share = f64::from(target) * config.retire_share;
    let step = whole(share).max(1);
    let (quiet_s, enough) = memory
        .peaks
        .since(now_ms, quiet_s_min)
        .map(|(quiet_s, peak)| (quiet_s, whole(peak)))
        .find(|(quiet_s, enough)| {
            let spare = f64::from(target.saturating_sub(*enough));
            spare > 0.0 && spare * quiet_s >= price
        })?;
    let to = enough.max(target.saturating_sub(step));
    // What is left must score below 0.80, or the next breath of load would bring a worker back.
    (need < f64::from(to)).then_some(Retirement {
        to,
        reason: Reason::Surplus,
        quiet_s: Some(quiet_s),
        stepped: to > enough,
        affordable: true,
    })
}

fn forecast(assessment: &Assessment, observation: &Observation) -> Option<RateForecast> {
    let outlook = assessment.outlook?;
    let slots = observation.workers.map_or(1.0, |workers| workers.slots());
    let offset = 2.0 * slots / assessment.service_s.unwrap_or(1.0);
    let spread = (P99_DEVIATIONS * outlook.sigma).min(2.0).exp();
    Some(RateForecast {
        at_ms: crate::clock::millis(assessment.horizon_s),
        p50: outlook.rate,
        p99: ((outlook.rate + offset) * spread - offset).min(outlook.rate * spread * 2.0),
    })
}
