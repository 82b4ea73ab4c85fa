//! How high a quantile the floor should be, from how much of the error budget was spent.
//!
//! A proportional and integral controller on the share of late requests, after BACC ("budgeted
//! autoscaling with conformal control", 2026). It acts on -log10(1 - quantile), in which 0.9, 0.99
//! and 0.999 are evenly spaced.

use serde::{Deserialize, Serialize};

use crate::stored;

/// 0.9 and 0.9999.
const NINES_MIN: f64 = 1.0;
const NINES_MAX: f64 = 4.0;
/// Share of a nine per unit of overspending within the last hour.
const NOW: f64 = 0.3;
/// Days of spending nothing that give a nine back.
const INTEGRAL_DAYS: f64 = 4.0;
/// Overspending counts up to this many times the budget.
const OVERSPENT_MAX: f64 = 10.0;
const HOUR_S: f64 = 3_600.0;
const DAY_S: f64 = 86_400.0;
/// Longest time that one report stands for.
const REPORT_S_MAX: f64 = 600.0;

/// The pacing of an error budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Nines above those of the configured quantile.
    #[serde(with = "stored")]
    pub(crate) nines: f64,
    /// Spending over the last hour, in budgets.
    #[serde(with = "stored")]
    pub(crate) spent: f64,
    /// Requests and late ones, fading within an hour. A version before counted neither.
    #[serde(default, with = "stored")]
    pub(crate) requests: f64,
    #[serde(default, with = "stored")]
    pub(crate) late: f64,
    /// When lateness was last reported; 0 before the first report.
    pub(crate) reported_ms: u64,
}

impl Pace {
    /// Takes in how many requests came since the last report, and how many were late.
    pub(crate) fn report(
        &mut self,
        at_ms: u64,
        (requests, late): (f64, f64),
        target: f64,
        base: f64,
    ) {
        let elapsed_s = at_ms.saturating_sub(self.reported_ms) as f64 / 1_000.0;
        self.reported_ms = at_ms;
        let elapsed_s = elapsed_s.min(REPORT_S_MAX);
        // By requests and not by time: a night's few must not spend what a day's many have saved.
        let kept = (-elapsed_s / HOUR_S).exp();
        self.requests = self.requests * kept + requests;
        self.late = self.late * kept + late;
        // The budget of one late request is always there: among a handful, one is no trend.
        let budget = (self.requests * target).max(1.0);
        self.spent = (self.late / budget).min(OVERSPENT_MAX);
        let nines = self.nines + (self.spent - 1.0) * elapsed_s / (INTEGRAL_DAYS * DAY_S);
        self.nines = nines.clamp(NINES_MIN - nines_of(base), NINES_MAX - nines_of(base));
    }

    /// Quantile to ask for, within 0.9 to 0.9999.
    pub(crate) fn quantile(&self, base: f64) -> f64 {
        let over = if self.reported_ms == 0 {
            0.0
        } else {
            self.spent - 1.0
        };
        let nines = nines_of(base) + self.nines + NOW * over;
        1.0 - 10f64.powf(-nines.clamp(NINES_MIN, NINES_MAX))
    }
}

fn nines_of(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}
