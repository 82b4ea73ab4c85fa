//! When each request of a plan starts: evenly spaced or Poisson, the same for the same seed.
//!
//! Both are made from the plan's integral by the time-rescaling theorem: a Poisson process of
//! rate one, read through the inverse of the expected count, is a Poisson process of the
//! planned rate, ramps included.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Cursor, RatePlan};

/// How requests follow one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalProcess {
    /// Evenly spaced at the planned rate.
    Constant,
    /// Independent of each other, as callers that know nothing of one another are.
    #[default]
    Poisson,
}

impl fmt::Display for ArrivalProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        })
    }
}

/// One request to be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its number in the run, from 0. Its body follows from this number and the seed.
    pub index: u64,
    /// Its intended start, since the start of the run.
    pub at: Duration,
}

/// The arrivals of a plan, in order.
#[derive(Debug)]
pub struct Arrivals<'a> {
    cursor: Cursor<'a>,
    process: ArrivalProcess,
    rng: fastrand::Rng,
    /// Requests expected by the time of the next arrival.
    count: f64,
    index: u64,
}

impl<'a> Arrivals<'a> {
    /// The arrivals of `plan`; equal seeds give equal arrivals.
    #[must_use]
    pub fn new(plan: &'a RatePlan, process: ArrivalProcess, seed: u64) -> Self {
        let mut arrivals = Self {
            cursor: plan.cursor(),
            process,
            rng: fastrand::Rng::with_seed(seed),
            count: 0.0,
            index: 0,
        };
        // Evenly spaced arrivals start half a gap in, so that a plan of n requests has n.
        arrivals.count = match process {
            ArrivalProcess::Constant => 0.5,
            ArrivalProcess::Poisson => arrivals.gap(),
        };
        arrivals
    }

    fn gap(&mut self) -> f64 {
        match self.process {
            ArrivalProcess::Constant => 1.0,
            // 1 - u lies in (0, 1], so the logarithm is finite.
            ArrivalProcess::Poisson => -(1.0 - self.rng.f64()).ln(),
        }
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let at_s = self.cursor.time_of(self.count)?;
        let arrival = Arrival {
            index: self.index,
            at: Duration::from_secs_f64(at_s),
        };
        self.count += self.gap();
        self.index += 1;
        Some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;
    use proptest::prelude::*;

    fn plan() -> RatePlan {
        let ramp = Stage {
            duration: Duration::from_secs(20),
            from_rate: 0.0,
            to_rate: 400.0,
        };
        RatePlan::new(&[ramp, Stage::constant(100.0, Duration::from_secs(10))]).unwrap()
    }

    #[test]
    fn constant_arrivals_are_exactly_as_many_as_planned_and_evenly_spaced() {
        let plan = RatePlan::new(&[Stage::constant(100.0, Duration::from_secs(10))]).unwrap();
        let all: Vec<_> = Arrivals::new(&plan, ArrivalProcess::Constant, 0).collect();
        assert_eq!(all.len(), 1_000);
        for pair in all.windows(2) {
            let gap_ms = (pair[1].at - pair[0].at).as_secs_f64() * 1e3;
            assert!((gap_ms - 10.0).abs() < 0.001, "{gap_ms}");
        }
    }

    proptest! {
        #[test]
        fn a_seed_decides_poisson_arrivals(seed: u64) {
            let plan = plan();
            let times = |seed| Arrivals::new(&plan, ArrivalProcess::Poisson, seed).collect::<Vec<_>>();
            prop_assert_eq!(times(seed), times(seed));
            prop_assert_ne!(times(seed), times(seed ^ 1));
        }

        #[test]
        fn poisson_counts_follow_the_plan(seed: u64) {
            let plan = plan();
            let n = Arrivals::new(&plan, ArrivalProcess::Poisson, seed).count() as f64;
            // Six standard deviations: one seed in a billion would fail.
            prop_assert!((n - plan.expected()).abs() < 6.0 * plan.expected().sqrt(), "{}", n);
        }

        #[test]
        fn arrivals_are_numbered_in_order_and_within_the_plan(seed: u64) {
            let plan = plan();
            let mut last = Duration::ZERO;
            for (i, arrival) in Arrivals::new(&plan, ArrivalProcess::Poisson, seed).enumerate() {
                prop_assert_eq!(arrival.index, i as u64);
                prop_assert!(arrival.at >= last && arrival.at <= plan.duration());
                last = arrival.at;
            }
        }
    }

    #[test]
    fn poisson_gaps_vary_as_much_as_they_should() {
        let plan = RatePlan::new(&[Stage::constant(1_000.0, Duration::from_secs(20))]).unwrap();
        let all: Vec<_> = Arrivals::new(&plan, ArrivalProcess::Poisson, 3).collect();
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|p| (p[1].at - p[0].at).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let spread = variance.sqrt() / mean;
        assert!((spread - 1.0).abs() < 0.05, "{spread}");
    }
}
