//! What arrives: a rate for each second, with the part that is scored.

use crate::smooth::Smoothing;
use crate::trace::Trace;

/// Seconds of a day.
pub const DAY_S: u64 = 86_400;

/// Requests per second, second by second.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Rate in each second.
    pub rates: Vec<f32>,
    /// The first scored second; before it an autoscaler may learn.
    pub score_from_s: usize,
    /// Wall time of the first second in milliseconds since the Unix epoch.
    pub start_ms: u64,
}

/// Which part of a trace is used, and how it is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// How chance is taken out of the counts.
    pub smoothing: Smoothing,
    /// Seconds to learn from. A trace that is not at least this and an hour long is scored whole.
    pub train_s: u64,
    /// Most seconds to score.
    pub score_s: u64,
    /// Mean number of busy workers over the scored part.
    pub mean_workers: f64,
    /// Concurrent places in a worker.
    pub slots: u32,
    /// Mean seconds that a request holds a place.
    pub service_mean_s: f64,
    /// Wall time of the first bin in milliseconds since the Unix epoch.
    pub start_ms: u64,
}

impl Workload {
    /// Cuts and scales a trace. The rate runs in a straight line from the middle of one bin to the
    /// middle of the next and is constant within a second; the scored part then has a mean of
    /// `mean_workers` busy workers.
    #[must_use]
    pub fn of(trace: &Trace, cut: &Cut) -> Self {
        let length_s = trace.length_s();
        let train_s = if length_s >= cut.train_s + 3_600 {
            cut.train_s
        } else {
            0
        };
        let seconds = whole(length_s.min(train_s.saturating_add(cut.score_s)));
        let smooth = cut.smoothing.apply(trace);
        let score_from_s = whole(train_s);
        let mut rates = interpolate(&smooth, trace.bin_s, seconds);
        let scored = &rates[score_from_s.min(seconds)..];
        let mean =
            scored.iter().map(|rate| f64::from(*rate)).sum::<f64>() / (scored.len().max(1) as f64);
        let wanted = cut.mean_workers * f64::from(cut.slots) / cut.service_mean_s;
        let factor = if mean > 0.0 { wanted / mean } else { 0.0 };
        for rate in &mut rates {
            *rate = (f64::from(*rate) * factor) as f32;
        }
        Self {
            rates,
            score_from_s,
            start_ms: cut.start_ms,
        }
    }

    /// Highest rate in requests per second.
    #[must_use]
    pub fn peak(&self) -> f64 {
        f64::from(self.rates.iter().copied().fold(0.0, f32::max))
    }

    /// Seconds that are scored.
    #[must_use]
    pub fn scored_s(&self) -> usize {
        self.rates.len().saturating_sub(self.score_from_s)
    }
}

fn whole(seconds: u64) -> usize {
    usize::try_from(seconds).unwrap_or(usize::MAX)
}

/// Requests per second at the middle of each second.
fn interpolate(counts: &[f64], bin_s: u64, seconds: usize) -> Vec<f32> {
    let bin = bin_s as f64;
    let rate = |at: usize| counts[at.min(counts.len() - 1)] / bin;
    (0..seconds)
        .map(|second| {
            let place = (second as f64 + 0.5) / bin - 0.5;
            let left = place.floor();
            let share = place - left;
            let (left, right) = if left < 0.0 {
                (0, 0)
            } else {
                (left as usize, left as usize + 1)
            };
            (rate(left) * (1.0 - share) + rate(right) * share) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut() -> Cut {
        Cut {
            smoothing: Smoothing::A,
            train_s: 7_200,
            score_s: 3_600,
            mean_workers: 20.0,
            slots: 10,
            service_mean_s: 0.5,
            start_ms: 5,
        }
    }

    fn trace(bins: usize) -> Trace {
        Trace {
            bin_s: 600,
            requests: (0..bins).map(|n| 1e6 + n as f64 * 1e5).collect(),
        }
    }

    #[test]
    fn the_scored_part_has_the_wanted_mean() {
        let load = Workload::of(&trace(24), &cut());
        assert_eq!(
            (load.score_from_s, load.rates.len(), load.scored_s()),
            (7_200, 10_800, 3_600)
        );
        let mean = load.rates[7_200..].iter().sum::<f32>() / 3_600.0;
        assert!((mean - 400.0).abs() < 0.1, "{mean}");
        assert!(load.rates[0] < 300.0);
    }

    #[test]
    fn a_short_trace_is_scored_whole() {
        let load = Workload::of(&trace(13), &cut());
        assert_eq!((load.score_from_s, load.rates.len()), (0, 3_600));
        let load = Workload::of(&trace(3), &cut());
        assert_eq!((load.score_from_s, load.rates.len()), (0, 1_800));
    }

    #[test]
    fn rates_run_straight_between_the_middles_of_bins() {
        let rates = interpolate(&[60.0, 180.0, 180.0], 60, 180);
        assert!((rates[0] - 1.0).abs() < 1e-6);
        assert!((rates[59] - rates[60]).abs() < 0.05);
        assert!((rates[60] - 2.0).abs() < 0.05);
        assert!((rates[95] - 3.0).abs() < 1e-6);
    }
}
