//! The discrete-event engine: one first-come-first-served queue before all places of all workers.
//!
//! Time runs in steps of 1 to 10 ms. In each, services end, workers become ready, a Poisson count of
//! requests comes, and those that wait longest get the free places. Counts by step stand for single
//! requests, so a run costs some nanoseconds a request. Where a request runs matters only when its
//! worker is retired: then the worker's share of busy places and their remaining times are drawn
//! from all that are in service, as if each had taken any free place with equal chance.

use std::collections::VecDeque;

use tidepool_policy::{Backlog, MemorySample, WorkSample};

use crate::chance::Poisson;
use crate::conditions::Conditions;
use crate::fleet::Fleet;
use crate::model::Model;
use crate::outcome::{Outcome, Second, Tally, Watch};
use crate::scaler::{Autoscaler, Seen};
use crate::wheel::{Behind, Durations, Wheel};
use crate::workload::Workload;

/// Runs `scaler` on a pool under a load. The same inputs and seed give the same outcome, and the
/// same seed gives every autoscaler the same arrivals.
pub fn simulate(
    model: &Model,
    load: &Workload,
    scaler: &mut dyn Autoscaler,
    seed: u64,
    watch: &mut dyn Watch,
) -> Outcome {
    simulate_under(model, load, &Conditions::default(), scaler, seed, watch)
}

/// As [`simulate`], with things going wrong.
pub fn simulate_under(
    model: &Model,
    load: &Workload,
    conditions: &Conditions,
    scaler: &mut dyn Autoscaler,
    seed: u64,
    watch: &mut dyn Watch,
) -> Outcome {
    let longest = conditions.service_factor_max();
    let mut engine = Engine::new(model, load, seed, (longest, conditions.is_capped()));
    for (second, rate) in load.rates.iter().enumerate() {
        let second = second as u64;
        engine
            .draws
            .poisson
            .set(f64::from(*rate) / engine.steps as f64);
        engine
            .draws
            .durations
            .stretch(conditions.service_factor(second));
        engine.slow_down(conditions.capacity(second));
        if conditions.crashes(second) {
            engine.crash();
        }
        engine.leak(conditions.leak_s(second));
        engine.run_second();
        engine.window.failing = conditions.failing(second);
        let mut seen = engine.see(second, load.start_ms + second.saturating_add(1) * 1_000);
        seen.memory = conditions.has_memory().then(|| engine.memory());
        if conditions.is_blind(second) {
            (seen.work, seen.backlog) = (None, None);
        }
        let target = scaler
            .target(&seen)
            .clamp(model.workers_min, model.workers_max);
        engine.steer(second, target);
        let view = engine.view(second, f64::from(*rate), target);
        watch.second(&view, scaler);
        engine.begin_second();
    }
    engine.finish(model, load)
}

/// What happened within the current second.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    arrivals: u64,
    ended: u64,
    ended_steps: u64,
    busy_steps: u64,
    /// Share of the answers that are failures.
    failing: f64,
}

/// What chance brings, in streams of their own: the same seed gives the same arrivals and, request
/// by request, the same service times, whatever an autoscaler does.
pub(crate) struct Draws {
    pub(crate) poisson: Poisson,
    pub(crate) arrivals: fastrand::Rng,
    pub(crate) services: fastrand::Rng,
    pub(crate) durations: Durations,
    placement: fastrand::Rng,
    launches: fastrand::Rng,
}

impl Draws {
    pub(crate) fn new(model: &Model, seed: u64) -> Self {
        let mut seeds = fastrand::Rng::with_seed(seed);
        Self {
            poisson: Poisson::default(),
            arrivals: seeds.fork(),
            services: seeds.fork(),
            durations: Durations::new(model),
            placement: seeds.fork(),
            launches: seeds.fork(),
        }
    }
}

struct Engine {
    steps: u64,
    now: u64,
    draws: Draws,
    /// What every request has to wait for, while that limits them.
    behind: Option<Behind>,
    wheel: Wheel,
    busy: u32,
    /// Requests on workers that were retired.
    draining: Wheel,
    draining_busy: u32,
    /// Retired workers by the step in which their last request ends.
    leaving: Wheel,
    leaving_count: u32,
    fleet: Fleet,
    queue: VecDeque<(u64, u32)>,
    queued: u64,
    target: u32,
    window: Window,
    tally: Tally,
    starts_before: u64,
}

impl Engine {
    fn new(model: &Model, load: &Workload, seed: u64, (factor_max, capped): (f64, bool)) -> Self {
        let draws = Draws::new(model, seed);
        let longest = if capped {
            Durations::longest_ever()
        } else {
            draws.durations.longest(factor_max)
        };
        let launches = draws.launches.clone();
        // Enough for the first minute, so that a trace without training begins fairly.
        let first = load
            .rates
            .iter()
            .take(60)
            .fold(0.0, |most: f32, rate| most.max(*rate));
        let need = f64::from(first) * model.service_mean_s / f64::from(model.slots);
        let ready = (need.ceil() as u32 + 1).clamp(model.workers_min, model.workers_max);
        Self {
            steps: u64::from(model.steps_per_s()),
            now: 0,
            draws,
            behind: None,
            wheel: Wheel::new(longest),
            busy: 0,
            draining: Wheel::new(longest),
            draining_busy: 0,
            leaving: Wheel::new(longest),
            leaving_count: 0,
            fleet: Fleet::new(model, ready, launches),
            queue: VecDeque::new(),
            queued: 0,
            target: ready,
            window: Window::default(),
            tally: Tally::new(
                model.steps_per_s(),
                load.score_from_s,
                load.rates.len(),
                model.late_after_s,
            ),
            starts_before: 0,
        }
    }

    fn run_second(&mut self) {
        for _ in 0..self.steps {
            self.step();
        }
        if self.tally.scores(self.now - 1) {
            self.tally.workers_peak = self.tally.workers_peak.max(self.alive());
        } else {
            self.starts_before = self.fleet.launches;
        }
    }

    fn alive(&self) -> u32 {
        self.fleet.have() + self.leaving_count
    }

    fn step(&mut self) {
        let now = self.now;
        let ended = self.wheel.take(now);
        self.busy -= ended.count;
        self.window.ended += u64::from(ended.count);
        self.window.ended_steps += u64::from(ended.steps);
        if self.leaving_count > 0 {
            self.step_draining();
        }
        self.fleet.pass(now);
        let came = self.draws.poisson.draw(&mut self.draws.arrivals);
        self.window.arrivals += u64::from(came);
        self.tally.arrive(now, came);
        let free = self.fleet.places().saturating_sub(self.busy);
        if self.queued == 0 {
            let at_once = came.min(free);
            if at_once > 0 {
                self.begin(now, at_once);
            }
            self.enqueue(came - at_once);
        } else {
            self.enqueue(came);
            self.serve_queue(free);
        }
        self.window.busy_steps += u64::from(self.busy + self.draining_busy);
        if self.tally.scores(now) {
            self.tally.billed_steps += u64::from(self.alive());
        }
        self.now += 1;
    }

    fn step_draining(&mut self) {
        let ended = self.draining.take(self.now);
        self.draining_busy -= ended.count;
        self.window.ended += u64::from(ended.count);
        self.window.ended_steps += u64::from(ended.steps);
        self.leaving_count -= self.leaving.take(self.now).count;
    }

    fn enqueue(&mut self, count: u32) {
        if count > 0 {
            self.queue.push_back((self.now, count));
            self.queued += u64::from(count);
        }
    }

    fn serve_queue(&mut self, mut free: u32) {
        while free > 0
            && let Some((arrived, waiting)) = self.queue.front_mut()
        {
            let count = free.min(*waiting);
            let arrived = *arrived;
            *waiting -= count;
            if *waiting == 0 {
                self.queue.pop_front();
            }
            free -= count;
            self.queued -= u64::from(count);
            self.begin(arrived, count);
        }
    }

    fn begin(&mut self, arrived: u64, count: u32) {
        self.busy += count;
        let Draws {
            durations,
            services,
            ..
        } = &mut self.draws;
        match &mut self.behind {
            None => durations.start(count, self.now, &mut self.wheel, services),
            Some(behind) => {
                durations.start_behind(count, self.now, &mut self.wheel, services, behind);
            }
        }
        self.tally.start(arrived, self.now, count);
    }

    fn see(&mut self, second: u64, now_ms: u64) -> Seen {
        let steps = self.steps as f64;
        let window = self.window;
        let service_mean_s =
            (window.ended > 0).then(|| window.ended_steps as f64 / steps / window.ended as f64);
        let oldest = self
            .queue
            .front()
            .map_or(0, |(arrived, _)| self.now - arrived);
        Seen {
            second,
            now_ms,
            work: Some(WorkSample {
                window_s: 1.0,
                arrivals: window.arrivals as f64,
                completed: window.ended as f64,
                failed: window.ended as f64 * window.failing,
                released: window.ended as f64,
                busy_slot_s: window.busy_steps as f64 / steps,
                late: Some(self.tally.window_late as f64),
                wait_p95_s: self.tally.take_wait_p95_s(),
                service_mean_s,
                // Single durations are not kept; this is the percentile that they are drawn from.
                service_p95_s: service_mean_s.map(|_| self.draws.durations.p95_s()),
                ..WorkSample::default()
            }),
            backlog: Some(Backlog {
                queued: self.queued as f64,
                oldest_wait_s: oldest as f64 / steps,
                busy_slots: f64::from(self.busy + self.draining_busy),
            }),
            workers: self.fleet.counts(self.leaving_count),
            startup_p95_s: self.fleet.startup_p95_s(),
            memory: None,
        }
    }

    /// What is behind the handlers answers `capacity` requests per second at most from now on.
    fn slow_down(&mut self, capacity: Option<f64>) {
        self.behind = capacity.map(|rate| {
            let mut behind = self.behind.take().unwrap_or_default();
            behind.set(rate / self.steps as f64);
            behind
        });
    }

    /// A second in which workers leak; those that have reached their limit die.
    fn leak(&mut self, life_s: Option<f64>) {
        let dying = self.fleet.leak(life_s);
        (0..dying).for_each(|_| self.crash());
    }

    fn memory(&self) -> MemorySample {
        self.fleet.memory(self.busy + self.draining_busy)
    }

    /// Moves the fleet towards `target`.
    fn steer(&mut self, second: u64, target: u32) {
        if target != self.target {
            let scored = self.tally.scores(self.now - 1);
            self.tally.change(second, target > self.target, scored);
            self.target = target;
        }
        let have = self.fleet.have();
        if have < target {
            self.fleet.launch(self.now, target - have);
        } else if have > target {
            let off = self.fleet.call_off(have - target);
            for _ in off..have - target {
                self.retire();
            }
        }
    }

    /// Retires one ready worker: its requests run on, and it takes nothing new.
    fn retire(&mut self) {
        let mut last = self.now;
        for (ends, duration) in self.take_worker() {
            self.draining.add(ends, duration);
            self.draining_busy += 1;
            last = last.max(ends);
        }
        self.leaving.add(last, 0);
        self.leaving_count += 1;
    }

    /// A worker dies; the requests that it had end as failures.
    fn crash(&mut self) {
        if self.fleet.ready > 0 {
            let lost = self.take_worker().len();
            self.window.ended += lost as u64;
        }
    }

    /// Takes a ready worker away, with the ends and durations of what runs on it.
    fn take_worker(&mut self) -> Vec<(u64, u32)> {
        let mut places = self.fleet.places();
        let slots = places / self.fleet.ready.max(1);
        self.fleet.ready -= 1;
        let mut taken = Vec::new();
        for _ in 0..slots {
            let in_use = self.draws.placement.u32(..places) < self.busy;
            places -= 1;
            if !in_use {
                continue;
            }
            let nth = self.draws.placement.u32(..self.busy);
            // The step that is about to run counts, too.
            if let Some(request) = self.wheel.take_nth(self.now.saturating_sub(1), nth) {
                self.busy -= 1;
                taken.push(request);
            }
        }
        taken
    }

    fn view(&self, second: u64, rate: f64, target: u32) -> Second {
        Second {
            second,
            scored: self.tally.scores(self.now - 1),
            rate,
            arrivals: self.window.arrivals,
            late: self.tally.window_late,
            queued: self.queued,
            busy: self.busy + self.draining_busy,
            ready: self.fleet.ready,
            starting: self.fleet.starting(),
            draining: self.leaving_count,
            target,
        }
    }

    fn begin_second(&mut self) {
        self.window = Window::default();
        self.tally.window_late = 0;
    }

    fn finish(mut self, model: &Model, load: &Workload) -> Outcome {
        // Who still waits is late if it has been for too long already.
        let now = self.now;
        for (arrived, count) in std::mem::take(&mut self.queue) {
            self.tally.start(arrived, now, count);
        }
        let starts = self.fleet.launches - self.starts_before;
        self.tally
            .finish(model.service_mean_s, model.slots, starts, load.scored_s())
    }
}
