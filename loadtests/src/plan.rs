//! The rate that a run intends at each instant: stages of constant rate or linear ramps.
//!
//! The integral of the rate and its inverse are exact, so that arrival times follow from
//! counting alone and a ramp has neither steps nor drift.

use std::time::Duration;

/// Highest rate of a plan, in requests per second.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Longest plan.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Most stages of a plan; a replayed trace has one for each bin.
pub const STAGES_MAX: usize = 1_000_000;

/// A stretch of a plan whose rate is constant or changes linearly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stage {
    /// How long it lasts.
    pub duration: Duration,
    /// Requests per second when it begins.
    pub from_rate: f64,
    /// Requests per second when it ends.
    pub to_rate: f64,
}

impl Stage {
    /// A stage of constant rate.
    #[must_use]
    pub fn constant(rate: f64, duration: Duration) -> Self {
        Self {
            duration,
            from_rate: rate,
            to_rate: rate,
        }
    }
}

/// Stages are not a plan.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PlanError {
    /// There are too many or none.
    #[error("there are {0} stages; a plan has 1 to {STAGES_MAX}")]
    Stages(usize),
    /// A rate is out of bounds.
    #[error("stage {stage}: a rate of {rate} requests/s; it must be 0 to {RATE_MAX}")]
    Rate {
        /// Counted from 1.
        stage: usize,
        /// The rate.
        rate: f64,
    },
    /// The stages are too long together, or take no time.
    #[error("the stages last {0:?} together; a plan lasts more than 0 s and at most 24 h")]
    Duration(Duration),
    /// Nothing would be sent.
    #[error("all rates are 0: nothing would be sent")]
    Idle,
}

/// A stage with its place in the plan.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start_s: f64,
    length_s: f64,
    from_rate: f64,
    to_rate: f64,
    /// Requests expected before it begins.
    before: f64,
}

impl Segment {
    fn slope(&self) -> f64 {
        (self.to_rate - self.from_rate) / self.length_s
    }

    fn rate_after(&self, x_s: f64) -> f64 {
        (self.from_rate + self.slope() * x_s).max(0.0)
    }

    /// Requests expected in its first `x_s` seconds.
    fn count_after(&self, x_s: f64) -> f64 {
        (self.from_rate + self.slope() * x_s / 2.0) * x_s
    }

    fn total(&self) -> f64 {
        (self.from_rate + self.to_rate) / 2.0 * self.length_s
    }

    /// Seconds into it by which `count` requests are expected. Solved in the form that stays
    /// exact when the slope is nearly zero.
    fn time_of(&self, count: f64) -> f64 {
        if count <= 0.0 {
            return 0.0;
        }
        let root = (self.from_rate * self.from_rate + 2.0 * self.slope() * count)
            .max(0.0)
            .sqrt();
        (2.0 * count / (self.from_rate + root)).clamp(0.0, self.length_s)
    }
}

/// The intended rate over time. Time is in seconds since the start of the run.
#[derive(Clone, Debug)]
pub struct RatePlan {
    segments: Vec<Segment>,
    duration: Duration,
}

impl RatePlan {
    /// A plan of these stages, one after the other. Stages of no length are left out.
    ///
    /// # Errors
    /// When there is nothing to send, or a bound is exceeded.
    pub fn new(stages: &[Stage]) -> Result<Self, PlanError> {
        if stages.is_empty() || stages.len() > STAGES_MAX {
            return Err(PlanError::Stages(stages.len()));
        }
        check_rates(stages)?;
        let duration = stages
            .iter()
            .try_fold(Duration::ZERO, |sum, s| sum.checked_add(s.duration))
            .unwrap_or(Duration::MAX);
        if duration.is_zero() || duration > DURATION_MAX {
            return Err(PlanError::Duration(duration));
        }
        let segments = lay_out(stages);
        let plan = Self { segments, duration };
        if plan.expected() <= 0.0 {
            return Err(PlanError::Idle);
        }
        Ok(plan)
    }

    /// How long it lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Requests expected in all.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.segments.last().map_or(0.0, |s| s.before + s.total())
    }

    /// Highest rate.
    #[must_use]
    pub fn peak_rate(&self) -> f64 {
        self.segments
            .iter()
            .map(|s| s.from_rate.max(s.to_rate))
            .fold(0.0, f64::max)
    }

    /// Intended rate `at_s` seconds after the start; at a step, the rate after it.
    #[must_use]
    pub fn rate_at(&self, at_s: f64) -> f64 {
        self.segment_at(at_s).map_or(0.0, |s| {
            s.rate_after((at_s - s.start_s).clamp(0.0, s.length_s))
        })
    }

    /// Requests expected in the first `at_s` seconds.
    #[must_use]
    pub fn expected_until(&self, at_s: f64) -> f64 {
        self.segment_at(at_s).map_or(0.0, |s| {
            s.before + s.count_after((at_s - s.start_s).clamp(0.0, s.length_s))
        })
    }

    /// A reader of the instants by which given numbers of requests are expected.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            segments: &self.segments,
        }
    }

    fn segment_at(&self, at_s: f64) -> Option<&Segment> {
        let next = self.segments.partition_point(|s| s.start_s <= at_s);
        self.segments.get(next.saturating_sub(1))
    }
}

fn check_rates(stages: &[Stage]) -> Result<(), PlanError> {
    for (i, stage) in stages.iter().enumerate() {
        for rate in [stage.from_rate, stage.to_rate] {
            if !(0.0..=RATE_MAX).contains(&rate) {
                return Err(PlanError::Rate { stage: i + 1, rate });
            }
        }
    }
    Ok(())
}

fn lay_out(stages: &[Stage]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(stages.len());
    let (mut start_s, mut before) = (0.0, 0.0);
    for stage in stages.iter().filter(|s| !s.duration.is_zero()) {
        let segment = Segment {
            start_s,
            length_s: stage.duration.as_secs_f64(),
            from_rate: stage.from_rate,
            to_rate: stage.to_rate,
            before,
        };
        start_s += segment.length_s;
        before += segment.total();
        segments.push(segment);
    }
    segments
}

/// Reads a plan forwards.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    segments: &'a [Segment],
}

impl Cursor<'_> {
    /// Seconds after the start by which `count` requests are expected; nothing once the plan
    /// expects fewer in all. `count` must not fall from call to call.
    pub(crate) fn time_of(&mut self, count: f64) -> Option<f64> {
        while let Some((segment, rest)) = self.segments.split_first() {
            if count < segment.before + segment.total() {
                return Some(segment.start_s + segment.time_of(count - segment.before));
            }
            self.segments = rest;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        prop::collection::vec((0_u64..20_000, 0.0_f64..500.0, 0.0_f64..500.0), 1..8).prop_map(
            |parts| {
                parts
                    .into_iter()
                    .map(|(ms, from_rate, to_rate)| Stage {
                        duration: Duration::from_millis(ms),
                        from_rate,
                        to_rate,
                    })
                    .collect()
            },
        )
    }

    proptest! {
        #[test]
        fn time_of_inverts_the_expected_count(stages in stages(), share in 0.0_f64..1.0) {
            let Ok(plan) = RatePlan::new(&stages) else { return Ok(()) };
            let count = plan.expected() * share;
            let at_s = plan.cursor().time_of(count).unwrap();
            prop_assert!((plan.expected_until(at_s) - count).abs() < 1e-6 * plan.expected().max(1.0));
        }

        #[test]
        fn expected_count_is_the_area_under_the_rate(stages in stages()) {
            let Ok(plan) = RatePlan::new(&stages) else { return Ok(()) };
            let area: f64 = stages
                .iter()
                .map(|s| (s.from_rate + s.to_rate) / 2.0 * s.duration.as_secs_f64())
                .sum();
            prop_assert!((plan.expected() - area).abs() < 1e-6 * area.max(1.0));
        }
    }

    #[test]
    fn a_ramp_has_the_rate_of_its_place() {
        let ramp = Stage {
            duration: Duration::from_secs(10),
            from_rate: 0.0,
            to_rate: 100.0,
        };
        let plan = RatePlan::new(&[ramp, Stage::constant(30.0, Duration::from_secs(5))]).unwrap();
        assert!((plan.rate_at(5.0) - 50.0).abs() < 1e-9);
        assert!((plan.rate_at(10.0) - 30.0).abs() < 1e-9);
        assert!((plan.expected() - 650.0).abs() < 1e-9);
        assert!((plan.peak_rate() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn impossible_plans_are_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(RatePlan::new(&[]).unwrap_err(), PlanError::Stages(0));
        for rate in [-1.0, f64::NAN, f64::INFINITY, 2e6] {
            let error = RatePlan::new(&[Stage::constant(rate, second)]).unwrap_err();
            assert!(matches!(error, PlanError::Rate { stage: 1, .. }), "{error}");
        }
        assert_eq!(
            RatePlan::new(&[Stage::constant(0.0, second)]).unwrap_err(),
            PlanError::Idle
        );
        for duration in [Duration::ZERO, Duration::MAX] {
            let error = RatePlan::new(&[Stage::constant(1.0, duration); 2]).unwrap_err();
            assert!(matches!(error, PlanError::Duration(_)), "{error}");
        }
    }
}
