//! The horizontal pod autoscaler of Kubernetes (`autoscaling/v2`), with its default behaviour.
//!
//! Every 15 s, with metrics as they come through a metrics pipeline: a mean over 30 s that is 15 s
//! old. From `pkg/controller/podautoscaler`:
//!
//! ```text
//! utilisation:   ratio = use / target, over ready workers
//!                up: starting ones count as idle; if that turns the direction, hold
//!                wanted = ceil(ratio x workers counted)
//! average value: ratio = total / (target x workers), all of them;  wanted = ceil(total / target)
//! |ratio - 1| <= 0.1: hold
//! down: the largest recommendation of the last 300 s
//! up: at most the larger of twice the workers and 4 more, per 15 s
//! ```

use std::collections::VecDeque;

use super::sight::{Window, busy, concurrency, slots};
use super::{Rule, whole};
use crate::scaler::Seen;

const PERIOD_S: u64 = 15;
const TOLERANCE: f64 = 0.1;
const AVERAGE_S: usize = 30;
const LAG_S: usize = 15;
const STABLE_S: u64 = 300;
const STEP_UP: u32 = 4;

/// What is held against the target.
enum Metric {
    Concurrency,
    Utilisation,
}

pub(super) struct Hpa {
    metric: Metric,
    target: f64,
    load: Window,
    capacity: Window,
    /// What was recommended within the stabilisation window, and when.
    recommended: VecDeque<(u64, u32)>,
}

impl Hpa {
    /// On the average value of requests in service or queued.
    pub(super) fn on_concurrency(target: f64) -> Self {
        Self::new(Metric::Concurrency, target)
    }

    /// On mean utilisation of ready workers, which saturates.
    pub(super) fn on_utilisation(target: f64) -> Self {
        Self::new(Metric::Utilisation, target)
    }

    fn new(metric: Metric, target: f64) -> Self {
        Self {
            metric,
            target,
            load: Window::new(LAG_S + AVERAGE_S),
            capacity: Window::new(LAG_S + AVERAGE_S),
            recommended: VecDeque::new(),
        }
    }

    /// What the metric alone asks for; `None` to hold because nothing was measured.
    fn recommend(&self, seen: &Seen, wanted: u32) -> Option<u32> {
        let load = self.load.mean(LAG_S, AVERAGE_S)?;
        match self.metric {
            Metric::Concurrency => {
                let each = self.target * slots(seen);
                let ratio = load / (each * f64::from(wanted.max(1)));
                Some(if tolerated(ratio) {
                    wanted
                } else {
                    whole(load / each)
                })
            }
            Metric::Utilisation => {
                let capacity = self.capacity.mean(LAG_S, AVERAGE_S)?;
                let ratio = (load / capacity).min(1.0) / self.target;
                (capacity > 0.0).then(|| from_utilisation(ratio, seen, wanted))
            }
        }
    }

    /// The largest recommendation of the window. One that is as old as the window has left it.
    fn stabilise(&mut self, second: u64, wanted: u32, recommended: u32) -> u32 {
        if self.recommended.is_empty() {
            self.recommended.push_back((second, wanted));
        }
        self.recommended.push_back((second, recommended));
        self.recommended.retain(|(at, _)| at + STABLE_S > second);
        self.recommended
            .iter()
            .map(|(_, workers)| *workers)
            .max()
            .unwrap_or(recommended)
    }
}

fn tolerated(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE + 1e-9
}

/// Workers for a mean utilisation of `ratio` times the target.
fn from_utilisation(ratio: f64, seen: &Seen, wanted: u32) -> u32 {
    let ready = f64::from(seen.workers.ready);
    if ratio <= 1.0 || seen.workers.starting == 0 {
        return if tolerated(ratio) {
            wanted
        } else {
            whole(ratio * ready)
        };
    }
    let all = f64::from(seen.workers.have());
    let diluted = ratio * ready / all;
    let grown = whole(diluted * all);
    if diluted < 1.0 || tolerated(diluted) || grown < wanted {
        wanted
    } else {
        grown
    }
}

impl Rule for Hpa {
    fn want(&mut self, seen: &Seen, wanted: u32) -> u32 {
        match self.metric {
            Metric::Concurrency => self.load.push(concurrency(seen)),
            Metric::Utilisation => {
                let busy = busy(seen);
                self.load.push(busy);
                // A gap in one is a gap in the other.
                self.capacity
                    .push(busy.map(|_| f64::from(seen.workers.ready) * slots(seen)));
            }
        }
        if !seen.second.is_multiple_of(PERIOD_S) {
            return wanted;
        }
        let Some(recommended) = self.recommend(seen, wanted) else {
            return wanted;
        };
        let largest = self.stabilise(seen.second, wanted, recommended);
        let limit = wanted.saturating_mul(2).max(wanted.saturating_add(STEP_UP));
        if recommended > wanted {
            recommended.min(limit)
        } else {
            largest.min(wanted)
        }
    }
}
