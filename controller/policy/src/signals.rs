//! Each signal as workers needed. The formulae of the default rule, one function a signal.

use crate::config::{Policy, TidepoolConfig};
use crate::decision::{Direction, Needs};
use crate::demand::{SLOW_START_S, Scale};
use crate::ewma::clean;
use crate::ladder::{Margin, Step};
use crate::memory::Memory;
use crate::observation::{Observation, PATTERN_QUANTILES, WorkerCounts};
use crate::outlook::{Guess, Learned, Outlook};
use crate::tidepool::QUIET_S_MIN;

/// Time that a request is taken to hold a slot before any was seen to.
const SERVICE_S_ASSUMED: f64 = 0.05;
/// Free slots over the square root of the load that meet even an objective of no wait.
const ROOT_STAFFING: f64 = 3.0;
/// Seconds without a request after which averages of what is over are no load.
const IDLE_S: f64 = 5.0;
/// Losses per second that are not worth a worker.
const LOST_MIN: f64 = 0.01;
/// A signal that was measured once is held, and holds the pool, for this long.
const HELD_S: f64 = 60.0;
/// Largest growth within a start-up time that a learned pattern is believed.
const GROWTH_MAX: f64 = 20.0;
/// Slots in use below which a pool has no CPU or memory of its work to measure.
const BUSY_MIN: f64 = 0.01;

/// What the signals say of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Assessment {
    pub(crate) needs: Needs,
    pub(crate) outlook: Option<Outlook>,
    /// Start-up time in seconds that was reckoned with.
    pub(crate) startup_s: f64,
    /// How far ahead was looked, in seconds.
    pub(crate) horizon_s: f64,
    pub(crate) service_s: Option<f64>,
    /// Seconds of it that the need counts, where that is less.
    pub(crate) service_counted_s: Option<f64>,
    /// Whether the learned pattern asks for more than the last minutes do.
    pub(crate) learned: bool,
    /// Workers for the learned median.
    pub(crate) median_need: Option<f64>,
    /// Whether a signal that used to be measured is missing.
    pub(crate) partial: bool,
    pub(crate) infeasible: bool,
    /// Workers for the arrivals of the last seconds, whatever is forecast.
    pub(crate) fast_need: f64,
    /// Seconds that a request may wait for a slot.
    pub(crate) wait_objective_s: f64,
}

/// The numbers that several signals share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    config: &'a TidepoolConfig,
    workers: WorkerCounts,
    pub(crate) startup_s: f64,
    pub(crate) service_s: f64,
    pub(crate) wait_objective_s: f64,
    outlook: Outlook,
    /// Rate that the learned pattern wants the pool to be ready for.
    floor_rate: f64,
    /// Median of what it expects of a pool that sleeps; 0 while the pool is awake.
    waking_rate: f64,
    /// Whether nothing came or ran for some seconds.
    idle: bool,
    /// Rates at the quantiles of its forecast.
    quantile_rates: [f64; PATTERN_QUANTILES.len()],
}

impl Terms<'_> {
    /// The same for another fleet.
    pub(crate) fn of_fleet(&self, ready: u32, starting: u32) -> Self {
        Self {
            workers: WorkerCounts {
                ready,
                starting,
                ..self.workers
            },
            ..*self
        }
    }

    pub(crate) fn slots(&self) -> f64 {
        self.workers.slots()
    }

    /// Free slots that keep all but a few requests from waiting longer than the objective.
    ///
    /// With k slots free the share of late ones falls as exp(-k t / s) for a wait objective t and a
    /// service time s, and as exp(-k^2 / load) because a pool much larger than its load is seldom
    /// full at all. k solves for the sum of both exponents: constant for a large pool, square-root
    /// staffing for a small one or an objective of no wait.
    fn free_slots(&self, load: f64) -> f64 {
        if load <= 0.0 {
            return 0.0;
        }
        let factor = self.config.free_slot_factor;
        let patience = self.wait_objective_s / self.service_s;
        let crowd = 4.0 * (factor / ROOT_STAFFING).powi(2) / load.max(1e-12);
        2.0 * factor / (patience + (patience * patience + crowd).sqrt())
    }

    /// Workers for `rate` requests per second with free slots and no margin for error.
    fn workers_for(&self, rate: f64) -> f64 {
        let load = clean(rate) * self.service_s;
        (load + self.free_slots(load)) / self.slots()
    }

    /// Offered load in Erlangs when a worker launched now is ready, with a margin for the error of
    /// the forecast.
    pub(crate) fn slots_need(&self, margin: Margin) -> f64 {
        if let Some(rate) = self.pattern_rate(margin) {
            let proven = if self.idle { 0.0 } else { self.outlook.proven };
            return self.workers_for(rate.max(proven));
        }
        // Averages of what is over are never quite zero, and two free slots would keep a worker for
        // ever. How long the last one stays is another matter (`gaps`).
        let Guess { rate, sigma } = self.outlook.heard(margin.learned);
        let load = if self.idle {
            0.0
        } else {
            rate * self.service_s
        };
        let deviations = margin.deviations * sigma;
        let growth = deviations.min(margin.log_max).max(margin.log_min).exp() - 1.0;
        // The offset lets a small pool see its chance of growing; a pool that is as good as idle
        // has none to be ready for.
        let extra = ((load + 2.0 * self.slots()) * growth).min(load);
        let need = (load + extra + self.free_slots(load)) / self.slots();
        need.max(self.pattern_need(margin))
    }

    /// Workers that the learned pattern asks for, whatever the last minutes say.
    fn pattern_need(&self, margin: Margin) -> f64 {
        let floor = self.floor_need();
        if margin.learned {
            floor
        } else {
            // Whom the pattern expects must not find nobody there, whatever margin is held, and a pool
            // that sleeps has nothing else to go by.
            let waking = self.workers_for(self.waking_rate);
            waking.max(1.0).min(floor)
        }
    }

    /// Rate at the quantile that a margin goes by; `None` for other margins and without a pattern.
    fn pattern_rate(&self, margin: Margin) -> Option<f64> {
        let rate = clean(*self.quantile_rates.get(margin.quantile?)?);
        (rate > 0.0).then_some(rate)
    }

    /// Workers for what the learned pattern wants the pool to be ready for.
    fn floor_need(&self) -> f64 {
        if self.floor_rate > 0.0 {
            self.workers_for(self.floor_rate)
        } else {
            0.0
        }
    }

    /// The backlog that will be left when a worker launched now is ready, over its drain time. A
    /// drain term, not steady concurrency: once it is gone the workers are not needed any more.
    pub(crate) fn queue_need(&self, queued: f64) -> f64 {
        let work_s = queued * self.service_s;
        let ready_slots = self.workers.ready_slots();
        if queued == 0.0 || work_s <= self.wait_objective_s * ready_slots {
            return 0.0;
        }
        let load = self.outlook.fast * self.service_s;
        // Those that start will have served for half of the time on average.
        let starting_slots = f64::from(self.workers.starting) * self.slots();
        let surplus = ready_slots + 0.5 * starting_slots - load;
        let left_s = (work_s - surplus * self.startup_s).max(0.0);
        // Who waits for a slow start is late already: hurrying the drain would only buy workers
        // that are in the way a minute later.
        let drain_s = (5.0 * self.wait_objective_s)
            .max(0.5 * self.startup_s)
            .clamp(1.0, 15.0);
        (load + self.free_slots(load) + left_s / drain_s) / self.slots()
    }

    /// One worker more than there are while requests wait longer than the objective, once the last
    /// addition has had time to show.
    fn latency_need(&self, wait_s: f64, queued: f64, settled: bool) -> f64 {
        if queued == 0.0 || wait_s <= self.wait_objective_s {
            0.0
        } else {
            f64::from(self.workers.have()) + if settled { 1.0 } else { 0.0 }
        }
    }

    /// Refusals and missed deadlines are demand that the slots in use do not show.
    fn errors_need(&self, busy: f64, lost_rate: f64) -> f64 {
        if lost_rate < LOST_MIN {
            return 0.0;
        }
        let load = busy + lost_rate * self.service_s;
        (load + self.free_slots(load)) / self.slots()
    }
}

/// Turns what was measured and remembered into needs, and lets the experts learn.
pub(crate) fn assess(
    policy: &Policy,
    config: &TidepoolConfig,
    memory: &mut Memory,
    observation: &Observation,
) -> Assessment {
    let horizon_s = 1.1 * startup_s(policy, observation) + 1.0;
    let learned = learned(observation);
    let outlook = memory
        .demand
        .outlook(horizon_s, learned, config.burst_deviations);
    let terms = terms(policy, config, memory, observation, outlook);
    let infeasible = infeasible(policy, memory);
    if outlook.is_some() {
        climb(policy, memory, observation, &terms);
    }
    let mut needs = work_needs(&terms, memory, observation, infeasible);
    if outlook.is_none() {
        needs.slots = observation.forecast.map(|_| terms.floor_need());
    }
    let margin = config.margin.unwrap_or_else(|| memory.ladder.margin());
    let floor = terms.pattern_need(margin);
    let raised = floor > 0.0 && needs.slots.is_some_and(|need| need <= floor);
    let follows = outlook.is_some_and(|o| o.learned && o.rate > o.recent);
    let own_rate = outlook.map_or(0.0, |outlook| outlook.own.rate);
    let led = terms
        .pattern_rate(margin)
        .is_some_and(|rate| rate > own_rate);
    let by_pattern = raised || led || (follows && learned.is_some());
    let partial = resource_needs(&mut needs, memory, observation, terms.workers.have());
    let needs = needs.sound();
    memory.held = needs;
    let offset = 2.0 * terms.slots() / terms.service_s;
    memory
        .demand
        .score(memory.clock.now_ms(), horizon_s, learned, Scale { offset });
    Assessment {
        needs,
        outlook,
        startup_s: terms.startup_s,
        horizon_s,
        service_s: memory.service.mean_s(),
        service_counted_s: memory
            .service
            .mean_s()
            .and_then(|mean_s| (terms.service_s < mean_s).then_some(terms.service_s)),
        learned: by_pattern,
        median_need: observation
            .forecast
            .map(|f| terms.workers_for(f.median_rate)),
        partial,
        infeasible,
        fast_need: outlook.map_or(0.0, |outlook| {
            outlook.fast * terms.service_s / terms.slots()
        }),
        wait_objective_s: terms.wait_objective_s,
    }
}

/// Whether the work itself takes longer than the objective, which no size of pool can meet then.
pub(crate) fn infeasible(policy: &Policy, memory: &Memory) -> bool {
    policy.bounds.wait_objective_s.is_none()
        && memory.service.p95_s().unwrap_or(0.0) > policy.bounds.slo_s()
}

fn terms<'a>(
    policy: &Policy,
    config: &'a TidepoolConfig,
    memory: &Memory,
    observation: &Observation,
    outlook: Option<Outlook>,
) -> Terms<'a> {
    let service_p95_s = memory.service.p95_s().unwrap_or(0.0);
    let now_ms = memory.clock.now_ms();
    Terms {
        config,
        workers: observation.workers.unwrap_or_else(|| WorkerCounts {
            ready: memory.target.unwrap_or(0),
            slots_per_worker: memory.slots_per_worker,
            ..WorkerCounts::default()
        }),
        startup_s: startup_s(policy, observation),
        service_s: memory.service.mean_s().map_or(SERVICE_S_ASSUMED, |mean_s| {
            let rate = outlook.map_or(0.0, |outlook| outlook.fast);
            memory.slowdown.counted_s(now_ms, mean_s, rate)
        }),
        wait_objective_s: policy.bounds.wait_for_slot_s(service_p95_s),
        outlook: outlook.unwrap_or_default(),
        floor_rate: clean(observation.forecast.map_or(0.0, |f| f.floor_rate)),
        waking_rate: clean(
            observation
                .forecast
                .filter(|forecast| forecast.waking)
                .map_or(0.0, |forecast| forecast.median_rate),
        ),
        idle: memory.gaps.gap_s(now_ms) >= IDLE_S,
        quantile_rates: observation
            .forecast
            .filter(|_| startup_s(policy, observation) >= SLOW_START_S)
            .map(|f| f.quantile_rates)
            .unwrap_or_default(),
    }
}

/// Lets the shadow fleets of the ladder live through the window that was reported.
fn climb(policy: &Policy, memory: &mut Memory, observation: &Observation, terms: &Terms<'_>) {
    let (None, Some(work)) = (terms.config.margin, &observation.work) else {
        return;
    };
    memory.ladder.step(Step {
        config: terms.config,
        bounds: &policy.bounds,
        terms,
        now_ms: memory.clock.now_ms(),
        dt_s: clean(work.window_s).clamp(0.01, 60.0),
        arrivals: clean(work.arrivals),
        live_late: work.late.map(clean),
        live_have: terms.workers.have(),
        quiet_s_min: terms.startup_s.max(QUIET_S_MIN),
        warm: false,
        counts: is_free(policy, memory, observation),
    });
}

/// Whether the live pool follows its rule alone. The shadow fleets know nothing of orders, freezes
/// and holds: what becomes of them meanwhile says nothing about margins.
fn is_free(policy: &Policy, memory: &Memory, observation: &Observation) -> bool {
    let now_ms = memory.clock.now_ms();
    let wall_ms = memory.clock.wall_ms();
    let ordered = observation.operator.is_some_and(|o| o.in_force(wall_ms));
    let spent = policy.bounds.spend_worker_h.is_some_and(|worker_h| {
        let limit = memory.spend.limit(worker_h);
        memory.target.is_some_and(|target| target >= limit)
    });
    let frozen = memory.health.frozen(now_ms) || memory.efficacy.frozen(now_ms);
    let held = memory.slowdown.is_slow() || now_ms < memory.dip.held_until_ms();
    !(ordered || spent || frozen || held)
}

/// What the learned pattern expects one start-up time ahead. Its growth never asks for less.
fn learned(observation: &Observation) -> Option<Learned> {
    let forecast = observation.forecast?;
    let sound = forecast.growth.is_finite() && forecast.median_rate.is_finite();
    sound.then(|| Learned {
        growth: forecast.growth.clamp(1.0, GROWTH_MAX),
        median_rate: forecast.median_rate.max(0.0),
    })
}

/// The measured start-up time, or the assumed one, in seconds.
pub(crate) fn startup_s(policy: &Policy, observation: &Observation) -> f64 {
    observation
        .startup_p95_s
        .filter(|s| s.is_finite() && *s >= 0.0)
        .unwrap_or(policy.bounds.startup_s_assumed)
        .min(86_400.0)
}

/// Whether the last growth has had time to show.
pub(crate) fn settled(memory: &Memory, workers: &WorkerCounts, startup_s: f64) -> bool {
    let grew_ms = memory
        .reversals
        .last()
        .filter(|change| change.direction == Direction::Up)
        .map(|change| change.at_ms);
    let quiet = |at_ms| memory.clock.seconds_since(at_ms) > 1.1 * startup_s + 2.0;
    workers.starting == 0 && grew_ms.is_none_or(quiet)
}

fn work_needs(
    terms: &Terms<'_>,
    memory: &Memory,
    observation: &Observation,
    infeasible: bool,
) -> Needs {
    let settled = settled(memory, &terms.workers, terms.startup_s);
    let waited_s = observation.work.as_ref().and_then(|work| work.wait_p95_s);
    let (queue, latency) = match observation.backlog {
        Some(backlog) => {
            let queued = clean(backlog.queued);
            let wait_s = clean(backlog.oldest_wait_s).max(clean(waited_s.unwrap_or(0.0)));
            (
                Some(terms.queue_need(queued)),
                Some(terms.latency_need(wait_s, queued, settled)),
            )
        }
        None => (memory.held.queue, memory.held.latency),
    };
    let lost = memory.lost.get();
    let margin = terms
        .config
        .margin
        .unwrap_or_else(|| memory.ladder.margin());
    Needs {
        slots: Some(terms.slots_need(margin)),
        queue,
        // An objective shorter than the work itself cannot be met by any size of pool.
        latency: latency.filter(|_| !infeasible),
        errors: lost.map(|rate| terms.errors_need(memory.busy.value(), rate)),
        ..Needs::default()
    }
}

/// Fills in CPU and memory; tells whether one of them used to be measured and is missing.
fn resource_needs(
    needs: &mut Needs,
    memory: &Memory,
    observation: &Observation,
    have: u32,
) -> bool {
    let works = memory.busy.value() >= BUSY_MIN;
    let lately = |seen_ms: Option<u64>| {
        works && seen_ms.is_some_and(|at_ms| memory.clock.seconds_since(at_ms) < HELD_S)
    };
    let mut partial = false;
    match &observation.cpu {
        Some(cpu) => needs.cpu = memory.resources.cpu_need(cpu),
        None if lately(memory.cpu_seen_ms) => {
            needs.cpu = memory.held.cpu;
            partial = true;
        }
        None => {}
    }
    match &observation.memory {
        Some(sample) => needs.memory = memory.resources.memory_need(sample, have),
        None if lately(memory.memory_seen_ms) => {
            needs.memory = memory.held.memory;
            partial = true;
        }
        None => {}
    }
    partial
}
