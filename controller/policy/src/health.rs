//! Whether answers fail. Failures never raise the score: they freeze the pool, because more workers
//! would press harder on what is broken, and fewer would miss the retries that follow its recovery.

use serde::{Deserialize, Serialize};

use crate::ewma::clean;
use crate::observation::{Backlog, WorkSample, WorkerCounts};

/// Time constant of the counts of good and bad answers, and the answers after which it is shorter.
const MEMORY_S: f64 = 5.0;
const MEMORY_ANSWERS: f64 = 40.0;
/// Answers of a window that count in full. More than these are as good as their share: when a
/// dependency dies, few answers come back at first, and the many good ones of the second before must
/// not outweigh them.
const CROWD: f64 = 20.0;
/// Share of failed answers that freezes.
const FAILING_SHARE: f64 = 0.5;
/// Failed answers of the last seconds below which chance is to blame.
const FAILED_MIN: f64 = 5.0;
/// A freeze outlasts its cause by this long.
const FREEZE_MS: u64 = 30_000;
/// Time after a freeze in which growth is still watched: what has just recovered must not be met by
/// everything that has queued up meanwhile, all at once.
const WARY_MS: u64 = 300_000;
/// Slots that must be stuck together before a stall is more than one slow request.
const STALLED_SLOTS: f64 = 4.0;

/// When a window ended, and how long a request held its slot until then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// Policy time.
    pub(crate) now_ms: u64,
    /// Mean seconds, if any were measured.
    pub(crate) service_s: Option<f64>,
}

/// Running counts of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    good: f64,
    bad: f64,
    good_at_ms: Option<u64>,
    stalled: bool,
    frozen_until_ms: u64,
}

impl Health {
    /// Takes in a window.
    pub(crate) fn observe(
        &mut self,
        work: &WorkSample,
        Moment { now_ms, service_s }: Moment,
        backlog: Option<Backlog>,
        workers: Option<WorkerCounts>,
    ) {
        let bad = clean(work.failed);
        let good = (clean(work.completed) - bad).max(0.0);
        let weight = CROWD / CROWD.max(good + bad);
        let (seconds, answers) = (clean(work.window_s), weight * (good + bad));
        let keep = (-(seconds / MEMORY_S).max(answers / MEMORY_ANSWERS)).exp();
        self.good = clean(self.good) * keep + weight * good;
        self.bad = clean(self.bad) * keep + weight * bad;
        if good > 0.0 {
            self.good_at_ms = Some(now_ms);
        }
        self.stalled = self.is_stalled(now_ms, service_s, backlog, workers);
        let failing = self.bad >= FAILED_MIN && self.failed_share() >= FAILING_SHARE;
        if failing || self.stalled {
            self.frozen_until_ms = now_ms.saturating_add(FREEZE_MS);
        }
    }

    /// Most slots have been held for ten times as long as usual and nothing good came back.
    fn is_stalled(
        &self,
        now_ms: u64,
        service_s: Option<f64>,
        backlog: Option<Backlog>,
        workers: Option<WorkerCounts>,
    ) -> bool {
        let (Some(good_at_ms), Some(backlog), Some(workers)) = (self.good_at_ms, backlog, workers)
        else {
            return false;
        };
        let patience_s = (10.0 * service_s.unwrap_or(0.0)).clamp(3.0, 3_600.0);
        let silent_s = crate::clock::seconds(now_ms.saturating_sub(good_at_ms));
        let stuck = clean(backlog.busy_slots);
        let most = STALLED_SLOTS.max(workers.ready_slots() / 2.0);
        silent_s > patience_s && stuck >= most && backlog.queued > 0.0
    }

    /// Whether nothing comes back: service times measured now would be of the fault.
    pub(crate) fn stalled(&self) -> bool {
        self.stalled
    }

    /// Whether growth and retirement are frozen at policy time `now_ms`.
    pub(crate) fn frozen(&self, now_ms: u64) -> bool {
        now_ms < self.frozen_until_ms
    }

    /// Whether answers failed a moment before policy time `now_ms`.
    pub(crate) fn lately_frozen(&self, now_ms: u64) -> bool {
        self.frozen_until_ms > 0 && now_ms < self.frozen_until_ms.saturating_add(WARY_MS)
    }

    /// Policy time at which the freeze ends if nothing fails any more.
    pub(crate) fn frozen_until_ms(&self) -> u64 {
        self.frozen_until_ms
    }

    fn failed_share(&self) -> f64 {
        self.bad / (self.good + self.bad).max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(completed: f64, failed: f64) -> WorkSample {
        WorkSample {
            window_s: 1.0,
            completed,
            failed,
            ..WorkSample::default()
        }
    }

    fn at(s: u64, service_s: Option<f64>) -> Moment {
        Moment {
            now_ms: 1_000 * s,
            service_s,
        }
    }

    #[test]
    fn few_failures_after_many_good_answers_freeze_within_seconds() {
        let mut health = Health::default();
        for s in 0..60 {
            health.observe(&answers(400.0, 0.0), at(s, None), None, None);
        }
        for s in 60..63 {
            health.observe(&answers(20.0, 20.0), at(s, None), None, None);
        }
        assert!(health.frozen(62_000));
    }

    #[test]
    fn freezes_while_most_answers_fail_and_half_a_minute_longer() {
        let mut health = Health::default();
        for s in 0..10 {
            health.observe(&answers(20.0, 15.0), at(s, None), None, None);
        }
        assert!(health.frozen(9_000));
        for s in 10..80 {
            health.observe(&answers(20.0, 0.0), at(s, None), None, None);
        }
        assert!(!health.frozen(79_000));
    }

    #[test]
    fn a_few_failures_do_not_freeze() {
        let mut health = Health::default();
        for s in 0..100 {
            health.observe(&answers(20.0, 5.0), at(s, None), None, None);
        }
        health.observe(&answers(1.0, 1.0), at(101, None), None, None);
        assert!(!health.frozen(101_000));
    }

    #[test]
    fn a_stall_of_many_slots_freezes_and_one_slow_request_does_not() {
        let workers = Some(WorkerCounts {
            ready: 2,
            slots_per_worker: 4,
            ..WorkerCounts::default()
        });
        for (busy_slots, frozen) in [(8.0, true), (1.0, false)] {
            let mut health = Health::default();
            let backlog = Some(Backlog {
                queued: 10.0,
                busy_slots,
                ..Backlog::default()
            });
            health.observe(&answers(20.0, 0.0), at(0, Some(0.1)), backlog, workers);
            for s in 1..6 {
                health.observe(&answers(0.0, 0.0), at(s, Some(0.1)), backlog, workers);
            }
            assert_eq!(health.frozen(5_000), frozen, "{busy_slots} busy slots");
        }
    }
}
