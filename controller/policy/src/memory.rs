//! What a pool's policy remembers from one decision to the next. Bounded (about twenty kilobytes,
//! most of it the shadow fleets), and serialisable so that a restarted supervisor and a replay go on
//! where this one was.

use serde::{Deserialize, Serialize};

use crate::burst::Burst;
use crate::clock::Clock;
use crate::config::{Policy, Rule};
use crate::decision::Needs;
use crate::demand::Demand;
use crate::dip::Dip;
use crate::efficacy::{Efficacy, is_full};
use crate::ewma::{Ewma, clean, share};
use crate::gaps::Gaps;
use crate::health::{Health, Moment};
use crate::ladder::{Ladder, MarginRecord};
use crate::launch::LaunchWindow;
use crate::observation::{Backlog, Observation, WorkSample};
use crate::peaks::NeedPeaks;
use crate::resources::Resources;
use crate::reversal::Reversals;
use crate::service::ServiceTime;
use crate::slowdown::{Slowdown, Timed};
use crate::spend::Spend;

/// Time constant of what was lost and of slots in use.
const LOST_MEMORY_S: f64 = 5.0;
const BUSY_MEMORY_S: f64 = 5.0;
/// The fleet that the price of a reversal is measured in.
const FLEET_MEMORY_S: f64 = 3_600.0;

/// State of a pool's policy. A default one belongs to a pool that was never seen.
///
/// Unknown fields are ignored and missing ones take their defaults, so that other versions load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub(crate) clock: Clock,
    /// Policy time at which this supervisor took over.
    pub(crate) began_ms: u64,
    /// The last target; nothing until the live count is known.
    pub(crate) target: Option<u32>,
    /// Whether a first decision was made since taking over.
    pub(crate) decided: bool,
    pub(crate) demand: Demand,
    pub(crate) service: ServiceTime,
    pub(crate) slowdown: Slowdown,
    pub(crate) gaps: Gaps,
    pub(crate) spend: Spend,
    pub(crate) health: Health,
    pub(crate) resources: Resources,
    pub(crate) peaks: NeedPeaks,
    pub(crate) reversals: Reversals,
    pub(crate) launch: LaunchWindow,
    pub(crate) efficacy: Efficacy,
    pub(crate) burst: Burst,
    pub(crate) dip: Dip,
    pub(crate) ladder: Ladder,
    /// Concurrent places of a worker, when workers were last seen.
    pub(crate) slots_per_worker: u32,
    /// Slots in use.
    pub(crate) busy: Ewma,
    /// Refusals and missed deadlines per second.
    pub(crate) lost: Ewma,
    /// Workers that serve or start.
    pub(crate) fleet: Ewma,
    /// What each signal asked for when it was last measured.
    pub(crate) held: Needs,
    /// Policy time at which CPU and memory were last measured.
    pub(crate) cpu_seen_ms: Option<u64>,
    pub(crate) memory_seen_ms: Option<u64>,
    /// Policy time since which nothing is measured.
    pub(crate) blind_since_ms: Option<u64>,
}

impl Memory {
    /// The target of the last decision; nothing before the live count was known. Until then no
    /// target must be sent: it would be a guess about workers that may be serving.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        self.target
    }

    /// What became of the margins that run in shadow, from bold to careful; empty before the first
    /// step, or where the margin is set.
    pub fn margins(&self) -> impl Iterator<Item = MarginRecord> {
        self.ladder.records(f64::from(self.slots_per_worker.max(1)))
    }

    /// This memory in the hands of a new supervisor: what was learned stays, the target is taken
    /// from what runs, and nothing is retired for the hold of [`crate::Bounds::start_hold_s`].
    #[must_use]
    pub fn taken_over(mut self) -> Self {
        self.began_ms = self.clock.now_ms();
        self.target = None;
        self.decided = false;
        self
    }

    /// This memory beside a fleet that another policy steers, whose memory is `live`: what was done to
    /// the fleet, and when, is what that one did. What was learned of the load stays.
    #[must_use]
    pub fn beside(self, live: &Self) -> Self {
        // Each field is named, so that a new one has to say whose it is.
        Self {
            clock: live.clock,
            began_ms: live.began_ms,
            target: live.target,
            decided: live.decided,
            reversals: live.reversals,
            launch: live.launch,
            efficacy: live.efficacy,
            demand: self.demand,
            service: self.service,
            slowdown: self.slowdown,
            gaps: self.gaps,
            spend: self.spend,
            health: self.health,
            resources: self.resources,
            peaks: self.peaks,
            burst: self.burst,
            dip: self.dip,
            ladder: self.ladder,
            slots_per_worker: self.slots_per_worker,
            busy: self.busy,
            lost: self.lost,
            fleet: self.fleet,
            held: self.held,
            cpu_seen_ms: self.cpu_seen_ms,
            memory_seen_ms: self.memory_seen_ms,
            blind_since_ms: self.blind_since_ms,
        }
    }

    /// Takes in what an observation teaches.
    pub(crate) fn learn(&mut self, policy: &Policy, observation: &Observation) {
        let step_s = self.clock.step_s();
        if let Some(work) = &observation.work
            && clean(work.window_s) > 0.0
        {
            self.learn_work(observation, work);
        }
        if let Some(cpu) = &observation.cpu {
            self.resources.observe_cpu(step_s, cpu);
            self.cpu_seen_ms = Some(self.clock.now_ms());
        }
        if let Some(memory) = &observation.memory {
            let busy = self.busy.value();
            let ready = observation.workers.map_or(0, |workers| workers.ready);
            self.resources.observe_memory(step_s, memory, busy, ready);
            self.memory_seen_ms = Some(self.clock.now_ms());
        }
        if let Some(workers) = observation.workers {
            self.slots_per_worker = workers.slots_per_worker;
            let have = f64::from(workers.have());
            self.fleet.add(have, share(step_s.max(0.1), FLEET_MEMORY_S));
            if let Some(worker_h) = policy.bounds.spend_worker_h {
                self.spend.pass(step_s, workers.have(), worker_h);
            }
            self.target.get_or_insert_with(|| workers.have());
        }
        let per_day = match &policy.rule {
            Rule::Tidepool(config) => config.reversals_per_day,
            Rule::Threshold(_) => 0.0,
        };
        self.reversals.pass(step_s, &policy.bounds, per_day);
    }

    fn learn_work(&mut self, observation: &Observation, work: &WorkSample) {
        let window_s = clean(work.window_s);
        let now_ms = self.clock.now_ms();
        let moment = Moment {
            now_ms,
            service_s: self.service.mean_s(),
        };
        self.health
            .observe(work, moment, observation.backlog, observation.workers);
        // How long a fault takes says nothing about the work.
        if !self.health.stalled() && !self.health.frozen(now_ms) {
            self.service.observe(work);
            if let Some(mean_s) = self.service.mean_s() {
                let requests = self.service.requests();
                let timed = Timed {
                    mean_s,
                    requests,
                    busy_slots: clean(work.busy_slot_s) / window_s.max(1e-9),
                };
                self.slowdown
                    .see(now_ms, window_s, timed, is_full(observation));
            }
        }
        let arrivals = clean(work.arrivals);
        let present = |b: Backlog| clean(b.busy_slots) + clean(b.queued) > 0.0;
        let present = observation.backlog.is_none_or(present);
        self.gaps.see(now_ms, arrivals > 0.0, present);
        self.demand.observe(window_s, arrivals / window_s);
        self.dip.observe(window_s, arrivals / window_s);
        self.efficacy.learn(work, observation.workers);
        let busy = clean(work.busy_slot_s) / window_s;
        self.busy.add(busy, share(window_s, BUSY_MEMORY_S));
        let lost = (clean(work.refused) + clean(work.deadline_missed)) / window_s;
        self.lost.add(lost, share(window_s, LOST_MEMORY_S));
    }
}
