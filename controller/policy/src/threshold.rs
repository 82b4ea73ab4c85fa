//! The plain rule: mean slot utilisation with a step at two thresholds.

use crate::config::{Policy, ThresholdConfig};
use crate::decision::{Needs, Reason, SCORE_ENOUGH, Signal, score, whole};
use crate::memory::Memory;
use crate::observation::Observation;
use crate::retire::Retirement;
use crate::signals::{infeasible, settled, startup_s};
use crate::tidepool::{Appraisal, have};

/// Time constant of the utilisation: a step shows in it only after as long.
const AVERAGE_S: f64 = 5.0;

/// Appraises a pool. Its score is the utilisation of the slots that serve or start.
pub(crate) fn appraise(
    policy: &Policy,
    config: &ThresholdConfig,
    memory: &Memory,
    observation: &Observation,
) -> Appraisal {
    let startup_s = startup_s(policy, observation);
    let workers = observation.workers.unwrap_or_default();
    let need = memory
        .busy
        .get()
        .map(|busy| busy / (SCORE_ENOUGH * workers.slots()));
    let score = need.map(|need| score(need, have(memory, observation)));
    let target = memory.target.unwrap_or(0);
    let high = score.is_some_and(|score| score > config.high);
    let low = score.is_some_and(|score| score < config.low);
    Appraisal {
        needs: Needs {
            slots: need,
            ..Needs::default()
        },
        winner: need.map(|_| Signal::Slots),
        raw_need: need,
        score,
        unsettled: high && !settled(memory, &workers, startup_s.max(AVERAGE_S)),
        grow_to: if high {
            target.saturating_add(config.step)
        } else {
            0
        },
        learned: false,
        median_to: None,
        retirement: low.then(|| Retirement {
            to: target.saturating_sub(config.step),
            reason: Reason::Idle,
            quiet_s: None,
            affordable: !memory.reversals.exhausted(&policy.bounds),
            stepped: need.is_some_and(|n| whole(n) < target.saturating_sub(config.step)),
        }),
        partial: false,
        observed_rate: memory.demand.recent(),
        forecast: None,
        service_s: memory.service.mean_s(),
        service_counted_s: None,
        startup_s,
        infeasible: infeasible(policy, memory),
        wait_objective_s: policy.bounds.slo_s(),
    }
}
