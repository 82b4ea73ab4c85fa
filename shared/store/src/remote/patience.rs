//! Waits that tell a server that says nothing from a process that stood still.
//!
//! A process that was stopped, or got no processor, finds all its time limits over when it goes on,
//! and the answers unread beside them. Taking that for silence would refuse everything that waits.

use std::time::{Duration, Instant};

/// A timer this late says that it was this process that stood still.
const STALL: Duration = Duration::from_millis(200);
/// Time between two looks; a stall that begins and ends between two of them is shorter than one.
const SLICE: Duration = Duration::from_millis(50);
/// How often a wait begins anew; a process that stands still more often gets nothing done anyway.
const STALLS_MAX: u32 = 3;

/// Waits for `limit` of time in which this process ran.
pub(super) async fn outlast(limit: Duration) {
    let mut patience = Patience::new(limit);
    while let Some(slice) = patience.slice() {
        let due = Instant::now() + slice;
        tokio::time::sleep_until(due.into()).await;
        patience.spend(slice, Instant::now().saturating_duration_since(due));
    }
}

/// What is left of a wait.
struct Patience {
    limit: Duration,
    left: Duration,
    stalls: u32,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        let left = limit;
        Self {
            limit,
            left,
            stalls: 0,
        }
    }

    /// How long to wait until the next look; nothing when the wait is over.
    fn slice(&self) -> Option<Duration> {
        (!self.left.is_zero()).then(|| self.left.min(SLICE))
    }

    /// A slice has passed, and was noticed so late.
    fn spend(&mut self, slice: Duration, late: Duration) {
        if late >= STALL && self.stalls < STALLS_MAX {
            self.stalls += 1;
            self.left = self.limit;
        } else {
            self.left = self.left.saturating_sub(slice.saturating_add(late));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time that passes in a wait of a second, where the looks are late by what `late` says.
    fn waited(late: impl Fn(u32) -> Duration) -> Duration {
        let mut patience = Patience::new(Duration::from_secs(1));
        let mut waited = Duration::ZERO;
        for look in 0.. {
            let Some(slice) = patience.slice() else {
                break;
            };
            patience.spend(slice, late(look));
            waited += slice + late(look);
        }
        waited
    }

    #[test]
    fn a_process_that_runs_waits_as_long_as_it_was_told() {
        assert_eq!(waited(|_| Duration::ZERO), Duration::from_secs(1));
        let busy = waited(|_| STALL - Duration::from_millis(1));
        assert!(busy < Duration::from_secs(1) + STALL, "{busy:?}");
    }

    #[test]
    fn one_that_stood_still_waits_anew_also_when_that_was_over_before_the_end() {
        let stopped = Duration::from_millis(700);
        let waited = waited(|look| if look == 3 { stopped } else { Duration::ZERO });
        // Four slices, the stop, and all of it once more.
        assert_eq!(waited, 4 * SLICE + stopped + Duration::from_secs(1));
    }

    #[test]
    fn one_that_stands_still_for_ever_does_not_wait_for_ever() {
        let waited = waited(|_| Duration::from_secs(5));
        let looks = STALLS_MAX + 1;
        assert_eq!(waited, looks * (SLICE + Duration::from_secs(5)));
    }
}
