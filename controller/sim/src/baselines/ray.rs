//! Ray Serve (`python/ray/serve/autoscaling_policy.py`), with its default configuration but for the
//! target: 2 ongoing requests a replica would say nothing about workers of several slots, so it is a
//! share of them.
//!
//! ```text
//! desired = ceil(running x (ongoing / (target x running))), ongoing averaged over 30 s
//! acted on once the same direction held without a break for 30 s (up) or 600 s (down)
//! ```
//!
//! The desired number of the moment counts, not one of the time in between. Only the last replica
//! goes to zero, and the first request without replicas starts one at once. Ray decides ten times a
//! second; once a second gives the same delays.

use super::sight::{Window, concurrency, slots};
use super::{Rule, whole};
use crate::scaler::Seen;

const LOOK_BACK_S: usize = 30;
const UP_DELAY_S: i64 = 30;
const DOWN_DELAY_S: i64 = 600;

pub(super) struct Ray {
    target: f64,
    ongoing: Window,
    /// Consecutive decisions to grow, or to shrink where it is negative.
    held: i64,
}

impl Ray {
    pub(super) fn new(target: f64) -> Self {
        Self {
            target,
            ongoing: Window::new(LOOK_BACK_S),
            held: 0,
        }
    }

    /// Whether the direction of `desired` has held for its delay.
    fn matured(&mut self, desired: u32, wanted: u32) -> bool {
        self.held = match desired.cmp(&wanted) {
            std::cmp::Ordering::Greater => self.held.max(0) + 1,
            std::cmp::Ordering::Less => self.held.min(0) - 1,
            std::cmp::Ordering::Equal => 0,
        };
        let matured = self.held > UP_DELAY_S || self.held < -DOWN_DELAY_S;
        if matured {
            self.held = 0;
        }
        matured
    }
}

impl Rule for Ray {
    fn want(&mut self, seen: &Seen, wanted: u32) -> u32 {
        let now = concurrency(seen);
        self.ongoing.push(now);
        let (Some(_), Some(ongoing)) = (now, self.ongoing.mean(0, LOOK_BACK_S)) else {
            return wanted;
        };
        if seen.workers.ready == 0 {
            return if ongoing > 0.0 { wanted.max(1) } else { wanted };
        }
        let desired = whole(ongoing / (self.target * slots(seen)));
        if self.matured(desired, wanted) {
            // To zero from one only.
            if wanted > 1 { desired.max(1) } else { desired }
        } else {
            wanted
        }
    }
}
