//! The pod autoscaler of Knative Serving (`pkg/autoscaler/scaling`), with its default
//! configuration.
//!
//! Every 2 s, from the mean concurrency of the last 60 s (stable) and 6 s (panic):
//!
//! ```text
//! want(window) = ceil(concurrency / target), within [floor(ready / 2), ceil(1000 x ready)]
//! panic while    want(6 s) / ready >= 2, before the bounds, and for 60 s after
//! in panic       the larger of both, and never fewer than before in this panic
//! otherwise      want(60 s)
//! ```
//!
//! There is no delay before scaling down. An autoscaler that starts with more than one worker starts
//! in panic. Knative's own router keeps requests waiting; here the pool's queue does.

use super::sight::{Window, concurrency, slots};
use super::{Rule, whole};
use crate::scaler::Seen;

const TICK_S: u64 = 2;
const STABLE_S: usize = 60;
const PANIC_S: usize = 6;
const PANIC_THRESHOLD: f64 = 2.0;
const MAX_SCALE_UP: f64 = 1000.0;
const MAX_SCALE_DOWN: f64 = 2.0;

/// A panic since its last breach.
#[derive(Clone, Copy)]
struct Panic {
    breached_at: u64,
    most: u32,
}

pub(super) struct Kpa {
    target: f64,
    concurrency: Window,
    panic: Option<Panic>,
    started: bool,
}

impl Kpa {
    pub(super) fn new(target: f64) -> Self {
        Self {
            target,
            concurrency: Window::new(STABLE_S),
            panic: None,
            started: false,
        }
    }

    /// Enters, prolongs or leaves panic.
    fn judge(&mut self, second: u64, over: bool) {
        match &mut self.panic {
            Some(panic) if over => panic.breached_at = second,
            Some(panic) if second.saturating_sub(panic.breached_at) > STABLE_S as u64 => {
                self.panic = None;
            }
            Some(_) => {}
            None if over => {
                self.panic = Some(Panic {
                    breached_at: second,
                    most: 0,
                });
            }
            None => {}
        }
    }
}

impl Rule for Kpa {
    fn want(&mut self, seen: &Seen, wanted: u32) -> u32 {
        self.concurrency.push(concurrency(seen));
        if !self.started {
            self.started = true;
            self.panic = (seen.workers.ready > 1).then_some(Panic {
                breached_at: seen.second,
                most: seen.workers.ready,
            });
        }
        if !seen.second.is_multiple_of(TICK_S) {
            return wanted;
        }
        let (Some(stable), Some(recent)) = (
            self.concurrency.mean(0, STABLE_S),
            self.concurrency.mean(0, PANIC_S),
        ) else {
            return wanted;
        };
        let each = self.target * slots(seen);
        let ready = f64::from(seen.workers.ready.max(1));
        let bounded = |want: u32| {
            let least = whole((ready / MAX_SCALE_DOWN).floor());
            want.max(least).min(whole(MAX_SCALE_UP * ready))
        };
        let (stable, recent) = (whole(stable / each), whole(recent / each));
        self.judge(seen.second, f64::from(recent) / ready >= PANIC_THRESHOLD);
        match &mut self.panic {
            Some(panic) => {
                panic.most = panic.most.max(bounded(stable)).max(bounded(recent));
                panic.most
            }
            None => bounded(stable),
        }
    }
}
