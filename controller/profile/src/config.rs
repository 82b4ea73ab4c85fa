//! What an operator may choose about a pattern.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Most calendar entries that a pattern takes.
pub const CALENDAR_ENTRIES_MAX: usize = 1_000;

/// Settings of a pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IANA name of the time zone whose hours people live by.
    pub zone: String,
    /// Observed time after which a day counts half, in days. Within 1 to 365.
    pub half_life_days: f64,
    /// Quantile of the floor while no budget says otherwise. Within 0.9 to 0.9999.
    pub quantile: f64,
    /// Share of requests that may be late. Within 0.00001 to 0.5.
    pub late_target: f64,
    /// How much capacity, in requests that it could have served, one request served in time may
    /// cost before a recurring burst is not worth meeting. Within 0 to 1000.
    pub burst_price: f64,
    /// Days that are not what their weekday says, by local date (`2026-12-25`).
    pub calendar: BTreeMap<String, DayKind>,
}

/// What a day of the calendar is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayKind {
    /// Like a Monday.
    Monday,
    /// Like a Tuesday.
    Tuesday,
    /// Like a Wednesday.
    Wednesday,
    /// Like a Thursday.
    Thursday,
    /// Like a Friday.
    Friday,
    /// Like a Saturday.
    Saturday,
    /// Like a Sunday.
    Sunday,
    /// Like its weekday, but nothing is to be learned from it.
    Unlearned,
}

impl DayKind {
    /// Days since Monday, unless the day keeps its own.
    pub(crate) fn weekday(self) -> Option<usize> {
        (self != Self::Unlearned).then_some(self as usize)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            zone: "UTC".to_owned(),
            half_life_days: 14.0,
            quantile: 0.95,
            late_target: 0.001,
            burst_price: 10.0,
            calendar: BTreeMap::new(),
        }
    }
}

impl Config {
    /// A pattern in the named zone, with all else as it comes.
    #[must_use]
    pub fn in_zone(zone: &str) -> Self {
        Self {
            zone: zone.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        within(
            "half_life_days",
            self.half_life_days,
            1.0..=365.0,
            "1 to 365",
        )?;
        within("quantile", self.quantile, 0.9..=0.9999, "0.9 to 0.9999")?;
        within(
            "late_target",
            self.late_target,
            1e-5..=0.5,
            "0.00001 to 0.5",
        )?;
        within("burst_price", self.burst_price, 0.0..=1_000.0, "0 to 1000")?;
        if self.calendar.len() > CALENDAR_ENTRIES_MAX {
            return Err(Error::Calendar {
                entry: format!("{} entries", self.calendar.len()),
                why: format!("at most {CALENDAR_ENTRIES_MAX} are kept: drop past ones"),
            });
        }
        Ok(())
    }
}

fn within(
    field: &'static str,
    value: f64,
    allowed: std::ops::RangeInclusive<f64>,
    range: &'static str,
) -> Result<(), Error> {
    if allowed.contains(&value) {
        Ok(())
    } else {
        Err(Error::Setting {
            field,
            value,
            range,
        })
    }
}
