//! Random numbers, fast: Poisson counts by table and service times by quantile.

use crate::model::{Model, ServiceShape};

/// Largest mean drawn from one table; beyond it independent parts are added up, which is exact.
const MEAN_MAX: f64 = 400.0;
const GUIDE: usize = 64;
/// Quantiles of the service time: one for each of two random bytes.
pub(crate) const QUANTILES: usize = 1 << 16;

/// Poisson counts of one mean, by inversion of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poisson {
    mean: f64,
    parts: u32,
    /// `2^32` times the probability of at most this many.
    below: Vec<u32>,
    guide: Vec<u32>,
}

impl Poisson {
    /// Sets the mean. Costs about a table's length unless it is the same as before.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "probabilities and small counts"
    )]
    pub(crate) fn set(&mut self, mean: f64) {
        if (mean - self.mean).abs() <= 1e-12 * mean && !self.below.is_empty() {
            return;
        }
        self.mean = mean;
        self.parts = (mean / MEAN_MAX).ceil().max(1.0) as u32;
        let mean = mean / f64::from(self.parts);
        let length = (mean + 10.0 * mean.sqrt() + 12.0) as usize;
        self.below.clear();
        let (mut term, mut sum) = ((-mean).exp(), 0.0);
        for k in 0..length {
            sum += term;
            self.below.push((sum * 4_294_967_296.0) as u32);
            term *= mean / (k + 1) as f64;
        }
        if let Some(last) = self.below.last_mut() {
            *last = u32::MAX;
        }
        self.guide.clear();
        let mut k = 0;
        for step in 0..GUIDE {
            let least = (step as u64 * (1 << 32) / GUIDE as u64) as u32;
            while self.below[k] < least {
                k += 1;
            }
            self.guide.push(k as u32);
        }
    }

    /// Draws a count.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        if self.mean <= 0.0 {
            return 0;
        }
        (0..self.parts).map(|_| self.draw_part(random)).sum()
    }

    fn draw_part(&self, random: &mut fastrand::Rng) -> u32 {
        let u = random.u32(..);
        let mut k = self.guide[(u >> 26) as usize];
        while self.below[k as usize] < u {
            k += 1;
        }
        k
    }
}

/// Quantiles of the service time: the value at the middle of each of 65,536 equally likely parts,
/// scaled so that their mean is exact.
pub(crate) fn service_quantiles(model: &Model) -> Vec<f64> {
    let deviation = (1.0 + model.service_cv.powi(2)).ln().sqrt();
    let mut values: Vec<f64> = (0..QUANTILES)
        .map(|part| (part as f64 + 0.5) / QUANTILES as f64)
        .map(|p| match model.service_shape {
            ServiceShape::Lognormal => (deviation * normal_quantile(p)).exp(),
            ServiceShape::Exponential => -(1.0 - p).ln(),
        })
        .collect();
    let factor = model.service_mean_s * QUANTILES as f64 / values.iter().sum::<f64>();
    values.iter_mut().for_each(|value| *value *= factor);
    values
}

/// Inverse of the standard normal distribution (P. J. Acklam's rational approximation, relative
/// error below 1.2e-9).
pub(crate) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    let horner = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p < 0.024_25 {
        let q = (-2.0 * p.ln()).sqrt();
        return horner(&C, q) / (horner(&D, q) * q + 1.0);
    }
    let q = p - 0.5;
    let r = q * q;
    horner(&A, r) * q / (horner(&B, r) * r + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_normal_distribution() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_985),
            (0.01, -2.326_347_874),
            (0.999, 3.090_232_306),
        ] {
            assert!(
                (normal_quantile(p) - z).abs() < 1e-8,
                "{p}: {}",
                normal_quantile(p)
            );
        }
    }

    #[test]
    fn service_times_have_their_mean_and_variation() {
        let values = service_quantiles(&Model::default());
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 0.5).abs() < 1e-9);
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.01,
            "{}",
            variance.sqrt() / mean
        );
    }

    #[test]
    fn counts_have_the_mean_and_variance_of_poisson() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut poisson = Poisson::default();
        for mean in [0.02, 3.7, 40.0, 399.0, 1_500.0] {
            poisson.set(mean);
            let draws: Vec<f64> = (0..40_000)
                .map(|_| f64::from(poisson.draw(&mut random)))
                .collect();
            let n = draws.len() as f64;
            let seen = draws.iter().sum::<f64>() / n;
            let variance = draws.iter().map(|v| (v - seen).powi(2)).sum::<f64>() / n;
            assert!(
                (seen - mean).abs() < 4.0 * (mean / n).sqrt(),
                "{mean}: {seen}"
            );
            assert!((variance / mean - 1.0).abs() < 0.1, "{mean}: {variance}");
        }
        poisson.set(0.0);
        assert_eq!(poisson.draw(&mut random), 0);
    }
}
