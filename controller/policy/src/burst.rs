//! Bursts: load that within seconds needs twice the workers there are. While one goes on and for a
//! minute after, nobody is retired, and for some minutes more the pool shrinks by halves at most:
//! bursts come in groups, and a pool that snaps back meets the next one empty-handed.

use serde::{Deserialize, Serialize};

/// Need of the last seconds over the workers there are from which it is a burst.
const BREACH: f64 = 2.0;
const HOLD_MS: u64 = 60_000;
const DECAY_MS: u64 = 600_000;

/// When the need last outran the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Burst {
    breached_ms: Option<u64>,
}

impl Burst {
    /// Takes in the need of the last seconds beside the workers that serve or start.
    pub(crate) fn see(&mut self, now_ms: u64, need: f64, have: u32) {
        if need >= BREACH * f64::from(have.max(1)) {
            self.breached_ms = Some(now_ms);
        }
    }

    /// Policy time until which nobody is retired.
    pub(crate) fn held_until_ms(&self) -> u64 {
        self.breached_ms
            .map_or(0, |at_ms| at_ms.saturating_add(HOLD_MS))
    }

    /// The least that a pool of `target` may shrink to in one step at policy time `now_ms`.
    pub(crate) fn floor(&self, now_ms: u64, target: u32) -> u32 {
        let lately = |at_ms: u64| now_ms < at_ms.saturating_add(DECAY_MS);
        if self.breached_ms.is_some_and(lately) {
            target / 2
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_holds_a_minute_and_then_decays_by_halves() {
        let mut burst = Burst::default();
        burst.see(1_000, 7.9, 4);
        assert_eq!((burst.held_until_ms(), burst.floor(1_000, 8)), (0, 0));
        burst.see(2_000, 8.0, 4);
        assert_eq!(burst.held_until_ms(), 62_000);
        assert_eq!(burst.floor(70_000, 9), 4);
        assert_eq!(burst.floor(602_000, 9), 0);
    }

    #[test]
    fn a_sleeping_pool_needs_two_workers_at_once_to_call_it_a_burst() {
        let mut burst = Burst::default();
        burst.see(1_000, 1.4, 0);
        assert_eq!(burst.held_until_ms(), 0);
    }

    #[test]
    fn a_breach_that_goes_on_begins_the_minute_anew() {
        let mut burst = Burst::default();
        burst.see(1_000, 8.0, 4);
        burst.see(30_000, 8.0, 4);
        burst.see(31_000, 7.0, 4);
        assert_eq!(burst.held_until_ms(), 90_000);
        assert_eq!(burst.floor(629_999, 9), 4);
        assert_eq!(burst.floor(630_000, 9), 0);
        burst.see(700_000, 2.0, 0);
        assert_eq!(
            burst.held_until_ms(),
            760_000,
            "two at once wake nobody calmly"
        );
    }
}
