//! Whether a pattern is to be believed while its pool sleeps.
//!
//! All day long a profile is held against the last value by how far, as a factor, each was off. A pool
//! that sleeps has no last value, and what matters of its night is one moment, which that mean drowns
//! in the noise of the busy hours: the morning, and whether somebody is there. So forecasts made while
//! nothing came have an account of their own, in requests: those that came and were not expected, at
//! ten times the price of those that were expected and did not come. To sleep on expects nothing, and
//! pays for all that come. The pattern is believed while it pays less, and on trial before its first
//! morning: most pools live by the day, and whom it calls in vain once it calls no more.
//!
//! This is the loss of the newsvendor (Arrow, Harris and Marschak, "Optimal Inventory Policy", 1951):
//! whom too little costs more than too much.

use serde::{Deserialize, Serialize};

use crate::{forecast::READY_FOR_LEAST, horizon::JUDGED_S, stored};

/// Requests expected in vain that one which nobody expected is worth.
const PRICE: f64 = 10.0;
/// Half-life of what was paid, in days of forecasts made asleep: mornings come once a day, those of
/// some days once a week.
pub(crate) const HALF_LIFE_DAYS: f64 = 14.0;
/// Rate above which an account of years would not fit into what may be stored.
const RATE_MAX: f64 = 1e6;
/// What a pattern on trial may cost more than to sleep on: less than one morning in vain.
const TRIAL: f64 = 50.0;

/// What forecasts made while nothing came have cost, fading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waking {
    /// Cost of expecting what the profile says.
    #[serde(with = "stored")]
    pub(crate) profile: f64,
    /// Cost of sleeping on: of every request that came.
    #[serde(with = "stored")]
    pub(crate) asleep: f64,
}

impl Waking {
    /// Whether it was never judged. Such a one is not stored.
    pub(crate) fn is_new(&self) -> bool {
        self.profile == 0.0 && self.asleep == 0.0
    }

    /// Whether to be ready for what the profile expects of a pool that sleeps.
    pub(crate) fn is_believed(&self) -> bool {
        self.profile < self.asleep + TRIAL
    }

    /// Learns from rates in requests per second: what the profile expected of a sleeping pool, and
    /// what came. Everything older fades by `kept`.
    pub(crate) fn learn(&mut self, expected: f64, came: f64, kept: f64) {
        // Nobody is woken for less.
        let expected = if expected < READY_FOR_LEAST {
            0.0
        } else {
            expected
        };
        let [came, expected] = [came, expected].map(|rate| rate.min(RATE_MAX));
        let missing = (came - expected) * JUDGED_S;
        let cost = if missing > 0.0 {
            PRICE * missing
        } else {
            -missing
        };
        self.profile = self.profile * kept + cost;
        self.asleep = self.asleep * kept + PRICE * came * JUDGED_S;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of forecasts made every 50 s.
    const KEPT: f64 = 0.999_971;

    /// Nights of an hour each, in forecasts of every 50 s, and a morning of `came` requests per second
    /// of which the profile expects `expected`.
    fn after(nights: usize, expected: f64, came: f64) -> Waking {
        let mut waking = Waking::default();
        for _ in 0..nights {
            (0..72).for_each(|_| waking.learn(0.0, 0.0, KEPT));
            (0..12).for_each(|_| waking.learn(expected, came, KEPT));
        }
        waking
    }

    #[test]
    fn a_first_morning_is_believed_on_trial_and_one_in_vain_ends_it() {
        assert!(Waking::default().is_believed());
        assert!(!after(1, 10.0, 0.0).is_believed());
        assert!(after(1, 10.0, 10.0).is_believed());
    }

    #[test]
    fn silent_nights_prove_nothing_and_who_never_wakes_anybody_is_no_help() {
        let mut nights = after(1_000, 0.0, 0.0);
        assert_eq!(nights, Waking::default());
        // Less than a request a minute is no call.
        nights.learn(0.016, 0.0, KEPT);
        assert_eq!(nights, Waking::default());
        let deaf = after(5, 0.0, 10.0);
        assert_eq!(deaf.profile, deaf.asleep);
    }

    #[test]
    fn expecting_too_much_is_ten_times_cheaper_than_too_little() {
        assert!(after(3, 19.0, 10.0).is_believed());
        assert!(after(3, 100.0, 10.0).is_believed());
        assert!(!after(3, 120.0, 10.0).is_believed());
        assert!(
            after(3, 1.0, 10.0).is_believed(),
            "some is better than none"
        );
    }

    #[test]
    fn mornings_that_do_not_come_any_more_are_unlearned() {
        let mut waking = after(10, 10.0, 10.0);
        let mut mornings = 0;
        while waking.is_believed() && mornings < 1_000 {
            (0..12).for_each(|_| waking.learn(10.0, 0.0, KEPT));
            mornings += 1;
        }
        assert!((50..150).contains(&mornings), "{mornings}");
    }
}
