//! Which margin over the forecast to hold. No single margin travels: what is waste on smooth load
//! is far too little on bursts. So a ladder of margins runs in shadow, each rung with a fleet of its
//! own on the arrivals that really came, second by second in a fluid model with the measured
//! start-up and service times. The live pool stands on the rung whose fleet did best: workers it
//! paid for, and a price for each request that it kept waiting for longer than the objective.
//!
//! The price stops at a share of late requests beyond which promptness was lost anyhow: against
//! spikes that nothing announces and that are over before a worker starts, no margin helps at a sane
//! cost, and the cheapest is taken.

use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::clock::millis;
use crate::config::{Bounds, TidepoolConfig};
use crate::decision::{Direction, whole};
use crate::launch::{Allowance, LaunchWindow};
use crate::peaks::NeedPeaks;
use crate::retire::Fleet;
use crate::reversal::Reversals;
use crate::signals::Terms;

/// How much more than the forecast to be ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Margin {
    /// Standard deviations of the forecast's error.
    pub deviations: f64,
    /// Cap on the logarithm of the margin: inflation after a burst is waste.
    pub log_max: f64,
    /// Least logarithm of the margin, whatever the error was.
    pub log_min: f64,
    /// Whether to be ready for the floor of the learned hourly pattern as well.
    pub learned: bool,
    /// Which of [`PATTERN_QUANTILES`](crate::PATTERN_QUANTILES) of the learned pattern to be ready for in place
    /// of the forecast of the last minutes, while there is a pattern to believe.
    pub quantile: Option<usize>,
}

const fn margin(deviations: f64, log_max: f64, log_min: f64) -> Margin {
    Margin {
        deviations,
        log_max,
        log_min,
        learned: false,
        quantile: None,
    }
}

const fn learned(deviations: f64, log_max: f64, log_min: f64) -> Margin {
    Margin {
        learned: true,
        ..margin(deviations, log_max, log_min)
    }
}

/// By a quantile of the pattern alone; without a pattern as at first.
const fn pattern(quantile: usize) -> Margin {
    Margin {
        quantile: Some(quantile),
        ..learned(3.0, 0.7, 0.0)
    }
}

/// The margins that compete: from bold to careful, without the learned pattern and with it.
const RUNGS: usize = 24;
pub(crate) const LADDER: [Margin; RUNGS] = [
    margin(0.0, 0.0, 0.0),
    margin(0.5, 0.25, 0.0),
    margin(1.0, 0.35, 0.0),
    margin(1.5, 0.5, 0.0),
    margin(2.0, 0.7, 0.0),
    margin(3.0, 0.7, 0.0),
    margin(4.0, 0.9, 0.0),
    margin(5.5, 1.1, 0.02),
    margin(7.5, 1.3, 0.05),
    margin(10.0, 1.6, 0.12),
    learned(0.0, 0.0, 0.0),
    learned(0.5, 0.25, 0.0),
    learned(1.0, 0.35, 0.0),
    learned(2.0, 0.7, 0.0),
    learned(3.0, 0.7, 0.0),
    learned(5.5, 1.1, 0.02),
    pattern(0),
    pattern(1),
    pattern(2),
    pattern(3),
    pattern(4),
    pattern(5),
    pattern(6),
    pattern(7),
];
/// Where a pool stands that nothing is known of: the pilot's setting, with the pattern.
const FIRST: usize = 14;
/// Relative gain that makes the pool change its margin.
const SWITCH_GAIN: f64 = 0.01;
/// Seconds to watch before a margin bolder than the first is believed.
const WATCHED_S_MIN: f64 = 21_600.0;
/// Seconds in which averages that start from nothing have settled.
const WARM_S: f64 = 64.0;
/// Launches that are told apart; more are merged.
const LAUNCHES: f64 = 16.0;

/// Workers of a shadow fleet on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Launch {
    due_ms: u64,
    workers: u32,
}

/// One rung's fleet and what became of its requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Shadow {
    ready: u32,
    launches: std::collections::VecDeque<Launch>,
    /// Slot-seconds of work that wait.
    backlog: f64,
    peaks: NeedPeaks,
    reversals: Reversals,
    window: LaunchWindow,
    /// Decaying sums: worker-seconds, slot-seconds that came, and those of them that came late.
    cost: f64,
    work: f64,
    late: f64,
}

/// All rungs and the one that the live pool stands on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ladder {
    shadows: Vec<Shadow>,
    rung: usize,
    calibration: Calibration,
    /// Seconds that the ladder has watched.
    watched_s: f64,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            shadows: Vec::new(),
            rung: FIRST,
            calibration: Calibration::default(),
            watched_s: 0.0,
        }
    }
}

/// What a step of the shadows needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) config: &'a TidepoolConfig,
    pub(crate) bounds: &'a Bounds,
    pub(crate) terms: &'a Terms<'a>,
    pub(crate) now_ms: u64,
    pub(crate) dt_s: f64,
    /// Requests that came within the step.
    pub(crate) arrivals: f64,
    /// How many of the live pool's requests had to wait for longer than the objective, if that was measured.
    pub(crate) live_late: Option<f64>,
    pub(crate) live_have: u32,
    pub(crate) quiet_s_min: f64,
    /// Whether the fleets have had time to become what they would have been.
    pub(crate) warm: bool,
    /// Whether the step says something about margins.
    pub(crate) counts: bool,
}

impl Step<'_> {
    /// Share of the sums that stays, and that of this step in them.
    fn keep(&self) -> (f64, f64) {
        if self.counts {
            let memory_s = self.config.ladder_memory_s.max(self.dt_s);
            (1.0 - self.dt_s / memory_s, 1.0)
        } else {
            (1.0, 0.0)
        }
    }
}

/// What became of a margin's shadow fleet lately.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarginRecord {
    /// The margin.
    pub margin: Margin,
    /// Workers per busy worker that its fleet had.
    pub cost: f64,
    /// Share of requests that its fleet would have kept waiting for longer than the objective.
    pub late_share: f64,
    /// Whether the live pool holds it.
    pub chosen: bool,
}

impl Ladder {
    pub(crate) fn records(&self, slots: f64) -> impl Iterator<Item = MarginRecord> {
        let shadows = self.shadows.iter().zip(LADDER).enumerate();
        shadows.map(move |(i, (shadow, margin))| MarginRecord {
            margin,
            cost: slots * shadow.cost / shadow.work.max(1e-9),
            late_share: self.calibration.factor() * shadow.late_share(),
            chosen: i == self.rung,
        })
    }

    /// The margin that the live pool should hold.
    pub(crate) fn margin(&self) -> Margin {
        let rung = self.rung.min(RUNGS - 1);
        LADDER.get(rung).copied().unwrap_or(LADDER[FIRST])
    }

    /// Lets every rung live through a step, and moves the live pool if another rung does better.
    pub(crate) fn step(&mut self, mut step: Step<'_>) {
        if self.shadows.len() != RUNGS {
            // Also heals a state of another version, which had another ladder.
            // What they had watched and where the pool stood says nothing about the new ones.
            *self = Self::default();
            self.shadows = vec![Shadow::adopt(step.live_have); RUNGS];
        }
        step.warm = self.watched_s > 4.0 * (step.terms.startup_s + WARM_S);
        let step = &step;
        let mut foretold = 0.0;
        for (rung, (shadow, margin)) in self.shadows.iter_mut().zip(LADDER).enumerate() {
            let late = shadow.step(step, margin);
            if rung == self.rung {
                foretold = late;
            }
        }
        self.calibrate(step, foretold);
        self.watched_s += step.keep().1 * step.dt_s;
        self.choose(step.config);
    }

    /// Holds what the shadow of the margin in force foretold, `foretold` slot-seconds of late work, against
    /// what became of the live pool.
    fn calibrate(&mut self, step: &Step<'_>, foretold: f64) {
        let Some(live_late) = step.live_late.filter(|_| step.warm) else {
            return;
        };
        let (keep, counts) = step.keep();
        let service_s = counts * step.terms.service_s;
        let (work, late) = (step.arrivals * service_s, live_late * service_s);
        self.calibration.learn(keep, work, late, counts * foretold);
    }

    fn choose(&mut self, config: &TidepoolConfig) {
        let factor = self.calibration.factor();
        let mut prices = [f64::INFINITY; RUNGS];
        for (price, shadow) in prices.iter_mut().zip(&self.shadows) {
            *price = shadow.priced(config, factor);
        }
        let price = |i: usize| prices.get(i).copied().unwrap_or(f64::INFINITY);
        // A quiet hour proves nothing: until much was seen, no margin is bolder than the first.
        let watched = self.watched_s >= WATCHED_S_MIN;
        let least = self.shadows.get(FIRST).map_or(0.0, |shadow| shadow.cost);
        let allowed = |i: &usize| {
            let cost = self.shadows.get(*i).map_or(0.0, |shadow| shadow.cost);
            watched || cost >= least
        };
        let best = (0..RUNGS)
            .filter(allowed)
            .min_by(|a, b| price(*a).total_cmp(&price(*b)));
        if let Some(best) = best
            && price(best) < (1.0 - SWITCH_GAIN) * price(self.rung)
        {
            self.rung = best;
        }
    }
}

impl Shadow {
    fn adopt(have: u32) -> Self {
        Self {
            ready: have,
            ..Self::default()
        }
    }

    fn late_share(&self) -> f64 {
        if self.work > 0.0 {
            self.late / self.work
        } else {
            0.0
        }
    }

    /// Worker-seconds, with what late requests are worth, `factor` times as many as it had.
    fn priced(&self, config: &TidepoolConfig, factor: f64) -> f64 {
        self.cost * (1.0 + config.late_weight(factor * self.late_share()))
    }

    fn starting(&self) -> u32 {
        let add = |sum: u32, launch: &Launch| sum.saturating_add(launch.workers);
        self.launches.iter().fold(0, add)
    }

    fn have(&self) -> u32 {
        self.ready.saturating_add(self.starting())
    }

    /// Lives through a step; tells how many slot-seconds of its work came late.
    fn step(&mut self, step: &Step<'_>, margin: Margin) -> f64 {
        self.open(step.now_ms);
        // The upper bound is obeyed at once, as by the live pool.
        self.retire(self.have().saturating_sub(step.bounds.max));
        let late = self.serve(step);
        let have = self.have();
        let (keep, counts) = step.keep();
        self.cost = self.cost * keep + counts * f64::from(have) * step.dt_s;
        let seen = step.terms.of_fleet(self.ready, have - self.ready);
        let need = seen
            .slots_need(margin)
            .max(seen.queue_need(self.backlog / seen.service_s));
        self.peaks.record(step.now_ms, need);
        let per_day = step.config.reversals_per_day;
        self.reversals.pass(step.dt_s, step.bounds, per_day);
        let wanted = step.bounds.clamp(whole(need));
        if wanted > have {
            self.grow(step, have, wanted);
        } else if wanted < have {
            self.shrink(step, have, need);
        }
        late
    }

    /// Launches whose time has come serve.
    fn open(&mut self, now_ms: u64) {
        while self
            .launches
            .front()
            .is_some_and(|launch| launch.due_ms <= now_ms)
        {
            let opened = self.launches.pop_front().map_or(0, |launch| launch.workers);
            self.ready = self.ready.saturating_add(opened);
        }
    }

    /// A second of a fluid queue: who finds more work waiting than the objective allows is late.
    fn serve(&mut self, step: &Step<'_>) -> f64 {
        let capacity = f64::from(self.ready) * step.terms.slots();
        let work = step.arrivals * step.terms.service_s;
        let before = self.backlog;
        self.backlog = (before + work - capacity * step.dt_s).max(0.0);
        let allowed = step.terms.wait_objective_s * capacity;
        let (low, high) = (before.min(self.backlog), before.max(self.backlog));
        let late = if low >= allowed {
            1.0
        } else if high <= allowed {
            0.0
        } else {
            (high - allowed) / (high - low)
        };
        let (keep, counts) = step.keep();
        self.work = self.work * keep + counts * work;
        let late = if step.warm { late * work } else { 0.0 };
        self.late = self.late * keep + counts * late;
        late
    }

    fn grow(&mut self, step: &Step<'_>, have: u32, wanted: u32) {
        let startup_s = step.terms.startup_s;
        let bounds = step.bounds;
        let allowance = Allowance::of(bounds);
        let limit = self.window.limit(step.now_ms, have, startup_s, allowance);
        let more = wanted.min(limit).saturating_sub(have);
        if more == 0 {
            return;
        }
        self.reversals.record(Direction::Up, step.now_ms, bounds);
        let due_ms = step.now_ms.saturating_add(millis(startup_s));
        let apart_ms = millis(startup_s / LAUNCHES);
        match self.launches.back_mut() {
            Some(last) if due_ms < last.due_ms.saturating_add(apart_ms) => last.workers += more,
            _ => self.launches.push_back(Launch {
                due_ms,
                workers: more,
            }),
        }
    }

    fn shrink(&mut self, step: &Step<'_>, have: u32, need: f64) {
        let cooldown_ms = millis(step.bounds.cooldown_s);
        let recent = |change: crate::reversal::Change| {
            step.now_ms < change.at_ms.saturating_add(cooldown_ms)
        };
        if self.reversals.last().is_some_and(recent) {
            return;
        }
        let fleet = Fleet {
            peaks: &self.peaks,
            now_ms: step.now_ms,
            target: have,
            have,
            need,
            price: self.reversals.price_s(step.config) * f64::from(have),
            step_share: step.config.retire_share,
            floor: 0,
        };
        let Some(wish) = fleet.wish(step.quiet_s_min) else {
            return;
        };
        let fewer = have.saturating_sub(step.bounds.clamp(wish.to));
        if fewer == 0 {
            return;
        }
        self.reversals
            .record(Direction::Down, step.now_ms, step.bounds);
        self.retire(fewer);
    }

    fn retire(&mut self, mut fewer: u32) {
        // The newest launches are cancelled first.
        while fewer > 0
            && let Some(last) = self.launches.back_mut()
        {
            let cancelled = fewer.min(last.workers);
            last.workers -= cancelled;
            fewer -= cancelled;
            if last.workers == 0 {
                self.launches.pop_back();
            }
        }
        self.ready = self.ready.saturating_sub(fewer);
    }
}
