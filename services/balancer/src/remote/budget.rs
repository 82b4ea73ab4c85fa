//! How many requests may be given to a second node: a share of those that come, so that a storm
//! of losses does not double the load of those nodes that are left.
//!
//! The rule is that of Finagle's and tower's retry budgets: a tenth of the requests of the last
//! ten seconds, and three a second whatever comes.

use std::time::{Duration, Instant};

/// Repeats that each request earns.
const SHARE: f64 = 0.1;
/// Repeats a second that are always allowed.
const RATE_MIN_PER_S: f64 = 3.0;
/// What is not used is lost after this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Repeats that are left.
#[derive(Debug)]
pub(crate) struct RepeatBudget {
    balance: f64,
    /// Requests since the balance was last brought up to date, not counted in it yet.
    earned: f64,
    updated: Instant,
    rate_per_s: f64,
}

impl RepeatBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            balance: RATE_MIN_PER_S * WINDOW.as_secs_f64(),
            earned: 0.0,
            updated: now,
            rate_per_s: 0.0,
        }
    }

    /// Takes note of `requests` that have come.
    pub(crate) fn earn(&mut self, requests: u64, now: Instant) {
        self.earned += requests as f64 * SHARE;
        self.update(now);
    }

    /// Takes one repeat. False when there is none left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.update(now);
        let has_one = self.balance >= 1.0;
        if has_one {
            self.balance -= 1.0;
        }
        has_one
    }

    fn update(&mut self, now: Instant) {
        let elapsed_s = now.saturating_duration_since(self.updated).as_secs_f64();
        if elapsed_s <= 0.0 {
            return;
        }
        self.updated = now;
        let window_s = WINDOW.as_secs_f64();
        let share = (elapsed_s / window_s).min(1.0);
        self.rate_per_s += share * (self.earned / elapsed_s - self.rate_per_s);
        self.balance += self.earned + RATE_MIN_PER_S * elapsed_s;
        self.earned = 0.0;
        let most = (RATE_MIN_PER_S + self.rate_per_s) * window_s;
        self.balance = self.balance.min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &mut RepeatBudget, now: Instant) -> u32 {
        (0..100_000).take_while(|_| budget.take(now)).count() as u32
    }

    #[test]
    fn a_quiet_pool_has_three_a_second_for_ten_seconds() {
        let begin = Instant::now();
        let mut budget = RepeatBudget::new(begin);
        assert_eq!(taken(&mut budget, begin), 30);
        assert_eq!(taken(&mut budget, begin + Duration::from_secs(2)), 6);
        assert_eq!(taken(&mut budget, begin + Duration::from_secs(600)), 30);
    }

    #[test]
    fn a_busy_pool_has_a_tenth_of_what_comes() {
        let mut now = Instant::now();
        let mut budget = RepeatBudget::new(now);
        for _ in 0..600 {
            now += Duration::from_millis(100);
            budget.earn(100, now);
        }
        // 1,000 a second: 1,000 in ten seconds, and the thirty that are always there.
        let left = taken(&mut budget, now);
        assert!((1_000..=1_030).contains(&left), "{left}");
        let mut repeated = 0;
        for _ in 0..100 {
            now += Duration::from_millis(100);
            budget.earn(100, now);
            repeated += taken(&mut budget, now);
        }
        assert!((990..=1_040).contains(&repeated), "{repeated}");
    }
}
