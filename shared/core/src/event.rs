//! Events of the operator feed: CloudEvents 1.0 whose id is `<ms>-<seq>` and only grows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::PoolName;
use crate::timestamp::Timestamp;

/// Prefix of every event type.
pub const TYPE_PREFIX: &str = "io.tidepool.";

/// Position on the feed: milliseconds and a sequence number within them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventId {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
    /// Distinguishes events of one millisecond.
    pub seq: u64,
}

impl EventId {
    /// The id after this one for an event at `now`: grows even when the clock goes back.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        if now.0 > self.ms {
            Self { ms: now.0, seq: 0 }
        } else {
            Self {
                ms: self.ms,
                seq: self.seq + 1,
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A text is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id looks like 1700000000000-0")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, seq) = text.split_once('-').ok_or(InvalidEventId)?;
        let number = |part: &str| part.parse().map_err(|_| InvalidEventId);
        Ok(Self {
            ms: number(ms)?,
            seq: number(seq)?,
        })
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Something worth telling an operator, before the feed has given it an id and a time.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// Type without the prefix, such as `scaling.decided`.
    pub kind: &'static str,
    /// The pool it concerns, if any.
    pub pool: Option<PoolName>,
    /// Numbers and sentences; bounded, and free of request texts and secrets.
    pub data: Value,
}

impl EventDraft {
    /// An event about no pool in particular.
    #[must_use]
    pub fn new(kind: &'static str, data: Value) -> Self {
        Self {
            kind,
            pool: None,
            data,
        }
    }

    /// An event about one pool.
    #[must_use]
    pub fn of_pool(kind: &'static str, pool: &PoolName, data: Value) -> Self {
        Self {
            kind,
            pool: Some(pool.clone()),
            data,
        }
    }

    /// The CloudEvent with this id, told at `time` by `source`.
    #[must_use]
    pub fn into_event(self, id: EventId, source: &str, time: Timestamp) -> Event {
        Event {
            specversion: "1.0".to_owned(),
            id,
            source: source.to_owned(),
            kind: format!("{TYPE_PREFIX}{}", self.kind),
            time: time.rfc3339(),
            subject: self.pool.map(String::from),
            datacontenttype: "application/json".to_owned(),
            data: self.data,
        }
    }
}

/// A CloudEvent in structured JSON form. `subject` is the pool it concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: String,
    /// Position on the feed; also the SSE id.
    pub id: EventId,
    /// Who tells: `/tidepool/<node>`.
    pub source: String,
    /// `io.tidepool.` and the kind of event.
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339.
    pub time: String,
    /// The pool it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// What happened.
    pub data: Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_grow_whatever_the_clock_does(clock in prop::collection::vec(0_u64..1_000, 1..100)) {
            let mut last = EventId::default();
            for now in clock {
                let next = last.next(Timestamp(now));
                prop_assert!(next > last);
                last = next;
            }
        }

        #[test]
        fn ids_round_trip(ms: u64, seq: u64) {
            let id = EventId { ms, seq };
            prop_assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        }
    }

    #[test]
    fn an_event_round_trips_through_json() {
        let draft = EventDraft::of_pool(
            "scaling.decided",
            &PoolName::new("echo").unwrap(),
            serde_json::json!({"from": 1, "to": 2}),
        );
        let event = draft.into_event(EventId { ms: 7, seq: 1 }, "/tidepool/local", Timestamp(7));
        let text = serde_json::to_string(&event).unwrap();
        assert!(
            text.contains(r#""type":"io.tidepool.scaling.decided""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
