//! Local time: people come at nine by their own clock, in summer and in winter.

use std::collections::BTreeMap;

use jiff::{
    Timestamp,
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::{Config, DayKind, Error};

/// Hours of a day.
pub(crate) const DAY_HOURS: usize = 24;
/// Hours of a week.
pub(crate) const WEEK_HOURS: usize = 168;
const DAY_S: i64 = 86_400;
/// The epoch was a Thursday.
const EPOCH_WEEKDAY: i64 = 3;

/// The local clock of a pool: a time zone, and days that are not what their weekday says.
#[derive(Clone, Debug)]
pub(crate) struct LocalClock {
    zone: TimeZone,
    calendar: BTreeMap<i64, DayKind>,
}

/// A moment by the local clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Local {
    /// Local days since 1970-01-01.
    pub(crate) day: i64,
    /// Days since Monday, after the calendar had its say.
    pub(crate) weekday: usize,
    /// Seconds since local midnight by the wall clock, 0 to 86,399.999.
    pub(crate) second: f64,
    /// Whether something may be learned from this day.
    pub(crate) is_learned: bool,
}

impl Local {
    /// Hour of the day, 0 to 23.
    pub(crate) fn hour(&self) -> usize {
        ((self.second / 3_600.0) as usize).min(DAY_HOURS - 1)
    }

    /// Hours since Monday's midnight, 0 to just under 168.
    pub(crate) fn hour_of_week(&self) -> f64 {
        (self.weekday * DAY_HOURS) as f64 + self.second / 3_600.0
    }
}

impl LocalClock {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let unknown = |_| Error::Zone {
            name: config.zone.clone(),
        };
        let zone = TimeZoneDatabase::bundled()
            .get(&config.zone)
            .map_err(unknown)?;
        let days = config.calendar.iter();
        let calendar = days
            .map(|(date, kind)| Ok((day_number(date)?, *kind)))
            .collect::<Result<_, Error>>()?;
        Ok(Self { zone, calendar })
    }

    /// Local time at `at_ms` since the epoch. Times that no calendar holds are read as UTC.
    pub(crate) fn at(&self, at_ms: u64) -> Local {
        let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX / 2);
        let offset_s = Timestamp::from_millisecond(at_ms)
            .map_or(0, |at| i64::from(self.zone.to_offset(at).seconds()));
        let local_ms = at_ms + offset_s * 1_000;
        let day = local_ms.div_euclid(DAY_S * 1_000);
        let kind = self.calendar.get(&day).copied();
        let own = (day + EPOCH_WEEKDAY).rem_euclid(7) as usize;
        Local {
            day,
            weekday: kind.and_then(DayKind::weekday).unwrap_or(own),
            second: local_ms.rem_euclid(DAY_S * 1_000) as f64 / 1_000.0,
            is_learned: kind != Some(DayKind::Unlearned),
        }
    }
}

fn day_number(entry: &str) -> Result<i64, Error> {
    let date: Date = entry
        .parse()
        .map_err(|error: jiff::Error| Error::Calendar {
            entry: entry.to_owned(),
            why: format!("{error}; write it as 2026-12-25"),
        })?;
    let midnight = date
        .to_zoned(TimeZone::UTC)
        .map_err(|error| Error::Calendar {
            entry: entry.to_owned(),
            why: error.to_string(),
        })?;
    Ok(midnight.timestamp().as_second().div_euclid(DAY_S))
}
