//! Whether added workers help. A pool whose bottleneck is elsewhere (a database, a rate limit, a
//! lock) asks for more and more of them: the slots fill, the work slows down, the need grows. What
//! tells is the goodput: if it does not grow by a fair share of what the added workers could do
//! while requests still wait, growth is frozen, and then tried again one worker at a time.
//!
//! While requests hold their slots longer than usual ([`crate::slowdown`]), and for some minutes after
//! a freeze, that is exactly what is in doubt: the pool may then double once, and is judged as soon
//! as most of the added workers have served for some seconds.

use serde::{Deserialize, Serialize};

use crate::ewma::{Ewma, clean, share};
use crate::observation::{Observation, WorkSample, WorkerCounts};

/// Time constant of goodput and arrivals.
const MEMORY_S: f64 = 8.0;
/// Shortest time constant of the goodput that a slow pool is judged by, and the answers it needs.
const QUICK_S: f64 = 2.0;
const QUICK_ANSWERS: f64 = 50.0;
/// Share of the expected gain below which adding did not help.
const GAIN_MIN: f64 = 0.2;
/// Standard deviations of chance that the gain of a probe must exceed.
const DEVIATIONS: f64 = 2.0;
/// Time after a freeze in which growth is still watched.
const WARY_MS: u64 = 300_000;
/// Freeze after an addition that did not help.
const FREEZE_MS: u64 = 300_000;
/// Goodput over that of the freeze from which the bottleneck has gone.
const RECOVERED: f64 = 1.25;
/// Arrivals over goodput from which demand counts as unmet.
const UNMET: f64 = 1.1;
/// Share of the slots in use from which a pool counts as full.
const FULL: f64 = 0.9;
/// Workers that a small pool may gain unproven.
const UNPROVEN_STEP: u32 = 4;
/// Longest service time that a judgement waits for twice.
const SERVICE_S_MAX: f64 = 30.0;

/// A growth whose effect is awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Trial {
    /// Seconds of work that were heard of since.
    heard_s: f64,
    /// Those of them in which most of the added workers served.
    shown_s: f64,
    ready: u32,
    /// Workers that served or started before it, and that are wanted since.
    have: u32,
    to: u32,
    good_rate: f64,
    service_s: f64,
}

impl Trial {
    /// Whether most of the added workers serve.
    fn shows(&self, ready: u32) -> bool {
        ready > self.ready && ready >= self.have.midpoint(self.to)
    }
}

/// A change of the target for more workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// Workers that serve, and those that serve or start.
    pub(crate) ready: u32,
    pub(crate) have: u32,
    /// The new target.
    pub(crate) to: u32,
    /// Mean seconds that a request holds a slot.
    pub(crate) service_s: Option<f64>,
}

/// Circumstances of a judgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hearing {
    /// Policy time.
    pub(crate) now_ms: u64,
    pub(crate) startup_s: f64,
    /// Mean seconds that a request holds a slot.
    pub(crate) service_s: f64,
    /// Whether it is in doubt that more workers help.
    pub(crate) wary: bool,
    /// Whether requests hold their slots longer than usual, and whether that is settled.
    pub(crate) slow: bool,
    pub(crate) settled: bool,
}

/// What is known of the effect of growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Efficacy {
    good: Ewma,
    /// Goodput of the last seconds.
    quick: Ewma,
    arrivals: Ewma,
    trial: Option<Trial>,
    frozen_until_ms: u64,
    /// Goodput when growth was frozen.
    frozen_rate: f64,
    /// The last addition did not help and the next is one worker only.
    probing: bool,
}

/// Whether all slots are in use while requests wait.
pub(crate) fn is_full(observation: &Observation) -> bool {
    let (Some(workers), Some(backlog)) = (observation.workers, observation.backlog) else {
        return false;
    };
    clean(backlog.busy_slots) >= FULL * workers.ready_slots() && clean(backlog.queued) > 0.0
}

impl Efficacy {
    /// Takes in a window of work.
    pub(crate) fn learn(&mut self, work: &WorkSample, workers: Option<WorkerCounts>) {
        let window_s = clean(work.window_s);
        let part = share(window_s, MEMORY_S);
        let good = (clean(work.completed) - clean(work.failed)).max(0.0) / window_s;
        self.good.add(good, part);
        let quick_s = (QUICK_ANSWERS / self.good.value().max(1e-9)).clamp(QUICK_S, MEMORY_S);
        self.quick.add(good, share(window_s, quick_s));
        self.arrivals.add(clean(work.arrivals) / window_s, part);
        if let Some(trial) = &mut self.trial {
            let heard_s = window_s.min(10.0);
            trial.heard_s += heard_s;
            if workers.is_some_and(|workers| trial.shows(workers.ready)) {
                trial.shown_s += heard_s;
            }
        }
    }

    /// The pool has grown.
    pub(crate) fn grew(&mut self, growth: Growth) {
        let (Some(good_rate), Some(service_s)) = (self.good.get(), growth.service_s) else {
            return;
        };
        let trial = self.trial.get_or_insert_with(|| Trial {
            ready: growth.ready,
            have: growth.have,
            good_rate,
            service_s,
            ..Trial::default()
        });
        trial.to = trial.to.max(growth.to);
    }

    /// The pool has shrunk: what was tried is over.
    pub(crate) fn shrank(&mut self) {
        self.trial = None;
        self.probing = false;
    }

    /// Judges a growth once its workers have had two start-up times and three requests each, or
    /// some seconds in a slow pool; tells whether it helped.
    pub(crate) fn judge(&mut self, observation: &Observation, hearing: &Hearing) -> Option<bool> {
        self.thaw(hearing);
        let workers = observation.workers?;
        observation.backlog?;
        let quick = self.quick.value();
        let trial = self.trial.as_mut()?;
        if hearing.slow && !hearing.settled {
            // What comes through still falls to what the slower service lets through.
            (trial.ready, trial.shown_s) = (workers.ready, 0.0);
        }
        if hearing.wary && workers.ready <= trial.ready {
            trial.good_rate = quick;
        }
        let trial = *trial;
        // Silence is not a sign that nothing was gained.
        let patience_s = 2.0 * hearing.startup_s + 3.0 * trial.service_s + 2.0 * MEMORY_S;
        let enough_s = 3.0 * QUICK_S + 2.0 * hearing.service_s.min(SERVICE_S_MAX);
        // One worker more is lost in the noise of seconds.
        let early = hearing.wary && !self.probing && trial.shown_s >= enough_s;
        if trial.heard_s < patience_s && !early {
            return None;
        }
        self.trial = None;
        let added = f64::from(workers.ready.saturating_sub(trial.ready));
        if added == 0.0 {
            return None;
        }
        let unmet = self.arrivals.value() - trial.good_rate;
        if !(is_full(observation) && self.arrivals.value() > UNMET * trial.good_rate) {
            self.probing = false;
            return Some(true);
        }
        let (good_rate, service_s) = if early {
            (quick, hearing.service_s)
        } else {
            (self.good.value(), trial.service_s)
        };
        let expected = (added * workers.slots() / service_s.max(1e-9)).min(unmet);
        let gain = good_rate - trial.good_rate;
        // Half of the chance of an average over its time constant, on both sides.
        let chance = (good_rate / MEMORY_S).sqrt();
        let doubt = if self.probing {
            DEVIATIONS * chance
        } else {
            0.0
        };
        self.probing = gain < (GAIN_MIN * expected).max(doubt);
        if self.probing {
            self.frozen_until_ms = hearing.now_ms.saturating_add(FREEZE_MS);
            self.frozen_rate = good_rate;
        }
        Some(!self.probing)
    }

    /// Ends a freeze whose cause has gone: requests pass as quickly as usual, and more of them.
    fn thaw(&mut self, hearing: &Hearing) {
        let more = self.quick.value() > RECOVERED * self.frozen_rate;
        if self.probing && !hearing.slow && more {
            self.probing = false;
            self.trial = None;
            self.frozen_until_ms = self.frozen_until_ms.min(hearing.now_ms);
        }
    }

    /// Whether growth was frozen a moment before policy time `now_ms`.
    pub(crate) fn lately_frozen(&self, now_ms: u64) -> bool {
        self.frozen_rate > 0.0 && now_ms < self.frozen_until_ms.saturating_add(WARY_MS)
    }

    /// Policy time until which growth is held at least.
    pub(crate) fn frozen_until_ms(&self) -> u64 {
        self.frozen_until_ms
    }

    /// Whether growth is frozen at policy time `now_ms`, or waits for what a probe shows.
    pub(crate) fn frozen(&self, now_ms: u64) -> bool {
        now_ms < self.frozen_until_ms || (self.probing && self.trial.is_some())
    }

    /// Most workers that may be added at once, if that is limited.
    pub(crate) fn step_max(&self) -> Option<u32> {
        self.probing.then_some(1)
    }

    /// Largest target of a pool of `have` workers until it has been shown that more of them help.
    /// Half of that growth waits until a slower service is `settled`: only what is added after that
    /// can show anything.
    pub(crate) fn unproven_limit(&self, have: u32, settled: bool) -> u32 {
        let base = self.trial.map_or(have, |trial| trial.have);
        let limit = base
            .saturating_mul(2)
            .max(base.saturating_add(UNPROVEN_STEP));
        if settled { limit } else { base.midpoint(limit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Backlog;

    fn window(arrivals: f64, completed: f64) -> WorkSample {
        WorkSample {
            window_s: 1.0,
            arrivals,
            completed,
            ..WorkSample::default()
        }
    }

    fn full(ready: u32) -> Observation {
        Observation {
            workers: Some(WorkerCounts {
                ready,
                slots_per_worker: 10,
                ..WorkerCounts::default()
            }),
            backlog: Some(Backlog {
                queued: 50.0,
                busy_slots: 10.0 * f64::from(ready),
                ..Backlog::default()
            }),
            ..Observation::default()
        }
    }

    /// A pool of four under 200 requests a second that gets 80 done, and grows to eight.
    fn grown() -> Efficacy {
        let mut efficacy = Efficacy::default();
        (0..60).for_each(|_| efficacy.learn(&window(200.0, 80.0), full(4).workers));
        efficacy.grew(Growth {
            ready: 4,
            have: 4,
            to: 8,
            service_s: Some(0.5),
        });
        efficacy
    }

    fn hearing(s: u64, slow: bool) -> Hearing {
        Hearing {
            now_ms: 1_000 * s,
            startup_s: 5.0,
            service_s: 0.5,
            wary: slow,
            slow,
            settled: true,
        }
    }

    /// The same with this goodput afterwards, judged for a minute.
    fn tried(goodput: f64) -> Efficacy {
        let mut efficacy = grown();
        for s in 61..120 {
            efficacy.learn(&window(200.0, goodput), full(8).workers);
            efficacy.judge(&full(8), &hearing(s, false));
        }
        efficacy
    }

    /// Seconds until a slow pool is judged with this goodput, and how.
    fn slow(goodput: f64) -> (u64, bool) {
        let mut efficacy = grown();
        let verdict = (61..120).find_map(|s| {
            efficacy.learn(&window(200.0, goodput), full(8).workers);
            let helped = efficacy.judge(&full(8), &hearing(s, true))?;
            Some((s - 60, helped))
        });
        verdict.expect("a minute is enough")
    }

    #[test]
    fn a_slow_pool_is_judged_within_seconds_of_its_doubling() {
        assert_eq!((slow(82.0), slow(150.0)), ((7, false), (7, true)));
    }

    #[test]
    fn a_slow_pool_may_double_once_or_gain_a_few() {
        assert_eq!(
            grown().unproven_limit(8, true),
            8,
            "its trial began with four"
        );
        assert_eq!(Efficacy::default().unproven_limit(8, true), 16);
        assert_eq!(Efficacy::default().unproven_limit(8, false), 12);
        assert_eq!(Efficacy::default().unproven_limit(1, true), 5);
    }

    #[test]
    fn a_freeze_ends_when_more_comes_through_as_quickly_as_usual() {
        let mut efficacy = tried(82.0);
        let after = |efficacy: &mut Efficacy, goodput, slow| {
            (0..20).for_each(|_| efficacy.learn(&window(200.0, goodput), full(8).workers));
            efficacy.judge(&full(8), &hearing(130, slow));
            efficacy.frozen(130_000)
        };
        assert!(after(&mut efficacy, 90.0, false));
        assert!(after(&mut efficacy, 160.0, true));
        assert!(!after(&mut efficacy, 160.0, false));
        assert_eq!(efficacy.step_max(), None);
    }

    #[test]
    fn workers_that_add_nothing_freeze_growth_and_the_next_is_a_probe() {
        let efficacy = tried(82.0);
        assert!(efficacy.frozen(119_000));
        assert_eq!(efficacy.step_max(), Some(1));
        assert!(!efficacy.frozen(119_000 + FREEZE_MS));
    }

    #[test]
    fn workers_that_help_do_not() {
        let efficacy = tried(150.0);
        assert!(!efficacy.frozen(119_000));
        assert_eq!(efficacy.step_max(), None);
    }

    #[test]
    fn nothing_is_judged_before_the_workers_could_have_shown() {
        let mut efficacy = grown();
        efficacy.judge(&full(8), &hearing(80, false));
        efficacy.judge(&full(8), &hearing(80, true));
        assert!(efficacy.trial.is_some());
    }
}
