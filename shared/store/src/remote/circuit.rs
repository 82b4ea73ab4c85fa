//! Whether operations go to the server at all. While it is known to be away they fail at once, and
//! only a probe goes there: callers never queue up behind a server that does not answer.

use std::time::Duration;

use tidepool_core::Timestamp;
use tidepool_core::status::ComponentHealth;

use crate::error::StoreError;

/// Time before the second probe; it doubles up to the longest.
const PROBE_DELAY_MIN: Duration = Duration::from_millis(50);
const PROBE_DELAY_MAX: Duration = Duration::from_millis(500);
/// A refusal is told for this long after the last one.
const REFUSAL_TOLD: Duration = Duration::from_secs(10);

/// Counts the times that the server was there. What began in an earlier one says nothing about
/// this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Era(u64);

impl Era {
    /// Whether the server was never there yet, as far as is known.
    pub(super) fn is_first(self) -> bool {
        self == Self::default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Circuit {
    era: Era,
    away: Option<Away>,
    refused: Option<(Timestamp, String)>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Away {
    since: Timestamp,
    reason: String,
    /// It answers, but holds what this release cannot read.
    is_incompatible: bool,
}

impl Circuit {
    /// The era in which an operation begins, or why it does not.
    pub(super) fn admit(&self) -> Result<Era, StoreError> {
        match &self.away {
            None => Ok(self.era),
            Some(away) if away.is_incompatible => Err(incompatible(away.reason.clone())),
            Some(away) => Err(unavailable(away.text())),
        }
    }

    /// Notes that the server does not answer. True when that is news.
    pub(super) fn lost(&mut self, era: Era, reason: &str, now: Timestamp) -> bool {
        if era != self.era {
            return false;
        }
        let is_news = self.away.is_none();
        let since = self.away.as_ref().map_or(now, |away| away.since);
        self.away = Some(Away {
            since,
            reason: reason.to_owned(),
            is_incompatible: false,
        });
        is_news
    }

    /// Notes that nothing of what the server holds may be touched. True when that is news.
    pub(super) fn mismatched(&mut self, era: Era, reason: &str, now: Timestamp) -> bool {
        let was_so = |away: &Away| away.is_incompatible && away.reason == reason;
        let is_known = self.away.as_ref().is_some_and(was_so);
        self.lost(era, reason, now);
        match &mut self.away {
            Some(away) if era == self.era => away.is_incompatible = true,
            _ => return false,
        }
        !is_known
    }

    /// Notes that the server answers a probe. Tells for how long it was away.
    pub(super) fn back(&mut self, now: Timestamp) -> Option<Duration> {
        // A probe that finds what nobody missed says nothing of the operations under way.
        if self.away.is_some() || self.era.is_first() {
            self.era.0 += 1;
        }
        let away = self.away.take()?;
        Some(now.since(away.since))
    }

    /// Notes that an operation was answered. The first answer of all ends the first era: a server
    /// that is just starting may have turned away a probe that began earlier and tells so later.
    pub(super) fn answered(&mut self, era: Era, now: Timestamp) {
        if era.is_first() && era == self.era {
            self.back(now);
        }
    }

    /// Notes that the server answers, but not as wanted. True when that is news.
    pub(super) fn refused(&mut self, reason: &str, now: Timestamp) -> bool {
        let is_news = self.refusal(now) != Some(reason);
        self.refused = Some((now, reason.to_owned()));
        is_news
    }

    /// What operators should know of the server's settings.
    pub(super) fn warn(&mut self, warnings: Vec<String>) {
        self.warnings = warnings;
    }

    pub(super) fn era(&self) -> Era {
        self.era
    }

    fn refusal(&self, now: Timestamp) -> Option<&str> {
        let (at, reason) = self.refused.as_ref()?;
        (now.since(*at) < REFUSAL_TOLD).then_some(reason)
    }

    pub(super) fn health(&self, place: &str, now: Timestamp) -> ComponentHealth {
        let (state, detail) = match (&self.away, self.refusal(now)) {
            (Some(away), _) => ("down", format!("{place} is {}", away.text())),
            (None, Some(reason)) => ("degraded", format!("{place} refuses: {reason}")),
            (None, None) if self.warnings.is_empty() => ("ok", format!("connected to {place}")),
            (None, None) => {
                let warnings = self.warnings.join("; ");
                ("ok", format!("connected to {place}; warning: {warnings}"))
            }
        };
        ComponentHealth {
            component: "redis".to_owned(),
            state: state.to_owned(),
            detail,
        }
    }
}

impl Away {
    fn text(&self) -> String {
        let what = if self.is_incompatible {
            "of no use"
        } else {
            "away"
        };
        format!("{what} since {}: {}", self.since.rfc3339(), self.reason)
    }
}

pub(super) fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable {
        backend: "redis",
        reason,
    }
}

fn incompatible(reason: String) -> StoreError {
    StoreError::Incompatible {
        backend: "redis",
        reason,
    }
}

/// How long to wait before a probe, after so many that failed.
pub(super) fn probe_delay(failed: u32) -> Duration {
    match failed.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => PROBE_DELAY_MIN
            .saturating_mul(1 << doublings.min(8))
            .min(PROBE_DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms)
    }

    #[test]
    fn fails_at_once_while_the_server_is_away() {
        let mut circuit = Circuit::default();
        let era = circuit.admit().unwrap();
        assert!(circuit.lost(era, "refused", at(1_000)));
        assert!(!circuit.lost(era, "silent", at(2_000)), "known already");
        let error = circuit.admit().unwrap_err().to_string();
        assert!(error.contains("since 1970-01-01T00:00:01"), "{error}");
        assert!(error.contains("silent"), "{error}");
        assert_eq!(circuit.health("h:1", at(2_000)).state, "down");
        assert_eq!(circuit.back(at(4_000)), Some(Duration::from_secs(3)));
        assert!(circuit.admit().is_ok());
        assert_eq!(circuit.health("h:1", at(4_000)).state, "ok");
    }

    #[test]
    fn a_failure_from_before_does_not_count_after_it_is_back() {
        let mut circuit = Circuit::default();
        let old = circuit.admit().unwrap();
        circuit.lost(old, "gone", at(0));
        circuit.back(at(1));
        assert!(!circuit.lost(old, "timed out late", at(2)));
        assert!(circuit.admit().is_ok());
    }

    #[test]
    fn the_first_answer_outweighs_a_failure_of_what_began_before() {
        for told_before in [true, false] {
            let mut circuit = Circuit::default();
            let (probe, operation) = (circuit.era(), circuit.admit().unwrap());
            if told_before {
                circuit.lost(probe, "refused", at(1));
                circuit.answered(operation, at(2));
            } else {
                circuit.answered(operation, at(1));
                circuit.lost(probe, "refused", at(2));
            }
            assert!(circuit.admit().is_ok(), "{told_before}");
        }
        // A probe that was made for nothing forgives no operation.
        let mut circuit = Circuit::default();
        circuit.back(at(0));
        let era = circuit.admit().unwrap();
        circuit.back(at(1));
        assert!(circuit.lost(era, "silent", at(2)));
        // Later an answer may be older than the loss: only a probe tells.
        let mut circuit = Circuit::default();
        circuit.back(at(0));
        let era = circuit.admit().unwrap();
        circuit.lost(era, "gone", at(1));
        circuit.answered(era, at(2));
        assert!(circuit.admit().is_err());
    }

    #[test]
    fn what_cannot_be_read_is_left_alone_until_a_probe_finds_otherwise() {
        let mut circuit = Circuit::default();
        let era = circuit.admit().unwrap();
        circuit.lost(era, "starting", at(1_000));
        assert!(circuit.mismatched(era, "layout 9", at(2_000)));
        assert!(!circuit.mismatched(era, "layout 9", at(3_000)), "known");
        let error = circuit.admit().unwrap_err();
        assert!(matches!(error, StoreError::Incompatible { .. }), "{error}");
        let health = circuit.health("h:1", at(3_000));
        assert_eq!(health.state, "down");
        assert!(health.detail.contains("of no use since 1970"), "{health:?}");
        circuit.back(at(4_000));
        assert!(circuit.admit().is_ok());
        assert!(!circuit.mismatched(era, "layout 9", at(5_000)), "of before");
        assert!(circuit.admit().is_ok());
    }

    #[test]
    fn a_refusal_is_told_for_a_while_and_operations_go_on() {
        let mut circuit = Circuit::default();
        assert!(circuit.refused("OOM", at(0)));
        assert!(!circuit.refused("OOM", at(9_000)));
        assert_eq!(circuit.health("h:1", at(18_999)).state, "degraded");
        assert!(circuit.admit().is_ok());
        assert_eq!(circuit.health("h:1", at(19_000)).state, "ok");
    }

    #[test]
    fn probes_come_at_once_then_less_often_but_never_seldom() {
        let delays: Vec<u128> = (0..7).map(|n| probe_delay(n).as_millis()).collect();
        assert_eq!(delays, [0, 50, 100, 200, 400, 500, 500]);
        assert_eq!(probe_delay(u32::MAX), PROBE_DELAY_MAX);
    }
}
