//! Which balancers are heard of. Pure, with time passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidepool_wire::frame::InstanceId;

/// A balancer that gives no sign of life for so long, three times as long as it leaves between two, is
/// silent.
const SILENT_AFTER: Duration = Duration::from_millis(750);
/// A look this late says that it was this process that was silent.
const STALL: Duration = Duration::from_millis(200);

/// When each balancer was heard of last.
#[derive(Default)]
pub(super) struct Silence {
    heard: BTreeMap<InstanceId, Instant>,
    looked: Option<Instant>,
}

impl Silence {
    /// A balancer has given a sign of life.
    pub(super) fn heard(&mut self, balancer: InstanceId, now: Instant) {
        self.heard.insert(balancer, now);
    }

    /// A balancer is not there any more.
    pub(super) fn gone(&mut self, balancer: InstanceId) {
        self.heard.remove(&balancer);
    }

    /// It is looked who is silent. Late looks prove nothing: signs of life may lie there unread, and the
    /// time begins anew.
    pub(super) fn look(&mut self, now: Instant) {
        let looked = self.looked.replace(now).unwrap_or(now);
        if now.saturating_duration_since(looked) >= STALL {
            self.heard.values_mut().for_each(|heard| *heard = now);
        }
    }

    /// Whether a balancer has said nothing for long, as of the last look.
    pub(super) fn is_silent(&self, balancer: InstanceId) -> bool {
        let heard = self.heard.get(&balancer);
        let lasts = heard.zip(self.looked);
        lasts.is_some_and(|(heard, now)| now.saturating_duration_since(*heard) >= SILENT_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstanceId = [1; 16];
    const OTHER: InstanceId = [2; 16];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks every 50 ms, from the one time to the other.
    fn looks(silence: &mut Silence, begin: Instant, span: std::ops::RangeInclusive<u64>) {
        for at_ms in span.step_by(50) {
            silence.look(begin + ms(at_ms));
        }
    }

    #[test]
    fn who_says_nothing_for_three_signs_of_life_is_silent_until_it_is_heard() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        silence.heard(ONE, begin);
        silence.heard(OTHER, begin);
        looks(&mut silence, begin, 0..=500);
        silence.heard(OTHER, begin + ms(500));
        looks(&mut silence, begin, 550..=700);
        assert!(!silence.is_silent(ONE), "two may be late");
        looks(&mut silence, begin, 750..=750);
        assert!(silence.is_silent(ONE));
        assert!(!silence.is_silent(OTHER));
        silence.heard(ONE, begin + ms(760));
        assert!(!silence.is_silent(ONE));
    }

    #[test]
    fn who_slept_itself_waits_as_long_again() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        silence.heard(ONE, begin);
        looks(&mut silence, begin, 0..=100);
        looks(&mut silence, begin, 30_000..=30_700);
        assert!(!silence.is_silent(ONE));
        looks(&mut silence, begin, 30_750..=30_750);
        assert!(silence.is_silent(ONE));
    }

    #[test]
    fn who_is_gone_or_was_never_heard_is_not_silent() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        silence.heard(ONE, begin);
        silence.gone(ONE);
        looks(&mut silence, begin, 0..=1_000);
        assert!(!silence.is_silent(ONE));
        assert!(silence.heard.is_empty(), "nothing is kept of it");
    }
}
