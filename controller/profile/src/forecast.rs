//! What a pattern tells.

use serde::{Deserialize, Serialize};

use crate::stored;

/// Quantiles that a forecast tells the rates at.
pub const QUANTILES: [f64; 8] = [0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999];

/// The load expected one lead ahead. Rates are requests per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The moment it is for, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How far ahead that is, in seconds.
    pub lead_s: f64,
    /// Rate that is as likely exceeded as not.
    pub median_rate: f64,
    /// Rate that a share [`quantile`](Self::quantile) of outcomes stays below. Never under the median,
    /// and never above one and a half times the larger of it and the largest hour learned, with a
    /// margin for chance.
    pub floor_rate: f64,
    /// Rate that 99 % of outcomes stay below. Never under the median.
    pub upper_rate: f64,
    /// Factor by which the rate is expected to change within the lead, as far as traffic was seen to
    /// follow the pattern: 1 says that it will stay.
    pub growth: f64,
    /// Factor by which a burst is expected to exceed the median at that minute. 1 unless
    /// meeting bursts there has proven worth its cost.
    pub burst: f64,
    /// Quantile of the floor, as the error budget calls for.
    pub quantile: f64,
    /// Rates at [`QUANTILES`], as wide as this hour and the recent past were hard to foresee; all zero
    /// until enough was judged.
    #[serde(skip)]
    pub quantile_rates: [f64; QUANTILES.len()],
    /// Whether these forecasts were better than the last value, lately, or for a pool that sleeps worth
    /// what waking it costs, which is taken on trust until its first morning. If not, do not act on them.
    pub believed: bool,
    /// Whether next to nothing came of late.
    #[serde(default)]
    pub asleep: bool,
}

/// Rate below which nothing is to be ready for: less than a request a minute.
pub(crate) const READY_FOR_LEAST: f64 = 1.0 / 60.0;

/// What a policy is told of a forecast. Rates are requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Advice {
    /// Rate that is as likely exceeded as not.
    pub median_rate: f64,
    /// Rate to be ready for, announced bursts included. 0 where the pool may as well sleep.
    pub floor_rate: f64,
    /// Factor by which the rate is expected to change within the lead.
    pub growth: f64,
    /// Rates at [`QUANTILES`], announced bursts included.
    pub quantile_rates: [f64; QUANTILES.len()],
    /// Whether the pool sleeps, so that this is all there is to go by.
    pub waking: bool,
}

impl Forecast {
    /// What to tell a policy; `None` while the forecast is not worth believing. The live system and
    /// the simulator both ask here, so that what is simulated is what runs.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        // Quantiles of next to nothing are never quite nothing, and would keep a pool awake all night.
        let ready_for = self.floor_rate.max(self.median_rate * self.burst);
        let waking = |rate: f64| {
            if ready_for < READY_FOR_LEAST {
                0.0
            } else {
                rate
            }
        };
        self.believed.then_some(Advice {
            median_rate: waking(self.median_rate),
            floor_rate: waking(ready_for),
            growth: self.growth,
            waking: self.asleep,
            quantile_rates: self.quantile_rates.map(|rate| {
                if rate > 0.0 {
                    waking(rate.max(self.median_rate * self.burst))
                } else {
                    0.0
                }
            }),
        })
    }
}

/// How forecasts at one lead fared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How far ahead they look, in seconds.
    pub lead_s: f64,
    /// Forecasts that were judged.
    pub judged: u64,
    /// Fading mean pinball loss of the profile at the quantiles 0.5, 0.9 and 0.99 of
    /// ln(actual / forecast), summed; half-life one day.
    pub profile_loss: f64,
    /// The same of the last value with its own measured quantiles.
    pub last_value_loss: f64,
    /// Mean losses since the beginning.
    pub profile_loss_mean: f64,
    /// Mean loss of the last value since the beginning.
    pub last_value_loss_mean: f64,
    /// Share of outcomes that should stay below the floor.
    pub quantile: f64,
    /// Share that did, over about the last thousand; `None` before the first.
    pub coverage: Option<f64>,
    /// Share that did, since the beginning.
    pub coverage_mean: Option<f64>,
    /// Share of the profile's growth that is believed, 0 to 1.2.
    pub growth_share: f64,
    /// Share of a deviation from the profile that is believed to go away within the lead, 0 to 1.
    pub return_share: f64,
    /// Whether forecasts at this lead are to be acted on while requests come.
    pub believed: bool,
    /// Whether they are while none come: for a pool that sleeps, to wake it in time.
    pub waking_believed: bool,
}

/// The profile, the last value and a challenger on the very same moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// Forecasts that were judged.
    pub judged: u64,
    /// Mean pinball loss of the profile, as in [`Quality`].
    #[serde(with = "stored")]
    pub profile_loss: f64,
    /// Mean pinball loss of the last value.
    #[serde(with = "stored")]
    pub last_value_loss: f64,
    /// Mean pinball loss of the challenger.
    #[serde(with = "stored")]
    pub challenger_loss: f64,
}

impl Contest {
    pub(crate) fn add(&mut self, profile: f64, last_value: f64, challenger: f64) {
        self.judged += 1;
        let share = 1.0 / self.judged as f64;
        self.profile_loss += share * (profile - self.profile_loss);
        self.last_value_loss += share * (last_value - self.last_value_loss);
        self.challenger_loss += share * (challenger - self.challenger_loss);
    }
}

/// One hour of the learned week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeekHour {
    /// Hours since Monday's midnight, local time.
    pub hour_of_week: u8,
    /// Median rate; `None` if neither this hour nor its like on another day was ever seen.
    pub median_rate: Option<f64>,
    /// Rate that one such hour in ten stays below.
    pub p10_rate: Option<f64>,
    /// Rate that nine such hours in ten stay below.
    pub p90_rate: Option<f64>,
    /// Weeks that it rests on, older ones counting less.
    pub weight: f64,
    /// How far to believe it, 0 to 1.
    pub confidence: f64,
}

/// One moment of the coming day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutlookPoint {
    /// The moment, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Rate that one outcome in ten stays below.
    pub p10_rate: f64,
    /// Rate that is as likely exceeded as not.
    pub p50_rate: f64,
    /// Rate that nine outcomes in ten stay below.
    pub p90_rate: f64,
    /// Rate that 99 % of outcomes stay below.
    pub p99_rate: f64,
}

/// What is known of bursts at one minute of a cycle of two hours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BurstPhase {
    /// Minute since the last even hour, UTC, 0 to 119.
    pub minute: u8,
    /// Times that this minute was judged.
    pub visits: u64,
    /// Share of them with a burst, older ones counting less.
    pub share: f64,
    /// Factor by which bursts exceeded the median forecast.
    pub factor: f64,
    /// Mean cost of expecting the burst, in requests that idle workers could have served.
    pub cost: f64,
    /// Mean number of requests that would have been served in time for it.
    pub avoided: f64,
    /// Whether the burst is announced.
    pub proven: bool,
}

/// What announcing bursts has cost and saved so far, in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BurstAccount {
    /// Requests that workers started early could have served while they were not needed.
    pub cost: f64,
    /// Requests above the floor that they could serve in time.
    pub avoided: f64,
}

/// What became of the days so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// Days put aside because they were unlike their kind.
    pub put_aside: u64,
    /// Times that such a day recurred and was learned after all.
    pub recurred: u64,
    /// Days that are put aside now.
    pub waiting: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast() -> Forecast {
        Forecast {
            at_ms: 600_000,
            lead_s: 600.0,
            median_rate: 10.0,
            floor_rate: 14.0,
            upper_rate: 20.0,
            growth: 1.5,
            burst: 1.0,
            quantile: 0.95,
            quantile_rates: [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0],
            believed: true,
            asleep: false,
        }
    }

    #[test]
    fn what_is_not_believed_is_not_told() {
        let doubted = Forecast {
            believed: false,
            ..forecast()
        };
        assert_eq!(doubted.advice(), None);
        let advice = forecast().advice().expect("it is believed");
        assert_eq!((advice.median_rate, advice.floor_rate), (10.0, 14.0));
        assert_eq!(advice.growth, 1.5);
        assert_eq!(advice.quantile_rates, forecast().quantile_rates);
    }

    #[test]
    fn an_announced_burst_lifts_the_floor_and_every_quantile_but_not_the_median() {
        let bursting = Forecast {
            burst: 1.55,
            ..forecast()
        };
        let advice = bursting.advice().expect("it is believed");
        assert_eq!((advice.median_rate, advice.floor_rate), (10.0, 15.5));
        assert_eq!(
            advice.quantile_rates,
            [15.5, 15.5, 15.5, 15.5, 15.5, 15.5, 16.0, 17.0]
        );
        let small = Forecast {
            burst: 1.2,
            ..forecast()
        };
        assert_eq!(small.advice().map(|a| a.floor_rate), Some(14.0));
    }

    #[test]
    fn quantiles_that_were_not_judged_yet_stay_unknown_in_a_burst() {
        let young = Forecast {
            burst: 3.0,
            quantile_rates: [0.0; QUANTILES.len()],
            ..forecast()
        };
        let advice = young.advice().expect("it is believed");
        assert_eq!(advice.quantile_rates, [0.0; QUANTILES.len()]);
    }

    #[test]
    fn below_a_request_a_minute_a_pool_may_sleep() {
        let night = |floor_rate: f64, burst: f64| {
            let forecast = Forecast {
                median_rate: 0.01,
                floor_rate,
                burst,
                quantile_rates: [0.01; QUANTILES.len()],
                ..forecast()
            };
            forecast.advice().expect("it is believed")
        };
        let asleep = night(0.0166, 1.0);
        assert_eq!((asleep.median_rate, asleep.floor_rate), (0.0, 0.0));
        assert_eq!(asleep.quantile_rates, [0.0; QUANTILES.len()]);
        let awake = night(0.0168, 1.0);
        assert_eq!((awake.median_rate, awake.floor_rate), (0.01, 0.0168));
        assert_eq!(awake.quantile_rates, [0.01; QUANTILES.len()]);
        let one_a_minute = 1.0 / 60.0;
        assert_eq!(night(one_a_minute, 1.0).floor_rate, one_a_minute);
        assert_eq!(night(0.01, 2.0).floor_rate, 0.02, "a burst wakes it");
    }
}
