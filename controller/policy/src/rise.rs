//! Rises beyond chance, and how far they go on.
//!
//! Averages lag, and experts that were elected in quiet times are slow. A slope that Poisson arrivals
//! do not explain is carried on at once, by the share of such slopes that was left in the past.

use serde::{Deserialize, Serialize};

use crate::demand::{SLOWEST_S, TREND_SHARE};
use crate::ewma::{Ewma, share};

/// Scales on which a rise is looked for: 4, 8 and 16 seconds.
const RISE_LEVELS: usize = 3;
/// Deviations from which a slope counts for learning how far rises go on.
pub(crate) const RISE_DEVIATIONS: f64 = 3.0;
/// Largest gain within one start-up time that a slope is believed, in multiples of the level.
const RISE_MAX: f64 = 8.0;
/// How much the first guess at the persistence weighs, in squared relative gains.
const PERSISTENCE_WEIGHT: f64 = 1.0;
const PERSISTENCE_S: f64 = 172_800.0;

/// One time constant: the level and the level of the level, from which the trend follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Level {
    pub(crate) once: Ewma,
    pub(crate) twice: Ewma,
}

/// How far a significant rise goes on, learned: the share of its slope that was left after one
/// start-up time, by least squares over the rises of about a day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Persistence {
    expected_squared: f64,
    expected_by_actual: f64,
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            expected_squared: PERSISTENCE_WEIGHT,
            expected_by_actual: PERSISTENCE_WEIGHT * TREND_SHARE,
        }
    }
}

impl Persistence {
    pub(crate) fn share(&self) -> f64 {
        let share = self.expected_by_actual / self.expected_squared;
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Takes in a rise that was expected to gain `expected` and gained `actual`, both relative.
    pub(crate) fn learn(&mut self, expected: f64, actual: f64, dt_s: f64) {
        // One wild rise must not decide for all.
        let weight = (dt_s / 5.0).min(1.0) / (1.0 + expected * expected);
        let actual = actual.clamp(-expected, 2.0 * expected);
        let keep = 1.0 - share(dt_s, PERSISTENCE_S);
        self.expected_squared = self.expected_squared * keep + weight * expected * expected;
        self.expected_by_actual = self.expected_by_actual * keep + weight * expected * actual;
        let sound = self.expected_squared.is_finite() && self.expected_by_actual.is_finite();
        if !sound || self.expected_squared <= 1e-6 {
            *self = Self::default();
        }
    }
}

/// A rise beyond chance: the level now, without the lag of its average, and what its slope would
/// add until a worker that is launched now is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rise {
    pub(crate) base: f64,
    pub(crate) gain: f64,
}

impl Rise {
    /// The rise of the last seconds, if it is one beyond chance: by the scale that sees it best.
    pub(crate) fn seen(levels: &[Level], horizon_s: f64, deviations: f64) -> Option<Self> {
        let mut tau_s = SLOWEST_S / 32.0;
        let mut best: Option<Self> = None;
        for level in levels.iter().take(RISE_LEVELS + 1).skip(1) {
            tau_s *= 2.0;
            let flat = level.once.value();
            // Brown's double exponential smoothing: this difference is the slope times tau, and
            // under Poisson arrivals it has variance rate / (4 tau).
            let slope = flat - level.twice.value();
            let sure = slope - deviations * (flat / (4.0 * tau_s)).sqrt();
            if sure > 0.0 {
                let rise = Self {
                    base: flat + sure,
                    gain: (sure * horizon_s / tau_s).min(RISE_MAX * flat),
                };
                let ends = |rise: &Self| rise.base + rise.gain;
                best = best.filter(|best| ends(best) >= ends(&rise)).or(Some(rise));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels after `seconds` of these rates.
    fn fed(rates: impl IntoIterator<Item = f64>) -> Vec<Level> {
        let mut levels = vec![Level::default(); 6];
        for rate in rates {
            let mut tau_s = SLOWEST_S / 32.0;
            for level in &mut levels {
                level.once.add(rate, share(1.0, tau_s));
                level.twice.add(level.once.value(), share(1.0, tau_s));
                tau_s *= 2.0;
            }
        }
        levels
    }

    #[test]
    fn a_ramp_is_seen_and_carried_on_and_a_level_is_not() {
        let ramp = fed((0..300).map(|s| 400.0 + 10.0 * f64::from((s - 240).max(0))));
        let rise = Rise::seen(&ramp, 30.0, 4.0).unwrap();
        assert!((900.0..1_010.0).contains(&rise.base), "{rise:?}");
        assert!((150.0..330.0).contains(&rise.gain), "{rise:?}");
        assert_eq!(Rise::seen(&fed([400.0; 300]), 30.0, 4.0), None);
    }

    #[test]
    fn learns_that_rises_end_and_that_they_go_on() {
        let (mut ends, mut goes_on) = (Persistence::default(), Persistence::default());
        for _ in 0..60 {
            ends.learn(0.5, 0.0, 5.0);
            goes_on.learn(0.5, 0.5, 5.0);
        }
        assert!(ends.share() < 0.1, "{ends:?}");
        assert!(goes_on.share() > 0.9, "{goes_on:?}");
    }

    #[test]
    fn one_wild_rise_does_not_decide_and_nonsense_is_forgotten() {
        let mut persistence = Persistence::default();
        persistence.learn(0.5, 1e9, 5.0);
        assert!(persistence.share() < 0.9, "{persistence:?}");
        persistence.expected_by_actual = f64::NAN;
        persistence.learn(0.5, 0.5, 5.0);
        assert!(persistence.share() > 0.5, "{persistence:?}");
    }
}
