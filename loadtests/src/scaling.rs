//! What a pool did during a run, from samples and decisions: how far it grew, how long it took
//! to be large enough, and whether it flapped.

use serde::Serialize;

use crate::plan::RatePlan;

/// A reversal this soon after the change it undoes is suspicious, in seconds.
const FLAP_WINDOW_S: f64 = 30.0;
/// The score above which there are too few workers.
const SCORE_FULL: f64 = 0.80;
/// Most decisions that are kept.
pub(crate) const DECISIONS_MAX: usize = 500;

/// The pool at one instant.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct PoolSample {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// Workers that serve.
    pub ready: u32,
    /// Workers that start.
    pub starting: u32,
    /// Workers that finish what they have.
    pub draining: u32,
    /// Workers wanted.
    pub target: u32,
    /// Load score; 0.80 is exactly enough workers.
    pub score: Option<f64>,
}

impl PoolSample {
    fn is_short(&self) -> bool {
        self.target > self.ready || self.score.is_some_and(|score| score > SCORE_FULL)
    }
}

/// A change of the target, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Decision {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// Target before.
    pub from: u32,
    /// Target after.
    pub to: u32,
    /// The supervisor's sentence.
    pub sentence: String,
}

/// What the pool did.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Scaling {
    /// The pool.
    pub pool: String,
    /// Ready workers when the run began.
    pub ready_start: u32,
    /// Most ready workers seen.
    pub ready_max: u32,
    /// Ready workers at the end.
    pub ready_end: u32,
    /// Highest target seen.
    pub target_max: u32,
    /// Highest load score seen.
    pub score_max: Option<f64>,
    /// Load score at the end.
    pub score_end: Option<f64>,
    /// Longest time from too few workers to enough, in seconds: 0 when there were always
    /// enough, absent when there still were too few at the end.
    pub time_to_capacity_s: Option<f64>,
    /// Changes of the target against the direction of the change before.
    pub reversals: u32,
    /// Reversals within 30 s that no change of the planned rate explains.
    pub flaps: u32,
    /// Seconds of ready and starting workers: what the run cost.
    pub worker_seconds: f64,
    /// Changes of the target, at most 500.
    pub decisions: Vec<Decision>,
    /// The pool about once a second.
    pub samples: Vec<PoolSample>,
}

/// A step of the target.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Step {
    at_s: f64,
    is_up: bool,
}

impl Scaling {
    /// Sums up what was seen of `pool`; nothing when it was never seen.
    #[must_use]
    pub(crate) fn new(
        pool: &str,
        plan: &RatePlan,
        samples: Vec<PoolSample>,
        decisions: Vec<Decision>,
    ) -> Option<Self> {
        let (first, last) = (*samples.first()?, *samples.last()?);
        let steps = steps(&samples, &decisions);
        let highest = |of: fn(&PoolSample) -> u32| samples.iter().map(of).max().unwrap_or(0);
        Some(Self {
            pool: pool.to_owned(),
            ready_start: first.ready,
            ready_max: highest(|s| s.ready),
            ready_end: last.ready,
            target_max: highest(|s| s.target),
            score_max: samples.iter().filter_map(|s| s.score).reduce(f64::max),
            score_end: last.score,
            time_to_capacity_s: time_to_capacity_s(&samples),
            reversals: count(reversals(&steps).count()),
            flaps: count(reversals(&steps).filter(|pair| is_flap(pair, plan)).count()),
            worker_seconds: worker_seconds(&samples),
            decisions,
            samples,
        })
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Steps of the target: from the decisions, which miss nothing, else from the samples.
fn steps(samples: &[PoolSample], decisions: &[Decision]) -> Vec<Step> {
    if decisions.is_empty() {
        let changed = samples.windows(2).filter(|p| p[0].target != p[1].target);
        changed
            .map(|p| Step {
                at_s: p[1].at_s,
                is_up: p[1].target > p[0].target,
            })
            .collect()
    } else {
        let changed = decisions.iter().filter(|d| d.from != d.to);
        changed
            .map(|d| Step {
                at_s: d.at_s,
                is_up: d.to > d.from,
            })
            .collect()
    }
}

fn reversals(steps: &[Step]) -> impl Iterator<Item = [Step; 2]> {
    let pairs = steps.windows(2).map(|pair| [pair[0], pair[1]]);
    pairs.filter(|[before, after]| before.is_up != after.is_up)
}

/// A reversal soon after, while the planned rate did not turn the same way.
fn is_flap([before, after]: &[Step; 2], plan: &RatePlan) -> bool {
    let (rate_before, rate_after) = (plan.rate_at(before.at_s), plan.rate_at(after.at_s));
    let is_explained = if after.is_up {
        rate_after > rate_before
    } else {
        rate_after < rate_before
    };
    after.at_s - before.at_s <= FLAP_WINDOW_S && !is_explained
}

fn time_to_capacity_s(samples: &[PoolSample]) -> Option<f64> {
    let mut short_since: Option<f64> = None;
    let mut longest_s = 0.0_f64;
    for sample in samples {
        match (sample.is_short(), short_since) {
            (true, None) => short_since = Some(sample.at_s),
            (false, Some(since)) => {
                longest_s = longest_s.max(sample.at_s - since);
                short_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    short_since.is_none().then_some(longest_s)
}

fn worker_seconds(samples: &[PoolSample]) -> f64 {
    let pairs = samples.windows(2);
    pairs
        .map(|p| f64::from(p[0].ready + p[0].starting) * (p[1].at_s - p[0].at_s))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;
    use std::time::Duration;

    /// 20/s for 20 s, 700/s for 40 s, 20/s for 90 s.
    fn spike() -> RatePlan {
        let stage = |rate, s| Stage::constant(rate, Duration::from_secs(s));
        RatePlan::new(&[stage(20.0, 20), stage(700.0, 40), stage(20.0, 90)]).unwrap()
    }

    fn sample(at_s: f64, ready: u32, target: u32, score: f64) -> PoolSample {
        PoolSample {
            at_s,
            ready,
            starting: target.saturating_sub(ready),
            draining: 0,
            target,
            score: Some(score),
        }
    }

    fn decision(at_s: f64, from: u32, to: u32) -> Decision {
        Decision {
            at_s,
            from,
            to,
            sentence: String::new(),
        }
    }

    fn flaps(decisions: &[Decision]) -> (u32, u32) {
        let samples = vec![sample(0.0, 1, 1, 0.1)];
        let scaling = Scaling::new("echo", &spike(), samples, decisions.to_vec()).unwrap();
        (scaling.reversals, scaling.flaps)
    }

    #[test]
    fn following_the_load_up_and_down_is_no_flap() {
        let decisions = [
            decision(21.0, 1, 4),
            decision(23.0, 4, 7),
            decision(62.0, 7, 1),
        ];
        assert_eq!(flaps(&decisions), (1, 0));
    }

    #[test]
    fn a_quick_reversal_under_steady_load_is_a_flap() {
        let decisions = [
            decision(25.0, 1, 7),
            decision(30.0, 7, 6),
            decision(33.0, 6, 7),
        ];
        assert_eq!(flaps(&decisions), (2, 2));
    }

    #[test]
    fn a_late_correction_is_a_reversal_but_no_flap() {
        let decisions = [decision(80.0, 1, 3), decision(120.0, 3, 2)];
        assert_eq!(flaps(&decisions), (1, 0));
    }

    #[test]
    fn a_quick_reversal_that_the_plan_explains_is_no_flap() {
        let decisions = [decision(58.0, 6, 7), decision(62.0, 7, 3)];
        assert_eq!(flaps(&decisions), (1, 0));
        let against_the_plan = [decision(58.0, 7, 6), decision(62.0, 6, 7)];
        assert_eq!(flaps(&against_the_plan), (1, 1));
    }

    #[test]
    fn samples_tell_the_steps_when_there_are_no_decisions() {
        let targets = [1, 5, 5, 4, 5];
        let samples = targets
            .iter()
            .zip(0_u32..)
            .map(|(target, i)| sample(30.0 + f64::from(i), *target, *target, 0.5));
        let scaling = Scaling::new("echo", &spike(), samples.collect(), Vec::new()).unwrap();
        assert_eq!((scaling.reversals, scaling.flaps), (2, 2));
    }

    #[test]
    fn time_to_capacity_is_the_longest_shortage() {
        let samples = vec![
            sample(0.0, 1, 1, 0.2),
            sample(1.0, 1, 1, 0.9),
            sample(2.0, 1, 6, 1.5),
            sample(3.0, 6, 6, 0.7),
            sample(4.0, 6, 7, 0.7),
            sample(5.0, 7, 7, 0.7),
        ];
        let scaling = Scaling::new("echo", &spike(), samples.clone(), Vec::new()).unwrap();
        assert_eq!(scaling.time_to_capacity_s, Some(2.0));
        assert_eq!(
            (scaling.ready_start, scaling.ready_max, scaling.ready_end),
            (1, 7, 7)
        );
        assert_eq!(scaling.score_max, Some(1.5));
        assert!((scaling.worker_seconds - (1.0 + 1.0 + 6.0 + 6.0 + 7.0)).abs() < 1e-9);
        let unfinished = Scaling::new("echo", &spike(), samples[..3].to_vec(), Vec::new());
        assert_eq!(unfinished.unwrap().time_to_capacity_s, None);
    }

    #[test]
    fn a_pool_that_was_never_seen_has_no_figures() {
        assert_eq!(Scaling::new("echo", &spike(), Vec::new(), Vec::new()), None);
    }
}
