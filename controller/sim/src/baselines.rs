//! The autoscalers that people use today, as rivals in a simulation.
//!
//! Each is a state machine over what it saw, with the constants that its project ships or documents
//! (read in the source or the manual of each; what no source states is said to be ours). All share
//! two habits, so that they are compared by their rules alone: a second without metrics is a gap in
//! their windows and never a zero, and where a window has nothing at all they leave the fleet as it
//! is.
//!
//! | name | rule | target |
//! |---|---|---|
//! | `hpa` | Kubernetes HPA v2 on requests in service or queued, per worker | 0.7 of slots |
//! | `hpa-cpu` | the same on utilisation, which cannot exceed 100 % | 0.7 |
//! | `kpa` | Knative pod autoscaler | 0.7 of slots |
//! | `ray` | Ray Serve | 0.7 of slots |
//! | `aws` | EC2 predictive scaling with target tracking | 0.7 |
//! | `threshold80` | utilisation above 80 % or below 30 %, one step at a time | 0.8 |
//! | `static` | a fixed fleet for a percentile of the training days | 1.0: their peak |
//!
//! `kpa@0.8` is `kpa` with another target.

mod aws;
mod fixed;
mod hpa;
mod kpa;
mod ray;
mod season;
mod sight;
mod threshold80;

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::scaler::{Autoscaler, Seen};

/// Names that [`by_name`] knows.
pub const NAMES: [&str; 7] = [
    "hpa",
    "hpa-cpu",
    "kpa",
    "ray",
    "aws",
    "threshold80",
    "static",
];

/// Share of its slots that a worker is meant to use, unless told otherwise.
const TARGET: f64 = 0.7;

/// What a rival is told of the simulation.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Fewest workers.
    pub workers_min: u32,
    /// Most workers.
    pub workers_max: u32,
    /// Work of each second of the training days in worker-seconds; only `static` looks at it.
    pub training_work: &'a [f64],
}

/// Why there is no such rival.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NoSuchRival {
    /// The name is unknown.
    #[error("no rival is called {0:?}: choose one of {names}, with a target as in kpa@0.8", names = NAMES.join(", "))]
    Name(String),
    /// The target cannot be used.
    #[error("{0:?} is no target: write a number above 0 and up to 1, as in kpa@0.8")]
    Target(String),
    /// `static` has nothing to go by.
    #[error("a static fleet is sized by the training days, and this run has none: leave it out")]
    Untrained,
}

/// The rival of that name, with a target behind an `@` if it should differ from the default.
///
/// # Errors
/// For an unknown name, a target outside of (0, 1], and `static` without training days.
pub fn by_name(name: &str, around: &Surroundings<'_>) -> Result<Box<dyn Autoscaler>, NoSuchRival> {
    let (kind, target) = match name.split_once('@') {
        Some((kind, text)) => (kind, Some(target(text)?)),
        None => (name, None),
    };
    let share = target.unwrap_or(TARGET);
    let rule: Box<dyn Rule> = match kind {
        "hpa" => Box::new(hpa::Hpa::on_concurrency(share)),
        "hpa-cpu" => Box::new(hpa::Hpa::on_utilisation(share)),
        "kpa" => Box::new(kpa::Kpa::new(share)),
        "ray" => Box::new(ray::Ray::new(share)),
        "aws" => Box::new(aws::Aws::new(share)),
        "threshold80" => Box::new(threshold80::Threshold80::new(target)),
        "static" => Box::new(
            fixed::Fixed::for_share(around.training_work, target.unwrap_or(1.0))
                .ok_or(NoSuchRival::Untrained)?,
        ),
        _ => return Err(NoSuchRival::Name(name.to_owned())),
    };
    Ok(Box::new(Rival {
        name: name.to_owned(),
        bounds: (
            around.workers_min,
            around.workers_max.max(around.workers_min),
        ),
        wanted: None,
        rule,
    }))
}

fn target(text: &str) -> Result<f64, NoSuchRival> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err(NoSuchRival::Target(text.to_owned())),
    }
}

/// The part in which the rivals differ.
trait Rule {
    /// Workers wanted from now on, given those wanted so far. Called every second.
    fn want(&mut self, seen: &Seen, wanted: u32) -> u32;
}

/// A rule with what it wanted last, within its bounds.
struct Rival {
    name: String,
    bounds: (u32, u32),
    wanted: Option<u32>,
    rule: Box<dyn Rule>,
}

impl Autoscaler for Rival {
    fn name(&self) -> &str {
        &self.name
    }

    fn target(&mut self, seen: &Seen) -> u32 {
        let (min, max) = self.bounds;
        let wanted = self
            .wanted
            .unwrap_or_else(|| seen.workers.have())
            .clamp(min, max);
        let wanted = self.rule.want(seen, wanted).clamp(min, max);
        self.wanted = Some(wanted);
        wanted
    }
}

/// A number of workers, rounded up; what is no number is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and fleets are bounded far below"
)]
fn whole(workers: f64) -> u32 {
    // A quotient that should be whole must not cost a worker for its last bit.
    (workers - 1e-9).ceil() as u32
}
