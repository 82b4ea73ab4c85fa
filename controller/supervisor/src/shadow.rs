//! A policy that decides beside the live one, without effect, so that it can be judged before it is
//! chosen. It sees the same observations, and so the fleet that the *live* policy runs, and decides
//! from that one's target on: it tells what it would do to this fleet now. What would have become of
//! waits and queues under its own targets it cannot know.

use tidepool_core::Timestamp;
use tidepool_core::status::ShadowStatus;
use tidepool_policy::{Decision, Memory, Observation, Override, Policy, decide};

/// Most shadows of a pool.
pub const SHADOWS_MAX: usize = 4;

/// One policy in shadow.
#[derive(Debug)]
pub(crate) struct Shadow {
    policy: Policy,
    memory: Memory,
    decision: Option<Decision>,
}

impl Shadow {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            memory: Memory::default(),
            decision: None,
        }
    }

    /// Decides about the fleet that is steered by the memory `live`, before that one decides. A pause
    /// or pin is left out: the question is what this policy would do.
    pub(crate) fn decide(&mut self, observation: &Observation, live: &Memory, now: Timestamp) {
        let bounds_only = |order: Override| Override {
            paused: false,
            pin: None,
            ..order
        };
        let observation = Observation {
            operator: observation.operator.map(bounds_only),
            ..observation.clone()
        };
        let memory = std::mem::take(&mut self.memory).beside(live);
        let (decision, memory) = decide(&self.policy, memory, &observation, now.0);
        self.memory = memory;
        self.decision = Some(decision);
    }

    pub(crate) fn name(&self) -> &'static str {
        self.policy.rule.name()
    }

    /// What it would make of the live target, once the live count is known.
    pub(crate) fn target(&self) -> Option<u32> {
        self.memory.target()
    }

    pub(crate) fn status(&self) -> Option<ShadowStatus> {
        let decision = self.decision.as_ref()?;
        Some(ShadowStatus {
            policy: self.name().to_owned(),
            target: self.target()?,
            score: decision.score,
            sentence: decision.sentence(),
        })
    }
}

#[cfg(test)]
mod tests {
    use tidepool_policy::{Backlog, ProfileForecast, WorkSample, WorkerCounts};

    use super::*;

    const BEGIN_MS: u64 = 1_700_000_000_000;

    /// A second of a live fleet that grows all the time, whatever any shadow wants.
    fn live(second: u32, operator: Option<Override>) -> Observation {
        let ready = 2 + second / 30;
        let rate = [40.0, 160.0, 20.0][second as usize / 60 % 3];
        Observation {
            work: Some(WorkSample {
                window_s: 1.0,
                arrivals: rate,
                completed: rate,
                released: rate,
                busy_slot_s: (rate * 0.07).min(f64::from(ready) * 4.0),
                service_mean_s: Some(0.07),
                ..WorkSample::default()
            }),
            backlog: Some(Backlog::default()),
            work_age_s: Some(0.0),
            workers: Some(WorkerCounts {
                ready,
                slots_per_worker: 4,
                ..WorkerCounts::default()
            }),
            workers_age_s: Some(0.0),
            startup_p95_s: Some(30.0),
            forecast: Some(ProfileForecast {
                median_rate: 2.0 * rate,
                floor_rate: 3.0 * rate,
                growth: 2.0,
                quantile_rates: [3.0 * rate; tidepool_policy::PATTERN_QUANTILES.len()],
                waking: false,
            }),
            operator,
            ..Observation::default()
        }
    }

    #[test]
    fn it_decides_as_its_policy_would_on_the_live_fleet_and_obeys_bounds_alone() {
        let bounds = Override {
            min: Some(3),
            max: Some(11),
            ..Override::default()
        };
        let holds = [
            None,
            Some((false, Some(9))),
            Some((true, None)),
            Some((true, Some(4))),
        ];
        let steers = Policy::tidepool(2, 20);
        for policy in [Policy::tidepool(1, 30), Policy::threshold(1, 30)] {
            let mut shadow = Shadow::new(policy.clone());
            assert_eq!((shadow.target(), shadow.status()), (None, None));
            let nothing = (Observation::default(), Timestamp(BEGIN_MS));
            shadow.decide(&nothing.0, &Memory::default(), nothing.1);
            assert_eq!(shadow.status(), None, "nobody knows what runs");
            let (_, mut memory) = decide(&policy, Memory::default(), &nothing.0, BEGIN_MS);
            let (_, mut steering) = decide(&steers, Memory::default(), &nothing.0, BEGIN_MS);
            for second in 1..600 {
                let at = Timestamp(BEGIN_MS + u64::from(second) * 1_000);
                let ordered = (second / 40 % 2 == 1).then_some(bounds);
                let held = holds[second as usize / 20 % holds.len()];
                let order = ordered.or_else(|| held.map(|_| Override::default()));
                let order = order.map(|order| match held {
                    Some((paused, pin)) => Override {
                        paused,
                        pin,
                        ..order
                    },
                    None => order,
                });
                shadow.decide(&live(second, order), &steering, at);
                let unheld = order.map(|order| Override {
                    paused: false,
                    pin: None,
                    ..order
                });
                let memory_beside = memory.beside(&steering);
                let (decision, next) = decide(&policy, memory_beside, &live(second, unheld), at.0);
                memory = next;
                let (steered, next) = decide(&steers, steering, &live(second, order), at.0);
                steering = next;
                let status = shadow.status().unwrap();
                assert_eq!(status.target, decision.to, "{}", decision.sentence());
                assert_eq!(decision.from, steered.from, "it begins where the fleet is");
                assert_eq!(status.score, decision.score);
                assert_eq!(status.sentence, decision.sentence());
                assert_eq!(status.policy, policy.rule.name());
            }
        }
    }

    #[test]
    fn a_rule_that_steps_tells_its_step_from_what_runs_for_as_long_as_it_would_take_it() {
        let (quiet, busy) = (0.0, 7.0 * 4.0);
        for (busy_slots, wanted) in [(quiet, 6), (busy, 8)] {
            let pinned = Override {
                pin: Some(7),
                ..Override::default()
            };
            let mut seen = live(0, Some(pinned));
            seen.workers.as_mut().unwrap().ready = 7;
            seen.work.as_mut().unwrap().busy_slot_s = busy_slots;
            let steers = Policy::tidepool(1, 30);
            let mut steering = Memory::default();
            let mut shadow = Shadow::new(Policy::threshold(1, 30));
            for second in 0..400 {
                let at = Timestamp(BEGIN_MS + second * 1_000);
                shadow.decide(&seen, &steering, at);
                (_, steering) = decide(&steers, steering, &seen, at.0);
                let status = shadow.status().unwrap();
                if second > 100 {
                    assert_eq!(status.target, wanted, "{second}: {}", status.sentence);
                    let step = format!("7 -> {wanted}: ");
                    assert!(status.sentence.starts_with(&step), "{}", status.sentence);
                }
            }
        }
    }
}
