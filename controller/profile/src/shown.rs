//! What people see of a pattern: the week it learned and the day it expects.

use crate::{
    OutlookPoint, Pattern, WeekHour,
    horizon::{Spread, rate_at},
    local::WEEK_HOURS,
};

/// ln units from the median to the 90th percentile of a normal distribution, per deviation.
const P90_DEVIATIONS: f64 = 1.2816;
/// Deviation of single weeks that is assumed before any was measured, and counts as one week.
const DEVIATION_AT_FIRST: f64 = 0.2;
/// Points of an outlook at most.
const POINTS_MAX: u64 = 2_100;
/// Seconds after which today's deviation is half forgotten in an outlook, where no lead was judged.
const DEVIATION_TAU_S: f64 = 6.0 * 3_600.0;

impl Pattern {
    /// The learned week, 168 hours from Monday's midnight, local time.
    #[must_use]
    pub fn week(&self) -> Vec<WeekHour> {
        (0..WEEK_HOURS).map(|bin| self.week_hour(bin)).collect()
    }

    fn week_hour(&self, bin: usize) -> WeekHour {
        let own = self.week.bins[bin];
        let median = self.week.believed(bin);
        let at_first = DEVIATION_AT_FIRST * DEVIATION_AT_FIRST;
        let variance = (own.variance * own.weight + at_first) / (own.weight + 1.0);
        let reach = P90_DEVIATIONS * variance.sqrt();
        WeekHour {
            hour_of_week: bin as u8,
            median_rate: median.map(f64::exp),
            p10_rate: median.map(|ln_rate| (ln_rate - reach).exp()),
            p90_rate: median.map(|ln_rate| (ln_rate + reach).exp()),
            weight: own.weight,
            confidence: own.confidence(),
        }
    }

    /// The load expected over the next `hours` (at most a week), every `step_s` seconds (at least
    /// five minutes) from `now_ms` on. Empty until a day is known.
    ///
    /// The band is that of forecasts over two leads, widened by the spread of single weeks: the
    /// further off, the more of the latter.
    #[must_use]
    pub fn outlook(&self, now_ms: u64, hours: u32, step_s: u32) -> Vec<OutlookPoint> {
        let step_ms = u64::from(step_s.max(300)) * 1_000;
        let span_ms = u64::from(hours.min(WEEK_HOURS as u32)) * 3_600_000;
        let points = (span_ms / step_ms).min(POINTS_MAX);
        (0..=points)
            .filter_map(|point| self.outlook_at(now_ms, point * step_ms))
            .collect()
    }

    fn outlook_at(&self, now_ms: u64, after_ms: u64) -> Option<OutlookPoint> {
        let after_s = after_ms as f64 / 1_000.0;
        let horizon = &self.horizons[self.horizon_for(after_s.max(1.0))];
        let known = self.known(now_ms, after_s, 1)?;
        let near = (-after_s / DEVIATION_TAU_S).exp();
        let [growth, back, ..] = known.terms;
        let ln_rate = known.ln_last + growth + (1.0 - near) * back;
        let at_ms = now_ms.saturating_add(after_ms);
        let bin = self.clock.at(at_ms).hour_of_week() as usize % WEEK_HOURS;
        let hour = self.week_hour(bin);
        let weekly = hour
            .p90_rate
            .zip(hour.median_rate)
            .map_or(0.0, |(p90, p50)| (p90 / p50).ln());
        let weekly = weekly * (1.0 - near * near).sqrt();
        let Spread {
            p10, p50, p90, p99, ..
        } = horizon.spread();
        let wider = |residual: f64, reach: f64| {
            let near = residual - p50;
            p50 + (near * near + reach * reach).sqrt() * reach.signum()
        };
        Some(OutlookPoint {
            at_ms,
            p10_rate: rate_at(ln_rate, wider(p10, -weekly - f64::EPSILON)),
            p50_rate: rate_at(ln_rate, p50),
            p90_rate: rate_at(ln_rate, wider(p90, weekly)),
            p99_rate: rate_at(ln_rate, wider(p99, weekly * 1.815)),
        })
    }
}
