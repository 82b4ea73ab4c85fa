//! A cap on what a pool costs: so many worker-hours are earned each hour, at most one hour's worth is
//! saved up, and what is saved pays for bursts. As the account empties the pool is brought down to
//! what it earns, and never below that: a pool that was dear must not be left without workers.

use serde::{Deserialize, Serialize};

const HOUR_S: f64 = 3_600.0;
/// The account is spread over this time: short enough to use it, long enough to come down gently.
const SPREAD_S: f64 = 300.0;

/// Worker-seconds that are saved up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Spend {
    /// Nothing before the first second: a new pool has an hour's worth.
    saved_s: Option<f64>,
}

impl Spend {
    /// Lets `dt_s` seconds pass in which `have` workers served or started.
    pub(crate) fn pass(&mut self, dt_s: f64, have: u32, worker_h: f64) {
        let most = worker_h * HOUR_S;
        let saved_s = self.saved_s.filter(|s| s.is_finite()).unwrap_or(most);
        let earned = (worker_h - f64::from(have)) * dt_s;
        self.saved_s = Some((saved_s + earned).clamp(0.0, most));
    }

    /// Most workers that the account has room for when `worker_h` are earned an hour.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates and the value is not negative"
    )]
    pub(crate) fn limit(&self, worker_h: f64) -> u32 {
        let saved_s = self.saved_s.unwrap_or(worker_h * HOUR_S);
        let limit = worker_h + saved_s.max(0.0) / SPREAD_S;
        // Rounding down would never let a pool have what it earns: 2.9999 is three.
        (limit + 1e-6).floor() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_hour_pays_for_a_burst_and_then_the_pool_lives_on_what_it_earns() {
        let mut spend = Spend::default();
        assert_eq!(spend.limit(4.0), 52);
        let mut used = 0.0;
        let mut most = u32::MAX;
        for _ in 0..7_200 {
            let have = spend.limit(4.0);
            assert!(have <= most, "it comes down without turning back");
            most = have;
            spend.pass(1.0, have, 4.0);
            used += f64::from(have);
        }
        assert_eq!(spend.limit(4.0), 4);
        // Two hours' worth and the one that was saved.
        assert!(used <= 3.0 * 4.0 * HOUR_S + 60.0, "{used}");
        assert!(used > 2.9 * 4.0 * HOUR_S, "{used}");
    }

    #[test]
    fn no_more_than_an_hour_is_saved_and_a_corrupt_account_heals() {
        let mut spend = Spend::default();
        (0..90_000).for_each(|_| spend.pass(1.0, 0, 2.0));
        assert_eq!(spend.limit(2.0), 26);
        spend.saved_s = Some(f64::NAN);
        spend.pass(1.0, 2, 2.0);
        assert_eq!(spend.limit(2.0), 26);
    }
}
