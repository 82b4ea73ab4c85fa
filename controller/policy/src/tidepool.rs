//! The default rule: size to the need, retire by the price of a reversal.

use crate::clock::seconds;
use crate::config::{Policy, TidepoolConfig};
use crate::decision::{Needs, RateForecast, Signal, score, whole};
use crate::memory::Memory;
use crate::observation::{Observation, ProfileForecast};
use crate::retire::{Fleet, Retirement};
use crate::reversal::REVERSAL_MS;
use crate::signals::{self, Assessment};

/// Shortest time over which a lower need must have held before anything is retired.
pub(crate) const QUIET_S_MIN: f64 = 15.0;
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
    /// Whether that has to wait until the last step has had time to show.
    pub(crate) unsettled: bool,
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
    /// Seconds of it that the need counts, where that is less.
    pub(crate) service_counted_s: Option<f64>,
    pub(crate) startup_s: f64,
    pub(crate) infeasible: bool,
    pub(crate) wait_objective_s: f64,
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
    if let (Some(outlook), Some(service_s)) = (assessment.outlook, assessment.service_s) {
        // The forecast is for one start-up time ahead; a morning rise is no absence.
        let now = |forecast: ProfileForecast| forecast.median_rate / forecast.growth.max(1.0);
        let median_rate = observation.forecast.map(now);
        memory
            .dip
            .see(now_ms, outlook.recent, median_rate, service_s);
    }
    let target = memory.target;
    let wish = |quiet_s_min: f64| {
        let fleet = Fleet {
            peaks: &memory.peaks,
            now_ms,
            target: target?,
            have,
            need: raw_need?,
            price: memory.reversals.price_s(config) * memory.fleet.value(),
            step_share: config.retire_share,
            floor: memory.burst.floor(now_ms, target?),
        };
        fleet.wish(quiet_s_min)
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
        unsettled: false,
        learned: assessment.learned && winner == Some(Signal::Slots),
        median_to: assessment.median_need.map(whole),
        retirement,
        partial: assessment.partial,
        observed_rate: assessment.outlook.map(|outlook| outlook.recent),
        forecast: forecast(&assessment, observation),
        service_s: assessment.service_s,
        service_counted_s: assessment.service_counted_s,
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
