//! An hourly forecast from the hours of the day and the days of the week.
//!
//! A multiplicative classical decomposition, refreshed every six hours: the load of an hour is the
//! level of the last 24 hours, times what its hour of the day is to the mean, times what its day of
//! the week is to the mean once a whole week is known. Amazon does not publish its model; this one
//! needs what theirs is said to need, and finds daily and weekly patterns.

use std::collections::VecDeque;

const DAY: u64 = 24;
const WEEK: u64 = 7 * DAY;
/// Hours that are remembered.
const HISTORY: usize = 14 * 24;
const AHEAD: u64 = 48;
const REFRESH: u64 = 6;

/// Mean loads of past hours and what they say of the next ones.
#[derive(Default)]
pub(super) struct Season {
    /// Hours since the Unix epoch with their mean loads, oldest first.
    past: VecDeque<(u64, f64)>,
    /// The hour under way with the sum and count of its seconds.
    running: Option<(u64, f64, f64)>,
    /// First hour of the forecast, and the loads from there on.
    forecast: (u64, Vec<f64>),
}

impl Season {
    /// Takes in a second of an hour. Seconds without a load are left out of its mean.
    pub(super) fn learn(&mut self, hour: u64, load: Option<f64>) {
        if let Some((running, sum, count)) = self.running
            && running != hour
        {
            if count > 0.0 {
                self.past.push_back((running, sum / count));
            }
            while self.past.len() > HISTORY {
                self.past.pop_front();
            }
            self.running = None;
            self.refresh(hour);
        }
        let (_, sum, count) = self.running.get_or_insert((hour, 0.0, 0.0));
        if let Some(load) = load {
            *sum += load;
            *count += 1.0;
        }
    }

    /// Mean load expected in that hour; `None` while too little is known.
    pub(super) fn forecast(&self, hour: u64) -> Option<f64> {
        let (first, loads) = &self.forecast;
        let ahead = usize::try_from(hour.checked_sub(*first)?).ok()?;
        loads.get(ahead).copied()
    }

    fn refresh(&mut self, hour: u64) {
        let (first, loads) = &self.forecast;
        if (self.past.len() as u64) < DAY || (!loads.is_empty() && hour < first + REFRESH) {
            return;
        }
        let of_day = self.shape(DAY, |hour| hour % DAY);
        let of_week = if (self.past.len() as u64) < WEEK {
            vec![1.0; 7]
        } else {
            self.shape(7, |hour| hour / DAY % 7)
        };
        let expected =
            |hour: u64| of_day[(hour % DAY) as usize] * of_week[(hour / DAY % 7) as usize];
        let (seen, usual) = self
            .past
            .iter()
            .rev()
            .take(DAY as usize)
            .fold((0.0, 0.0), |(seen, usual), (hour, load)| {
                (seen + load, usual + expected(*hour))
            });
        let level = if usual > 0.0 { seen / usual } else { 0.0 };
        self.forecast = (
            hour,
            (hour..hour + AHEAD).map(|h| level * expected(h)).collect(),
        );
    }

    /// Mean load of each bin over the mean of all; 1 for a bin that was never seen.
    fn shape(&self, bins: u64, bin: impl Fn(u64) -> u64) -> Vec<f64> {
        let mut sums = vec![(0.0, 0.0); bins as usize];
        for (hour, load) in &self.past {
            let (sum, count) = &mut sums[bin(*hour) as usize];
            *sum += load;
            *count += 1.0;
        }
        let total: f64 = self.past.iter().map(|(_, load)| load).sum();
        let mean = total / self.past.len().max(1) as f64;
        sums.iter()
            .map(|(sum, count)| {
                if *count > 0.0 && mean > 0.0 {
                    sum / count / mean
                } else {
                    1.0
                }
            })
            .collect()
    }
}
