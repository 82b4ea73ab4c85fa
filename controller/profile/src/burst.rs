//! Bursts that recur at the same minute of every hour or every other hour, as timers and batch jobs
//! make them.
//!
//! Expecting every minute's bursts costs more than it saves on most traffic. So for each minute an
//! account is kept of what expecting its burst would have cost and saved, whether or not anybody
//! acted on it, and a burst is a candidate only where the account is well in credit. Among many
//! minutes a few are in credit by luck. So what the candidates came to afterwards is kept as well,
//! and none is announced unless together they go on paying.

use serde::{Deserialize, Serialize};

use crate::{BurstPhase, horizon::Judged, stored};

/// Minutes of the cycle: two hours.
pub(crate) const PHASES: usize = 120;
/// Length of a phase.
const PHASE_S: f64 = 60.0;
/// Excess over the median forecast that is called a burst: a factor of 1.4, in ln units.
const LN_BURST: f64 = 0.34;
/// Half-life of the accounts, in visits: two days.
const HALF_LIFE_VISITS: f64 = 24.0;
/// Visits before an account is believed.
const PROOF_VISITS: f64 = 10.0;
/// Share of visits with a burst below which none is announced.
const SHARE_MIN: f64 = 0.3;
/// How many times its cost a burst must be worth.
const CREDIT: f64 = 1.25;
/// Largest burst that is announced: a factor of 7, in ln units.
const LN_SIZE_MAX: f64 = 2.0;

/// Half-life of the record of candidates, in visits to them.
const RECORD_HALF_LIFE_VISITS: f64 = 50.0;
/// Visits to candidates before their record is believed.
const RECORD_VISITS: f64 = 6.0;

/// What candidates came to, after they had become candidates. Fading sums, in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(with = "stored")]
    pub(crate) visits: f64,
    #[serde(with = "stored")]
    pub(crate) cost: f64,
    #[serde(with = "stored")]
    pub(crate) avoided: f64,
}

impl Record {
    fn add(&mut self, cost: f64, avoided: f64) {
        let kept = (-1.0 / RECORD_HALF_LIFE_VISITS).exp2();
        self.visits = self.visits * kept + 1.0;
        self.cost = self.cost * kept + cost.max(0.0);
        self.avoided = self.avoided * kept + avoided;
    }

    fn pays(&self, price: f64) -> bool {
        self.visits >= RECORD_VISITS && price * self.avoided > self.cost
    }
}

/// The account of one minute of the cycle. Cost and gain are fading means per visit, in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phase {
    #[serde(with = "stored")]
    pub(crate) visits: f64,
    /// Share of visits with a burst.
    #[serde(with = "stored")]
    pub(crate) share: f64,
    /// Mean logarithm of the factor of a burst.
    #[serde(with = "stored")]
    pub(crate) ln_size: f64,
    /// Requests that workers started early could have served while they were not needed.
    #[serde(with = "stored")]
    pub(crate) cost: f64,
    /// Requests above the floor that they would have served in time.
    #[serde(with = "stored")]
    pub(crate) avoided: f64,
}

impl Phase {
    fn is_candidate(&self, price: f64) -> bool {
        self.visits >= PROOF_VISITS
            && self.share >= SHARE_MIN
            && price * self.avoided > CREDIT * self.cost
    }

    fn factor(&self) -> f64 {
        self.ln_size.min(LN_SIZE_MAX).exp()
    }
}

/// What was seen of the minute that runs.
#[derive(Clone, Copy, Debug, Default)]
struct Visit {
    phase: usize,
    samples: f64,
    /// Largest logarithm of actual over median.
    ln_excess: f64,
    /// Sum over samples of the capacity that would have been added, and of what it would have served.
    added: f64,
    served: f64,
}

/// The memory of the minutes of the cycle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bursts {
    pub(crate) phases: Vec<Phase>,
    #[serde(skip)]
    visit: Visit,
    pub(crate) record: Record,
    /// Cost and gain of what was announced, since the beginning, in requests.
    #[serde(with = "stored")]
    pub(crate) announced_cost: f64,
    #[serde(with = "stored")]
    pub(crate) announced_avoided: f64,
}

impl PartialEq for Bursts {
    /// The minute that runs is not stored.
    fn eq(&self, other: &Self) -> bool {
        self.phases == other.phases && self.record == other.record
    }
}

impl Default for Bursts {
    fn default() -> Self {
        Self {
            phases: vec![Phase::default(); PHASES],
            visit: Visit::default(),
            record: Record::default(),
            announced_cost: 0.0,
            announced_avoided: 0.0,
        }
    }
}

/// Minute of the cycle, by the UTC clock: timers do not change their step in summer.
fn phase_at(at_ms: u64) -> usize {
    (at_ms / 60_000) as usize % PHASES
}

impl Bursts {
    /// Takes in a judged forecast; the account of a minute is written when the next one begins.
    pub(crate) fn judge(&mut self, at_ms: u64, moment: Judged, lead_s: f64, price: f64) {
        let minute = phase_at(at_ms);
        if minute != self.visit.phase && self.visit.samples > 0.0 {
            self.close(lead_s, price);
        }
        if self.visit.samples == 0.0 {
            self.visit = Visit {
                phase: minute,
                ln_excess: f64::NEG_INFINITY,
                ..Visit::default()
            };
        }
        let ready = self.phases[minute].factor() * moment.median_rate;
        let visit = &mut self.visit;
        visit.samples += 1.0;
        visit.ln_excess = visit.ln_excess.max(moment.ln_excess);
        visit.added += (ready - moment.floor_rate).max(0.0);
        visit.served += (moment.actual_rate.min(ready) - moment.floor_rate).max(0.0);
    }

    fn close(&mut self, lead_s: f64, price: f64) {
        let visit = std::mem::take(&mut self.visit);
        let phase = &mut self.phases[visit.phase];
        let is_burst = visit.ln_excess > LN_BURST;
        let [added, served] = [visit.added, visit.served].map(|sum| sum / visit.samples);
        // Workers that a burst needs are started anyway; others are paid for starting and leaving.
        let wasted_s = if is_burst { 0.0 } else { lead_s + PHASE_S };
        let cost = added * (PHASE_S + wasted_s) - served * PHASE_S;
        let avoided = served * PHASE_S;
        if phase.is_candidate(price) {
            if self.record.pays(price) {
                self.announced_cost += cost;
                self.announced_avoided += avoided;
            }
            self.record.add(cost, avoided);
        }
        phase.visits = (phase.visits + 1.0).min(1e6);
        let floor = 1.0 - (-1.0 / HALF_LIFE_VISITS).exp2();
        let share = floor.max(1.0 / phase.visits);
        if is_burst {
            let weight = share / (share + phase.share * (1.0 - share));
            phase.ln_size += weight * (visit.ln_excess - phase.ln_size);
        }
        let burst = if is_burst { 1.0 } else { 0.0 };
        phase.share += share * (burst - phase.share);
        phase.cost += share * (cost.max(0.0) - phase.cost);
        phase.avoided += share * (avoided - phase.avoided);
    }

    fn is_proven(&self, phase: &Phase, price: f64) -> bool {
        self.record.pays(price) && phase.is_candidate(price)
    }

    /// Forgets the minute that runs, as after a jump of the clock.
    pub(crate) fn interrupt(&mut self) {
        self.visit = Visit::default();
    }

    /// Factor by which a burst at this time is expected to exceed the median; 1 unless proven.
    pub(crate) fn factor(&self, at_ms: u64, price: f64) -> f64 {
        let phase = &self.phases[phase_at(at_ms)];
        if self.is_proven(phase, price) {
            phase.factor()
        } else {
            1.0
        }
    }

    pub(crate) fn shown(&self, price: f64) -> Vec<BurstPhase> {
        let phases = self.phases.iter().enumerate();
        phases
            .map(|(minute, phase)| BurstPhase {
                minute: minute as u8,
                visits: phase.visits as u64,
                share: phase.share,
                factor: phase.factor(),
                cost: phase.cost,
                avoided: phase.avoided,
                proven: self.is_proven(phase, price),
            })
            .collect()
    }
}
