//! A simulated pool: Poisson arrivals, one first-in-first-out queue, workers with slots that take
//! time to start. Steps of five milliseconds, one decision a second.

use std::collections::VecDeque;

use crate::{Backlog, Decision, Memory, Observation, Policy, WorkSample, WorkerCounts, decide};

const STEP_S: f64 = 0.005;
const EPOCH_MS: u64 = 1_700_000_000_000;

pub(super) struct Pool {
    pub(super) policy: Policy,
    pub(super) slots_per_worker: u32,
    pub(super) service_s: f64,
    pub(super) startup_s: f64,
    random: fastrand::Rng,
    now_s: f64,
    /// When each worker is ready.
    workers: Vec<f64>,
    queue: VecDeque<f64>,
    /// When each running request ends.
    running: Vec<f64>,
    memory: Memory,
    pub(super) log: Vec<Decision>,
    pub(super) late: u32,
    pub(super) served: u32,
    /// Told of as late, whatever was; `None` tells what was.
    pub(super) late_told: Option<f64>,
}

impl Pool {
    pub(super) fn new(
        policy: Policy,
        slots_per_worker: u32,
        service_s: f64,
        startup_s: f64,
    ) -> Self {
        let workers = vec![0.0; policy.bounds.min as usize];
        Self {
            policy,
            slots_per_worker,
            service_s,
            startup_s,
            random: fastrand::Rng::with_seed(7),
            now_s: 0.0,
            workers,
            queue: VecDeque::new(),
            running: Vec::new(),
            memory: Memory::default(),
            log: Vec::new(),
            late: 0,
            served: 0,
            late_told: None,
        }
    }

    /// Runs for `seconds` at `rate` requests per second.
    pub(super) fn run(&mut self, seconds: u32, rate: f64) -> &mut Self {
        (0..seconds).for_each(|_| self.second(rate));
        self
    }

    pub(super) fn target(&self) -> u32 {
        self.log.last().map_or(0, |decision| decision.to)
    }

    pub(super) fn score(&self) -> f64 {
        self.log
            .last()
            .and_then(|decision| decision.score)
            .unwrap_or(f64::NAN)
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Changes of direction of the target so far.
    pub(super) fn reversals(&self) -> usize {
        let turns: Vec<_> = self
            .log
            .iter()
            .filter(|decision| decision.is_change())
            .map(|decision| decision.direction)
            .collect();
        turns.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    fn second(&mut self, rate: f64) {
        let mut work = WorkSample {
            window_s: 1.0,
            ..WorkSample::default()
        };
        let (mut waits, mut served, late_before) = (Vec::new(), Vec::new(), self.late);
        for _ in 0..(1.0 / STEP_S) as u32 {
            self.now_s += STEP_S;
            let now_s = self.now_s;
            let before = self.running.len();
            self.running.retain(|end_s| *end_s > now_s);
            work.released += (before - self.running.len()) as f64;
            // At most one arrival a step when rare, several when not: a binomial of small parts.
            for _ in 0..20 {
                if self.random.f64() < rate * STEP_S / 20.0 {
                    work.arrivals += 1.0;
                    self.queue.push_back(now_s);
                }
            }
            let ready = self.workers.iter().filter(|at_s| **at_s <= now_s).count();
            while self.running.len() < ready * self.slots_per_worker as usize
                && let Some(came_s) = self.queue.pop_front()
            {
                let wait_s = now_s - came_s;
                waits.push(wait_s);
                self.served += 1;
                self.late += u32::from(wait_s > 1.0);
                let service_s = self.service_s * -(1.0 - self.random.f64()).ln();
                served.push(service_s);
                self.running.push(now_s + service_s);
            }
            work.busy_slot_s += self.running.len() as f64 * STEP_S;
        }
        let late = f64::from(self.late - late_before);
        work.late = Some(self.late_told.unwrap_or(late));
        work.completed = work.released;
        work.wait_p95_s = p95(waits);
        work.service_p95_s = p95(served);
        self.tick(work);
    }

    fn tick(&mut self, work: WorkSample) {
        let ready = self
            .workers
            .iter()
            .filter(|at_s| **at_s <= self.now_s)
            .count() as u32;
        let observation = Observation {
            work: Some(work),
            backlog: Some(Backlog {
                queued: self.queue.len() as f64,
                oldest_wait_s: self.queue.front().map_or(0.0, |came_s| self.now_s - came_s),
                busy_slots: self.running.len() as f64,
            }),
            work_age_s: Some(0.0),
            workers: Some(WorkerCounts {
                ready,
                starting: self.workers.len() as u32 - ready,
                draining: 0,
                slots_per_worker: self.slots_per_worker,
            }),
            workers_age_s: Some(0.0),
            startup_p95_s: Some(self.startup_s),
            ..Observation::default()
        };
        let now_ms = EPOCH_MS + (self.now_s * 1e3).round() as u64;
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = decide(&self.policy, memory, &observation, now_ms);
        self.memory = memory;
        let ready_s = self.now_s + self.startup_s;
        // The newest leave first; what they run ends in a slot that the others do not get.
        self.workers.resize(decision.to as usize, ready_s);
        self.log.push(decision);
    }
}

fn p95(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 95 / 100).copied()
}
