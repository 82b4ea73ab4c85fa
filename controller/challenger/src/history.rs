//! Hourly means of the last weeks, and when it is time to fit again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Training;

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: u64 = 3_600_000;
/// Hours that are kept: five weeks.
const HOURS_MAX: usize = 35 * 24;
/// Windows and arrivals that can be.
const WINDOW_S: std::ops::RangeInclusive<f64> = 0.001..=3_600.0;
const ARRIVALS_MAX: f64 = 1e12;
/// Hours between two fits.
const FIT_EVERY_HOURS: u64 = 6;
/// Latest hour that is taken for one: the year 9000.
const HOUR_LAST: u64 = 61_623_720;
/// Share of an hour that must have been seen for the hour to count.
const SEEN_S_MIN: f64 = 900.0;

/// Collects what a fit needs. Hours are hours of UTC: a daylight saving change costs it a few weeks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Challenger {
    /// Means of past hours in requests per second, oldest first; `None` where too little was seen.
    hours: VecDeque<Option<f64>>,
    /// The hour that runs, in hours since the epoch.
    hour: u64,
    arrivals: f64,
    seconds: f64,
    /// A fit is not kept, so that whoever goes on with this begins with one.
    #[serde(skip)]
    fitted_hour: u64,
}

impl Challenger {
    /// Whether this is what a challenger can be: one that was stored may be damaged.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let is_number = |number: &f64| (0.0..=ARRIVALS_MAX * 1e4).contains(number);
        let now = [self.arrivals, self.seconds];
        let mut numbers = self.hours.iter().flatten().chain(&now);
        self.hours.len() <= HOURS_MAX && self.hour <= HOUR_LAST && numbers.all(is_number)
    }

    /// Takes in the arrivals of the `window_s` seconds that ended at `at_ms`. Impossible numbers and
    /// times before the hour that runs are left out.
    pub fn observe(&mut self, at_ms: u64, window_s: f64, arrivals: f64) {
        let is_possible = WINDOW_S.contains(&window_s) && (0.0..=ARRIVALS_MAX).contains(&arrivals);
        let middle_ms = at_ms.saturating_sub((window_s * 500.0) as u64);
        let hour = middle_ms / HOUR_MS;
        if !is_possible || (hour < self.hour && self.hour - hour < HOURS_MAX as u64) {
            return;
        }
        if hour != self.hour {
            self.turn(hour);
        }
        self.arrivals += arrivals;
        self.seconds += window_s;
    }

    /// Closes the hour that ran. A jump beyond all that is kept, either way, begins anew.
    fn turn(&mut self, hour: u64) {
        let is_jump = hour < self.hour || hour - self.hour > HOURS_MAX as u64;
        if is_jump {
            self.hours.clear();
            self.fitted_hour = 0;
        } else {
            let seen = self.seconds >= SEEN_S_MIN;
            self.push(seen.then(|| self.arrivals / self.seconds));
            for _ in self.hour + 1..hour {
                self.push(None);
            }
        }
        (self.hour, self.arrivals, self.seconds) = (hour, 0.0, 0.0);
    }

    fn push(&mut self, mean: Option<f64>) {
        if self.hours.len() == HOURS_MAX {
            self.hours.pop_front();
        }
        self.hours.push_back(mean);
    }

    /// What to fit now, at most every six hours; `None` until two days were seen.
    pub fn training(&mut self, now_ms: u64) -> Option<Training> {
        let hour = now_ms / HOUR_MS;
        if hour > self.hour {
            self.turn(hour);
        }
        let is_due = hour >= self.fitted_hour + FIT_EVERY_HOURS && hour == self.hour;
        let first = self.hours.iter().position(Option::is_some)?;
        if !is_due || self.hours.len() - first < Training::HOURS_MIN {
            return None;
        }
        self.fitted_hour = hour;
        let hours = self.hours.iter().skip(first).copied().collect();
        Some(Training::new(self.hour, hours))
    }
}
