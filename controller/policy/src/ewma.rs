//! A moving average that is unbiased from its first sample and heals when its state is corrupt.

use serde::{Deserialize, Serialize};

/// Largest number that is taken for a measurement; squares of it are still far from overflow.
const MEASURE_MAX: f64 = 1e15;

/// What a measurement is worth: a number that no meter can give counts as zero.
pub(crate) fn clean(x: f64) -> f64 {
    if x.is_finite() {
        x.clamp(0.0, MEASURE_MAX)
    } else {
        0.0
    }
}

/// Share that a sample of length `dt_s` takes in an average with time constant `tau_s`.
pub(crate) fn share(dt_s: f64, tau_s: f64) -> f64 {
    1.0 - (-dt_s / tau_s).exp()
}

/// Exponentially weighted mean. The weight starts at zero, so early values are not pulled to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ewma {
    sum: f64,
    weight: f64,
}

impl Ewma {
    /// Takes a sample in with the given share (0 to 1).
    pub(crate) fn add(&mut self, sample: f64, share: f64) {
        if !self.sum.is_finite() || !self.weight.is_finite() {
            *self = Self::default();
        }
        self.sum += share * (sample - self.sum);
        self.weight += share * (1.0 - self.weight);
    }

    /// The mean; nothing before the first sample.
    pub(crate) fn get(self) -> Option<f64> {
        let mean = self.sum / self.weight;
        (self.weight > 0.0 && mean.is_finite()).then_some(mean)
    }

    /// The mean; zero before the first sample.
    pub(crate) fn value(self) -> f64 {
        self.get().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_is_the_mean() {
        let mut mean = Ewma::default();
        assert_eq!(mean.get(), None);
        mean.add(8.0, share(1.0, 60.0));
        assert!((mean.value() - 8.0).abs() < 1e-9);
    }

    #[test]
    fn forgets_with_its_time_constant() {
        let mut mean = Ewma {
            sum: 1.0,
            weight: 1.0,
        };
        (0..60).for_each(|_| mean.add(0.0, share(1.0, 60.0)));
        assert!((mean.value() - (-1.0_f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn heals_from_corrupt_state() {
        let mut mean = Ewma {
            sum: f64::NAN,
            weight: 1.0,
        };
        assert_eq!(mean.get(), None);
        mean.add(3.0, 0.5);
        assert_eq!(mean.get(), Some(3.0));
    }
}
