//! Whether this process ran: while it is stopped, or has no processor, clocks go on, and what ends
//! afterwards seems to have taken all that time.

use std::time::{Duration, Instant};

/// Beats come every 50 ms. One so long after the last says that nothing ran meanwhile.
const LATE: Duration = Duration::from_millis(300);

/// The beats of a timer of this process.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    last: Option<Instant>,
    /// When the latest gap between beats ended.
    gap_end: Option<Instant>,
}

impl Pulse {
    pub(crate) fn beat(&mut self, now: Instant) {
        if self.is_late(now) {
            self.gap_end = Some(now);
        }
        self.last = Some(now);
    }

    /// Whether the process did not run for some of the time from `since` until now. Whoever wakes
    /// before the timer does is told as well. Without beats nothing is known, and nothing doubted.
    pub(crate) fn has_gap(&self, since: Instant, now: Instant) -> bool {
        self.gap_end.is_some_and(|end| since < end) || self.is_late(now)
    }

    fn is_late(&self, now: Instant) -> bool {
        self.last
            .is_some_and(|last| now.saturating_duration_since(last) >= LATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Beats every 50 ms for a second.
    fn beating(pulse: &mut Pulse, begin: Instant) -> Instant {
        (0..=20).for_each(|beat| pulse.beat(begin + beat * 50 * MS));
        begin + 1_000 * MS
    }

    #[test]
    fn time_in_which_nothing_ran_is_known_before_and_after_the_late_beat() {
        let begin = Instant::now();
        let mut pulse = Pulse::default();
        let stopped = beating(&mut pulse, begin);
        assert!(!pulse.has_gap(begin, stopped + 50 * MS));
        let woken = stopped + 6_500 * MS;
        assert!(pulse.has_gap(stopped - MS, woken));
        pulse.beat(woken);
        assert!(pulse.has_gap(stopped - MS, woken + MS));
        assert!(!pulse.has_gap(woken, woken + 20 * MS));
        // Whatever spans it does, however much later it ends.
        let later = beating(&mut pulse, woken);
        assert!(pulse.has_gap(stopped, later));
        assert!(!pulse.has_gap(woken, later));
    }

    #[test]
    fn without_beats_and_with_beats_that_are_a_little_late_nothing_is_doubted() {
        let begin = Instant::now();
        let mut pulse = Pulse::default();
        assert!(!pulse.has_gap(begin, begin + 60_000 * MS));
        (0..20).for_each(|beat| pulse.beat(begin + beat * 290 * MS));
        assert!(!pulse.has_gap(begin, begin + 20 * 290 * MS));
    }
}
