//! How wrong forecasts were: a fading histogram of ln(actual / forecast), from which any quantile
//! can be read.

use serde::{Deserialize, Serialize};

use crate::stored;

/// Buckets of the histogram.
pub(crate) const BUCKETS: usize = 301;
/// Width of a bucket in ln units: 2 %.
const WIDTH: f64 = 0.02;
/// Largest residual that is told apart from larger ones: a factor of 20.
pub(crate) const RESIDUAL_MAX: f64 = 3.0;
/// New entries grow in weight instead of old ones shrinking; above this all are scaled back.
const RESCALE_ABOVE: f64 = 1e9;

/// A fading histogram of log residuals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Residuals {
    #[serde(with = "stored::sparse")]
    pub(crate) buckets: Vec<f64>,
    /// Sum of the buckets, which is worked out when they are loaded.
    #[serde(skip)]
    pub(crate) total: f64,
    /// Weight of the next entry.
    #[serde(with = "stored")]
    pub(crate) next: f64,
}

impl Default for Residuals {
    fn default() -> Self {
        Self {
            buckets: vec![0.0; BUCKETS],
            total: 0.0,
            next: 1.0,
        }
    }
}

impl Residuals {
    /// Adds a residual; everything older fades by `kept` (just under 1).
    pub(crate) fn add(&mut self, residual: f64, kept: f64) {
        let place = (residual.clamp(-RESIDUAL_MAX, RESIDUAL_MAX) + RESIDUAL_MAX) / WIDTH;
        let bucket = (place.round() as usize).min(BUCKETS - 1);
        self.buckets[bucket] += self.next;
        self.total += self.next;
        self.next /= kept;
        if self.next > RESCALE_ABOVE {
            let scale = 1.0 / self.next;
            self.buckets.iter_mut().for_each(|weight| *weight *= scale);
            self.next = 1.0;
            self.restore();
        }
    }

    /// Works out what is not stored.
    pub(crate) fn restore(&mut self) {
        self.total = self.buckets.iter().sum();
    }

    /// The residual that a share `q` of the entries does not exceed; 0 while there are none.
    /// Grows with `q`.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        self.quantiles([q])[0]
    }

    /// Several quantiles, asked for in rising order, in one pass.
    pub(crate) fn quantiles<const N: usize>(&self, asked: [f64; N]) -> [f64; N] {
        let mut found = [0.0; N];
        if self.total <= 0.0 {
            return found;
        }
        let (mut below, mut next, mut last) = (0.0, 0, 0.0);
        for (bucket, weight) in self.buckets.iter().enumerate() {
            if *weight <= 0.0 {
                continue;
            }
            let lower = bucket as f64 * WIDTH - RESIDUAL_MAX - WIDTH / 2.0;
            while next < N && asked[next] * self.total <= below + weight {
                let share = ((asked[next] * self.total - below) / weight).clamp(0.0, 1.0);
                found[next] = lower + share * WIDTH;
                next += 1;
            }
            below += weight;
            last = lower + WIDTH;
        }
        found[next..].fill(last);
        found
    }
}
