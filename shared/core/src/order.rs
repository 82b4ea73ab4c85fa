//! What operators ask of a pool, and what stands of it: the shapes between the operator API and
//! whoever keeps the orders.

use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::PoolName;
use crate::timestamp::Timestamp;

/// Most workers that an order may name.
pub const ORDER_WORKERS_MAX: u32 = 10_000;
/// Longest life of a pause or pin.
pub const ORDER_DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Longest reason, in characters.
pub const ORDER_REASON_LEN_MAX: usize = 200;

/// One change that an operator asks for. What is absent stays as it is; an inner `None` takes an
/// order back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolChange {
    /// Fewest workers.
    pub min: Option<Option<u32>>,
    /// Most workers.
    pub max: Option<Option<u32>>,
    /// Whether to hold the target where it is.
    pub paused: Option<bool>,
    /// The target to hold.
    pub pin: Option<Option<u32>>,
    /// How long what this change sets lives.
    pub duration: Option<Duration>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Who asks.
    pub by: String,
}

/// Bounds set by an operator over the configured ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoundsOrder {
    /// Fewest workers.
    pub min: Option<u32>,
    /// Most workers.
    pub max: Option<u32>,
    /// When it ends; without, when it is taken back.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// A target that an operator holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldOrder {
    /// The target; without one, wherever it was.
    pub pin: Option<u32>,
    /// When it ends.
    pub until: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// The orders that stand for a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Bounds, if an operator set any.
    pub bounds: Option<BoundsOrder>,
    /// A pause or pin, if one is in force.
    pub hold: Option<HoldOrder>,
}

impl Standing {
    /// Whether the pool is as it was configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bounds.is_none() && self.hold.is_none()
    }

    /// Whether scaling is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.pin.is_none())
    }

    /// The pinned target.
    #[must_use]
    pub fn pinned(&self) -> Option<u32> {
        self.hold.as_ref()?.pin
    }

    /// When the first of the orders ends.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        let hold = self.hold.as_ref().map(|hold| hold.until);
        let bounds = self.bounds.as_ref().and_then(|bounds| bounds.until);
        hold.into_iter().chain(bounds).min()
    }

    /// Why: of the hold, or else of the bounds.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match (&self.hold, &self.bounds) {
            (Some(hold), _) => hold.reason.as_deref(),
            (None, bounds) => bounds.as_ref()?.reason.as_deref(),
        }
    }
}

/// A change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No such pool.
    #[error("there is no pool '{0}'")]
    UnknownPool(PoolName),
    /// A member of the change cannot be.
    #[error("{member}: {message}")]
    Invalid {
        /// Which member.
        member: &'static str,
        /// What is wrong, and what would do.
        message: String,
    },
    /// What was asked for could not be made to last.
    #[error("the order could not be kept: {0}")]
    Unavailable(String),
}

/// Reads how long an order lives: `90s`, `30m`, `1h30m`, `7d`; a day has 24 hours.
///
/// # Errors
/// With what would do, when the text is none or out of range.
pub fn order_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 30m, 2h or 1d12h, at most 7d".to_owned();
    if text.len() > 40 {
        return Err(wrong());
    }
    let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let signed = span.to_duration(days).map_err(|_| wrong())?;
    let duration = Duration::try_from(signed).map_err(|_| wrong())?;
    if duration < Duration::from_secs(1) {
        return Err("must be at least 1s".to_owned());
    }
    if duration > ORDER_DURATION_MAX {
        return Err("must be at most 7d".to_owned());
    }
    Ok(duration)
}

/// A change under way.
pub type ChangeFuture = Pin<Box<dyn Future<Output = Result<Standing, ChangeError>> + Send>>;

/// An import under way.
pub type ImportFuture = Pin<Box<dyn Future<Output = Result<(), ChangeError>> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(since: u64, reason: Option<&str>, until: Option<u64>) -> BoundsOrder {
        BoundsOrder {
            min: Some(2),
            since: Timestamp(since),
            until: until.map(Timestamp),
            reason: reason.map(str::to_owned),
            ..BoundsOrder::default()
        }
    }

    #[test]
    fn the_first_end_and_the_reason_of_the_hold_are_told() {
        let hold = HoldOrder {
            pin: None,
            until: Timestamp(90),
            reason: Some("deploy".into()),
            by: "ann".into(),
            since: Timestamp(5),
        };
        let standing = Standing {
            bounds: Some(bounds(3, Some("sale"), Some(70))),
            hold: Some(hold),
        };
        assert_eq!(standing.until(), Some(Timestamp(70)));
        assert_eq!(standing.reason(), Some("deploy"));
        assert!(standing.is_paused() && standing.pinned().is_none());
        let later = Standing {
            bounds: Some(bounds(9, None, None)),
            ..standing
        };
        assert_eq!(later.until(), Some(Timestamp(90)));
        assert_eq!(later.reason(), Some("deploy"));
        let silent = Standing {
            hold: later.hold.clone().map(|hold| HoldOrder {
                reason: None,
                ..hold
            }),
            bounds: Some(bounds(3, Some("sale"), None)),
        };
        assert_eq!(silent.reason(), None, "the bounds' is not the hold's");
        let bounds_only = Standing {
            hold: None,
            bounds: Some(bounds(3, Some("sale"), None)),
        };
        assert_eq!(bounds_only.reason(), Some("sale"));
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("1h30m", 5_400),
            ("2h", 7_200),
            ("7d", 604_800),
            ("PT10M", 600),
        ] {
            assert_eq!(
                order_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["", "30", "soon", "-5m", "0s", "8d", "1mo", "1y", "9999999h"] {
            assert!(order_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_versions_of_what_stands_can_be_read() {
        let read: Standing = serde_json::from_str(r#"{"bounds":{"min":1,"new":7}}"#).unwrap();
        assert_eq!(read.bounds.unwrap().min, Some(1));
        assert!(serde_json::from_str::<Standing>("{}").unwrap().is_empty());
    }
}
