//! The pattern of a pool: fed with arrivals, asked for forecasts.

use crate::{
    BurstAccount, BurstPhase, Challenge, Config, Contest, Days, Error, Forecast, Quality,
    blend::Known,
    burst::Bursts,
    day::{DayHours, Gate},
    floor,
    forecast::READY_FOR_LEAST,
    horizon::{self, Aim, DOUBT, Horizon, JUDGED_S, Judged, LEAD_S, Spread},
    local::{Local, LocalClock, WEEK_HOURS},
    pace::Pace,
    rate::{FadingRate, Window},
    week::{Bin, RATE_LEAST, Week},
};

/// Horizons, in leads.
const HORIZON_LEADS: [f64; 2] = [1.0, 2.0];
/// Shortest and longest window of one observation.
const WINDOW_S: std::ops::RangeInclusive<f64> = 0.001..=3_600.0;
/// Most arrivals of one observation: beyond, sums would lose their meaning.
const ARRIVALS_MAX: f64 = 1e12;
/// Latest moment that is taken for a time: the year 9000.
const AT_MS_MAX: u64 = 221_845_392_000_000;
/// A clock that went back by less is waited for; one that went back further is believed.
const BACK_MS_MAX: u64 = 600_000;
/// Time constant of the rate that forecasts are judged by.
const ACTUAL_TAU_S: f64 = JUDGED_S / 2.0;
/// Seconds without data after which the present says nothing.
const SILENT_MS: u64 = 30_000;
/// Time constant with which a deviation seen long ago is forgotten.
const STALE_TAU_S: f64 = 3_600.0;
/// Time constants of longer pasts, over that of the level.
const BEFORE_TIMES: [f64; 2] = [3.0, 10.0];
/// Arrivals that must have been due before a pool that sleeps is taken to have a day off.
const DAY_OFF_ARRIVALS: f64 = 10.0;
/// Largest drift within a lead, in ln units.
const DRIFT_MAX: f64 = 1.0;
/// The level is corrected by at most this factor either way (in ln units: 20).
const LN_RATIO_MAX: f64 = 3.0;

/// A learned hourly pattern. Time is an argument throughout; memory is bounded (some 40 KiB).
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(crate) config: Config,
    pub(crate) clock: LocalClock,
    pub(crate) week: Week,
    pub(crate) today: Option<DayHours>,
    pub(crate) gate: Gate,
    pub(crate) horizons: [Horizon; 2],
    pub(crate) pace: Pace,
    pub(crate) bursts: Bursts,
    /// End of the last window seen, in milliseconds since the epoch; 0 before the first.
    pub(crate) seen_ms: u64,
    /// Recent rate for judging, and for the level at each horizon.
    actual: FadingRate,
    levels: [FadingRate; 2],
    /// The same over longer pasts, which tell a drift.
    befores: [[FadingRate; 2]; 2],
    challenge: Option<Challenge>,
}

impl Pattern {
    /// A pattern that knows nothing yet.
    ///
    /// # Errors
    /// If the time zone is unknown, or a setting out of its range.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            clock: LocalClock::new(&config)?,
            config,
            week: Week::new([Bin::default(); WEEK_HOURS]),
            today: None,
            gate: Gate::default(),
            horizons: HORIZON_LEADS.map(|leads| Horizon::new(30.0 * leads)),
            pace: Pace::default(),
            bursts: Bursts::default(),
            seen_ms: 0,
            actual: FadingRate::default(),
            levels: [FadingRate::default(); 2],
            befores: [[FadingRate::default(); 2]; 2],
            challenge: None,
        })
    }

    /// Settings of this pattern.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes in the arrivals of the `window_s` seconds that ended at `at_ms`. Time that was not
    /// reported is unknown, not idle. Impossible numbers and times already seen are left out.
    pub fn observe(&mut self, at_ms: u64, window_s: f64, arrivals: f64) {
        self.take((at_ms, window_s, arrivals), true);
    }

    /// As [`observe`](Self::observe) for one count that was cut into windows, oldest first: end, seconds
    /// and arrivals of each. Forecasts are judged each in its window, yet all by the same arrivals, so
    /// the coverage of the floor is charged with them once.
    pub fn observe_cut(&mut self, windows: impl IntoIterator<Item = (u64, f64, f64)>) {
        let mut windows = windows.into_iter().peekable();
        while let Some(window) = windows.next() {
            self.take(window, windows.peek().is_none());
        }
    }

    /// Takes in one window, which may be the last of its observation.
    fn take(&mut self, (at_ms, window_s, arrivals): (u64, f64, f64), is_last: bool) {
        let is_possible = WINDOW_S.contains(&window_s)
            && (0.0..=ARRIVALS_MAX).contains(&arrivals)
            && (1..=AT_MS_MAX).contains(&at_ms);
        if !is_possible || !self.follow_clock(at_ms) {
            return;
        }
        let local = self
            .clock
            .at(at_ms - ((window_s * 500.0) as u64).min(at_ms));
        self.turn_page(&local);
        let ln_rate = self.week.ln_rate(local.hour_of_week());
        let window = Window {
            seconds: window_s,
            arrivals,
            expected: ln_rate.map_or(0.0, |ln_rate| ln_rate.exp() * window_s),
        };
        if let Some(today) = &mut self.today {
            today.add(local.hour(), window);
        }
        let elapsed_s = (at_ms - self.seen_ms) as f64 / 1_000.0;
        self.seen_ms = at_ms;
        self.actual.add(ACTUAL_TAU_S, elapsed_s, window);
        for (level, horizon) in self.levels.iter_mut().zip(&self.horizons) {
            level.add(horizon.level_tau_s(), elapsed_s, window);
        }
        for (befores, horizon) in self.befores.iter_mut().zip(&self.horizons) {
            for (before, times) in befores.iter_mut().zip(BEFORE_TIMES) {
                before.add(times * horizon.level_tau_s(), elapsed_s, window);
            }
        }
        if ln_rate.is_some() {
            self.judge(at_ms, is_last);
        }
    }

    /// Takes in how many requests came since the last report and how many were late, which moves the
    /// quantile of the floor. Impossible numbers are left out.
    pub fn budget(&mut self, at_ms: u64, requests: f64, late: f64) {
        let Config {
            late_target,
            quantile,
            ..
        } = self.config;
        let counted = 0.0..=ARRIVALS_MAX;
        if counted.contains(&requests) && counted.contains(&late) && at_ms <= AT_MS_MAX {
            self.pace
                .report(at_ms, (requests, late), late_target, quantile);
        }
    }

    /// Quantile of the floor that the error budget calls for, 0.9 to 0.9999.
    #[must_use]
    pub fn quantile(&self) -> f64 {
        self.pace.quantile(self.config.quantile)
    }

    /// The load expected `lead_s` after `now_ms`; `None` until a day is known, or if `lead_s` is not
    /// within a second and six hours. `lead_s` is the measured start-up time of a worker: the pattern
    /// judges itself at this lead and at twice as much from now on.
    pub fn forecast(&mut self, now_ms: u64, lead_s: f64) -> Option<Forecast> {
        self.follow_lead(lead_s);
        self.peek(now_ms, lead_s)
    }

    /// As [`forecast`](Self::forecast), for a look ahead that is nobody's start-up time.
    #[must_use]
    pub fn peek(&self, now_ms: u64, lead_s: f64) -> Option<Forecast> {
        if !LEAD_S.contains(&lead_s) || now_ms > AT_MS_MAX {
            return None;
        }
        let place = self.horizon_for(lead_s);
        let horizon = &self.horizons[place];
        let known = self.known(now_ms, lead_s, place)?;
        let ln_forecast = horizon.ln_forecast(known);
        let Spread {
            p50, p99, floor, ..
        } = horizon.spread();
        let at_ms = now_ms + (lead_s * 1_000.0) as u64;
        let median_rate = horizon::rate_at(ln_forecast, p50);
        // Chance, of which a floor takes account, is no reason to wake.
        let sleeps_on = known.asleep && ln_forecast.exp() < READY_FOR_LEAST;
        let floor = if sleeps_on { p50 } else { floor };
        Some(Forecast {
            at_ms,
            lead_s,
            median_rate,
            floor_rate: floor::floor_rate(ln_forecast, (p50, floor), self.most_rate()),
            upper_rate: horizon::rate_at(ln_forecast, p99.max(p50)),
            growth: (ln_forecast - known.ln_last).exp(),
            burst: self.burst(at_ms),
            quantile: self.quantile(),
            quantile_rates: horizon.quantile_rates(known).unwrap_or_default(),
            believed: horizon.believes(known.asleep),
            asleep: known.asleep,
        })
    }

    /// How forecasts at one lead and at two fared.
    #[must_use]
    pub fn quality(&self) -> [Quality; 2] {
        [0, 1].map(|place| self.quality_of(&self.horizons[place]))
    }

    /// Judges a rival's forecast beside the profile from now on, in place of the last one.
    pub fn challenge(&mut self, challenge: Challenge) {
        self.challenge = Some(challenge);
    }

    /// How the challenger fared at one lead and at two, beside the profile and the last value.
    #[must_use]
    pub fn contest(&self) -> [Contest; 2] {
        [0, 1].map(|place| self.horizons[place].contest())
    }

    /// What became of the days so far.
    #[must_use]
    pub fn days(&self) -> Days {
        Days {
            put_aside: self.gate.put_aside,
            recurred: self.gate.recurred,
            waiting: self.gate.aside.len(),
        }
    }

    /// What is known of bursts at each minute of a cycle of two hours.
    #[must_use]
    pub fn burst_phases(&self) -> Vec<BurstPhase> {
        self.bursts.shown(self.config.burst_price)
    }

    /// What announcing bursts has cost and saved so far.
    #[must_use]
    pub fn burst_account(&self) -> BurstAccount {
        BurstAccount {
            cost: self.bursts.announced_cost,
            avoided: self.bursts.announced_avoided,
        }
    }

    /// The most that a floor may be, in requests per second.
    fn most_rate(&self) -> f64 {
        floor::most_rate(self.week.largest_rate())
    }

    fn burst(&self, at_ms: u64) -> f64 {
        self.bursts.factor(at_ms, self.config.burst_price)
    }

    fn quality_of(&self, horizon: &Horizon) -> Quality {
        let count = horizon.judged.max(1) as f64;
        let conformal = &horizon.conformal;
        let shares = horizon.shares();
        Quality {
            lead_s: horizon.lead_s,
            judged: horizon.judged,
            profile_loss: horizon.profile.loss,
            last_value_loss: horizon.last.loss,
            profile_loss_mean: horizon.profile.loss_sum / count,
            last_value_loss_mean: horizon.last.loss_sum / count,
            quantile: self.quantile(),
            coverage: conformal.coverage(),
            coverage_mean: conformal.coverage_mean(),
            growth_share: shares.growth(),
            return_share: shares.back(),
            believed: horizon.believes(false),
            waking_believed: horizon.believes(true),
        }
    }

    /// The horizon whose lead is nearest.
    pub(crate) fn horizon_for(&self, lead_s: f64) -> usize {
        let off = |place: usize| (self.horizons[place].lead_s / lead_s).ln().abs();
        usize::from(off(1) < off(0))
    }

    fn follow_lead(&mut self, lead_s: f64) {
        if !LEAD_S.contains(&lead_s) || self.horizons[0].lead_s == lead_s {
            return;
        }
        for (horizon, leads) in self.horizons.iter_mut().zip(HORIZON_LEADS) {
            horizon.follow(lead_s * leads);
        }
    }

    /// Whether a moment may follow the last one; a clock that was put right is followed back.
    fn follow_clock(&mut self, at_ms: u64) -> bool {
        if at_ms > self.seen_ms {
            return true;
        }
        if self.seen_ms - at_ms <= BACK_MS_MAX {
            return false;
        }
        self.actual = FadingRate::default();
        self.levels = [FadingRate::default(); 2];
        self.befores = [self.levels; 2];
        self.horizons.iter_mut().for_each(Horizon::interrupt);
        self.bursts.interrupt();
        self.seen_ms = at_ms - 1;
        true
    }

    /// Begins a new day. One that a clock put back left is dropped: its time was wrong.
    fn turn_page(&mut self, local: &Local) {
        let is_same = self
            .today
            .as_ref()
            .is_some_and(|today| today.day == local.day);
        if is_same {
            return;
        }
        let over = self.today.replace(DayHours::new(local));
        if let Some(day) = over.filter(|day| day.day < local.day) {
            self.close_day(day, local.hour_of_week());
        }
    }

    fn close_day(&mut self, day: DayHours, hour_of_week: f64) {
        let ln_before = self.week.ln_rate(hour_of_week);
        let half_life_weeks = self.config.half_life_days / 7.0;
        self.gate.close(day, &mut self.week, half_life_weeks);
        if let Some(ln_now) = self.week.ln_rate(hour_of_week) {
            for level in self
                .levels
                .iter_mut()
                .chain(self.befores.as_flattened_mut())
            {
                level.rebase(ln_before, ln_now);
            }
        }
    }

    fn judge(&mut self, at_ms: u64, is_last: bool) {
        let rate = self.actual.rate(ACTUAL_TAU_S / 2.0);
        let aim = Aim {
            quantile: self.quantile(),
            most_rate: self.most_rate(),
        };
        for place in 0..HORIZON_LEADS.len() {
            let judged = self.horizons[place].judge(at_ms, rate);
            if is_last {
                self.horizons[place].settle(aim.quantile);
            }
            if let Some(judged) = judged.filter(|_| place == 0) {
                self.judge_burst(at_ms, judged);
            }
            if self.horizons[place].is_due(at_ms) {
                let lead_s = self.horizons[place].lead_s;
                let challenge = self.challenge.as_ref();
                let rival = challenge.and_then(|challenge| challenge.growth(at_ms, lead_s));
                if let Some(known) = self.known(at_ms, lead_s, place) {
                    self.horizons[place].begin(at_ms, known, aim, rival);
                }
            }
        }
    }

    fn judge_burst(&mut self, at_ms: u64, judged: Judged) {
        let (lead_s, price) = (self.horizons[0].lead_s, self.config.burst_price);
        self.bursts.judge(at_ms, judged, lead_s, price);
    }

    /// Whether next to nothing came of late.
    fn is_asleep(&self, place: usize) -> bool {
        let least_s = self.horizons[place].level_tau_s() / 2.0;
        let rate = self.levels[place].rate(least_s);
        rate.is_some_and(|rate| rate < READY_FOR_LEAST)
    }

    /// Whether the profile waited in vain, for as much as it expects at most now or next: today is not
    /// like its kind. That somebody who comes by night stayed away says nothing of the morning.
    fn is_day_off(&self, place: usize, ln_rate: f64) -> bool {
        let [.., times] = BEFORE_TIMES;
        let [.., before] = self.befores[place];
        let tau_s = times * self.horizons[place].level_tau_s();
        before.is_missed(tau_s, ln_rate.exp(), DAY_OFF_ARRIVALS)
    }

    /// What is known of a moment `lead_s` after `now_ms`.
    pub(crate) fn known(&self, now_ms: u64, lead_s: f64, place: usize) -> Option<Known> {
        let now = self.clock.at(now_ms);
        let due = self.clock.at(now_ms + (lead_s * 1_000.0) as u64);
        let ln_now = self.week.ln_rate(now.hour_of_week())?;
        let ln_due = self.week.ln_rate(due.hour_of_week())?;
        let asleep = self.is_asleep(place);
        let is_off = asleep && now.day == due.day && self.is_day_off(place, ln_now.max(ln_due));
        let ln_due = if is_off { RATE_LEAST.ln() } else { ln_due };
        let age_ms = now_ms.saturating_sub(self.seen_ms);
        let stale_s = age_ms.saturating_sub(SILENT_MS) as f64 / 1_000.0;
        let fresh = (-stale_s / STALE_TAU_S).exp();
        let ln_recent = self.levels[place].ln_ratio(DOUBT);
        let [gained, gained_long] = self.befores[place].map(|before| {
            (ln_recent - before.ln_ratio(DOUBT)).clamp(-DRIFT_MAX, DRIFT_MAX) * fresh
        });
        let apart_s = (BEFORE_TIMES[0] - 1.0) * self.horizons[place].level_tau_s();
        let drift = (gained * lead_s / apart_s).clamp(-DRIFT_MAX, DRIFT_MAX);
        let ln_ratio = ln_recent * fresh;
        let ln_ratio = ln_ratio.clamp(-LN_RATIO_MAX, LN_RATIO_MAX);
        Some(Known {
            ln_last: ln_now + ln_ratio,
            terms: [ln_due - ln_now, -ln_ratio, drift, gained_long],
            hour: due.hour(),
            asleep,
        })
    }
}
