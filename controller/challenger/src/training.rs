//! Fitting: the slow step.

use augurs_core::{Fit, Predict};
use augurs_ets::AutoETS;
use augurs_mstl::MSTLModel;
use tidepool_profile::Challenge;

use crate::history::HOUR_MS;

const DAY_HOURS: usize = 24;
const WEEK_HOURS: usize = 168;
/// Hours that a fit looks ahead: longer than the time between fits and the longest lead.
const AHEAD_HOURS: usize = 20;
/// One arrival an hour: less cannot be told from none.
const RATE_LEAST: f64 = 1.0 / 3_600.0;
/// A forecast beyond the largest hour ever seen by more than this factor is cut off there.
const BEYOND_MAX: f64 = 4.0;
/// A series that moves less than this (in ln units) has nothing to decompose.
const FLAT_BELOW: f64 = 1e-6;

/// Why a fit failed. The challenger sits this round out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no season to find.
    #[error(
        "{hours} hours that hardly differ: nothing to decompose; try again when traffic varies"
    )]
    Flat {
        /// Hours of the series.
        hours: usize,
    },
    /// The decomposition or the trend could not be fitted.
    #[error("{hours} hours could not be fitted")]
    Model {
        /// Hours of the series.
        hours: usize,
        /// What the model says.
        #[source]
        source: augurs_mstl::Error,
    },
    /// The fit predicts what no traffic can be.
    #[error("the fit predicts impossible rates")]
    Impossible(#[source] tidepool_profile::Error),
}

/// Hourly means to fit. Owns its data, so that it can be sent to another thread.
#[derive(Clone, Debug)]
pub struct Training {
    /// The hour after the last one, in hours since the epoch.
    end_hour: u64,
    /// ln(mean rate + least rate), without gaps.
    ln_rates: Vec<f64>,
}

impl Training {
    /// Fewest hours that can be fitted: two days and one.
    pub(crate) const HOURS_MIN: usize = 2 * DAY_HOURS + 1;

    pub(crate) fn new(end_hour: u64, hours: Vec<Option<f64>>) -> Self {
        Self {
            end_hour,
            ln_rates: without_gaps(hours),
        }
    }

    /// Decomposes, carries on, and returns the coming hours.
    ///
    /// # Errors
    /// If the series is flat, or the model does not get on with it. MSTL refuses what has no season.
    pub fn fit(&self) -> Result<Challenge, Error> {
        let hours = self.ln_rates.len();
        let least = self.ln_rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self
            .ln_rates
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        if most - least < FLAT_BELOW {
            return Err(Error::Flat { hours });
        }
        let periods = [DAY_HOURS, WEEK_HOURS];
        let periods = periods.into_iter().filter(|period| 2 * period < hours);
        let trend = AutoETS::non_seasonal().into_trend_model();
        let failed = |source| Error::Model { hours, source };
        let model = MSTLModel::new(periods.collect(), trend)
            .fit(&self.ln_rates)
            .map_err(failed)?;
        let coming = model.predict(AHEAD_HOURS, None).map_err(failed)?;
        // What the model makes of the last hour, and not the hour itself: growth is to be that of
        // the season and the trend, without the noise of one hour.
        let past = model.predict_in_sample(None).map_err(failed)?;
        let last = past.point.last().copied().unwrap_or(least);
        let rates = std::iter::once(last).chain(coming.point);
        let rates = rates
            .map(|ln_rate| ln_rate.min(most + BEYOND_MAX.ln()).exp())
            .collect();
        // Means of hours are drawn in their middles; the first point is that of the last hour.
        let begin_ms = self.end_hour * HOUR_MS - HOUR_MS / 2;
        Challenge::new(begin_ms, HOUR_MS, rates).map_err(Error::Impossible)
    }
}

/// Fills gaps with the same hour of the week before, of the day before, or the hour before.
fn without_gaps(hours: Vec<Option<f64>>) -> Vec<f64> {
    let mut filled: Vec<f64> = Vec::with_capacity(hours.len());
    for (place, mean) in hours.into_iter().enumerate() {
        let before = |back: usize| {
            place
                .checked_sub(back)
                .and_then(|at| filled.get(at))
                .copied()
        };
        let known = mean.map(|mean| (mean + RATE_LEAST).ln());
        let guessed = || {
            before(WEEK_HOURS)
                .or_else(|| before(DAY_HOURS))
                .or_else(|| before(1))
        };
        filled.push(known.or_else(guessed).unwrap_or_else(|| RATE_LEAST.ln()));
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Challenger;

    fn challenger(hours: u64, rate: impl Fn(u64) -> Option<f64>) -> Challenger {
        let mut challenger = Challenger::default();
        for hour in 0..=hours {
            let Some(rate) = rate(hour) else { continue };
            for minute in 1..=60 {
                let at_ms = (1_000 + hour) * HOUR_MS + minute * 60_000;
                challenger.observe(at_ms, 60.0, rate * 60.0);
            }
        }
        challenger
    }

    fn daily(hour: u64) -> f64 {
        100.0 + 80.0 * (std::f64::consts::TAU * (hour % 24) as f64 / 24.0).sin()
    }

    fn fit(challenger: &mut Challenger, hours: u64) -> Option<Result<Challenge, Error>> {
        let now_ms = (1_000 + hours) * HOUR_MS + HOUR_MS / 2;
        challenger.training(now_ms).map(|training| training.fit())
    }

    #[test]
    fn carries_a_daily_season_on() {
        let mut challenger = challenger(21 * 24, |hour| Some(daily(hour)));
        let challenge = fit(&mut challenger, 21 * 24)
            .expect("due")
            .expect("it has a season");
        for ahead in 1..12 {
            let expected = daily(21 * 24 + ahead);
            let at_ms = (1_000 + 21 * 24 + ahead) * HOUR_MS + HOUR_MS / 2;
            let off = (challenge.rate(at_ms).expect("within") / expected)
                .ln()
                .abs();
            assert!(off < 0.1, "{ahead} hours ahead: {off}");
        }
    }

    #[test]
    fn a_flat_series_is_an_error_and_not_a_panic() {
        let mut flat = challenger(100, |_| Some(5.0));
        assert!(matches!(
            fit(&mut flat, 100),
            Some(Err(Error::Flat { hours: 100 }))
        ));
        let mut silent = challenger(100, |_| Some(0.0));
        assert!(matches!(
            fit(&mut silent, 100),
            Some(Err(Error::Flat { .. }))
        ));
    }

    #[test]
    fn noise_and_gaps_are_fitted_or_refused() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rates: Vec<_> = (0..400)
                .map(|_| (random.f64() > 0.3).then(|| (random.f64() * 12.0 - 4.0).exp()))
                .collect();
            let mut challenger = challenger(399, |hour| {
                rates[hour as usize].or_else(|| (hour > 398).then_some(1.0))
            });
            let outcome = fit(&mut challenger, 399).expect("due");
            assert!(outcome.is_ok() || outcome.is_err_and(|error| !error.to_string().is_empty()));
        }
    }

    #[test]
    fn a_stored_challenger_goes_on_with_a_fit_and_a_damaged_one_is_told() {
        let mut old = challenger(60, |hour| Some(daily(hour)));
        assert!(fit(&mut old, 60).is_some());
        let stored = serde_json::to_value(&old).expect("it can be written");
        let load = |stored| serde_json::from_value::<Challenger>(stored).expect("a challenger");
        let mut again = load(stored.clone());
        assert!(again.is_possible());
        assert!(fit(&mut again, 60).is_some_and(|fitted| fitted.is_ok()));
        for (field, planted) in [
            ("hours", serde_json::json!([-1.0])),
            ("hours", serde_json::json!(vec![1.0; 2_000])),
            ("hour", serde_json::json!(u64::MAX)),
            ("arrivals", serde_json::json!(-1.0)),
        ] {
            let mut damaged = stored.clone();
            damaged[field] = planted;
            assert!(!load(damaged).is_possible(), "{field}");
        }
    }

    #[test]
    fn fits_after_two_days_and_then_every_six_hours() {
        let mut young = challenger(40, |hour| Some(daily(hour)));
        assert!(fit(&mut young, 40).is_none());
        let mut old = challenger(60, |hour| Some(daily(hour)));
        assert!(fit(&mut old, 60).is_some());
        assert!(fit(&mut old, 60).is_none());
    }
}
