//! How many workers a pool should have, as a pure function.
//!
//! ```text
//! decide(policy, memory, observation, now) -> (decision, memory)
//! ```
//!
//! Each signal (slots, queue, cpu, memory, latency, errors) is turned into *workers needed*; the
//! largest wins and is named. The load score is `0.80 x need / (ready + starting)`, so 0.80 is
//! exactly enough: above it the pool grows to its need at once, below 0.30 it shrinks to its need,
//! and in between a worker is retired when keeping it costs more than the change of mind it risks.
//!
//! Nothing here reads a clock, does IO or draws a random number: the same inputs give the same
//! decision, live, in shadow, in a simulator and when a decision log is replayed. A number that was
//! not measured is `None`; it never counts as zero and never lowers a target.
//!
//! | file | question it answers |
//! |---|---|
//! | [`observation`] | what was measured |
//! | `demand`, `newest`, `service` | how many requests come, and how long each holds a slot |
//! | `signals` | how many workers each signal asks for |
//! | `tidepool`, `threshold` | what a rule would like to do |
//! | `guard` | what bounds, cooldown, budgets and doubts leave of that |
//! | `slowdown`, `efficacy` | how much of a slower service is need, and whether added workers help |
//! | `gaps`, `spend` | when a pool may fall asleep, and what it may cost |
//! | `counterfactual` | what another number of workers would have meant |
//! | [`decision`], `sentence` | what was decided, and why, for machines and for people |

use std::borrow::Cow;

mod burst;
mod calibration;
mod clock;
pub mod config;
mod counterfactual;
pub mod decision;
mod demand;
mod dip;
mod efficacy;
mod ewma;
mod gaps;
mod guard;
mod health;
mod ladder;
mod launch;
pub mod memory;
mod newest;
pub mod observation;
mod order;
mod outlook;
mod peaks;
mod resources;
mod retire;
mod reversal;
mod rise;
mod sentence;
mod service;
mod signals;
mod slowdown;
mod spend;
mod threshold;
mod tidepool;
mod verdict;

#[cfg(test)]
mod tests;

pub use config::{Bounds, InvalidPolicy, Policy, Rule, ThresholdConfig, TidepoolConfig};
pub use decision::{
    Block, Bound, Counterfactual, Decision, Direction, Needs, RateForecast, Reason, SCORE_ENOUGH,
    SCORE_IDLE, Signal,
};
pub use ladder::{Margin, MarginRecord};
pub use memory::Memory;
pub use observation::{
    Backlog, CpuSample, MemorySample, Observation, Override, PATTERN_QUANTILES, ProfileForecast,
    WorkSample, WorkerCounts,
};

/// Decides how many workers a pool should have.
///
/// `now_ms` is wall time in milliseconds since the Unix epoch. It may jump: cooldowns and windows
/// run on the time that passed between calls, which counts for at most ten seconds a call and never
/// goes backwards, so that a jump neither expires anything early nor causes a burst of changes.
#[must_use]
pub fn decide(
    policy: &Policy,
    mut memory: Memory,
    observation: &Observation,
    now_ms: u64,
) -> (Decision, Memory) {
    let order = observation.operator.filter(|o| o.in_force(now_ms));
    let policy = &order.map_or_else(
        || Cow::Borrowed(policy),
        |order| {
            Cow::Owned(Policy {
                bounds: order.bounds(&policy.bounds),
                rule: policy.rule.clone(),
            })
        },
    );
    memory.clock.advance(now_ms);
    memory.learn(policy, observation);
    let appraisal = match &policy.rule {
        Rule::Tidepool(config) => tidepool::appraise(policy, config, &mut memory, observation),
        Rule::Threshold(config) => threshold::appraise(policy, config, &memory, observation),
    };
    let decision = guard::settle(policy, &mut memory, observation, appraisal, now_ms);
    (decision, memory)
}
