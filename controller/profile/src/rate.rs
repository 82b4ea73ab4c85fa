//! Arrival rates of the recent past, which know how much they rest on.

use serde::{Deserialize, Serialize};

/// Share of a time constant's arrivals that must have been due before they are missed, and share of
/// them that has to come.
const MISSED_AFTER: f64 = 0.5;
const CAME_LEAST: f64 = 0.05;

/// Arrivals and the time they were counted in, both fading; a gap counts as neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FadingRate {
    arrivals: f64,
    seconds: f64,
    expected: f64,
}

impl FadingRate {
    /// Adds a window of `window_s` in which `expected` arrivals were to be expected, `elapsed_s`
    /// after the last one.
    pub(crate) fn add(&mut self, tau_s: f64, elapsed_s: f64, window: Window) {
        let kept = (-elapsed_s / tau_s).exp();
        self.arrivals = self.arrivals * kept + window.arrivals;
        self.seconds = self.seconds * kept + window.seconds;
        self.expected = self.expected * kept + window.expected;
    }

    /// The profile changed: what was expected of the past is what it expects now. `ln_before` is
    /// absent where there was no profile yet.
    pub(crate) fn rebase(&mut self, ln_before: Option<f64>, ln_now: f64) {
        self.expected = match ln_before {
            Some(ln_before) => self.expected * (ln_now - ln_before).exp(),
            None => self.seconds * ln_now.exp(),
        };
    }

    /// Arrivals per second, once at least `least_s` of fading time were seen.
    pub(crate) fn rate(&self, least_s: f64) -> Option<f64> {
        (self.seconds >= least_s).then(|| self.arrivals / self.seconds)
    }

    /// Whether next to nothing of what was expected came, although more than `least` was expected,
    /// and at the rate `expected_rate` for most of the time constant `tau_s`.
    pub(crate) fn is_missed(&self, tau_s: f64, expected_rate: f64, least: f64) -> bool {
        let due = least.max(MISSED_AFTER * tau_s * expected_rate);
        self.expected >= due && self.arrivals < CAME_LEAST * self.expected
    }

    /// Logarithm of observed over expected. `doubt` arrivals on either side keep a handful of
    /// arrivals from being read as a trend.
    pub(crate) fn ln_ratio(&self, doubt: f64) -> f64 {
        ((self.arrivals + doubt) / (self.expected + doubt)).ln()
    }
}

/// One window of observation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) arrivals: f64,
    /// Arrivals that the profile expected, 0 while there is none.
    pub(crate) expected: f64,
}
