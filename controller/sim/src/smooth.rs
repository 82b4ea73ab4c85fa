//! From counts to a rate: takes the chance out of a trace without taking its spikes.
//!
//! A trace is scaled up by hundreds before it is resampled. What is chance in the small counts would
//! become real swings of a large load, so counts that could be the same rate are averaged first.

use crate::trace::Trace;

/// Bins on either side that a bin is averaged with.
const REACH: usize = 5;
/// Deviations within which two counts could be the same rate.
const DEVIATIONS: f64 = 3.0;
/// Bins longer than this are taken as they are: eleven of them would span a good part of a day, so
/// what differs from one to the next is the load and not chance.
const BIN_S_MAX: u64 = 600;
/// Median of the square of a standard normal number.
const MEDIAN_CHI_SQUARE: f64 = 0.4549;

/// How much chance is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Smoothing {
    /// Counts count as equal within three Poisson deviations of their difference. What varies more
    /// than Poisson stays, and is magnified with the trace: hard.
    A,
    /// As `A`, with deviations widened by the trace's own dispersion from bin to bin: fair to a load
    /// made of many such ones, whose swings would cancel. Spikes stay.
    #[default]
    B,
}

impl Smoothing {
    /// The smoothing called `name`, in either case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "a" | "A" => Some(Self::A),
            "b" | "B" => Some(Self::B),
            _ => None,
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Requests per bin with the chance taken out.
    ///
    /// Each bin becomes the mean of those within five bins of it (itself included) whose count
    /// differs from its own by at most `3 x sqrt(phi x (a + b))`, the deviation of the difference of
    /// two Poisson counts `a` and `b` widened by `phi`: 1 for `A`; for `B` the dispersion of the
    /// trace, see [`dispersion`], and at least 1. Bins longer than ten minutes stay as they are.
    #[must_use]
    pub fn apply(self, trace: &Trace) -> Vec<f64> {
        let counts = &trace.requests;
        if trace.bin_s > BIN_S_MAX {
            return counts.clone();
        }
        let phi = match self {
            Self::A => 1.0,
            Self::B => dispersion(counts).max(1.0),
        };
        (0..counts.len())
            .map(|at| mean_of_alike(counts, at, phi))
            .collect()
    }
}

fn mean_of_alike(counts: &[f64], at: usize, phi: f64) -> f64 {
    let near = &counts[at.saturating_sub(REACH)..(at + REACH + 1).min(counts.len())];
    let own = counts[at];
    let (mut sum, mut alike) = (0.0, 0.0);
    for other in near {
        if (other - own).abs() <= DEVIATIONS * (phi * (own + other).max(1.0)).sqrt() {
            sum += other;
            alike += 1.0;
        }
    }
    sum / alike
}

/// Variance of the change from one bin to the next over that of a Poisson count, from the median of
/// `(a - b)^2 / (a + b)` so that rare spikes do not count; 1 for pure chance.
#[must_use]
pub fn dispersion(counts: &[f64]) -> f64 {
    let mut squares: Vec<f64> = counts
        .windows(2)
        .filter(|pair| pair[0] + pair[1] > 0.0)
        .map(|pair| (pair[1] - pair[0]).powi(2) / (pair[0] + pair[1]))
        .collect();
    if squares.is_empty() {
        return 1.0;
    }
    let middle = squares.len() / 2;
    let (_, median, _) = squares.select_nth_unstable_by(middle, f64::total_cmp);
    *median / MEDIAN_CHI_SQUARE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(requests: Vec<f64>) -> Trace {
        Trace {
            bin_s: 60,
            requests,
        }
    }

    #[test]
    fn chance_goes_and_a_spike_stays() {
        let mut counts = vec![100.0, 90.0, 110.0, 95.0, 105.0, 100.0, 92.0, 108.0];
        counts[4] = 900.0;
        let smooth = Smoothing::A.apply(&minutes(counts));
        assert!((smooth[4] - 900.0).abs() < 1e-9, "{smooth:?}");
        assert!((smooth[0] - 99.0).abs() < 1e-9, "{smooth:?}");
        assert!(smooth[5] < 110.0, "{smooth:?}");
    }

    #[test]
    fn dispersion_widens_only_b() {
        // Twice as wild as chance, bin by bin.
        let counts: Vec<f64> = (0..400)
            .map(|n| if n % 2 == 0 { 100.0 } else { 170.0 })
            .collect();
        assert!(dispersion(&counts) > 10.0);
        let trace = minutes(counts.clone());
        let swing = |s: &[f64]| (s[200] - s[201]).abs();
        assert!(swing(&Smoothing::A.apply(&trace)) > 60.0);
        assert!(swing(&Smoothing::B.apply(&trace)) < 10.0);
    }

    #[test]
    fn long_bins_are_load_and_not_chance() {
        let trace = Trace {
            bin_s: 1_800,
            requests: vec![100.0, 105.0, 99.0],
        };
        assert_eq!(Smoothing::B.apply(&trace), trace.requests);
    }
}
