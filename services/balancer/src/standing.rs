//! Tells a queue that carries a burst from one that only makes everybody wait.
//!
//! A burst may wait as long as its callers allow: workers may be on their way. If the queue is still
//! there when they should have come, it is a standing queue: it serves no more requests than a short
//! one would and makes each of them late, for as long after the overload as it takes to empty. The
//! distinction is that of `CoDel` (Nichols and Jacobson 2012). It drops what has waited too long; here
//! the wait of a newcomer can be foretold, so that it is refused at once and nobody waits for a refusal.

use std::time::{Duration, Instant};

/// Time that workers get to come: one that starts within 1.5 s of a fourfold step finds 4.5 s of work.
const PATIENCE: Duration = Duration::from_secs(6);
/// The same where work is slow, in work times.
const PATIENCE_TURNS: f64 = 4.0;
/// Shorter waits than these many work times are never refused: slots would be idle between requests.
const TURNS_MIN: f64 = 2.0;

/// Since when the queue of a pool makes requests late.
#[derive(Debug)]
pub(crate) struct StandingQueue {
    /// The wait that the pool means to keep to.
    objective: Duration,
    since: Option<Instant>,
}

impl StandingQueue {
    pub(crate) fn new(objective: Duration) -> Self {
        Self {
            objective,
            since: None,
        }
    }

    /// A newcomer found a slot: nothing stands any more.
    pub(crate) fn passed(&mut self) {
        self.since = None;
    }

    /// Whether a newcomer that would wait for `wait` may: until the patience that began with the
    /// first late one ends, or within the objective.
    pub(crate) fn admits(&mut self, wait: Duration, work_mean_s: f64, now: Instant) -> bool {
        if wait <= self.objective.max(turns(TURNS_MIN, work_mean_s)) {
            return true;
        }
        let since = *self.since.get_or_insert(now);
        let patience = PATIENCE.max(turns(PATIENCE_TURNS, work_mean_s));
        now.saturating_duration_since(since) + wait <= patience
    }
}

fn turns(count: f64, work_mean_s: f64) -> Duration {
    Duration::try_from_secs_f64(count * work_mean_s).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OBJECTIVE: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_waits_and_a_standing_queue_is_cut_to_the_objective() {
        let begin = Instant::now();
        let mut queue = StandingQueue::new(OBJECTIVE);
        assert!(queue.admits(ms(6_000), 0.05, begin));
        assert!(!queue.admits(ms(6_001), 0.05, begin));
        // A second later only what is served by the same time.
        assert!(queue.admits(ms(5_000), 0.05, begin + ms(1_000)));
        assert!(!queue.admits(ms(5_001), 0.05, begin + ms(1_000)));
        for later in [ms(6_000), ms(600_000)] {
            assert!(queue.admits(OBJECTIVE, 0.05, begin + later));
            assert!(!queue.admits(OBJECTIVE + ms(1), 0.05, begin + later));
        }
        queue.passed();
        assert!(queue.admits(ms(6_000), 0.05, begin + ms(600_000)));
    }

    #[test]
    fn slow_work_may_always_wait_for_two_turns() {
        let begin = Instant::now();
        let mut queue = StandingQueue::new(OBJECTIVE);
        assert!(queue.admits(ms(80_000), 20.0, begin));
        let late = begin + Duration::from_secs(3_600);
        assert!(queue.admits(ms(40_000), 20.0, late));
        assert!(!queue.admits(ms(40_001), 20.0, late));
    }

    proptest! {
        #[test]
        fn nobody_is_let_in_to_be_served_after_the_patience_but_within_the_objective(
            arrivals in prop::collection::vec((0_u64..2_000, 0_u64..20_000), 1..60),
            work_ms in 0_u64..3_000,
        ) {
            let mut now = Instant::now();
            let mut queue = StandingQueue::new(OBJECTIVE);
            let work_mean_s = work_ms as f64 / 1_000.0;
            let within = OBJECTIVE.max(ms(2 * work_ms));
            let mut first_late = None;
            for (gap, wait) in arrivals {
                now += ms(gap);
                let admitted = queue.admits(ms(wait), work_mean_s, now);
                if ms(wait) <= within {
                    prop_assert!(admitted);
                    continue;
                }
                let first = *first_late.get_or_insert(now);
                let served = now + ms(wait);
                prop_assert_eq!(admitted, served <= first + PATIENCE.max(ms(4 * work_ms)));
            }
        }
    }
}
