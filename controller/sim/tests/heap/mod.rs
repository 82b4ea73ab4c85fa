//! A plain simulation, request by request: slow, obvious, and with nothing shared with the engine.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tidepool_sim::model::Model;
use tidepool_sim::outcome::Outcome;
use tidepool_sim::workload::Workload;

/// Nanoseconds.
type Time = u64;
const SECOND: f64 = 1e9;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick,
    Due(usize),
    End(usize),
    Arrival,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Starting { fails: bool },
    Ready,
    Draining,
    Gone,
}

struct Worker {
    state: State,
    busy: u32,
    launched: Time,
}

struct Plain<'a> {
    model: &'a Model,
    random: fastrand::Rng,
    events: BinaryHeap<Reverse<(Time, Event)>>,
    workers: Vec<Worker>,
    queue: VecDeque<Time>,
    score_from: Time,
    waits: Vec<f64>,
    outcome: Outcome,
}

pub(crate) fn run(model: &Model, load: &Workload, targets: fn(u64) -> u32, seed: u64) -> Outcome {
    let mut plain = Plain {
        model,
        random: fastrand::Rng::with_seed(seed ^ 0x5eed),
        events: BinaryHeap::new(),
        workers: Vec::new(),
        queue: VecDeque::new(),
        score_from: time(load.score_from_s as f64),
        waits: Vec::new(),
        outcome: Outcome::default(),
    };
    for _ in 0..6 {
        plain.workers.push(Worker {
            state: State::Ready,
            busy: 0,
            launched: 0,
        });
    }
    plain.arrivals(load);
    for second in 1..=load.rates.len() {
        plain
            .events
            .push(Reverse((time(second as f64), Event::Tick)));
    }
    let end = time(load.rates.len() as f64);
    while let Some(Reverse((now, event))) = plain.events.pop()
        && now <= end
    {
        match event {
            Event::Tick => plain.steer(now, targets(now / 1_000_000_000 - 1)),
            Event::Due(worker) => plain.due(worker, now),
            Event::End(worker) => plain.end(worker, now),
            Event::Arrival => plain.queue.push_back(now),
        }
        plain.serve(now);
    }
    plain.finish(end)
}

fn time(seconds: f64) -> Time {
    (seconds * SECOND) as Time
}

impl Plain<'_> {
    /// Gaps between arrivals are exponential; the rate is constant within a second.
    fn arrivals(&mut self, load: &Workload) {
        for (second, rate) in load.rates.iter().enumerate() {
            let mut at = 0.0;
            loop {
                at -= (1.0 - self.random.f64()).ln() / f64::from(*rate);
                if at >= 1.0 {
                    break;
                }
                let arrived = time(second as f64 + at);
                self.outcome.requests += u64::from(arrived >= self.score_from);
                self.events.push(Reverse((arrived, Event::Arrival)));
            }
        }
    }

    fn service(&mut self) -> Time {
        // Box and Muller.
        let (u, v) = (1.0 - self.random.f64(), self.random.f64());
        let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let variance = (1.0 + self.model.service_cv.powi(2)).ln();
        time(self.model.service_mean_s * (variance.sqrt() * z - variance / 2.0).exp())
    }

    fn serve(&mut self, now: Time) {
        while let Some(arrived) = self.queue.front().copied() {
            let free: Vec<usize> = (0..self.workers.len())
                .filter(|w| self.workers[*w].state == State::Ready)
                .flat_map(|w| {
                    std::iter::repeat_n(w, (self.model.slots - self.workers[w].busy) as usize)
                })
                .collect();
            let Some(worker) = self.random.choice(free) else {
                return;
            };
            self.queue.pop_front();
            self.workers[worker].busy += 1;
            let ends = now + self.service();
            self.events.push(Reverse((ends, Event::End(worker))));
            self.count(arrived, now);
        }
    }

    fn count(&mut self, arrived: Time, now: Time) {
        if arrived >= self.score_from {
            let wait_s = (now - arrived) as f64 / SECOND;
            self.outcome.late += u64::from(wait_s > self.model.late_after_s);
            self.waits.push(wait_s);
        }
    }

    fn end(&mut self, worker: usize, now: Time) {
        self.workers[worker].busy -= 1;
        if self.workers[worker].state == State::Draining && self.workers[worker].busy == 0 {
            self.gone(worker, now);
        }
    }

    fn due(&mut self, worker: usize, now: Time) {
        match self.workers[worker].state {
            State::Starting { fails: true } => self.gone(worker, now),
            State::Starting { fails: false } => self.workers[worker].state = State::Ready,
            _ => {}
        }
    }

    fn gone(&mut self, worker: usize, now: Time) {
        self.workers[worker].state = State::Gone;
        let from = self.workers[worker].launched.max(self.score_from);
        self.outcome.worker_s += now.saturating_sub(from) as f64 / SECOND;
    }

    fn steer(&mut self, now: Time, target: u32) {
        let of = |plain: &Self, want: fn(State) -> bool| -> Vec<usize> {
            (0..plain.workers.len())
                .filter(|w| want(plain.workers[*w].state))
                .collect()
        };
        let starting = of(self, |state| matches!(state, State::Starting { .. }));
        let mut ready = of(self, |state| state == State::Ready);
        let have = (starting.len() + ready.len()) as u32;
        for _ in have..target {
            let spread = 1.0 + self.model.startup_spread * (2.0 * self.random.f64() - 1.0);
            let fails = self.random.f64() < self.model.launch_failure;
            let due = now + time(self.model.startup_s * spread);
            self.events
                .push(Reverse((due, Event::Due(self.workers.len()))));
            self.workers.push(Worker {
                state: State::Starting { fails },
                busy: 0,
                launched: now,
            });
            self.outcome.starts += u64::from(now > self.score_from);
        }
        let mut surplus = have.saturating_sub(target);
        for worker in starting.into_iter().rev().take(surplus as usize) {
            self.gone(worker, now);
            surplus -= 1;
        }
        for _ in 0..surplus {
            let worker = ready.swap_remove(self.random.usize(..ready.len()));
            self.workers[worker].state = State::Draining;
            if self.workers[worker].busy == 0 {
                self.gone(worker, now);
            }
        }
    }

    fn finish(mut self, end: Time) -> Outcome {
        for arrived in std::mem::take(&mut self.queue) {
            self.count(arrived, end);
        }
        for worker in 0..self.workers.len() {
            if self.workers[worker].state != State::Gone {
                self.gone(worker, end);
            }
        }
        self.waits.sort_by(f64::total_cmp);
        let rank = (self.waits.len() as f64 * 0.99) as usize;
        self.outcome.wait_p99_s = self.waits[rank];
        self.outcome
    }
}
