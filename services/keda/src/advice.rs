//! The number that others scale by, and when there is none. Pure: time is an argument.

use std::time::Duration;

use serde::Serialize;
use tidepool_core::status::PoolStatus;
use tidepool_core::{PoolName, Timestamp};

/// Age of the newest measurement from which on it is stale: the number is held and never lowered.
pub const STALE_AFTER: Duration = Duration::from_secs(3);
/// Age of the newest measurement or decision from which on there is no number: ten reports or
/// decisions have failed to come.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Seconds after which asking again makes sense: reports and decisions come every second.
pub const RETRY_AFTER_S: u32 = 2;

/// How many workers a pool should have, and how much that is to be believed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The pool.
    pub pool: PoolName,
    /// Workers that it should have: the whole number to scale to.
    pub desired_workers: u32,
    /// Workers that the largest signal asks for, before rounding, bounds and patience.
    pub need: Option<f64>,
    /// Workers that serve.
    pub ready: u32,
    /// Workers that load their handler.
    pub starting: u32,
    /// Load score: 0.80 is exactly enough workers.
    pub score: Option<f64>,
    /// Whether the newest measurement is older than [`STALE_AFTER`].
    pub stale: bool,
    /// Age of the newest measurement in seconds.
    pub metrics_age_s: f64,
    /// Fencing epoch of the controller that decided.
    pub epoch: u64,
    /// RFC 3339; when the pool was last decided about.
    pub decided_at: String,
    /// RFC 3339; when the number last changed, if this controller has changed or set it.
    pub changed_at: Option<String>,
}

/// There is no number. Whoever scales by it should do what it does without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAdvice {
    /// No such pool is configured.
    #[error("there is no pool '{name}'; there are {known}")]
    UnknownPool {
        /// What was asked for, shortened.
        name: String,
        /// The pools there are, shortened.
        known: String,
    },
    /// The controller has just started, or has no leader.
    #[error("nothing has been decided about {0} yet: the first decision follows the first report")]
    Undecided(PoolName),
    /// Decisions have stopped to come.
    #[error("nothing has been decided about {pool} for {age_s} s; look at /v1/status")]
    Silent {
        /// The pool.
        pool: PoolName,
        /// Seconds since the last decision.
        age_s: u64,
    },
    /// Measurements do not come.
    #[error("{0} is not measured, so that its number would be a guess; look at /v1/status")]
    Blind(PoolName),
}

/// The advice that follows from a pool's status at `now`.
///
/// # Errors
/// When the number would be made up: nothing decided, or nothing measured for [`SILENT_AFTER`].
pub(crate) fn advise(status: &PoolStatus, now: Timestamp) -> Result<Advice, NoAdvice> {
    let pool = &status.pool;
    let undecided = || NoAdvice::Undecided(pool.clone());
    let decided = status.decided.as_ref().ok_or_else(undecided)?;
    let decision_age = now.since(Timestamp(decided.at_ms));
    if decision_age >= SILENT_AFTER {
        return Err(NoAdvice::Silent {
            pool: pool.clone(),
            age_s: decision_age.as_secs(),
        });
    }
    // The status tells the age as of the decision.
    let metrics_age_s = status.metrics_age_s.filter(|_| !decided.blind);
    let metrics_age_s = metrics_age_s
        .map(|age_s| age_s.max(0.0) + decision_age.as_secs_f64())
        .filter(|age_s| *age_s < SILENT_AFTER.as_secs_f64())
        .ok_or_else(|| NoAdvice::Blind(pool.clone()))?;
    Ok(Advice {
        pool: pool.clone(),
        desired_workers: status.target,
        need: decided.need,
        ready: status.ready,
        starting: status.starting,
        score: status.score,
        stale: metrics_age_s > STALE_AFTER.as_secs_f64(),
        metrics_age_s,
        epoch: decided.epoch,
        decided_at: Timestamp(decided.at_ms).rfc3339(),
        changed_at: decided.changed_at_ms.map(|ms| Timestamp(ms).rfc3339()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DECIDED_MS: u64 = 1_700_000_000_000;

    fn status(metrics_age_s: Option<f64>, blind: bool) -> PoolStatus {
        serde_json::from_value(json!({
            "pool": "echo", "kinds": ["echo"], "policy": "tidepool", "ready": 2, "starting": 1,
            "draining": 0, "target": 3, "min": 1, "max": 8, "score": 0.75, "signals": {},
            "paused": false, "cooldown_until": null, "queued": 4, "busy_slots": 5, "slots": 16,
            "metrics_age_s": metrics_age_s,
            "decided": {"at_ms": DECIDED_MS, "changed_at_ms": DECIDED_MS - 5_000, "need": 2.4,
                "epoch": 7, "blind": blind},
        }))
        .unwrap()
    }

    fn after(ms: u64) -> Timestamp {
        Timestamp(DECIDED_MS + ms)
    }

    #[test]
    fn the_document_holds_the_number_and_where_it_comes_from() {
        let advice = advise(&status(Some(0.5), false), after(250)).unwrap();
        assert_eq!(
            serde_json::to_value(advice).unwrap(),
            json!({
                "pool": "echo", "desired_workers": 3, "need": 2.4, "ready": 2, "starting": 1,
                "score": 0.75, "stale": false, "metrics_age_s": 0.75, "epoch": 7,
                "decided_at": "2023-11-14T22:13:20.000Z",
                "changed_at": "2023-11-14T22:13:15.000Z",
            })
        );
    }

    #[test]
    fn age_counts_on_after_the_decision() {
        for (age_s, later_ms, stale) in [
            (0.0, 0, Some(false)),
            (3.0, 0, Some(false)),
            (2.0, 1_001, Some(true)),
            (9.0, 999, Some(true)),
            (9.0, 1_000, None),
            (0.0, 9_999, Some(true)),
        ] {
            let advice = advise(&status(Some(age_s), false), after(later_ms));
            let told = advice.ok().map(|advice| advice.stale);
            assert_eq!(told, stale, "{age_s} s, {later_ms} ms later");
        }
    }

    #[test]
    fn what_is_not_known_is_never_a_number() {
        let pool = PoolName::new("echo").unwrap();
        let blind = Err(NoAdvice::Blind(pool.clone()));
        assert_eq!(advise(&status(None, false), after(0)), blind);
        assert_eq!(advise(&status(Some(0.1), true), after(0)), blind);
        assert_eq!(advise(&status(Some(f64::NAN), false), after(0)), {
            // JSON has no such number, so it arrives as none.
            blind.clone()
        });
        let silent = NoAdvice::Silent {
            pool: pool.clone(),
            age_s: 10,
        };
        assert_eq!(
            advise(&status(Some(0.0), false), after(10_000)),
            Err(silent)
        );
        let undecided = PoolStatus {
            decided: None,
            ..status(Some(0.0), false)
        };
        assert_eq!(advise(&undecided, after(0)), Err(NoAdvice::Undecided(pool)));
    }

    #[test]
    fn a_pool_scaled_to_zero_on_purpose_is_zero() {
        let idle = PoolStatus {
            target: 0,
            ..status(Some(0.0), false)
        };
        assert_eq!(advise(&idle, after(0)).unwrap().desired_workers, 0);
    }
}
