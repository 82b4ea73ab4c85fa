//! Coverage that holds although traffic changes: adaptive conformal inference (Gibbs and Candès,
//! "Adaptive Conformal Inference Under Distribution Shift", 2021).
//!
//! After each miss a higher quantile of the past residuals is asked for, after each hit a slightly
//! lower one, such that in the long run the wanted share of observations stays below it.

use serde::{Deserialize, Serialize};

use crate::stored;

/// Step of the level per miss, in units of the miss rate that is aimed at.
const STEP: f64 = 0.3;
/// Deepest debt, in steps: a long burst counts as ten misses, so that the floor comes down again.
const DEBT_STEPS_MAX: f64 = 10.0;
/// Samples over which the shown coverage is averaged.
const SHOWN_SAMPLES: f64 = 1_000.0;

/// The bounds that one observation judged, and those of them that held.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    judged: u32,
    held: u32,
    /// Sum of the shares of outcomes that they were meant to cover.
    targets: f64,
}

impl Tally {
    /// Adds a bound that was meant to cover a share `target` of outcomes.
    pub(crate) fn add(&mut self, target: f64, did_hold: bool) {
        self.judged += 1;
        self.held += u32::from(did_hold);
        self.targets += target;
    }

    pub(crate) fn judged(&self) -> u64 {
        u64::from(self.judged)
    }
}

/// A level that follows its misses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conformal {
    /// Difference between the miss rate that is asked of the residuals and the one aimed at.
    #[serde(with = "stored")]
    pub(crate) shift: f64,
    /// Forecasts that were judged, and those that held.
    pub(crate) judged: u64,
    pub(crate) held: u64,
    /// Share that held, recently.
    #[serde(with = "stored")]
    pub(crate) recent: f64,
}

impl Conformal {
    /// Quantile of the past residuals to ask for in order to cover `target`. 1 asks for the largest.
    pub(crate) fn quantile(&self, target: f64) -> f64 {
        (target - self.shift).clamp(0.5, 1.0)
    }

    /// Takes notice of the bounds that one observation judged. The level moves by one step however
    /// many they were: the same arrivals do not surprise twice.
    pub(crate) fn judge(&mut self, tally: Tally) {
        if tally.judged == 0 {
            return;
        }
        let Tally { judged, held, .. } = tally;
        let aimed = 1.0 - tally.targets / f64::from(judged);
        let step = STEP * aimed;
        let missed = f64::from(judged - held) / f64::from(judged);
        let lowest = -aimed - DEBT_STEPS_MAX * step;
        self.shift = (self.shift + step * (aimed - missed)).clamp(lowest, 2.0 * aimed);
        self.judged += u64::from(judged);
        self.held += u64::from(held);
        let shown = (self.judged as f64).min(SHOWN_SAMPLES);
        let share = (f64::from(judged) / shown).min(1.0);
        self.recent += share * (1.0 - missed - self.recent);
    }

    /// Share of forecasts that held, recently; `None` before the first.
    pub(crate) fn coverage(&self) -> Option<f64> {
        (self.judged > 0).then_some(self.recent)
    }

    /// Share of forecasts that held, since the beginning; `None` before the first.
    pub(crate) fn coverage_mean(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.held as f64 / self.judged as f64)
    }
}
