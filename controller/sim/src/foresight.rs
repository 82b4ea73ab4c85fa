//! The learned hourly pattern, fed as it is live.

use tidepool_policy::{ProfileForecast, WorkSample};
use tidepool_profile::Pattern;

use crate::live::Foresight;

/// A pattern that learns while the simulation runs.
pub struct Learned(Pattern);

impl Learned {
    /// Goes on with `pattern`.
    #[must_use]
    pub fn new(pattern: Pattern) -> Self {
        Self(pattern)
    }
}

impl Foresight for Learned {
    fn learn(&mut self, now_ms: u64, work: Option<&WorkSample>) {
        // A second without a report is unknown, not idle.
        let Some(work) = work else {
            return;
        };
        self.0.observe(now_ms, 1.0, work.arrivals);
        if let Some(late) = work.late {
            self.0.budget(now_ms, work.arrivals, late);
        }
    }

    fn expect(&mut self, now_ms: u64, lead_s: f64) -> Option<ProfileForecast> {
        let advice = self.0.forecast(now_ms, lead_s.max(1.0))?.advice()?;
        Some(ProfileForecast {
            median_rate: advice.median_rate,
            floor_rate: advice.floor_rate,
            growth: advice.growth,
            quantile_rates: advice.quantile_rates,
            waking: advice.waking,
        })
    }
}
