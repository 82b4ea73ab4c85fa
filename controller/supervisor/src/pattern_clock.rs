//! The time that patterns live in. It is the time of day, unless it is sped up to show or to test
//! within minutes what takes days: then it begins on a Monday's midnight, so that the first days are
//! working days and whole ones.

use std::sync::OnceLock;

use tidepool_core::Timestamp;

/// Least look ahead in real seconds: decisions are a second apart.
const LEAD_S_MIN: f64 = 1.0;
/// Longest look ahead in seconds of pattern time.
const LEAD_S_MAX: f64 = 21_600.0;
/// Longest window that a pattern is fed with while time is sped up, in seconds of pattern time. A
/// pattern judges its forecasts on the moment, and drops those it is too late for.
const WINDOW_S_MAX: f64 = 10.0;
/// Most windows that one observation is cut into: a minute's report at the highest speed.
const WINDOWS_MAX: f64 = 60_000.0;
const WEEK_MS: u64 = 604_800_000;
/// The epoch was a Thursday.
const MONDAY_MS: u64 = 345_600_000;

/// How patterns learn.
#[derive(Clone, Copy, Debug)]
pub struct Learning<'a> {
    /// IANA name of the time zone whose hours are learned.
    pub zone: &'a str,
    /// Seconds of pattern time in a second: 1, or up to 10,000 for a demonstration.
    pub speed: f64,
}

/// Turns real time into pattern time.
#[derive(Debug)]
pub(crate) struct PatternClock {
    speed: f64,
    /// The first moment that was asked for.
    began: OnceLock<Timestamp>,
}

/// A window in pattern time. The arrivals keep the real rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// Its end.
    pub(crate) at_ms: u64,
    pub(crate) seconds: f64,
    pub(crate) arrivals: f64,
}

impl PatternClock {
    pub(crate) fn new(speed: f64) -> Self {
        Self {
            speed: if speed.is_finite() {
                speed.clamp(1.0, 10_000.0)
            } else {
                1.0
            },
            began: OnceLock::new(),
        }
    }

    /// Whether pattern time is real time.
    pub(crate) fn is_real(&self) -> bool {
        self.speed <= 1.0
    }

    /// Pattern time in milliseconds since the epoch.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "milliseconds of a run are far below 2^52 and not negative"
    )]
    pub(crate) fn at_ms(&self, now: Timestamp) -> u64 {
        if self.is_real() {
            return now.0;
        }
        let began = self.began.get_or_init(|| now);
        let elapsed_ms = now.0.saturating_sub(began.0) as f64 * self.speed;
        last_monday_ms(began.0).saturating_add(elapsed_ms as u64)
    }

    /// Pattern time that goes by while a worker starts, within what a pattern can look ahead.
    pub(crate) fn lead_s(&self, startup_s: f64) -> f64 {
        (startup_s.max(LEAD_S_MIN) * self.speed).min(LEAD_S_MAX)
    }

    /// The windows to feed a pattern with for `arrivals` within the `window_s` real seconds before
    /// `now`, oldest first.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the count of windows is bounded, and milliseconds are not negative"
    )]
    pub(crate) fn windows(
        &self,
        now: Timestamp,
        window_s: f64,
        arrivals: f64,
    ) -> impl Iterator<Item = Window> + use<> {
        let end_ms = self.at_ms(now);
        let whole_s = window_s * self.speed;
        let count = if self.is_real() {
            1.0
        } else {
            (whole_s / WINDOW_S_MAX).ceil().clamp(1.0, WINDOWS_MAX)
        };
        let (seconds, arrivals) = (whole_s / count, arrivals * self.speed / count);
        (0..count as u32).rev().map(move |before| Window {
            at_ms: end_ms.saturating_sub((f64::from(before) * seconds * 1e3) as u64),
            seconds,
            arrivals,
        })
    }
}

fn last_monday_ms(at_ms: u64) -> u64 {
    at_ms - at_ms.saturating_sub(MONDAY_MS).min(at_ms) % WEEK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_956_645_678);
    const MIDNIGHT_MS: u64 = 1_767_571_200_000;

    #[test]
    fn at_its_own_pace_nothing_changes() {
        let clock = PatternClock::new(1.0);
        let later = Timestamp(NOW.0 + 1_234);
        assert_eq!((clock.at_ms(NOW), clock.at_ms(later)), (NOW.0, later.0));
        assert!((clock.lead_s(0.02) - 1.0).abs() < 1e-9);
        assert!((clock.lead_s(90.0) - 90.0).abs() < 1e-9);
        let fed: Vec<_> = clock.windows(NOW, 60.0, 90.0).collect();
        let whole = Window {
            at_ms: NOW.0,
            seconds: 60.0,
            arrivals: 90.0,
        };
        assert_eq!(fed, [whole]);
    }

    #[test]
    fn sped_up_it_begins_on_a_monday_and_keeps_the_rate() {
        let clock = PatternClock::new(2_000.0);
        assert_eq!(clock.at_ms(NOW), MIDNIGHT_MS);
        let later = Timestamp(NOW.0 + 1_500);
        assert_eq!(clock.at_ms(later), MIDNIGHT_MS + 3_000_000);
        assert!((clock.lead_s(0.02) - 2_000.0).abs() < 1e-9);
        assert!((clock.lead_s(90.0) - LEAD_S_MAX).abs() < 1e-9);
        let fed: Vec<_> = clock.windows(later, 0.5, 20.0).collect();
        assert_eq!(fed.len(), 100);
        assert_eq!(
            fed.last().map(|window| window.at_ms),
            Some(MIDNIGHT_MS + 3_000_000)
        );
        assert_eq!(fed[0].at_ms, MIDNIGHT_MS + 3_000_000 - 990_000);
        for window in fed {
            assert!((window.seconds - 10.0).abs() < 1e-9);
            assert!((window.arrivals / window.seconds - 40.0).abs() < 1e-9);
        }
    }

    #[test]
    fn nonsense_makes_neither_a_flood_nor_a_panic() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let clock = PatternClock::new(speed);
            clock.at_ms(NOW);
            assert_eq!(
                clock.at_ms(Timestamp(0)).min(1),
                u64::from(!clock.is_real())
            );
            for window_s in [0.0, f64::NAN, 1e300, -5.0] {
                let windows = clock.windows(NOW, window_s, 1.0).take(100_000).count();
                assert!(windows <= 60_000, "{windows}");
            }
        }
    }
}
