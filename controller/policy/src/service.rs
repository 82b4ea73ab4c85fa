//! How long a request holds a slot, in a closed loop: slot-seconds used over slots given back.
//!
//! An estimate from answers alone would be too low while long requests are still running; this one
//! counts their time as they use it, so that slots in service always add up.

use serde::{Deserialize, Serialize};

use crate::ewma::{Ewma, clean, share};
use crate::observation::WorkSample;

/// Releases after which the memory need not be longer.
const RELEASES_ENOUGH: f64 = 200.0;
const MEMORY_S_MIN: f64 = 10.0;
const MEMORY_S_MAX: f64 = 300.0;
/// Shortest service time that is told apart: below it the balancer dominates.
const SERVICE_S_MIN: f64 = 1e-5;
const P95_MEMORY_S: f64 = 60.0;

/// Running sums of slot time and releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceTime {
    slot_s: f64,
    released: f64,
    p95: Ewma,
}

impl ServiceTime {
    /// Takes in a window.
    pub(crate) fn observe(&mut self, work: &WorkSample) {
        let window_s = clean(work.window_s);
        if clean(work.busy_slot_s) + clean(work.released) == 0.0 {
            // An idle pool learns nothing and forgets nothing.
            return;
        }
        let thin = RELEASES_ENOUGH / clean(self.released).max(1.0);
        let memory_s = (MEMORY_S_MIN * thin).clamp(MEMORY_S_MIN, MEMORY_S_MAX);
        let keep = 1.0 - share(window_s, memory_s);
        self.slot_s = clean(self.slot_s) * keep + clean(work.busy_slot_s);
        self.released = clean(self.released) * keep + clean(work.released);
        if let Some(p95_s) = work.service_p95_s {
            self.p95.add(clean(p95_s), share(window_s, P95_MEMORY_S));
        }
    }

    /// Mean seconds that a request holds a slot; nothing before any slot was used.
    pub(crate) fn mean_s(&self) -> Option<f64> {
        // At least one: while nothing has come back, what was used so far is what a request takes.
        let mean_s = self.slot_s / self.released.max(1.0);
        (self.slot_s > 0.0 && mean_s.is_finite()).then(|| mean_s.max(SERVICE_S_MIN))
    }

    /// Requests that the mean is of.
    pub(crate) fn requests(&self) -> f64 {
        clean(self.released)
    }

    /// Smoothed 95th percentile in seconds; three means before one was measured.
    pub(crate) fn p95_s(&self) -> Option<f64> {
        self.p95.get().or_else(|| Some(3.0 * self.mean_s()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(busy_slot_s: f64, released: f64) -> WorkSample {
        WorkSample {
            window_s: 1.0,
            busy_slot_s,
            released,
            ..WorkSample::default()
        }
    }

    #[test]
    fn the_mean_is_slot_time_over_releases() {
        let mut service = ServiceTime::default();
        (0..100).for_each(|_| service.observe(&window(10.0, 20.0)));
        assert!((service.mean_s().unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn running_requests_count_before_they_end() {
        let mut service = ServiceTime::default();
        assert_eq!(service.mean_s(), None);
        (0..5).for_each(|_| service.observe(&window(1.0, 0.0)));
        let mean_s = service.mean_s().unwrap();
        assert!((4.0..=5.0).contains(&mean_s), "{mean_s}");
    }

    #[test]
    fn follows_a_change_within_seconds_when_there_is_much_to_see() {
        let mut service = ServiceTime::default();
        (0..600).for_each(|_| service.observe(&window(10.0, 100.0)));
        (0..30).for_each(|_| service.observe(&window(10.0, 10.0)));
        assert!(service.mean_s().unwrap() > 0.6, "{service:?}");
    }

    #[test]
    fn a_pool_that_does_nothing_keeps_what_it_knows() {
        let mut service = ServiceTime::default();
        (0..60).for_each(|_| service.observe(&window(2.0, 10.0)));
        (0..600).for_each(|_| service.observe(&window(0.0, 0.0)));
        assert!(
            (service.mean_s().unwrap() - 0.2).abs() < 0.01,
            "{service:?}"
        );
    }
}
