//! What is kept of each request: counts in HDR histograms and a timeline, all bounded, so that
//! a run of a day needs no more memory than a run of a minute.

use std::time::Duration;

use hdrhistogram::Histogram;
use reqwest::header::HeaderValue;

use crate::outcome::{Class, Outcome};

/// Longest time told apart, in microseconds (an hour).
const HIGHEST_US: u64 = 3_600_000_000;
/// Most outcomes that are told apart; the rest of a class counts as `other`.
const OUTCOMES_MAX: usize = 32;
/// Most buckets of the timeline.
const BUCKETS_MAX: u64 = 600;
/// How many of the slowest requests are named.
const SLOWEST: usize = 5;

/// Times in microseconds with three significant digits.
pub(crate) type Times = Histogram<u64>;

/// An empty histogram of times.
pub(crate) fn times() -> Times {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("constant bounds are valid")
}

pub(crate) fn as_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros())
        .unwrap_or(HIGHEST_US)
        .clamp(1, HIGHEST_US)
}

/// One finished request.
pub(crate) struct Sample {
    /// Intended start, since the start of the run.
    pub(crate) at: Duration,
    /// From the intended start to the sending.
    pub(crate) lag: Duration,
    /// From the sending to the end of the answer.
    pub(crate) service: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) request_id: Option<HeaderValue>,
}

impl Sample {
    /// From the intended start to the end of the answer: what a caller would have waited.
    pub(crate) fn latency(&self) -> Duration {
        self.lag + self.service
    }
}

/// Counts and times of one outcome.
#[derive(Clone)]
pub(crate) struct Tally {
    pub(crate) outcome: Outcome,
    pub(crate) latency: Times,
    pub(crate) service: Times,
}

/// A stretch of the timeline, by intended start.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) ok: u64,
    pub(crate) refused: u64,
    pub(crate) errors: u64,
    pub(crate) latency: Histogram<u32>,
}

/// A request worth looking up.
#[derive(Clone)]
pub(crate) struct Slow {
    pub(crate) at: Duration,
    pub(crate) latency: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) request_id: Option<HeaderValue>,
}

/// Which bucket of the timeline an instant belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) width: Duration,
    pub(crate) buckets: usize,
}

impl Grid {
    /// One-second buckets, or wider ones when the run is long.
    pub(crate) fn over(duration: Duration) -> Self {
        let seconds = duration.as_secs_f64().ceil().max(1.0) as u64;
        let width_s = seconds.div_ceil(BUCKETS_MAX);
        Self {
            width: Duration::from_secs(width_s),
            buckets: usize::try_from(seconds.div_ceil(width_s)).unwrap_or(1),
        }
    }

    pub(crate) fn position(&self, at: Duration) -> usize {
        let i = (at.as_secs_f64() / self.width.as_secs_f64()) as usize;
        i.min(self.buckets - 1)
    }
}

/// What one sender has seen. Recorders of several senders merge.
pub(crate) struct Recorder {
    warmup: Duration,
    grid: Grid,
    pub(crate) warmed_up: u64,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) lag: Times,
    pub(crate) timeline: Vec<Bucket>,
    pub(crate) slowest: Vec<Slow>,
}

impl Recorder {
    pub(crate) fn new(warmup: Duration, grid: Grid) -> Self {
        let bucket = Bucket {
            ok: 0,
            refused: 0,
            errors: 0,
            latency: Histogram::new(2).expect("two digits are valid"),
        };
        Self {
            warmup,
            grid,
            warmed_up: 0,
            tallies: Vec::new(),
            lag: times(),
            timeline: vec![bucket; grid.buckets],
            slowest: Vec::with_capacity(SLOWEST + 1),
        }
    }

    /// Counts a request. The timeline has all of them; the figures leave out the warm-up.
    pub(crate) fn record(&mut self, sample: Sample) {
        let latency_us = as_us(sample.latency());
        let bucket = &mut self.timeline[self.grid.position(sample.at)];
        *match sample.outcome.class() {
            Class::Ok => &mut bucket.ok,
            Class::Refused => &mut bucket.refused,
            Class::Error => &mut bucket.errors,
        } += 1;
        // Grows as needed, up to the bound of `as_us`; a saturating record would never grow it.
        let _ = bucket.latency.record(latency_us);
        if sample.at < self.warmup {
            self.warmed_up += 1;
            return;
        }
        self.lag.saturating_record(as_us(sample.lag));
        let tally = self.tally(&sample.outcome);
        tally.latency.saturating_record(latency_us);
        tally.service.saturating_record(as_us(sample.service));
        self.keep_if_slow(Slow {
            at: sample.at,
            latency: sample.latency(),
            outcome: sample.outcome,
            request_id: sample.request_id,
        });
    }

    /// Adds what another sender has seen in the same run.
    pub(crate) fn merge(&mut self, other: Self) {
        self.warmed_up += other.warmed_up;
        add(&mut self.lag, &other.lag);
        for tally in other.tallies {
            let mine = self.tally(&tally.outcome);
            add(&mut mine.latency, &tally.latency);
            add(&mut mine.service, &tally.service);
        }
        for (mine, other) in self.timeline.iter_mut().zip(other.timeline) {
            mine.ok += other.ok;
            mine.refused += other.refused;
            mine.errors += other.errors;
            add(&mut mine.latency, &other.latency);
        }
        other
            .slowest
            .into_iter()
            .for_each(|slow| self.keep_if_slow(slow));
    }

    fn tally(&mut self, outcome: &Outcome) -> &mut Tally {
        let known =
            |outcome: &Outcome, all: &[Tally]| all.iter().position(|t| t.outcome == *outcome);
        let mut outcome = outcome.clone();
        let mut position = known(&outcome, &self.tallies);
        if position.is_none() && self.tallies.len() >= OUTCOMES_MAX {
            outcome = Outcome::other(outcome.class());
            position = known(&outcome, &self.tallies);
        }
        let position = position.unwrap_or_else(|| {
            self.tallies.push(Tally {
                outcome,
                latency: times(),
                service: times(),
            });
            self.tallies.len() - 1
        });
        &mut self.tallies[position]
    }

    fn keep_if_slow(&mut self, slow: Slow) {
        let is_slower = |last: &Slow| slow.latency > last.latency;
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(is_slower) {
            let place = self.slowest.partition_point(|s| s.latency >= slow.latency);
            self.slowest.insert(place, slow);
            self.slowest.truncate(SLOWEST);
        }
    }
}

/// Adds counts. The bounds are the same on both sides or grow by themselves, so it succeeds.
pub(crate) fn add<C: hdrhistogram::Counter>(to: &mut Histogram<C>, from: &Histogram<C>) {
    let _ = to.add(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, lag_ms: u64, service_ms: u64, outcome: Outcome) -> Sample {
        Sample {
            at: Duration::from_millis(at_ms),
            lag: Duration::from_millis(lag_ms),
            service: Duration::from_millis(service_ms),
            outcome,
            request_id: None,
        }
    }

    fn recorder() -> Recorder {
        Recorder::new(Duration::from_secs(1), Grid::over(Duration::from_secs(10)))
    }

    #[test]
    fn latency_counts_from_the_intended_start_and_service_from_the_sending() {
        let mut recorder = recorder();
        recorder.record(sample(2_000, 500, 10, Outcome::answered(200, None)));
        let tally = &recorder.tallies[0];
        assert!(tally.latency.max().abs_diff(510_000) < 1_000);
        assert!(tally.service.max().abs_diff(10_000) < 100);
        assert!(recorder.lag.max().abs_diff(500_000) < 1_000);
    }

    #[test]
    fn the_warm_up_is_on_the_timeline_and_nowhere_else() {
        let mut recorder = recorder();
        recorder.record(sample(999, 0, 1, Outcome::answered(500, None)));
        recorder.record(sample(1_000, 0, 1, Outcome::answered(200, None)));
        assert_eq!(recorder.warmed_up, 1);
        assert_eq!(recorder.tallies.len(), 1);
        assert_eq!(recorder.timeline[0].errors, 1);
        assert_eq!(recorder.timeline[1].ok, 1);
    }

    #[test]
    fn the_timeline_has_long_times_as_they_were() {
        let mut recorder = recorder();
        recorder.record(sample(2_000, 0, 70_000, Outcome::answered(200, None)));
        let highest = recorder.timeline[2].latency.max();
        assert!(highest.abs_diff(70_000_000) < 700_000, "{highest}");
    }

    #[test]
    fn outcomes_beyond_the_bound_are_counted_with_their_class() {
        let mut recorder = recorder();
        for i in 0..200 {
            let code = format!("code-{i}");
            recorder.record(sample(1_000, 0, 1, Outcome::answered(500, Some(&code))));
        }
        recorder.record(sample(1_000, 0, 1, Outcome::answered(200, None)));
        let count = |class| -> u64 {
            let of_class = recorder
                .tallies
                .iter()
                .filter(|t| t.outcome.class() == class);
            of_class.map(|t| t.latency.len()).sum()
        };
        assert_eq!((count(Class::Error), count(Class::Ok)), (200, 1));
        assert!(recorder.tallies.len() <= OUTCOMES_MAX + 3);
    }

    #[test]
    fn merged_recorders_equal_one_that_saw_everything() {
        let (mut left, mut right, mut all) = (recorder(), recorder(), recorder());
        for i in 0..100 {
            let status = if i % 7 == 0 { 503 } else { 200 };
            let make = || sample(i * 90, i % 3, i, Outcome::answered(status, None));
            if i % 2 == 0 { &mut left } else { &mut right }.record(make());
            all.record(make());
        }
        left.merge(right);
        assert_eq!(left.warmed_up, all.warmed_up);
        assert_eq!(left.lag.len(), all.lag.len());
        for tally in &all.tallies {
            let same = left
                .tallies
                .iter()
                .find(|t| t.outcome == tally.outcome)
                .unwrap();
            assert_eq!(same.latency, tally.latency);
        }
        let slow = |r: &Recorder| r.slowest.iter().map(|s| s.latency).collect::<Vec<_>>();
        assert_eq!(slow(&left), slow(&all));
    }

    #[test]
    fn a_day_has_no_more_buckets_than_the_bound() {
        let grid = Grid::over(Duration::from_secs(86_400));
        assert_eq!(grid.buckets, 600);
        assert_eq!(grid.position(Duration::from_secs(200_000)), 599);
        assert_eq!(Grid::over(Duration::from_millis(100)).buckets, 1);
    }
}
