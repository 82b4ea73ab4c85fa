//! How far off forecasts usually are at this hour and lately, relative to how far they usually are.
//!
//! A spread that is the same at noon and at the steep end of a night is too wide for one and too
//! narrow for the other. Errors are divided by this before their quantiles are taken, and quantiles
//! are multiplied by it when they are told.

use serde::{Deserialize, Serialize};

use crate::{local::DAY_HOURS, stored};

/// Half-life of what an hour of the day is believed to be, in days.
const HOUR_HALF_LIFE_S: f64 = 4.0 * 3_600.0;
/// Half-life of what is usual.
const USUAL_HALF_LIFE_S: f64 = 52_000.0;
/// Half-life of what happened lately: seconds, and leads at least.
const LATELY_HALF_LIFE_S: f64 = 1_300.0;
const LATELY_LEADS: f64 = 2.0;
/// Forecasts that an hour, or the recent past, needs to weigh as much as what is usual.
const DOUBT: f64 = 20.0;
/// A scatter beyond these is not believed: one burst must not widen the next hour tenfold.
const RANGE: (f64, f64) = (0.4, 2.5);
/// Least error in ln units that anything is compared with.
const USUAL_LEAST: f64 = 1e-3;

/// Fading means of the size of errors, by hour of the day, lately and altogether.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scatter {
    #[serde(with = "stored::array")]
    pub(crate) hours: [f64; DAY_HOURS],
    #[serde(with = "stored::array")]
    pub(crate) hour_weights: [f64; DAY_HOURS],
    /// Sum and weight: lately, and altogether.
    #[serde(with = "stored::array")]
    pub(crate) lately: [f64; 2],
    #[serde(with = "stored::array")]
    pub(crate) usual: [f64; 2],
}

impl Scatter {
    /// Takes in an error of a forecast for `hour`; one such comes every `every_s` seconds, for a
    /// moment `lead_s` ahead.
    pub(crate) fn learn(&mut self, hour: usize, error: f64, (every_s, lead_s): (f64, f64)) {
        let kept = |half_life_s: f64| (-every_s / half_life_s).exp2();
        let fade =
            |[sum, weight]: [f64; 2], kept: f64| [sum * kept + error.abs(), weight * kept + 1.0];
        self.usual = fade(self.usual, kept(USUAL_HALF_LIFE_S));
        let lately_s = LATELY_HALF_LIFE_S.max(LATELY_LEADS * lead_s);
        self.lately = fade(self.lately, kept(lately_s));
        let hour = hour % DAY_HOURS;
        let of_hour = [self.hours[hour], self.hour_weights[hour]];
        [self.hours[hour], self.hour_weights[hour]] = fade(of_hour, kept(HOUR_HALF_LIFE_S));
    }

    /// Errors to be expected at `hour` over the usual ones.
    pub(crate) fn at(&self, hour: usize) -> f64 {
        let [sum, weight] = self.usual;
        if weight <= 0.0 {
            return 1.0;
        }
        let usual = (sum / weight).max(USUAL_LEAST);
        let relative = |sum: f64, weight: f64| (sum / usual + DOUBT) / (weight + DOUBT);
        let hour = hour % DAY_HOURS;
        let of_hour = relative(self.hours[hour], self.hour_weights[hour]);
        let of_late = relative(self.lately[0], self.lately[1]);
        (of_hour * of_late).sqrt().clamp(RANGE.0, RANGE.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_that_is_hard_to_foresee_is_given_more() {
        let mut scatter = Scatter::default();
        assert_eq!(scatter.at(7), 1.0, "nothing is known");
        for second in (0..5 * 86_400).step_by(50) {
            let hour = second / 3_600 % 24;
            let error = if hour == 7 { -0.3 } else { 0.03 };
            scatter.learn(hour, error, (50.0, 600.0));
        }
        assert!(scatter.at(7) > 2.0 * scatter.at(12), "{scatter:?}");
        // What happened lately counts at any hour, within bounds.
        let calm = scatter.at(12);
        (0..40).for_each(|_| scatter.learn(0, 2.0, (50.0, 600.0)));
        assert!(scatter.at(12) > 1.5 * calm, "{} {calm}", scatter.at(12));
        assert!(scatter.at(7) <= RANGE.1);
    }
}
