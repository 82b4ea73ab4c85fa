//! One day at a time: a day is learned from when it is over, and only if it was a day like others.
//!
//! A launch, an outage or a holiday says nothing about the same weekday next week. Such a day is
//! put aside. It is learned after all once it recurs: a like day on the same weekday, or on several
//! days in a row, is the new normal.

use serde::{Deserialize, Serialize};

use crate::{
    local::{DAY_HOURS, Local},
    rate::Window,
    stored,
    week::{RATE_LEAST, Week},
};

/// Share of an hour that must have been seen for the hour to count.
const HOUR_SHARE_MIN: f64 = 0.25;
/// Hours that must count for the day to count.
const DAY_HOURS_MIN: usize = 3;
/// A day's shape (mean absolute difference in ln units, level taken out) below this is never odd.
const ODD_SHAPE_MIN: f64 = 0.25;
/// A day's level off by less than this factor (in ln units: 2) is never odd.
const ODD_LEVEL_MIN: f64 = 0.7;
/// A day is odd when it is this many times further off than days usually are.
const ODD_TIMES: f64 = 3.0;
/// Odd days in a row, alike, that are the new normal.
const ODD_ROW: usize = 3;
/// Share of the newest day in what is usual.
const USUAL_SHARE: f64 = 0.15;

/// Arrivals of one local day, by the hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DayHours {
    /// Local days since 1970-01-01.
    pub(crate) day: i64,
    /// Days since Monday, after the calendar had its say.
    pub(crate) weekday: usize,
    pub(crate) is_learned: bool,
    #[serde(with = "stored::array")]
    pub(crate) arrivals: [f64; DAY_HOURS],
    /// Seconds seen; up to 7,200 in the hour that is repeated in autumn.
    #[serde(with = "stored::array")]
    pub(crate) seconds: [f64; DAY_HOURS],
}

impl DayHours {
    pub(crate) fn new(local: &Local) -> Self {
        Self {
            day: local.day,
            weekday: local.weekday,
            is_learned: local.is_learned,
            arrivals: [0.0; DAY_HOURS],
            seconds: [0.0; DAY_HOURS],
        }
    }

    pub(crate) fn add(&mut self, hour: usize, window: Window) {
        self.arrivals[hour] += window.arrivals;
        self.seconds[hour] += window.seconds;
    }

    /// Hour, logarithm of its mean rate, and share of it that was seen.
    pub(crate) fn known(&self) -> impl Iterator<Item = (usize, f64, f64)> + '_ {
        (0..DAY_HOURS).filter_map(|hour| {
            let weight = (self.seconds[hour] / 3_600.0).min(1.0);
            let ln_rate = (self.arrivals[hour] / self.seconds[hour] + RATE_LEAST).ln();
            (weight >= HOUR_SHARE_MIN).then_some((hour, ln_rate, weight))
        })
    }

    fn differences(&self, ln_rate: impl Fn(usize) -> Option<f64>) -> Difference {
        let off = self
            .known()
            .filter_map(|(hour, own, _)| Some(own - ln_rate(hour)?));
        Difference::of(off.collect())
    }
}

/// How a day differs from what was expected of it, in ln units.
#[derive(Clone, Copy, Debug)]
struct Difference {
    /// In all hours alike.
    level: f64,
    /// On the average of the hours, the level taken out.
    shape: f64,
}

impl Difference {
    fn of(mut off: Vec<f64>) -> Self {
        if off.is_empty() {
            return Self {
                level: 0.0,
                shape: 0.0,
            };
        }
        off.sort_by(f64::total_cmp);
        let level = off[off.len() / 2];
        let shape = off.iter().map(|x| (x - level).abs()).sum::<f64>() / off.len() as f64;
        Self { level, shape }
    }
}

/// What became of a day that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was learned.
    Learned,
    /// It was unlike its kind and is put aside until it recurs.
    PutAside,
    /// It recurred: it and what was put aside were learned.
    Recurred,
    /// Too little of it was seen, or the calendar said not to learn it.
    Skipped,
}

/// Decides which days are learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gate {
    /// What days usually differ by.
    #[serde(with = "stored::option")]
    pub(crate) usual_shape: Option<f64>,
    #[serde(with = "stored::option")]
    pub(crate) usual_level: Option<f64>,
    /// Days put aside, oldest first; at most one for each weekday.
    pub(crate) aside: Vec<DayHours>,
    /// Days put aside so far, and those of them that recurred.
    pub(crate) put_aside: u64,
    pub(crate) recurred: u64,
}

impl Gate {
    /// Learns from a day that is over, or puts it aside.
    pub(crate) fn close(
        &mut self,
        day: DayHours,
        week: &mut Week,
        half_life_weeks: f64,
    ) -> Verdict {
        if !day.is_learned || day.known().count() < DAY_HOURS_MIN {
            return Verdict::Skipped;
        }
        let own = |hour| week.own(day.weekday * DAY_HOURS + hour);
        let is_first = day.known().filter_map(|(hour, ..)| own(hour)).count() < DAY_HOURS_MIN;
        let off = day.differences(own);
        if is_first || !self.is_odd(off) {
            if !is_first {
                self.get_used_to(off);
            }
            self.aside.retain(|odd| odd.weekday != day.weekday);
            week.fold(&day, off.level, half_life_weeks);
            return Verdict::Learned;
        }
        let recurs = self.recurs(&day);
        let before = self.aside.iter().position(|odd| odd.weekday == day.weekday);
        let before = before.map(|place| self.aside.remove(place));
        if !recurs {
            self.put_aside += 1;
            self.aside.push(day);
            self.get_used_to(self.at_most(off));
            return Verdict::PutAside;
        }
        self.recurred += 1;
        self.get_used_to(off);
        for odd in before.into_iter().chain(self.row(&day)).chain([day]) {
            let level = odd
                .differences(|hour| week.own(odd.weekday * DAY_HOURS + hour))
                .level;
            week.fold(&odd, level, half_life_weeks);
        }
        Verdict::Recurred
    }

    fn is_odd(&self, off: Difference) -> bool {
        let limit = self.limit();
        off.shape > limit.shape || off.level.abs() > limit.level
    }

    fn limit(&self) -> Difference {
        let of = |usual: Option<f64>, least: f64| (ODD_TIMES * usual.unwrap_or(0.0)).max(least);
        Difference {
            shape: of(self.usual_shape, ODD_SHAPE_MIN),
            level: of(self.usual_level, ODD_LEVEL_MIN),
        }
    }

    /// An odd day, as far as it may loosen the limit: where every day is odd, none is, in the end.
    fn at_most(&self, off: Difference) -> Difference {
        let limit = self.limit();
        Difference {
            shape: off.shape.min(limit.shape),
            level: off.level.abs().min(limit.level),
        }
    }

    fn get_used_to(&mut self, off: Difference) {
        let blend = |usual: &mut Option<f64>, now: f64| {
            let before = usual.unwrap_or(now);
            *usual = Some(before + USUAL_SHARE * (now - before));
        };
        blend(&mut self.usual_shape, off.shape);
        blend(&mut self.usual_level, off.level.abs());
    }

    /// Whether a day like this was put aside on the same weekday, or on each of the days before.
    fn recurs(&self, day: &DayHours) -> bool {
        let same = self.aside.iter().find(|odd| odd.weekday == day.weekday);
        let again = same.is_some_and(|odd| self.are_alike(odd, day));
        let row = (1..ODD_ROW as i64).all(|back| {
            let before = self.aside.iter().find(|odd| odd.day == day.day - back);
            before.is_some_and(|odd| self.are_alike(odd, day))
        });
        again || row
    }

    /// Takes the odd days right before this one out, oldest first, if they are a row.
    fn row(&mut self, day: &DayHours) -> Vec<DayHours> {
        let is_near = |odd: &DayHours| (1..ODD_ROW as i64).contains(&(day.day - odd.day));
        let (row, rest) = std::mem::take(&mut self.aside)
            .into_iter()
            .partition(is_near);
        self.aside = rest;
        row
    }

    fn are_alike(&self, odd: &DayHours, day: &DayHours) -> bool {
        let hours: std::collections::BTreeMap<_, _> = odd
            .known()
            .map(|(hour, ln_rate, _)| (hour, ln_rate))
            .collect();
        !self.is_odd(day.differences(|hour| hours.get(&hour).copied()))
    }
}
