//! How far to believe what shadow fleets foretell: the late requests of the live pool over those that
//! the shadow of the margin in force would have had, on the same arrivals.
//!
//! A shadow queues in a fluid model and launches at the 95th percentile of start-up times, which most
//! real launches undercut, so it is later than life, by a factor that goes with the load. Learned here,
//! that factor closes the loop. It never says that a shadow was not late enough: what a live pool suffers
//! beyond that, no margin would have cured, and with all of them late the boldest looks best.

use serde::{Deserialize, Serialize};

/// Share of late requests that is too small to tell a shadow from life.
const TELLING_SHARE: f64 = 0.000_1;
/// Times over that a shadow may be too late.
const WRONG_MAX: f64 = 4.0;

/// Decaying sums of slot-seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Calibration {
    /// Work that came.
    work: f64,
    /// What of it waited for longer than the objective in the live pool.
    late: f64,
    /// What of it would have, by the shadow of the margin that was in force.
    foretold: f64,
}

impl Calibration {
    /// Takes in a step: `keep` is what stays of the sums so far.
    pub(crate) fn learn(&mut self, keep: f64, work: f64, late: f64, foretold: f64) {
        self.work = self.work * keep + work;
        self.late = self.late * keep + late;
        self.foretold = self.foretold * keep + foretold;
    }

    /// What a shadow's late requests are to be multiplied by.
    pub(crate) fn factor(&self) -> f64 {
        let untold = TELLING_SHARE * self.work;
        let factor = (self.late + untold) / (self.foretold + untold);
        if factor.is_finite() {
            factor.clamp(1.0 / WRONG_MAX, 1.0)
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(late_share: f64, foretold_share: f64) -> f64 {
        let mut calibration = Calibration::default();
        (0..1_000).for_each(|_| calibration.learn(0.999, 1.0, late_share, foretold_share));
        calibration.factor()
    }

    #[test]
    fn shadows_are_believed_until_life_says_otherwise() {
        assert_eq!(Calibration::default().factor(), 1.0);
        assert_eq!(after(0.0, 0.0), 1.0);
        assert!((after(0.002, 0.002) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_life_makes_of_their_word_is_learned() {
        assert!((after(0.001, 0.002) - 0.001_1 / 0.002_1).abs() < 1e-9);
        // A few late requests among very many tell little.
        assert!(after(0.0, 0.000_01) > 0.9);
    }

    #[test]
    fn a_shadow_is_at_most_four_times_too_late_and_never_not_late_enough() {
        assert_eq!(after(0.0, 0.5), 0.25);
        assert_eq!(after(0.5, 0.0), 1.0);
    }

    #[test]
    fn what_is_long_ago_fades() {
        let mut calibration = Calibration::default();
        (0..1_000).for_each(|_| calibration.learn(0.99, 1.0, 0.0, 0.01));
        (0..1_000).for_each(|_| calibration.learn(0.99, 1.0, 0.01, 0.01));
        assert!(
            (calibration.factor() - 1.0).abs() < 0.001,
            "{calibration:?}"
        );
    }
}
