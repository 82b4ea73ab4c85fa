//! How many requests will come when a worker that is launched now is ready.
//!
//! Fourteen experts watch the arrivals: moving averages over 2 to 64 seconds, each once as it is and
//! once with its trend, and two that follow the learned hourly pattern. Every forecast is kept until its time has come and then scored by pinball
//! loss at the 90th percentile, so that the expert which was least often too low speaks for the
//! pool. How far it fell short gives the margin.

use serde::{Deserialize, Serialize};

use crate::ewma::{Ewma, share};
use crate::newest::Newest;
use crate::outlook::{Guess, Learned, Outlook};
use crate::rise::{Level, Persistence, RISE_DEVIATIONS, Rise};

const LEVELS: usize = 6;
/// Experts that follow the learned pattern.
const LEARNED: usize = 2;
const EXPERTS: usize = 2 * LEVELS + LEARNED;
/// Time constant of the slowest level; each of the others is half of the next.
pub(crate) const SLOWEST_S: f64 = 64.0;
/// Time constant of what a forecast is compared with.
const ACTUAL_S: f64 = 5.0;
/// Forecasts that wait to be scored. Longer horizons are sampled more thinly.
const PENDING: usize = 32;
const PENDING_F: f64 = 32.0;
const LOSS_MEMORY_S: f64 = 3_600.0;
const SCALE_SHORT_S: f64 = 1_800.0;
const SCALE_LONG_S: f64 = 86_400.0;
/// A share of the trend is believed; all of it overshoots.
pub(crate) const TREND_SHARE: f64 = 0.6;
/// Relative gain that makes another expert speak.
const SWITCH_GAIN: f64 = 0.02;
/// Horizon up to which one window is enough to believe a sudden rise.
const SUDDEN_HORIZON_S: f64 = 2.5;
/// Start-up time from which on the learned pattern may stand in for the last minutes. Where workers start
/// sooner the hours of a week say next to nothing, and a choice among more costs more than it gains.
pub(crate) const SLOW_START_S: f64 = 300.0;
/// Standard deviation of the log error that is assumed before anything was learned.
const SIGMA_AT_FIRST: f64 = 0.03;

/// What is known of one expert's errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    loss: Ewma,
    variance_short: f64,
    variance_long: f64,
}

impl Default for Record {
    fn default() -> Self {
        let variance = SIGMA_AT_FIRST * SIGMA_AT_FIRST;
        Self {
            loss: Ewma::default(),
            variance_short: variance,
            variance_long: variance,
        }
    }
}

impl Record {
    fn heal(&mut self) {
        if !(self.variance_short.is_finite() && self.variance_long.is_finite()) {
            *self = Self {
                loss: self.loss,
                ..Self::default()
            };
        }
    }

    fn sigma(&self) -> f64 {
        let variance = 0.7 * self.variance_short + 0.3 * self.variance_long;
        if variance.is_finite() {
            variance.max(0.0).sqrt()
        } else {
            SIGMA_AT_FIRST
        }
    }
}

/// Forecasts of all experts for one moment of policy time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Pending {
    due_ms: u64,
    rates: [f32; EXPERTS],
    rise: Option<Rise>,
}

/// All that is remembered of the arrivals of a pool, in requests per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Demand {
    levels: [Level; LEVELS],
    actual: Ewma,
    newest: Newest,
    #[serde(deserialize_with = "known_experts")]
    records: [Record; EXPERTS],
    speaker: usize,
    /// The best of those that do not follow the learned pattern.
    own_speaker: usize,
    #[serde(deserialize_with = "comparable")]
    pending: std::collections::VecDeque<Pending>,
    asked_ms: u64,
    scored_ms: u64,
    persistence: Persistence,
}

/// Records of another version, which knew fewer experts or more: new ones are appended.
fn known_experts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[Record; EXPERTS], D::Error> {
    let mut records = [Record::default(); EXPERTS];
    let known = Vec::<Record>::deserialize(from)?;
    records
        .iter_mut()
        .zip(known)
        .for_each(|(to, known)| *to = known);
    Ok(records)
}

/// Forecasts in waiting, without those of a version that knew other experts.
fn comparable<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<std::collections::VecDeque<Pending>, D::Error> {
    #[derive(Deserialize)]
    struct AnyPending {
        due_ms: u64,
        rates: Vec<f32>,
        #[serde(default)]
        rise: Option<Rise>,
    }
    let all = Vec::<AnyPending>::deserialize(from)?.into_iter();
    let same = |any: AnyPending| {
        let rates = any.rates.try_into().ok()?;
        Some(Pending {
            due_ms: any.due_ms,
            rates,
            rise: any.rise,
        })
    };
    Ok(all.filter_map(same).collect())
}

/// The scale on which arrivals are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Requests per second added to both sides of a ratio, so that a quiet pool's chance
    /// fluctuations do not look like growth.
    pub(crate) offset: f64,
}

impl Demand {
    /// Takes in a window with `rate` requests per second.
    pub(crate) fn observe(&mut self, window_s: f64, rate: f64) {
        // exp(-dt/64), then its square for 32 s, and so on: one exponential for all levels.
        let mut keep = (-window_s / SLOWEST_S).exp();
        for level in self.levels.iter_mut().rev() {
            level.once.add(rate, 1.0 - keep);
            level.twice.add(level.once.value(), 1.0 - keep);
            keep *= keep;
        }
        self.actual.add(rate, share(window_s, ACTUAL_S));
        self.newest.observe(window_s, rate);
    }

    /// Rate of the last seconds.
    pub(crate) fn recent(&self) -> Option<f64> {
        self.actual.get()
    }

    /// What is expected `horizon_s` ahead; nothing before the first observation. `learned` is
    /// what the learned pattern expects of that time, if there is one to believe.
    pub(crate) fn outlook(
        &self,
        horizon_s: f64,
        learned: Option<Learned>,
        burst_deviations: f64,
    ) -> Option<Outlook> {
        let recent = self.actual.get()?;
        let forecasts = self.forecasts(horizon_s, learned);
        let floor = self.burst_floor(horizon_s, burst_deviations);
        let sudden = self.sudden_floor(horizon_s, burst_deviations);
        let rise = Rise::seen(&self.levels, horizon_s, burst_deviations);
        let risen = rise.map_or(0.0, |rise| rise.base + self.persistence.share() * rise.gain);
        // Twice the last eight seconds: a slow expert must not keep a pool up after the load left.
        let growth = learned.map_or(1.0, |learned| learned.growth);
        let ceiling = 2.0 * self.level(2);
        let guess = |speaker: usize, ceiling: f64| {
            let chosen = forecasts.get(speaker).copied().unwrap_or(recent);
            Guess {
                rate: chosen.max(floor).min(ceiling).max(sudden).max(risen),
                sigma: self
                    .records
                    .get(speaker)
                    .map_or(SIGMA_AT_FIRST, Record::sigma),
            }
        };
        let speaker = self.speaker.min(EXPERTS - 1);
        let Guess { rate, sigma } = guess(speaker, ceiling * growth);
        Some(Outlook {
            rate,
            sigma,
            own: if horizon_s < SLOW_START_S {
                Guess { rate, sigma }
            } else {
                guess(self.own_speaker.min(2 * LEVELS - 1), ceiling)
            },
            proven: floor.min(ceiling).max(sudden),
            recent,
            fast: self.level(1).max(sudden),
            learned: speaker >= 2 * LEVELS,
        })
    }

    /// Scores the forecasts whose time has come and makes new ones. Called after [`outlook`]
    /// (Self::outlook), so that one more arrival can never lower this tick's forecast by changing
    /// who speaks.
    pub(crate) fn score(
        &mut self,
        now_ms: u64,
        horizon_s: f64,
        learned: Option<Learned>,
        scale: Scale,
    ) {
        // A start-up time that has fallen must not make the new forecasts wait for the old ones.
        let latest_ms = now_ms.saturating_add(crate::clock::millis(2.0 * horizon_s));
        self.pending.retain(|p| p.due_ms <= latest_ms);
        while self.pending.front().is_some_and(|p| p.due_ms <= now_ms) {
            if let Some(due) = self.pending.pop_front() {
                self.score_one(&due, now_ms, horizon_s, scale);
            }
        }
        let since_s = crate::clock::seconds(now_ms.saturating_sub(self.asked_ms));
        let stride_s = horizon_s / PENDING_F;
        let room = self.pending.len() < PENDING;
        if room && self.actual.get().is_some() && (self.pending.is_empty() || since_s > stride_s) {
            self.asked_ms = now_ms;
            self.pending.push_back(Pending {
                due_ms: now_ms.saturating_add(crate::clock::millis(horizon_s)),
                #[expect(clippy::cast_possible_truncation, reason = "seven digits are plenty")]
                rates: self.forecasts(horizon_s, learned).map(|rate| rate as f32),
                rise: Rise::seen(&self.levels, horizon_s, RISE_DEVIATIONS),
            });
        }
    }

    fn score_one(&mut self, due: &Pending, now_ms: u64, horizon_s: f64, scale: Scale) {
        let dt_s = crate::clock::seconds(now_ms.saturating_sub(self.scored_ms)).clamp(0.1, 60.0);
        self.scored_ms = now_ms;
        let actual = self.actual.value() + scale.offset;
        if let Some(rise) = due.rise {
            // What it is compared with lags by its own time constant.
            let lagging = (1.0 - ACTUAL_S / horizon_s).max(0.2);
            let relative = |rate: f64| rate / (rise.base + scale.offset);
            let gained = relative(self.actual.value() - rise.base);
            self.persistence
                .learn(relative(rise.gain) * lagging, gained, dt_s);
        }
        let (forget, short, long) = (
            share(dt_s, LOSS_MEMORY_S),
            share(dt_s, SCALE_SHORT_S),
            share(dt_s, SCALE_LONG_S),
        );
        for (record, rate) in self.records.iter_mut().zip(due.rates) {
            let forecast = f64::from(rate) + scale.offset;
            let error = (actual / forecast).ln();
            if !error.is_finite() {
                continue;
            }
            let loss = if error >= 0.0 {
                0.9 * error
            } else {
                -0.1 * error
            };
            record.loss.add(loss, forget);
            // Half of the chance fluctuation of the comparison itself is above zero.
            let chance = 0.5 * f64::from(rate) / (ACTUAL_S * forecast * forecast);
            let squared = error.max(0.0).powi(2) - chance;
            record.heal();
            record.variance_short += short * (squared - record.variance_short);
            record.variance_long += long * (squared - record.variance_long);
        }
        self.elect();
    }

    fn elect(&mut self) {
        self.speaker = self.best_of(EXPERTS, self.speaker);
        self.own_speaker = self.best_of(2 * LEVELS, self.own_speaker);
    }

    /// The best of the first `count` experts, or the one who speaks while nobody is clearly better.
    fn best_of(&self, count: usize, speaker: usize) -> usize {
        let loss = |i: usize| self.records.get(i).and_then(|r| r.loss.get());
        let Some(current) = loss(speaker) else {
            return 0;
        };
        let best = (0..count)
            .filter_map(|i| Some((i, loss(i)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((i, least)) if least < current * (1.0 - SWITCH_GAIN) => i,
            _ => speaker,
        }
    }

    fn forecasts(&self, horizon_s: f64, learned: Option<Learned>) -> [f64; EXPERTS] {
        let mut rates = [0.0; EXPERTS];
        let mut tau_s = SLOWEST_S;
        let (own, followers) = rates.split_at_mut(2 * LEVELS);
        if let [grown, median] = followers {
            let slow = self.level(LEVELS - 2);
            // Without a pattern they are as good as their level, and nothing to switch to.
            *grown = learned.map_or(slow, |learned| slow * learned.growth);
            *median = learned.map_or(slow, |learned| learned.median_rate);
        }
        let pairs = own.chunks_exact_mut(2).rev();
        for (level, pair) in self.levels.iter().rev().zip(pairs) {
            let flat = level.once.value();
            let slope = (flat - level.twice.value()) / tau_s;
            let trended = flat + TREND_SHARE * slope * horizon_s;
            if let [a, b] = pair {
                *a = flat;
                *b = trended.max(0.2 * flat).min(4.0 * flat);
            }
            tau_s /= 2.0;
        }
        rates
    }

    /// What the arrivals over the last half start-up time prove beyond chance: a burst must not
    /// wait until a slow expert believes it, unless it may be over before a worker is ready.
    fn burst_floor(&self, horizon_s: f64, deviations: f64) -> f64 {
        let mut tau_s = SLOWEST_S / 16.0;
        let mut index = 1;
        while tau_s < horizon_s / 2.0 && index + 1 < LEVELS {
            tau_s *= 2.0;
            index += 1;
        }
        let level = self.level(index);
        // Poisson arrivals averaged over tau have variance rate / (2 tau); work of varying size
        // doubles it.
        (level - deviations * (level / tau_s).sqrt()).max(0.0)
    }

    /// What the last second alone proves beyond chance. Believed only where a worker starts within a
    /// second: there it costs little to be wrong, and every second of waiting for averages fills the queue.
    fn sudden_floor(&self, horizon_s: f64, deviations: f64) -> f64 {
        if horizon_s > SUDDEN_HORIZON_S {
            0.0
        } else {
            self.newest.proven(deviations)
        }
    }

    fn level(&self, index: usize) -> f64 {
        self.levels
            .get(index)
            .map_or(0.0, |level| level.once.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { offset: 40.0 };

    fn fed(rates: impl IntoIterator<Item = f64>, horizon_s: f64) -> Demand {
        let mut demand = Demand::default();
        for (second, rate) in rates.into_iter().enumerate() {
            demand.observe(1.0, rate);
            demand.score(1_000 * second as u64, horizon_s, None, SCALE);
        }
        demand
    }

    #[test]
    fn one_window_proves_a_sudden_rise_where_starting_is_quick() {
        let mut demand = Demand::default();
        (0..60).for_each(|_| demand.observe(1.0, 20.0));
        demand.observe(1.0, 700.0);
        let rate = |horizon_s| demand.outlook(horizon_s, None, 4.0).map_or(0.0, |o| o.rate);
        assert!(rate(1.1) > 590.0, "{}", rate(1.1));
        // Where it is slow, a rise must be seen for some seconds, and half of it is believed to go on.
        assert!(rate(30.0) < 1_400.0, "{}", rate(30.0));
        demand.observe(1.0, 20.0);
        assert!(
            rate_after(&demand) < 300.0,
            "a single second does not linger"
        );
    }

    fn rate_after(demand: &Demand) -> f64 {
        demand.outlook(1.1, None, 4.0).map_or(0.0, |o| o.rate)
    }

    #[test]
    fn nothing_is_expected_before_anything_was_seen() {
        assert_eq!(Demand::default().outlook(2.0, None, 4.0), None);
    }

    #[test]
    fn a_steady_rate_is_forecast_with_a_small_error() {
        let outlook = fed((0..600).map(|_| 100.0), 12.0)
            .outlook(12.0, None, 4.0)
            .unwrap();
        assert!((outlook.rate - 100.0).abs() < 0.1, "{outlook:?}");
        assert!(outlook.sigma <= SIGMA_AT_FIRST, "{outlook:?}");
    }

    #[test]
    fn a_ramp_makes_an_expert_with_trend_speak() {
        let demand = fed((0..1_800).map(|s| 100.0 + f64::from(s)), 60.0);
        assert_eq!(demand.speaker % 2, 1, "{}", demand.speaker);
        let outlook = demand.outlook(60.0, None, 4.0).unwrap();
        assert!(outlook.rate > 1_900.0, "{outlook:?}");
    }

    /// An hour of noise around 100 a second.
    fn noise() -> impl Iterator<Item = f64> {
        let mut random = fastrand::Rng::with_seed(5);
        (0..3_600).map(move |_| 60.0 + 80.0 * random.f64())
    }

    #[test]
    fn a_burst_is_believed_within_seconds() {
        let mut burst = fed(noise().chain([400.0; 4]), 2.0);
        // Also when the slowest expert speaks.
        burst.speaker = EXPERTS - 2;
        let outlook = burst.outlook(2.0, None, 4.0).unwrap();
        assert!(outlook.rate > 200.0, "{outlook:?}");
    }

    #[test]
    fn what_has_left_is_forgotten_within_half_a_minute() {
        let outlook = fed(noise().chain([0.0; 30]), 2.0)
            .outlook(2.0, None, 4.0)
            .unwrap();
        assert!(outlook.rate < 10.0, "{outlook:?}");
    }

    #[test]
    fn forecasts_in_waiting_are_bounded_whatever_the_horizon() {
        let demand = fed((0..5_000).map(|_| 10.0), 660.0);
        assert!(demand.pending.len() <= PENDING, "{}", demand.pending.len());
        assert!(
            demand.pending.len() >= PENDING / 2,
            "{}",
            demand.pending.len()
        );
    }

    #[test]
    fn what_was_learned_with_fewer_experts_is_kept() {
        let now = fed((0..600).map(f64::from), 12.0);
        let mut stored = serde_json::to_value(&now).unwrap();
        stored["records"].as_array_mut().unwrap().truncate(12);
        for pending in stored["pending"].as_array_mut().unwrap() {
            pending["rates"].as_array_mut().unwrap().truncate(12);
        }
        let loaded: Demand = serde_json::from_value(stored).unwrap();
        assert_eq!(loaded.records[..12], now.records[..12]);
        assert_eq!(loaded.records[12..], [Record::default(); 2]);
        assert_eq!((loaded.levels, loaded.pending.len()), (now.levels, 0));
    }
}
