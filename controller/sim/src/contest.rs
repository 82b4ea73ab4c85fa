//! Autoscalers side by side on the same requests.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidepool_policy::{Policy, Rule};
use tidepool_profile::{Config, Pattern};

use crate::baselines::{self, NoSuchRival, Surroundings};
use crate::bound::{Bound, BoundError};
use crate::conditions::Conditions;
use crate::engine::simulate_under;
use crate::foresight::Learned;
use crate::live::LiveScaler;
use crate::model::Model;
use crate::offered::{bound_of, offered_work};
use crate::outcome::{Outcome, Watch};
use crate::scaler::Autoscaler;
use crate::workload::Workload;

/// The name under which the bound stands among the policies.
pub const CLAIRVOYANT: &str = "clairvoyant";
/// Compared unless told otherwise.
pub const USUAL: [&str; 7] = [
    "tidepool",
    "threshold",
    "hpa",
    "kpa",
    "ray",
    "static",
    CLAIRVOYANT,
];

/// A pool under a load.
#[derive(Clone, Debug)]
pub struct Case {
    /// The pool.
    pub model: Model,
    /// What arrives.
    pub load: Workload,
    /// How the default rule learns hourly patterns; without it, it does not.
    pub profile: Option<Config>,
    /// What goes wrong.
    pub conditions: Conditions,
}

/// What one seed brings, whoever scales.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The seed.
    pub seed: u64,
    /// Work of each second of the training part in worker-seconds.
    pub training_work: Vec<f64>,
    /// The least that the scored part could cost.
    pub bound: Bound,
}

/// Why there is no such contender.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NoContender {
    /// Neither a rule of ours nor a rival.
    #[error("no policy is called {name:?}: choose of tidepool, threshold, clairvoyant, {rivals}, and give a rival another target as in kpa@0.8", rivals = baselines::NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A rival that cannot run here.
    #[error(transparent)]
    Rival(NoSuchRival),
    /// Hourly patterns cannot be learned as asked for.
    #[error(transparent)]
    Profile(#[from] tidepool_profile::Error),
}

/// Whether a policy is called `name`; whether it can run is seen when it does.
///
/// # Errors
/// When none is, or with a target that no rival can have.
pub fn check_name(name: &str) -> Result<(), NoContender> {
    let nowhere = Surroundings {
        workers_min: 1,
        workers_max: 1,
        training_work: &[],
    };
    if name == CLAIRVOYANT || Rule::named(name).is_some() {
        return Ok(());
    }
    match baselines::by_name(name, &nowhere) {
        Ok(_) | Err(NoSuchRival::Untrained) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

impl From<NoSuchRival> for NoContender {
    fn from(fault: NoSuchRival) -> Self {
        match fault {
            NoSuchRival::Name(name) => Self::Unknown { name },
            other => Self::Rival(other),
        }
    }
}

impl Case {
    /// A case in which nothing goes wrong.
    #[must_use]
    pub fn new(model: Model, load: Workload, profile: Option<Config>) -> Self {
        Self {
            model,
            load,
            profile,
            conditions: Conditions::default(),
        }
    }

    /// Draws the requests of a seed and bounds what they cost.
    ///
    /// # Errors
    /// When the start-up time is beyond what the bound is solved for.
    pub fn prepare(&self, seed: u64) -> Result<Prepared, BoundError> {
        let mut work = offered_work(&self.model, &self.load, seed);
        let scored = work.split_off(self.load.score_from_s.min(work.len()));
        let bound = bound_of(&self.model, &scored)?;
        Ok(Prepared {
            seed,
            training_work: work,
            bound,
        })
    }

    /// The autoscaler called `name`.
    ///
    /// # Errors
    /// When there is none, or when it cannot run on this case.
    pub fn contender(
        &self,
        name: &str,
        prepared: &Prepared,
    ) -> Result<Box<dyn Autoscaler>, NoContender> {
        let (workers_min, workers_max) = (self.model.workers_min, self.model.workers_max);
        if let Some(rule) = Rule::named(name) {
            let mut policy = Policy {
                rule,
                ..Policy::tidepool(workers_min, workers_max)
            };
            policy.bounds.wait_objective_s = Some(self.model.late_after_s);
            return Ok(Box::new(self.live(policy)?));
        }
        let around = Surroundings {
            workers_min,
            workers_max,
            training_work: &prepared.training_work,
        };
        Ok(baselines::by_name(name, &around)?)
    }

    /// The live rule with `policy`. The default one learns hourly patterns if the case says so.
    ///
    /// # Errors
    /// When the patterns' settings are impossible.
    pub fn live(&self, policy: Policy) -> Result<LiveScaler, tidepool_profile::Error> {
        let learns = matches!(policy.rule, Rule::Tidepool(_));
        let scaler = LiveScaler::of(policy);
        Ok(match self.profile.clone().filter(|_| learns) {
            Some(config) => scaler.with_foresight(Box::new(Learned::new(Pattern::new(config)?))),
            None => scaler,
        })
    }

    /// Runs a contender.
    ///
    /// # Errors
    /// When there is no such contender.
    pub fn run(
        &self,
        name: &str,
        prepared: &Prepared,
        watch: &mut dyn Watch,
    ) -> Result<Score, NoContender> {
        if name == CLAIRVOYANT {
            return Ok(Score::of_bound(&prepared.bound));
        }
        let mut scaler = self.contender(name, prepared)?;
        let outcome = simulate_under(
            &self.model,
            &self.load,
            &self.conditions,
            scaler.as_mut(),
            prepared.seed,
            watch,
        );
        Ok(Score::of(&outcome, &prepared.bound))
    }
}

/// The figures that policies are compared by. Where a figure makes no sense for the bound, it is
/// missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Requests that waited too long for a place, in percent.
    pub late_pct: f64,
    /// Worker-hours over those of the clairvoyant bound.
    pub cost_ratio: f64,
    /// Worker-hours from launch to the end.
    pub worker_hours: f64,
    /// Launches a day.
    pub starts_per_day: Option<f64>,
    /// Changes of direction within ten minutes of the change before, a day.
    pub reversals_per_day: Option<f64>,
    /// 99th percentile of the wait for a place in seconds.
    pub p99_wait_s: Option<f64>,
    /// Late requests of the worst hour in percent.
    pub worst_hour_late_pct: Option<f64>,
    /// Worker-hours over the work itself.
    pub over_work: f64,
}

impl Score {
    fn of(outcome: &Outcome, bound: &Bound) -> Self {
        Self {
            late_pct: outcome.late_pct(),
            cost_ratio: outcome.worker_s / bound.worker_s.max(f64::MIN_POSITIVE),
            worker_hours: outcome.worker_s / 3_600.0,
            starts_per_day: Some(outcome.per_day(outcome.starts)),
            reversals_per_day: Some(outcome.per_day(outcome.reversals)),
            p99_wait_s: Some(outcome.wait_p99_s),
            worst_hour_late_pct: Some(outcome.worst_hour_late * 100.0),
            over_work: outcome.over_work(),
        }
    }

    fn of_bound(bound: &Bound) -> Self {
        Self {
            cost_ratio: 1.0,
            worker_hours: bound.worker_s / 3_600.0,
            over_work: bound.worker_s / bound.work_s.max(f64::MIN_POSITIVE),
            ..Self::default()
        }
    }

    /// Means over seeds; the ratio of costs as a geometric one.
    #[must_use]
    pub fn mean(scores: &[Self]) -> Self {
        let n = scores.len().max(1) as f64;
        let mean = |pick: fn(&Self) -> f64| scores.iter().map(pick).sum::<f64>() / n;
        let maybe = |pick: fn(&Self) -> Option<f64>| {
            scores
                .iter()
                .map(pick)
                .sum::<Option<f64>>()
                .map(|sum| sum / n)
        };
        Self {
            late_pct: mean(|s| s.late_pct),
            cost_ratio: mean(|s| s.cost_ratio.ln()).exp(),
            worker_hours: mean(|s| s.worker_hours),
            starts_per_day: maybe(|s| s.starts_per_day),
            reversals_per_day: maybe(|s| s.reversals_per_day),
            p99_wait_s: maybe(|s| s.p99_wait_s),
            worst_hour_late_pct: maybe(|s| s.worst_hour_late_pct),
            over_work: mean(|s| s.over_work.ln()).exp(),
        }
    }
}
