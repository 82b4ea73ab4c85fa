//! Waits that tell a server that says nothing from a process that stood still.
//!
//! A process that was stopped, or got no processor, finds all its time limits over when it goes on,
//! and the answers unread beside them. Taking that for silence would refuse everything that waits.

use std::time::{Duration, Instant};

/// A timer this late says that it was this process that stood still.
const STALL: Duration = Duration::from_millis(200);
/// How often a wait begins anew; a process that stands still more often gets nothing done anyway.
const STALLS_MAX: usize = 3;

/// Waits for `limit` of time in which this process ran.
pub(super) async fn outlast(limit: Duration) {
    for _ in 0..=STALLS_MAX {
        let due = Instant::now() + limit;
        tokio::time::sleep_until(due.into()).await;
        if !is_stall(due, Instant::now()) {
            return;
        }
    }
}

/// Whether who looks at `now` for what was due has not run in between.
fn is_stall(due: Instant, now: Instant) -> bool {
    now.saturating_duration_since(due) >= STALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_look_says_nothing_of_the_server() {
        let due = Instant::now();
        assert!(!is_stall(due, due));
        assert!(!is_stall(due, due + STALL - Duration::from_millis(1)));
        assert!(is_stall(due, due + STALL));
        assert!(!is_stall(due + STALL, due), "early");
    }
}
