//! Whether added workers help. A pool whose bottleneck is elsewhere (a database, a rate limit, a
//! lock) asks for more and more of them: the slots fill, the work slows down, the need grows. What
//! tells is the goodput: if it does not grow by a fair share of what the added workers could do
//! while requests still wait, growth is frozen, and then tried again one worker at a time.

use serde::{Deserialize, Serialize};

use crate::ewma::{Ewma, clean, share};
use crate::observation::{Observation, WorkSample};

/// Time constant of goodput and arrivals.
const MEMORY_S: f64 = 8.0;
/// Share of the expected gain below which adding did not help.
const GAIN_MIN: f64 = 0.2;
/// Freeze after an addition that did not help.
const FREEZE_MS: u64 = 300_000;
/// Arrivals over goodput from which demand counts as unmet.
const UNMET: f64 = 1.1;
/// Share of the slots in use from which a pool counts as full.
const FULL: f64 = 0.9;

/// A growth whose effect is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Trial {
    /// Seconds of work that were heard of since.
    #[serde(default)]
    heard_s: f64,
    ready: u32,
    good_rate: f64,
    service_s: f64,
}

/// What is known of the effect of growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Efficacy {
    good: Ewma,
    arrivals: Ewma,
    trial: Option<Trial>,
    frozen_until_ms: u64,
    /// The last addition did not help and the next is one worker only.
    probing: bool,
}

impl Efficacy {
    /// Takes in a window of work.
    pub(crate) fn learn(&mut self, work: &WorkSample) {
        let window_s = clean(work.window_s);
        let part = share(window_s, MEMORY_S);
        let good = (clean(work.completed) - clean(work.failed)).max(0.0);
        self.good.add(good / window_s, part);
        self.arrivals.add(clean(work.arrivals) / window_s, part);
        if let Some(trial) = &mut self.trial {
            trial.heard_s += window_s.min(10.0);
        }
    }

    /// The pool has grown at policy time `now_ms`.
    pub(crate) fn grew(&mut self, ready: u32, service_s: Option<f64>) {
        let (Some(good_rate), Some(service_s)) = (self.good.get(), service_s) else {
            return;
        };
        self.trial.get_or_insert(Trial {
            heard_s: 0.0,
            ready,
            good_rate,
            service_s,
        });
    }

    /// The pool has shrunk: what was tried is over.
    pub(crate) fn shrank(&mut self) {
        self.trial = None;
        self.probing = false;
    }

    /// Judges a growth once its workers have had two start-up times and three requests each.
    pub(crate) fn judge(&mut self, now_ms: u64, observation: &Observation, startup_s: f64) {
        let (Some(trial), Some(workers), Some(backlog)) =
            (self.trial, observation.workers, observation.backlog)
        else {
            return;
        };
        let patience_s = 2.0 * startup_s + 3.0 * trial.service_s + 2.0 * MEMORY_S;
        // Silence is not a sign that nothing was gained.
        if trial.heard_s < patience_s {
            return;
        }
        self.trial = None;
        let added = f64::from(workers.ready.saturating_sub(trial.ready));
        if added == 0.0 {
            return;
        }
        let full = clean(backlog.busy_slots) >= FULL * workers.ready_slots();
        let waiting = clean(backlog.queued) > 0.0;
        let unmet = self.arrivals.value() - trial.good_rate;
        if !(full && waiting && self.arrivals.value() > UNMET * trial.good_rate) {
            self.probing = false;
            return;
        }
        let expected = (added * workers.slots() / trial.service_s).min(unmet);
        let gain = self.good.value() - trial.good_rate;
        self.probing = gain < GAIN_MIN * expected;
        if self.probing {
            self.frozen_until_ms = now_ms.saturating_add(FREEZE_MS);
        }
    }

    /// Whether growth is frozen at policy time `now_ms`, or waits for what a probe shows.
    pub(crate) fn frozen(&self, now_ms: u64) -> bool {
        now_ms < self.frozen_until_ms || (self.probing && self.trial.is_some())
    }

    /// Most workers that may be added at once, if that is limited.
    pub(crate) fn step_max(&self) -> Option<u32> {
        self.probing.then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Backlog, WorkerCounts};

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

    /// Grows from 4 to 8 workers under 200 requests a second, with this goodput afterwards.
    fn tried(goodput: f64) -> Efficacy {
        let mut efficacy = Efficacy::default();
        (0..60).for_each(|_| efficacy.learn(&window(200.0, 80.0)));
        efficacy.grew(4, Some(0.5));
        for s in 61..120 {
            efficacy.learn(&window(200.0, goodput));
            efficacy.judge(1_000 * s, &full(8), 5.0);
        }
        efficacy
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
        let mut efficacy = Efficacy::default();
        (0..60).for_each(|_| efficacy.learn(&window(200.0, 80.0)));
        efficacy.grew(4, Some(0.5));
        efficacy.judge(80_000, &full(8), 5.0);
        assert!(efficacy.trial.is_some());
    }
}
