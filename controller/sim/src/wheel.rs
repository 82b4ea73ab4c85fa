//! Requests in service, by the step in which they end: a wheel of counts instead of a heap of
//! requests, so that a start costs two nanoseconds.

use crate::chance::{QUANTILES, service_quantiles};
use crate::model::Model;

/// Longest service in steps.
const STEPS_MAX: usize = (1 << 16) - 1;
/// Place of the sum of durations within a cell; the count lies below.
const SUM_AT: u32 = 32;

/// Ends of services: how many, and how many steps they had lasted in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) count: u32,
    pub(crate) steps: u32,
}

impl Ended {
    fn of(cell: u64) -> Self {
        Self {
            count: cell as u32,
            steps: (cell >> SUM_AT) as u32,
        }
    }
}

/// A ring of cells, one for each step of the future.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    cells: Vec<u64>,
}

impl Wheel {
    pub(crate) fn new(steps_max: usize) -> Self {
        Self {
            cells: vec![0; (steps_max + 2).next_power_of_two()],
        }
    }

    fn index(&self, step: u64) -> usize {
        step as usize & (self.cells.len() - 1)
    }

    /// What ends in `step`; the cell is free again.
    pub(crate) fn take(&mut self, step: u64) -> Ended {
        let index = self.index(step);
        Ended::of(std::mem::take(&mut self.cells[index]))
    }

    pub(crate) fn add(&mut self, step: u64, duration: u32) {
        let index = self.index(step);
        self.cells[index] += 1 | u64::from(duration) << SUM_AT;
    }

    /// Takes out the `nth` of the requests that end after `now`, in the order of their ends. Tells
    /// the step in which it ends, and how long those that end with it last on average.
    pub(crate) fn take_nth(&mut self, now: u64, mut nth: u32) -> Option<(u64, u32)> {
        for step in now + 1..now + self.cells.len() as u64 {
            let index = self.index(step);
            let Ended { count, steps } = Ended::of(self.cells[index]);
            if nth < count {
                let duration = steps / count;
                self.cells[index] -= 1 | u64::from(duration) << SUM_AT;
                return Some((step, duration));
            }
            nth -= count;
        }
        None
    }
}

/// A dependency that answers one request after the other, at a steady pace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behind {
    steps_per_answer: f64,
    /// Step in which it has answered all that it was asked.
    free: f64,
}

impl Behind {
    /// Sets its pace.
    pub(crate) fn set(&mut self, answers_per_step: f64) {
        self.steps_per_answer = 1.0 / answers_per_step.max(1e-9);
    }

    /// The step in which it answers a request that asks now.
    fn answer(&mut self, now: u64) -> u64 {
        self.free = self.free.max(now as f64) + self.steps_per_answer;
        self.free as u64
    }
}

/// How long requests hold a place, in steps.
#[derive(Clone, Debug)]
pub(crate) struct Durations {
    quantiles_s: Vec<f64>,
    steps: Vec<u16>,
    steps_per_s: f64,
    factor: f64,
    spare: u64,
    left: u32,
}

impl Durations {
    pub(crate) fn new(model: &Model) -> Self {
        let mut durations = Self {
            quantiles_s: service_quantiles(model),
            steps: vec![1; QUANTILES],
            steps_per_s: f64::from(model.steps_per_s()),
            factor: 0.0,
            spare: 0,
            left: 0,
        };
        durations.stretch(1.0);
        durations
    }

    /// Makes requests that start from now on last `factor` times as long.
    pub(crate) fn stretch(&mut self, factor: f64) {
        if (factor - self.factor).abs() < 1e-9 {
            return;
        }
        self.factor = factor;
        let scale = factor * self.steps_per_s;
        for (steps, seconds) in self.steps.iter_mut().zip(&self.quantiles_s) {
            *steps = (seconds * scale).round().clamp(1.0, STEPS_MAX as f64) as u16;
        }
    }

    /// Longest duration in steps when stretched by `factor`.
    pub(crate) fn longest(&self, factor: f64) -> usize {
        let seconds = self.quantiles_s.last().copied().unwrap_or(0.0);
        ((seconds * factor * self.steps_per_s).ceil() as usize).min(STEPS_MAX)
    }

    /// Longest duration in steps that can be told.
    pub(crate) fn longest_ever() -> usize {
        STEPS_MAX
    }

    /// 95th percentile in seconds.
    pub(crate) fn p95_s(&self) -> f64 {
        f64::from(self.steps[QUANTILES * 95 / 100]) / self.steps_per_s
    }

    /// Starts `count` requests at `now`.
    pub(crate) fn start(
        &mut self,
        count: u32,
        now: u64,
        wheel: &mut Wheel,
        random: &mut fastrand::Rng,
    ) {
        for _ in 0..count {
            let steps = self.draw(random);
            wheel.add(now + u64::from(steps), u32::from(steps));
        }
    }

    /// As [`start`](Self::start), where what is `behind` the handlers has to answer, too.
    pub(crate) fn start_behind(
        &mut self,
        count: u32,
        now: u64,
        wheel: &mut Wheel,
        random: &mut fastrand::Rng,
        behind: &mut Behind,
    ) {
        for _ in 0..count {
            let answered = behind.answer(now).saturating_sub(now);
            let own = u64::from(self.draw(random));
            let steps = own.max(answered).min(STEPS_MAX as u64);
            wheel.add(now + steps, steps as u32);
        }
    }

    fn draw(&mut self, random: &mut fastrand::Rng) -> u16 {
        if self.left == 0 {
            self.spare = random.u64(..);
            self.left = 4;
        }
        let steps = self.steps[(self.spare & 0xffff) as usize];
        self.spare >>= 16;
        self.left -= 1;
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_ends_once_after_its_duration() {
        let mut wheel = Wheel::new(10);
        wheel.add(5, 5);
        wheel.add(5, 3);
        wheel.add(9, 9);
        assert_eq!(wheel.take(4), Ended::default());
        assert_eq!(wheel.take(5), Ended { count: 2, steps: 8 });
        assert_eq!(wheel.take(5), Ended::default());
        assert_eq!(wheel.take_nth(5, 0), Some((9, 9)));
        assert_eq!(wheel.take_nth(5, 0), None);
    }

    #[test]
    fn durations_keep_their_mean() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut durations = Durations::new(&Model::default());
        let mut wheel = Wheel::new(durations.longest(1.0));
        durations.start(100_000, 0, &mut wheel, &mut random);
        let (mut count, mut steps) = (0, 0.0);
        for step in 1..=durations.longest(1.0) as u64 {
            let ended = wheel.take(step);
            count += ended.count;
            steps += f64::from(ended.count) * step as f64;
        }
        assert_eq!(count, 100_000);
        assert!((steps / 1e5 - 50.0).abs() < 0.5, "{}", steps / 1e5);
        durations.stretch(4.0);
        assert!(
            (durations.p95_s() / 4.0 - 1.39).abs() < 0.05,
            "{}",
            durations.p95_s()
        );
    }
}
