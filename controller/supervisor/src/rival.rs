//! The challenger beside a learned pattern: fed with the same arrivals, fitted on a thread of its
//! own, judged on the same moments, shown, and never acted on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Value, json};
use tidepool_challenger::{Challenger, Error, Training};
use tidepool_core::{PoolName, Timestamp};
use tidepool_profile::{Challenge, Pattern};
use tokio::sync::Semaphore;

/// Fits at a time, over all pools: opinions that nobody acts on must not take the cores from those
/// who work. Those who find no room are fitted some seconds later.
const FITS_MAX: usize = 1;

/// What came of a fit: what it expects, or why there is nothing.
pub(crate) type Outcome = Result<Challenge, String>;

/// Room for fits. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fits(Arc<Semaphore>);

impl Default for Fits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(FITS_MAX)))
    }
}

/// One pool's challenger, and what came of its last fit.
#[derive(Debug, Default)]
pub(crate) struct Rival {
    challenger: Challenger,
    challenge: Option<Challenge>,
    fitted: Option<Timestamp>,
    problem: Option<String>,
}

impl Rival {
    /// Goes on with what was seen earlier.
    pub(crate) fn of(challenger: Challenger) -> Self {
        Self {
            challenger,
            ..Self::default()
        }
    }

    /// Takes in the arrivals of the `window_s` seconds that ended at `at_ms`.
    pub(crate) fn observe(&mut self, at_ms: u64, window_s: f64, arrivals: f64) {
        self.challenger.observe(at_ms, window_s, arrivals);
    }

    /// Begins a fit on another thread when one is due and there is room; what comes of it goes to
    /// `settle` there. It was worked out for the time it is begun at.
    pub(crate) fn fit_if_due(
        &mut self,
        at_ms: u64,
        fits: &Fits,
        settle: impl FnOnce(Outcome) + Send + 'static,
    ) {
        let Ok(room) = Arc::clone(&fits.0).try_acquire_owned() else {
            return;
        };
        let Some(training) = self.challenger.training(at_ms) else {
            return;
        };
        let thread = std::thread::Builder::new().name("challenger".to_owned());
        let spawned = thread.spawn(move || {
            settle(outcome(|| Training::fit(&training)));
            drop(room);
        });
        if let Err(error) = spawned {
            self.problem = Some(format!("there is no thread to fit on: {error}"));
        }
    }

    /// Lets a pattern judge what came of a fit. One that failed is told once, until one succeeds;
    /// what the last good one expects is judged on.
    pub(crate) fn settle(
        &mut self,
        outcome: Outcome,
        at_ms: u64,
        (pool, pattern): (&PoolName, &mut Pattern),
    ) {
        match outcome {
            Ok(challenge) => {
                self.challenge = Some(challenge);
                self.fitted = Some(Timestamp(at_ms));
                self.problem = None;
                self.join(pattern);
            }
            Err(problem) => {
                if self.problem.is_none() {
                    tracing::info!(%pool, problem, "the challenger of the learned hours sits out");
                }
                self.problem = Some(problem);
            }
        }
    }

    /// Challenges a pattern that took the place of another.
    pub(crate) fn join(&self, pattern: &mut Pattern) {
        if let Some(challenge) = &self.challenge {
            pattern.challenge(challenge.clone());
        }
    }

    /// What is to be kept.
    pub(crate) fn challenger(&self) -> &Challenger {
        &self.challenger
    }

    /// When it was last fitted, and why it was not since.
    pub(crate) fn status(&self) -> Value {
        let fitted_at = self.fitted.map(Timestamp::rfc3339);
        json!({ "fitted_at": fitted_at, "problem": self.problem })
    }
}

/// A challenger as it was kept.
pub(crate) fn checked(challenger: Challenger) -> Result<Challenger, String> {
    let is_possible = challenger.is_possible();
    let problem = || "it holds hours that cannot have been".to_owned();
    is_possible.then_some(challenger).ok_or_else(problem)
}

/// Runs a fit. The models are not ours: a panic of theirs is one more way to fail.
fn outcome(fit: impl FnOnce() -> Result<Challenge, Error>) -> Outcome {
    match catch_unwind(AssertUnwindSafe(fit)) {
        Ok(Ok(challenge)) => Ok(challenge),
        Ok(Err(error)) => Err(match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }),
        Err(_panic) => Err("the fit panicked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const BEGIN_MS: u64 = 472_222 * HOUR_MS;
    const HOURS: u64 = 60;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn ready() -> (Rival, u64) {
        let mut rival = Rival::default();
        for hour in 1..=HOURS {
            let arrivals = 3_600.0 * (10.0 + (hour % 24) as f64);
            rival.observe(BEGIN_MS + hour * HOUR_MS, 3_600.0, arrivals);
        }
        (rival, BEGIN_MS + HOURS * HOUR_MS)
    }

    #[test]
    fn one_fit_at_a_time_and_the_next_when_it_is_over() {
        let fits = Fits::default();
        let (done, outcomes) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (mut first, at_ms) = ready();
        let tell = done.clone();
        first.fit_if_due(at_ms, &fits, move |outcome| {
            released.recv().unwrap();
            tell.send(outcome).unwrap();
        });
        let (mut second, _) = ready();
        second.fit_if_due(at_ms, &fits, |_| panic!("there is no room"));
        release.send(()).unwrap();
        assert!(outcomes.recv_timeout(PATIENCE).unwrap().is_ok());
        // Whoever found no room is still due.
        while fits.0.available_permits() == 0 {
            std::thread::yield_now();
        }
        second.fit_if_due(at_ms, &fits, move |outcome| done.send(outcome).unwrap());
        assert!(outcomes.recv_timeout(PATIENCE).unwrap().is_ok());
    }

    #[test]
    fn a_fit_that_panics_is_a_fit_that_failed() {
        assert_eq!(
            outcome(|| panic!("planted")),
            Err("the fit panicked".into())
        );
        let flat = outcome(|| Err(Error::Flat { hours: 49 }));
        assert!(flat.unwrap_err().starts_with("49 hours"));
    }

    #[test]
    fn a_failure_is_shown_until_a_fit_succeeds() {
        let pool = &PoolName::new("echo").unwrap();
        let mut pattern = Pattern::new(tidepool_profile::Config::default()).unwrap();
        let mut rival = Rival::default();
        rival.settle(Err("flat".into()), 1, (pool, &mut pattern));
        assert_eq!(
            rival.status(),
            json!({"fitted_at": null, "problem": "flat"})
        );
        let challenge = Challenge::new(0, HOUR_MS, vec![1.0, 2.0]).unwrap();
        rival.settle(Ok(challenge), 2, (pool, &mut pattern));
        let fitted_at = "1970-01-01T00:00:00.002Z";
        assert_eq!(
            rival.status(),
            json!({"fitted_at": fitted_at, "problem": null})
        );
    }
}
