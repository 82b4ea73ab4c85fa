//! How much of a slower service the need may count.
//!
//! Need is arrivals times the time that each holds a slot. When something behind the workers lets
//! only so much through, requests hold their slots until it has answered: by Little's law the time is
//! then slots over goodput, so more workers make it longer, and a need that counts all of it asks for
//! ever more of them. A service that really is slower looks the same until workers were added. So a
//! full pool first waits until the slower service has lasted, then counts at most twice what is
//! usual, and what is usual follows once added workers have shown that they help
//! ([`crate::efficacy`]) or while the pool keeps up with its load. Whatever was usual, as much as the
//! slots in use when it began, and then as much again, may be counted: they are in use.

use serde::{Deserialize, Serialize};

use crate::ewma::share;

/// Over the usual time from which a service is slow, and how much of it counts once that lasts.
const SLOW: f64 = 1.25;
const COUNTED: f64 = 2.0;
/// Standard deviations of chance, over the square root of the requests that were timed.
const DEVIATIONS: f64 = 3.0;
/// Requests before anything is called usual.
const TIMED_MIN: f64 = 20.0;
/// Seconds that a slower service must last, beside two of its usual times, and the most of both.
const LASTED_S: f64 = 4.0;
const LASTED_S_MAX: f64 = 20.0;
/// Time constants with which the usual follows a quicker service, and a slower one that the pool
/// keeps up with.
const QUICKER_S: f64 = 30.0;
const SLOWER_S: f64 = 120.0;

/// A measured service time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    /// Mean seconds that a request holds a slot.
    pub(crate) mean_s: f64,
    /// Requests that it is the mean of.
    pub(crate) requests: f64,
    /// Slots in use meanwhile.
    pub(crate) busy_slots: f64,
}

/// What is usual, and since when it is not so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Slowdown {
    usual_s: Option<f64>,
    slow_since_ms: Option<u64>,
    /// Slots that were in use when it began, or when it was last proven.
    proven_slots: f64,
}

impl Slowdown {
    /// Takes in what was measured over the last `dt_s` seconds; `full` is a pool whose slots are all
    /// in use while requests wait.
    pub(crate) fn see(&mut self, now_ms: u64, dt_s: f64, timed: Timed, full: bool) {
        let Some(usual_s) = self.usual_s.filter(|s| s.is_finite() && *s > 0.0) else {
            self.usual_s = (timed.requests >= TIMED_MIN).then_some(timed.mean_s);
            return;
        };
        let tau_s = if timed.mean_s < usual_s {
            Some(QUICKER_S)
        } else {
            (!full).then_some(SLOWER_S)
        };
        let part = tau_s.map_or(0.0, |tau_s| share(dt_s, tau_s));
        self.usual_s = Some(usual_s + part * (timed.mean_s - usual_s));
        let chance = DEVIATIONS / timed.requests.max(1.0).sqrt();
        let slow = full && timed.mean_s > (SLOW + chance) * usual_s;
        if timed.mean_s <= SLOW * usual_s {
            self.slow_since_ms = None;
        } else if slow && self.slow_since_ms.is_none() {
            self.slow_since_ms = Some(now_ms);
            self.proven_slots = timed.busy_slots;
        }
    }

    /// Whether requests hold their slots for longer than is usual in a pool that is full.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow_since_ms.is_some()
    }

    /// Whether a slower service has lasted for long enough at policy time `now_ms`.
    pub(crate) fn is_settled(&self, now_ms: u64) -> bool {
        let patience_s = (LASTED_S + 2.0 * self.usual_s.unwrap_or(0.0)).min(LASTED_S_MAX);
        let lasted =
            |since_ms| crate::clock::seconds(now_ms.saturating_sub(since_ms)) >= patience_s;
        self.slow_since_ms.is_some_and(lasted)
    }

    /// Seconds that the need may count of a measured `mean_s` at policy time `now_ms`, at so many
    /// arrivals a second.
    pub(crate) fn counted_s(&self, now_ms: u64, mean_s: f64, rate: f64) -> f64 {
        let (true, Some(usual_s)) = (self.is_slow(), self.usual_s) else {
            return mean_s;
        };
        let factor = if self.is_settled(now_ms) {
            COUNTED
        } else {
            SLOW
        };
        let in_use_s = if rate > 0.0 && self.proven_slots.is_finite() {
            self.proven_slots / rate
        } else {
            0.0
        };
        mean_s.min(factor * usual_s.max(in_use_s))
    }

    /// Workers that were added for a slower service helped: as much of it as was counted is usual.
    pub(crate) fn prove(&mut self, mean_s: f64, busy_slots: f64) {
        self.proven_slots = self.proven_slots.max(busy_slots);
        if let Some(usual_s) = &mut self.usual_s {
            *usual_s = usual_s.max(mean_s.min(COUNTED * *usual_s));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(mean_s: f64) -> Timed {
        Timed {
            mean_s,
            requests: 1_000.0,
            busy_slots: 0.0,
        }
    }

    /// Ten calm minutes at half a second.
    fn calm() -> Slowdown {
        let mut slowdown = Slowdown::default();
        (0..600).for_each(|s| slowdown.see(1_000 * s, 1.0, timed(0.5), false));
        slowdown
    }

    #[test]
    fn what_is_usual_counts_in_full_and_so_does_everything_before_it_is_known() {
        assert_eq!(Slowdown::default().counted_s(0, 9.0, 1.0), 9.0);
        assert_eq!(calm().counted_s(600_000, 0.6, 1.0), 0.6);
    }

    #[test]
    fn a_slower_service_counts_twice_once_it_lasts_and_more_only_when_proven() {
        let mut slowdown = calm();
        slowdown.see(600_000, 1.0, timed(3.0), true);
        assert!(slowdown.is_slow());
        assert_eq!(slowdown.counted_s(600_000, 3.0, 1.0), 0.625);
        assert_eq!(slowdown.counted_s(604_999, 3.0, 1.0), 0.625);
        assert_eq!(slowdown.counted_s(605_000, 3.0, 1.0), 1.0);
        slowdown.prove(3.0, 0.0);
        assert_eq!(slowdown.counted_s(606_000, 3.0, 1.0), 2.0);
        slowdown.see(606_000, 1.0, timed(1.1), true);
        assert!(!slowdown.is_slow());
    }

    #[test]
    fn a_pool_that_keeps_up_gets_used_to_it_and_a_full_one_does_not() {
        let after = |full| {
            let mut slowdown = calm();
            (600..1_200).for_each(|s| slowdown.see(1_000 * s, 1.0, timed(3.0), full));
            slowdown.counted_s(1_200_000, 3.0, 1.0)
        };
        assert_eq!((after(false), after(true)), (3.0, 1.0));
    }

    #[test]
    fn slots_that_are_in_use_count_whatever_was_usual() {
        // Work of half a millisecond, and then all of it takes 200: eight slots of one worker are in
        // use at 40 requests a second, and more wait.
        let mut slowdown = Slowdown::default();
        let quick = Timed {
            mean_s: 0.000_5,
            ..timed(0.0)
        };
        (0..600).for_each(|s| slowdown.see(1_000 * s, 1.0, quick, false));
        let slow = Timed {
            mean_s: 0.2,
            requests: 40.0,
            busy_slots: 8.0,
        };
        slowdown.see(600_000, 1.0, slow, true);
        let load = |now_ms, slowdown: &Slowdown| 40.0 * slowdown.counted_s(now_ms, 0.2 * 5.0, 40.0);
        assert_eq!(load(600_000, &slowdown), 10.0);
        assert_eq!(load(605_000, &slowdown), 16.0);
        slowdown.prove(0.2, 16.0);
        assert_eq!(load(606_000, &slowdown), 32.0);
    }

    #[test]
    fn few_requests_may_take_longer_by_chance() {
        let mut slowdown = calm();
        let few = Timed {
            mean_s: 0.9,
            requests: 9.0,
            busy_slots: 0.0,
        };
        slowdown.see(600_000, 1.0, few, true);
        assert!(!slowdown.is_slow());
    }

    #[test]
    fn a_corrupt_usual_time_heals() {
        let mut slowdown = Slowdown {
            usual_s: Some(f64::NAN),
            slow_since_ms: Some(3),
            proven_slots: f64::NAN,
        };
        slowdown.see(600_000, 1.0, timed(0.5), false);
        assert_eq!(slowdown.usual_s, Some(0.5));
    }
}
