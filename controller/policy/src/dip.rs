//! Load that stays away: more likely an outage upstream than people who changed their habits, and
//! after an outage everybody comes back at once. So the fleet is kept for a while.
//!
//! What to expect is told by the learned pattern. Where there is none to believe, it is what every
//! one of the last ten minutes brought: people come and go over minutes, and a load that is gone
//! within one was cut off. Such a guess may be wrong, so it costs less each time it was: a hold that
//! nobody came back to halves the next one, and a true one makes it whole again.

use serde::{Deserialize, Serialize};

/// Share of the expected rate below which load is missing.
const MISSING: f64 = 0.2;
/// Share of it from which it is back.
const BACK: f64 = 0.5;
/// For how long the fleet is kept.
const HOLD_MS: u64 = 900_000;
/// How often a hold that was guessed in vain is halved at most.
const HALVED_MAX: u8 = 4;
/// Load in slots below which nobody would notice.
const SLOTS_MIN: f64 = 4.0;
/// Minutes that must all have brought the load before its end is called sudden.
const MINUTES: usize = 10;
const MINUTE_S: f64 = 60.0;

/// The absence that lasts, if one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Absence {
    began_ms: u64,
    expected_rate: f64,
    /// For how long the fleet is kept; all of the hold where nothing is said.
    hold_ms: Option<u64>,
}

impl Absence {
    fn ends_ms(&self) -> u64 {
        self.began_ms
            .saturating_add(self.hold_ms.unwrap_or(HOLD_MS))
    }
}

/// Mean rates of the last minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Minutes {
    rates: [f64; MINUTES],
    /// Of them known.
    known: usize,
    next: usize,
    /// Requests and seconds of the minute that runs.
    requests: f64,
    seconds: f64,
}

impl Minutes {
    fn add(&mut self, window_s: f64, rate: f64) {
        self.requests += rate * window_s;
        self.seconds += window_s;
        if self.seconds < MINUTE_S {
            return;
        }
        let mean = self.requests / self.seconds;
        (self.requests, self.seconds) = (0.0, 0.0);
        let next = self.next % MINUTES;
        if let Some(slot) = self.rates.get_mut(next) {
            *slot = if mean.is_finite() { mean } else { 0.0 };
        }
        self.next = (next + 1) % MINUTES;
        self.known = (self.known + 1).min(MINUTES);
    }

    /// What each of them brought at least.
    fn least(&self) -> Option<f64> {
        let least = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        (self.known == MINUTES && least.is_finite()).then_some(least)
    }
}

/// Whether expected load stays away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dip {
    absence: Option<Absence>,
    minutes: Minutes,
    /// How often in a row nobody came back to a hold that was guessed.
    in_vain: u8,
}

impl Dip {
    /// Takes in a window with `rate` requests per second.
    pub(crate) fn observe(&mut self, window_s: f64, rate: f64) {
        self.minutes.add(window_s, rate);
    }

    /// Takes in the rate of the last seconds beside the median that the pattern expects.
    pub(crate) fn see(&mut self, now_ms: u64, rate: f64, median_rate: Option<f64>, service_s: f64) {
        let median_rate = median_rate.filter(|median| median.is_finite());
        if let Some(absence) = self.absence {
            // Back, or as it usually is by now.
            let usual = median_rate.is_some_and(|median| rate >= BACK * median);
            let guessed = absence.hold_ms.is_some();
            if rate >= BACK * absence.expected_rate || usual {
                self.absence = None;
                if guessed && now_ms < absence.ends_ms() {
                    self.in_vain = 0;
                }
            } else if guessed && now_ms >= absence.ends_ms() {
                self.absence = None;
                self.in_vain = (self.in_vain + 1).min(HALVED_MAX);
                // The minutes of the absence are the new measure of what is usual.
                self.minutes = Minutes::default();
            }
            return;
        }
        let guess = self.minutes.least().filter(|_| median_rate.is_none());
        if let Some(expected_rate) = median_rate.or(guess)
            && expected_rate * service_s >= SLOTS_MIN
            && rate < MISSING * expected_rate
        {
            self.absence = Some(Absence {
                began_ms: now_ms,
                expected_rate,
                hold_ms: guess.map(|_| HOLD_MS >> self.in_vain.min(HALVED_MAX)),
            });
        }
    }

    /// Whether the absence that lasts was told by the last minutes rather than by the pattern.
    pub(crate) fn is_guess(&self) -> bool {
        self.absence
            .is_some_and(|absence| absence.hold_ms.is_some())
    }

    /// Policy time until which the fleet is kept.
    pub(crate) fn held_until_ms(&self) -> u64 {
        self.absence.map_or(0, |absence| absence.ends_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_load_holds_a_quarter_of_an_hour_and_only_once() {
        let mut dip = Dip::default();
        dip.see(1_000, 90.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
        dip.see(2_000, 3.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 2_000 + HOLD_MS);
        dip.see(3_000_000, 3.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 2_000 + HOLD_MS, "it is not renewed");
        dip.see(3_001_000, 80.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
    }

    /// Seconds for which a sudden end of ten calm minutes holds the fleet.
    fn hold_s(dip: &mut Dip, from_ms: u64) -> u64 {
        (0..660).for_each(|_| dip.observe(1.0, 100.0));
        dip.see(from_ms, 3.0, None, 0.5);
        dip.held_until_ms().saturating_sub(from_ms) / 1_000
    }

    #[test]
    fn a_load_that_is_cut_off_holds_the_fleet_and_less_each_time_it_stayed_away() {
        let mut dip = Dip::default();
        let mut held = Vec::new();
        for nth in 0..6_u64 {
            let from_ms = nth * 10_000_000;
            held.push(hold_s(&mut dip, from_ms));
            dip.see(from_ms + 5_000_000, 3.0, None, 0.5);
            assert_eq!(dip.held_until_ms(), 0, "it is over");
        }
        assert_eq!(held, [900, 450, 225, 112, 56, 56]);
        assert_eq!(hold_s(&mut dip, 70_000_000), 56);
        dip.see(70_010_000, 90.0, None, 0.5);
        assert_eq!(hold_s(&mut dip, 80_000_000), 900, "it was right");
    }

    #[test]
    fn a_load_that_fades_or_was_short_is_not_missed() {
        let mut fades = Dip::default();
        (0..660).for_each(|_| fades.observe(1.0, 100.0));
        for s in 0..300 {
            let rate = 100.0 * (-f64::from(s) / 100.0).exp();
            fades.observe(1.0, rate);
            fades.see(1_000 * s as u64, rate, None, 0.5);
        }
        assert_eq!(fades.held_until_ms(), 0);
        let mut short = Dip::default();
        (0..500).for_each(|_| short.observe(1.0, 100.0));
        short.see(500_000, 3.0, None, 0.5);
        assert_eq!(short.held_until_ms(), 0);
    }

    #[test]
    fn a_pattern_that_expects_little_is_believed_before_the_last_minutes() {
        let mut dip = Dip::default();
        (0..660).for_each(|_| dip.observe(1.0, 100.0));
        dip.see(660_000, 3.0, Some(4.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
    }

    #[test]
    fn without_a_pattern_or_with_little_load_nothing_is_missed() {
        let mut dip = Dip::default();
        dip.see(1_000, 0.0, None, 0.5);
        dip.see(2_000, 0.0, Some(4.0), 0.5);
        dip.see(3_000, 0.0, Some(f64::NAN), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
    }

    #[test]
    fn what_is_missing_is_less_than_a_fifth_and_what_is_back_is_half() {
        let mut dip = Dip::default();
        dip.see(1_000, 20.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0, "a fifth is there");
        dip.see(2_000, 19.9, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 2_000 + HOLD_MS);
        dip.see(3_000, 49.9, Some(100.0), 0.5);
        assert!(dip.held_until_ms() > 0);
        dip.see(4_000, 50.0, None, 0.5);
        assert_eq!(dip.held_until_ms(), 0);
    }

    #[test]
    fn a_load_that_is_as_usual_by_now_is_missed_no_longer() {
        let mut dip = Dip::default();
        dip.see(1_000, 3.0, Some(100.0), 0.5);
        // The evening came: what stays away is no more than what there is.
        dip.see(2_000, 3.0, Some(5.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
        assert!(!dip.is_guess());
    }

    #[test]
    fn what_would_be_missed_is_counted_in_slots() {
        let mut dip = Dip::default();
        dip.see(1_000, 0.0, Some(79.0), 0.05);
        assert_eq!(dip.held_until_ms(), 0, "nobody notices four slots less");
        dip.see(2_000, 0.0, Some(80.0), 0.05);
        assert!(dip.held_until_ms() > 0);
        let mut slow = Dip::default();
        slow.see(1_000, 0.0, Some(0.5), 8.0);
        assert!(
            slow.held_until_ms() > 0,
            "half a request a second of eight seconds"
        );
    }

    #[test]
    fn the_least_of_ten_whole_minutes_is_what_is_guessed_by() {
        let mut dip = Dip::default();
        // Reports of two seconds: ten minutes are three hundred of them.
        (0..299).for_each(|_| dip.observe(2.0, 100.0));
        dip.see(1_000, 3.0, None, 0.5);
        assert_eq!(dip.held_until_ms(), 0, "the tenth minute is not over");
        dip.observe(2.0, 100.0);
        assert!(!dip.is_guess());
        dip.see(2_000, 15.0, None, 0.5);
        assert!(dip.is_guess(), "a hundred a second came, not fifty");
        let mut swings = Dip::default();
        for minute in 0..10 {
            let rate = if minute == 4 { 10.0 } else { 100.0 };
            (0..60).for_each(|_| swings.observe(1.0, rate));
        }
        swings.see(3_000, 3.0, None, 0.5);
        assert_eq!(
            swings.held_until_ms(),
            0,
            "so little came a while ago as well"
        );
    }

    #[test]
    fn a_hold_by_the_pattern_is_neither_halved_nor_ended_by_guesses_in_vain() {
        let mut dip = Dip::default();
        (0..2).for_each(|nth| {
            hold_s(&mut dip, nth * 10_000_000);
            dip.see(nth * 10_000_000 + 5_000_000, 3.0, None, 0.5);
        });
        (0..660).for_each(|_| dip.observe(1.0, 100.0));
        dip.see(30_000_000, 3.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 30_000_000 + HOLD_MS);
        assert!(!dip.is_guess());
        // A load that comes back after a guess is over proves nothing.
        dip.see(30_000_001, 90.0, Some(100.0), 0.5);
        let mut late = Dip::default();
        hold_s(&mut late, 0);
        late.see(900_000, 3.0, None, 0.5);
        assert_eq!(late.held_until_ms(), 0);
        late.see(901_000, 3.0, None, 0.5);
        assert_eq!(late.held_until_ms(), 0, "the minutes before count no more");
        assert_eq!(hold_s(&mut late, 10_000_000), 450);
        late.see(10_000_000 + 450_000, 90.0, None, 0.5);
        assert_eq!(hold_s(&mut late, 20_000_000), 450, "it was over");
    }

    #[test]
    fn a_load_that_stays_away_three_hundred_times_is_held_for_a_minute_still() {
        let mut dip = Dip::default();
        for nth in 0..300 {
            hold_s(&mut dip, nth * 10_000_000);
            dip.see(nth * 10_000_000 + 5_000_000, 3.0, None, 0.5);
        }
        assert_eq!(hold_s(&mut dip, 4_000_000_000), 56);
    }
}
