//! Forecasts one lead ahead, kept until their time comes and judged by what came.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    Contest, QUANTILES,
    blend::{Blend, Known, Shares},
    conformal::{Conformal, Tally},
    floor::floor_rate,
    residual::{RESIDUAL_MAX, Residuals},
    scatter::Scatter,
    stored,
    waking::{self, Waking},
};

/// Forecasts under way for one horizon.
const PENDING_MAX: usize = 32;
/// Forecasts begun per lead.
const PER_LEAD: f64 = 12.0;
/// Shortest time between two forecasts.
const EVERY_S_MIN: f64 = 5.0;
/// Quantiles move slowly: they are worked out at every fourth judgement, and at all of the first.
const REFRESH_EVERY: u64 = 4;
const YOUNG_JUDGED: u64 = 200;
/// Half-life of residuals and losses, in days of forecasts.
const RESIDUAL_HALF_LIFE_DAYS: f64 = 4.0;
const LOSS_HALF_LIFE_DAYS: f64 = 1.0;
const BLEND_HALF_LIFE_DAYS: f64 = 7.0;
const DAY_S: f64 = 86_400.0;
/// Quantiles whose pinball loss decides between the profile and the last value.
pub(crate) const JUDGED: [f64; 3] = [0.5, 0.9, 0.99];
/// Hours of judged forecasts before a profile is believed.
const PROOF_HOURS: f64 = 12.0;
/// Hours of judged forecasts before it is believed on trial: until proof either way is in, for as
/// long as its loss exceeds that of the last value by no more than the slack.
const TRIAL_HOURS: f64 = 3.0;
const TRIAL_SLACK: f64 = 0.01;
/// Judged forecasts before quantiles that know the hour are told.
const SCALED_JUDGED_MIN: f64 = 100.0;
/// Loss, over that of the last value, below which a profile is believed again and above which not.
const BELIEVED_BELOW: f64 = 0.98;
const DOUBTED_ABOVE: f64 = 1.0;
/// Seconds over which an arrival rate is compared with its forecast.
pub(crate) const JUDGED_S: f64 = 20.0;
/// Arrivals added on both sides of a ratio: a handful of arrivals is not a trend.
pub(crate) const DOUBT: f64 = 2.0;
/// A lead that changed by more than this factor has new residuals.
const LEAD_CHANGE_MAX: f64 = 1.6;

/// Start-up times that a forecast may look ahead, in seconds: one second to six hours.
pub(crate) const LEAD_S: std::ops::RangeInclusive<f64> = 1.0..=21_600.0;

/// A way of forecasting, and how it fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) residuals: Residuals,
    /// Fading mean of the pinball loss.
    #[serde(with = "stored")]
    pub(crate) loss: f64,
    /// Sum of the pinball losses since the beginning.
    #[serde(with = "stored")]
    pub(crate) loss_sum: f64,
    /// Residuals at the judged quantiles, as of the last time they were worked out.
    #[serde(skip)]
    quantiles: [f64; 3],
}

impl Record {
    fn judge(&mut self, residual: f64, share: f64, kept: f64) -> f64 {
        let pinball = |(tau, quantile): (&f64, &f64)| {
            let off = residual - quantile;
            (tau * off).max((tau - 1.0) * off)
        };
        let loss = JUDGED.iter().zip(&self.quantiles).map(pinball).sum::<f64>();
        self.loss += share * (loss - self.loss);
        self.loss_sum += loss;
        self.residuals.add(residual, kept);
        loss
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    due_ms: u64,
    known: Known,
    ln_forecast: f64,
    /// The challenger's forecast, if there is one.
    ln_challenger: Option<f64>,
    /// Hour of the day that it is for, and the scatter that was expected of it.
    hour: usize,
    scatter: f64,
    /// Residual that the floor allowed for, and the quantile that it was meant to be.
    floor: f64,
    target: f64,
    /// The most that the floor may be, in requests per second.
    most_rate: f64,
}

/// Forecasts a certain time ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Horizon {
    #[serde(with = "stored")]
    pub(crate) lead_s: f64,
    pub(crate) profile: Record,
    pub(crate) last: Record,
    pub(crate) blend: Blend,
    pub(crate) conformal: Conformal,
    pub(crate) is_believed: bool,
    /// Forecasts judged since the residuals began.
    pub(crate) judged: u64,
    /// Errors of the profile over what is usual at their hour and lately, and what that is. A version
    /// that knew neither stored neither.
    #[serde(default)]
    pub(crate) scaled: Residuals,
    #[serde(default)]
    pub(crate) scatter: Scatter,
    /// What the same was worth while the pool slept.
    #[serde(default, skip_serializing_if = "Waking::is_new")]
    pub(crate) waking: Waking,
    #[serde(skip)]
    flights: Flights,
    #[serde(skip)]
    present: Present,
    #[serde(default, skip_serializing_if = "Rival::is_new")]
    pub(crate) rival: Rival,
}

/// How a challenger fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rival {
    pub(crate) record: Record,
    pub(crate) contest: Contest,
}

impl Rival {
    /// Whether it was never judged. Such a one is not stored.
    fn is_new(&self) -> bool {
        self.contest.judged == 0
    }
}

/// What follows from the rest and is asked for every second: worked out at each judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Present {
    spread: Spread,
    shares: Shares,
}

/// What a floor is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    /// Share of outcomes that it should cover.
    pub(crate) quantile: f64,
    /// The most that it may be, in requests per second.
    pub(crate) most_rate: f64,
}

/// Forecasts whose time has not come. They are neither stored nor compared: what was under way when
/// a process stopped is never judged.
#[derive(Clone, Debug, Default)]
struct Flights {
    queue: VecDeque<Pending>,
    next_ms: u64,
    /// What the observation under way has judged so far.
    tally: Tally,
}

impl PartialEq for Flights {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Residuals of the profile at the quantiles that a forecast names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) p10: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) floor: f64,
    /// Of the errors over their scatter, at [`QUANTILES`].
    pub(crate) scaled: [f64; QUANTILES.len()],
}

impl Horizon {
    pub(crate) fn new(lead_s: f64) -> Self {
        Self {
            lead_s,
            profile: Record::default(),
            last: Record::default(),
            blend: Blend::default(),
            conformal: Conformal::default(),
            is_believed: false,
            judged: 0,
            scaled: Residuals::default(),
            scatter: Scatter::default(),
            waking: Waking::default(),
            flights: Flights::default(),
            present: Present::default(),
            rival: Rival::default(),
        }
    }

    /// Follows a lead that drifts. What was learned is kept, unless it is another lead altogether.
    pub(crate) fn follow(&mut self, lead_s: f64) {
        let change = (lead_s / self.lead_s).max(self.lead_s / lead_s);
        if change > LEAD_CHANGE_MAX {
            *self = Self::new(lead_s);
        } else {
            self.lead_s = lead_s;
        }
    }

    /// Seconds over which the last value is averaged for this lead.
    pub(crate) fn level_tau_s(&self) -> f64 {
        (self.lead_s / 5.0).clamp(15.0, 240.0)
    }

    fn every_s(&self) -> f64 {
        (self.lead_s / PER_LEAD).max(EVERY_S_MIN)
    }

    fn kept(&self, half_life_days: f64) -> f64 {
        (-self.every_s() / (half_life_days * DAY_S)).exp2()
    }

    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.flights.next_ms
    }

    /// Remembers a forecast made now, its floor, and the growth that a rival expects.
    pub(crate) fn begin(&mut self, now_ms: u64, known: Known, aim: Aim, rival: Option<f64>) {
        self.flights.next_ms = now_ms + (self.every_s() * 1_000.0) as u64;
        if self.flights.queue.len() >= PENDING_MAX {
            self.flights.queue.pop_front();
        }
        let due_ms = now_ms + (self.lead_s * 1_000.0) as u64;
        self.flights.queue.push_back(Pending {
            due_ms,
            known,
            hour: known.hour,
            scatter: self.scatter.at(known.hour),
            ln_forecast: self.ln_forecast(known),
            ln_challenger: rival.map(|growth| known.ln_last + growth),
            floor: self.present.spread.floor,
            target: aim.quantile,
            most_rate: aim.most_rate,
        });
    }

    /// Logarithm of the forecast rate.
    pub(crate) fn ln_forecast(&self, known: Known) -> f64 {
        if known.asleep {
            known.ln_profile()
        } else {
            self.present.shares.ln_forecast(known)
        }
    }

    /// Whether to act on forecasts, of a pool that sleeps or not.
    pub(crate) fn believes(&self, asleep: bool) -> bool {
        if asleep {
            self.waking.is_believed()
        } else {
            self.is_believed
        }
    }

    /// How a challenger fared beside the profile.
    pub(crate) fn contest(&self) -> Contest {
        self.rival.contest
    }

    /// Shares of growth and of the way back that are believed.
    pub(crate) fn shares(&self) -> Shares {
        self.present.shares
    }

    /// Residuals at the quantiles that a forecast names.
    pub(crate) fn spread(&self) -> Spread {
        self.present.spread
    }

    /// Rates at [`QUANTILES`] for a moment of which so much is known; `None` until enough was judged.
    pub(crate) fn quantile_rates(&self, known: Known) -> Option<[f64; QUANTILES.len()]> {
        let judged = self.scaled.total / self.scaled.next;
        if judged < SCALED_JUDGED_MIN {
            return None;
        }
        let ln_forecast = self.ln_forecast(known);
        let scatter = self.scatter.at(known.hour);
        let all = self.present.spread.scaled;
        Some(all.map(|residual| rate_at(ln_forecast, residual * scatter)))
    }

    /// Judges the forecasts whose time has come by the rate of now, which is absent after a gap.
    /// Returns what can be learned from the last of them about bursts. An observation ends with
    /// [`settle`](Self::settle).
    pub(crate) fn judge(&mut self, now_ms: u64, rate: Option<f64>) -> Option<Judged> {
        let mut last = None;
        let is_due = |pending: &mut Pending| pending.due_ms <= now_ms;
        while let Some(pending) = self.flights.queue.pop_front_if(is_due) {
            let late_ms = (now_ms - pending.due_ms) as f64;
            if let Some(rate) = rate.filter(|_| late_ms <= 1_000.0 * JUDGED_S) {
                last = Some(self.judge_one(&pending, rate));
            }
        }
        last
    }

    /// An observation is over: charges the coverage of the floor with it, once, and learns from what
    /// it judged. The next floors are at the quantile `target`.
    pub(crate) fn settle(&mut self, target: f64) {
        let tally = std::mem::take(&mut self.flights.tally);
        self.conformal.judge(tally);
        let before = self.judged - tally.judged();
        let is_turn = before / REFRESH_EVERY != self.judged / REFRESH_EVERY;
        if is_turn || (self.judged < YOUNG_JUDGED && tally.judged() > 0) {
            self.refresh(target);
        }
    }

    fn judge_one(&mut self, pending: &Pending, rate: f64) -> Judged {
        let residual = |ln_forecast: f64| ln_ratio(rate, ln_forecast);
        let own = residual(pending.ln_forecast);
        let last = residual(pending.known.ln_last);
        let kept = self.kept(RESIDUAL_HALF_LIFE_DAYS);
        self.judged += 1;
        let share = (1.0 - self.kept(LOSS_HALF_LIFE_DAYS)).max(1.0 / self.judged as f64);
        // By the quantile, not by the cap on the rate: no quantile lifts a capped floor.
        let did_hold = own <= pending.floor;
        self.flights.tally.add(pending.target, did_hold);
        self.scaled.add(own / pending.scatter, kept);
        let pace = (self.every_s(), self.lead_s);
        self.scatter.learn(pending.hour, own, pace);
        let loss = self.profile.judge(own, share, kept);
        let last_loss = self.last.judge(last, share, kept);
        if let Some(ln_challenger) = pending.ln_challenger {
            let rival = &mut self.rival;
            let rival_loss = rival.record.judge(residual(ln_challenger), share, kept);
            rival.contest.add(loss, last_loss, rival_loss);
        }
        if pending.known.asleep {
            let expected = pending.ln_forecast.exp();
            let kept = self.kept(waking::HALF_LIFE_DAYS);
            self.waking.learn(expected, rate, kept);
        } else {
            // A pool that slept shows nothing of how traffic follows the pattern.
            let kept = self.kept(BLEND_HALF_LIFE_DAYS);
            self.blend.learn(pending.known, last, kept);
        }
        self.weigh();
        let median = self.present.spread.p50;
        Judged {
            actual_rate: rate,
            median_rate: rate_at(pending.ln_forecast, median),
            floor_rate: floor_rate(
                pending.ln_forecast,
                (median, pending.floor),
                pending.most_rate,
            ),
            ln_excess: own - median,
        }
    }

    fn weigh(&mut self) {
        let (own, last) = (self.profile.loss, self.last.loss);
        let hours = self.judged as f64 * self.every_s() / 3_600.0;
        if hours < PROOF_HOURS {
            self.is_believed = hours >= TRIAL_HOURS && own <= last + TRIAL_SLACK;
            return;
        }
        let bar = if self.is_believed {
            DOUBTED_ABOVE
        } else {
            BELIEVED_BELOW
        };
        self.is_believed = own < bar * last;
    }

    /// Forgets what is under way, as after a jump of the clock.
    pub(crate) fn interrupt(&mut self) {
        self.flights = Flights::default();
    }

    /// Works out what is not stored.
    pub(crate) fn restore(&mut self, target: f64) {
        self.profile.residuals.restore();
        self.scaled.restore();
        self.last.residuals.restore();
        self.rival.record.residuals.restore();
        self.refresh(target);
    }

    /// Works out what follows from what was learned, for a floor at the quantile `target`.
    fn refresh(&mut self, target: f64) {
        for record in [&mut self.profile, &mut self.last, &mut self.rival.record] {
            record.quantiles = record.residuals.quantiles(JUDGED);
        }
        let residuals = &self.profile.residuals;
        let [p10, p50, p90, p99] = residuals.quantiles([0.1, 0.5, 0.9, 0.99]);
        let floor = residuals.quantile(self.conformal.quantile(target));
        let floor = floor.max(p50);
        let spread = Spread {
            p10,
            p50,
            p90,
            p99,
            floor,
            scaled: self.scaled.quantiles(QUANTILES),
        };
        let shares = self.blend.shares();
        self.present = Present { spread, shares };
    }
}

/// A forecast whose time came. Rates are requests per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) actual_rate: f64,
    pub(crate) median_rate: f64,
    pub(crate) floor_rate: f64,
    /// Logarithm of actual over median.
    pub(crate) ln_excess: f64,
}

/// Logarithm of actual over forecast rate, with a doubt about few arrivals.
pub(crate) fn ln_ratio(rate: f64, ln_forecast: f64) -> f64 {
    let forecast = ln_forecast.min(60.0).exp();
    let ratio = (rate * JUDGED_S + DOUBT) / (forecast * JUDGED_S + DOUBT);
    ratio.ln().clamp(-RESIDUAL_MAX, RESIDUAL_MAX)
}

/// The rate that is off a forecast by a residual: the inverse of [`ln_ratio`].
pub(crate) fn rate_at(ln_forecast: f64, residual: f64) -> f64 {
    let forecast = ln_forecast.min(60.0).exp();
    (((forecast * JUDGED_S + DOUBT) * residual.exp() - DOUBT) / JUDGED_S).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A horizon of a lead of 60 s, with a judgement every five seconds, after so many hours.
    fn after(hours: f64, was_believed: bool, profile: f64, last: f64) -> bool {
        let mut horizon = Horizon::new(60.0);
        horizon.judged = (hours * 720.0) as u64;
        horizon.is_believed = was_believed;
        (horizon.profile.loss, horizon.last.loss) = (profile, last);
        horizon.weigh();
        horizon.is_believed
    }

    #[test]
    fn nothing_is_believed_before_its_trial_and_on_trial_all_but_the_worse() {
        assert!(!after(2.9, true, 0.1, 1.0), "three hours come first");
        assert!(after(3.0, false, 0.1, 1.0));
        assert!(after(3.0, false, 1.0, 1.0), "as good is not worse");
        assert!(after(3.0, false, 1.009, 1.0), "nor is hardly worse");
        assert!(!after(3.0, true, 1.011, 1.0), "worse is");
        assert!(after(11.9, false, 1.0, 1.0));
    }

    #[test]
    fn after_the_trial_it_must_be_better_and_clearly_so_to_be_believed_again() {
        assert!(!after(12.0, false, 1.0, 1.0));
        assert!(!after(12.0, true, 1.0, 1.0));
        assert!(after(12.0, true, 0.99, 1.0));
        assert!(!after(12.0, false, 0.99, 1.0));
        assert!(after(12.0, false, 0.97, 1.0));
        assert!(!after(12.0, true, 1.005, 1.0), "there is no slack any more");
    }

    #[test]
    fn hours_of_a_trial_are_those_of_its_own_forecasts() {
        let mut slow = Horizon::new(600.0);
        // One in fifty seconds: three hours are 216.
        (slow.profile.loss, slow.last.loss) = (0.1, 1.0);
        slow.judged = 215;
        slow.weigh();
        assert!(!slow.is_believed);
        slow.judged = 216;
        slow.weigh();
        assert!(slow.is_believed);
    }
}
