//! Literal utilisation against 80 % and 30 %: a quarter more above, one fewer below, and a minute of
//! rest after either. Utilisation is that of ready workers over the last 15 s (our choice, that of
//! a scrape interval).

use super::sight::{Window, busy, slots};
use super::{Rule, whole};
use crate::scaler::Seen;

const HIGH: f64 = 0.8;
const LOW: f64 = 0.3;
const STEP_UP: f64 = 1.25;
const COOLDOWN_S: u64 = 60;
const AVERAGE_S: usize = 15;

pub(super) struct Threshold80 {
    high: f64,
    busy: Window,
    capacity: Window,
    changed_at: Option<u64>,
}

impl Threshold80 {
    /// `high` instead of 80 %, if there is one; the lower threshold never lies above half of it.
    pub(super) fn new(high: Option<f64>) -> Self {
        Self {
            high: high.unwrap_or(HIGH),
            busy: Window::new(AVERAGE_S),
            capacity: Window::new(AVERAGE_S),
            changed_at: None,
        }
    }
}

impl Rule for Threshold80 {
    fn want(&mut self, seen: &Seen, wanted: u32) -> u32 {
        let busy = busy(seen);
        self.busy.push(busy);
        self.capacity
            .push(busy.map(|_| f64::from(seen.workers.ready) * slots(seen)));
        let (Some(busy), Some(capacity)) = (
            self.busy.mean(0, AVERAGE_S),
            self.capacity.mean(0, AVERAGE_S),
        ) else {
            return wanted;
        };
        let resting = self
            .changed_at
            .is_some_and(|at| seen.second.saturating_sub(at) < COOLDOWN_S);
        if resting || capacity <= 0.0 {
            return wanted;
        }
        let utilisation = busy / capacity;
        let changed = if utilisation > self.high {
            whole(f64::from(wanted) * STEP_UP)
        } else if utilisation < LOW.min(self.high / 2.0) {
            wanted.saturating_sub(1)
        } else {
            return wanted;
        };
        self.changed_at = Some(seen.second);
        changed
    }
}
