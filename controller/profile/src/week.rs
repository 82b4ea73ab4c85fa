//! The 168 hours of the week, and what each of them is believed to be.

use crate::{
    curve::Curve,
    day::DayHours,
    local::{DAY_HOURS, WEEK_HOURS},
};

/// One arrival an hour: less cannot be told from none by an hourly mean.
pub(crate) const RATE_LEAST: f64 = 1.0 / 3_600.0;
/// Weight that other days of the same kind have against an hour's own past.
const KIN_WEIGHT: f64 = 0.7;
/// Hours that must be known before the week says anything.
const KNOWN_HOURS_MIN: usize = 20;

/// What was learned about one hour of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bin {
    /// Fading mean of ln(rate + least rate).
    pub(crate) ln_rate: f64,
    /// Fading mean square of what single weeks differ from it, level taken out.
    pub(crate) variance: f64,
    /// Weeks that it rests on, fading.
    pub(crate) weight: f64,
}

impl Bin {
    /// How far to believe it, 0 to 1: one week 0.5, many weeks 0.77 with a half-life of two.
    pub(crate) fn confidence(&self) -> f64 {
        self.weight / (self.weight + 1.0)
    }

    /// Adds an hour of which a share `weight` was seen. Fading goes by what was observed and not
    /// by the clock, so that a clock that jumps forgets nothing.
    fn fold(&mut self, ln_rate: f64, level: f64, weight: f64, half_life_weeks: f64) {
        let kept = self.weight * (-weight / half_life_weeks).exp2();
        let share = weight / (kept + weight);
        if kept > 0.0 {
            let off = ln_rate - level - self.ln_rate;
            self.variance += share * (off * off - self.variance);
        }
        self.ln_rate += share * (ln_rate - self.ln_rate);
        self.weight = kept + weight;
    }
}

/// The learned week.
#[derive(Clone, Debug)]
pub(crate) struct Week {
    pub(crate) bins: [Bin; WEEK_HOURS],
    curve: Option<Curve>,
    /// Mean rate of the hour with the most arrivals; 0 before one was seen.
    largest_rate: f64,
}

impl Week {
    pub(crate) fn new(bins: [Bin; WEEK_HOURS]) -> Self {
        let mut week = Self {
            bins,
            curve: None,
            largest_rate: 0.0,
        };
        week.draw();
        week
    }

    /// Logarithm of the expected rate at a place of the week; `None` until a day is known.
    pub(crate) fn ln_rate(&self, hour_of_week: f64) -> Option<f64> {
        self.curve.as_ref().map(|curve| curve.ln_rate(hour_of_week))
    }

    /// Mean rate of the largest hour that was learned, in requests per second; 0 before one was seen.
    pub(crate) fn largest_rate(&self) -> f64 {
        self.largest_rate
    }

    /// Adds a day. `level` is how much of its difference from the week is the same in all hours.
    pub(crate) fn fold(&mut self, day: &DayHours, level: f64, half_life_weeks: f64) {
        for (hour, ln_rate, weight) in day.known() {
            let bin = &mut self.bins[day.weekday * DAY_HOURS + hour];
            bin.fold(ln_rate, level, weight, half_life_weeks);
        }
        self.draw();
    }

    /// What was learned from the hour itself.
    pub(crate) fn own(&self, bin: usize) -> Option<f64> {
        let own = &self.bins[bin];
        (own.weight > 0.0).then_some(own.ln_rate)
    }

    /// Believed logarithm of the mean rate of an hour: its own past, and that of the same hour on
    /// days of its kind while its own is short. Days of the other kind speak only where nothing else
    /// is known: even a little of a silent weekend would take much of a Monday morning. `None` if the
    /// hour was never seen on any day.
    pub(crate) fn believed(&self, bin: usize) -> Option<f64> {
        let (weekday, hour) = (bin / DAY_HOURS, bin % DAY_HOURS);
        let is_kin = |other: usize| (other >= 5) == (weekday >= 5);
        let mean = |is_asked: &dyn Fn(usize) -> bool| {
            let (mut sum, mut weight) = (0.0, 0.0);
            for other in (0..7).filter(|other| is_asked(*other)) {
                let bin = &self.bins[other * DAY_HOURS + hour];
                sum += bin.weight * bin.ln_rate;
                weight += bin.weight;
            }
            (weight > 0.0).then(|| (sum / weight, weight))
        };
        let own = &self.bins[bin];
        let kin = mean(&|other| other != weekday && is_kin(other));
        match kin {
            Some((kin, weight)) => {
                let weight = KIN_WEIGHT.min(weight);
                Some((own.weight * own.ln_rate + weight * kin) / (own.weight + weight))
            }
            None if own.weight > 0.0 => Some(own.ln_rate),
            None => mean(&|other| !is_kin(other)).map(|(strangers, _)| strangers),
        }
    }

    /// Works out what follows from the hours.
    fn draw(&mut self) {
        let seen = (0..WEEK_HOURS).filter_map(|bin| self.own(bin));
        self.largest_rate = seen.map(f64::exp).fold(0.0, f64::max);
        let believed: Vec<_> = (0..WEEK_HOURS).map(|bin| self.believed(bin)).collect();
        let known: Vec<f64> = believed.iter().filter_map(|ln_rate| *ln_rate).collect();
        if known.len() < KNOWN_HOURS_MIN {
            self.curve = None;
            return;
        }
        let typical = known.iter().sum::<f64>() / known.len() as f64;
        let mut rates = [0.0; WEEK_HOURS];
        for (rate, ln_rate) in rates.iter_mut().zip(&believed) {
            *rate = ln_rate.unwrap_or(typical).exp();
        }
        self.curve = Some(Curve::through(&rates, RATE_LEAST));
    }
}
