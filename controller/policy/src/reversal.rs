//! What changing one's mind costs: a price that adapts, and a budget that cannot be overdrawn.
//!
//! Retiring a worker that is wanted again minutes later saves little and worries everybody. The
//! price is what a retirement must have been able to save; it rises with each reversal and decays
//! to hold the wanted number a day. The budget is the last resort against load that swings in step
//! with the rule.

use serde::{Deserialize, Serialize};

use crate::config::{Bounds, TidepoolConfig};
use crate::decision::Direction;

/// A change of direction within this time of the last change is a reversal.
pub(crate) const REVERSAL_MS: u64 = 600_000;
const PRICE_STEP: f64 = 1.1;
const PRICE_S_MIN: f64 = 2.0;
const PRICE_S_MAX: f64 = 300.0;
const DAY_S: f64 = 86_400.0;
/// Reversals that may be owed: growth is never held, so a budget that ran out can still be charged.
const OWED_MAX: f64 = 8.0;

/// The last change of the target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Policy time.
    pub(crate) at_ms: u64,
    /// Where it went.
    pub(crate) direction: Direction,
}

/// Price and budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reversals {
    /// Current price over the configured one; zero stands for one, so that a default is right.
    price_factor: f64,
    /// Reversals that the budget has been charged with and not yet earned back.
    spent: f64,
    last: Option<Change>,
}

impl Reversals {
    /// Lets `dt_s` seconds pass.
    pub(crate) fn pass(&mut self, dt_s: f64, bounds: &Bounds, per_day: f64) {
        self.spent = (self.spent - dt_s / bounds.reversal_refill_s.max(1.0)).max(0.0);
        let decay = (PRICE_STEP - 1.0) * per_day * dt_s / DAY_S;
        self.price_factor = self.factor() * (1.0 - decay.clamp(0.0, 1.0));
    }

    fn factor(&self) -> f64 {
        if self.price_factor > 0.0 && self.price_factor.is_finite() {
            self.price_factor
        } else {
            1.0
        }
    }

    /// Seconds of the mean fleet that a retirement must be able to save.
    pub(crate) fn price_s(&self, config: &TidepoolConfig) -> f64 {
        let price_s = config.reversal_price_s * self.factor();
        price_s.clamp(PRICE_S_MIN.min(config.reversal_price_s), PRICE_S_MAX)
    }

    fn is_reversal(&self, direction: Direction, now_ms: u64) -> bool {
        self.last.is_some_and(|last| {
            last.direction != direction && now_ms.saturating_sub(last.at_ms) < REVERSAL_MS
        })
    }

    /// Whether no reversal is left to spend.
    pub(crate) fn exhausted(&self, bounds: &Bounds) -> bool {
        self.spent + 1.0 > bounds.reversals_max
    }

    /// Policy time at which a reversal is earned.
    pub(crate) fn earned_ms(&self, bounds: &Bounds, now_ms: u64) -> u64 {
        let over = (self.spent + 1.0 - bounds.reversals_max).max(0.0);
        now_ms.saturating_add(crate::clock::millis(over * bounds.reversal_refill_s))
    }

    /// Records a change of the target.
    pub(crate) fn record(&mut self, direction: Direction, now_ms: u64, bounds: &Bounds) {
        if self.is_reversal(direction, now_ms) {
            self.spent = (self.spent + 1.0).min(bounds.reversals_max + OWED_MAX);
            self.price_factor = (self.factor() * PRICE_STEP).min(PRICE_S_MAX);
        }
        self.last = Some(Change {
            at_ms: now_ms,
            direction,
        });
    }

    /// The last change, if there was one.
    pub(crate) fn last(&self) -> Option<Change> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            reversals_max: 2.0,
            reversal_refill_s: 100.0,
            ..Bounds::default()
        }
    }

    #[test]
    fn the_budget_runs_out_and_refills() {
        let mut reversals = Reversals::default();
        for (at_ms, direction) in [(0, Direction::Up), (1, Direction::Down), (2, Direction::Up)] {
            assert!(!reversals.exhausted(&bounds()));
            reversals.record(direction, at_ms, &bounds());
        }
        assert!(reversals.exhausted(&bounds()));
        assert_eq!(reversals.earned_ms(&bounds(), 3), 100_003);
        (0..=100).for_each(|_| reversals.pass(1.0, &bounds(), 28.0));
        assert!(!reversals.exhausted(&bounds()));
    }

    #[test]
    fn a_change_after_ten_quiet_minutes_is_no_reversal() {
        let mut reversals = Reversals::default();
        reversals.record(Direction::Up, 0, &bounds());
        reversals.record(Direction::Down, REVERSAL_MS, &bounds());
        assert_eq!(reversals.spent, 0.0);
        reversals.record(Direction::Up, 2 * REVERSAL_MS - 1, &bounds());
        assert_eq!(reversals.spent, 1.0);
    }

    #[test]
    fn the_price_rises_with_reversals_and_decays_at_the_wanted_pace() {
        let config = TidepoolConfig::default();
        let mut reversals = Reversals::default();
        assert_eq!(reversals.price_s(&config), 20.0);
        reversals.record(Direction::Up, 0, &bounds());
        reversals.record(Direction::Down, 1, &bounds());
        assert!((reversals.price_s(&config) - 22.0).abs() < 1e-9);
        let between_s = DAY_S / 28.0;
        (0..between_s as u32).for_each(|_| reversals.pass(1.0, &bounds(), 28.0));
        assert!((reversals.price_s(&config) - 20.0).abs() < 0.2);
    }

    #[test]
    fn the_same_direction_twice_is_no_reversal() {
        let mut reversals = Reversals::default();
        (0..9).for_each(|s| reversals.record(Direction::Up, 1_000 * s, &bounds()));
        assert_eq!(reversals.spent, 0.0);
        assert_eq!(reversals.price_s(&TidepoolConfig::default()), 20.0);
    }

    #[test]
    fn what_growth_had_to_take_is_owed_within_limits_and_a_fraction_of_a_reversal_is_none() {
        let mut reversals = Reversals::default();
        for at_ms in 0..6 {
            let direction = [Direction::Up, Direction::Down][at_ms as usize % 2];
            reversals.record(direction, at_ms, &bounds());
        }
        assert_eq!(reversals.spent, 5.0, "three of them are owed");
        reversals.pass(399.0, &bounds(), 28.0);
        assert!(reversals.exhausted(&bounds()));
        assert_eq!(reversals.earned_ms(&bounds(), 0), 1_000);
        reversals.pass(1.0, &bounds(), 28.0);
        assert!(!reversals.exhausted(&bounds()));
        assert_eq!(
            reversals.earned_ms(&bounds(), 7),
            7,
            "there is one to spend"
        );
        reversals.pass(1e9, &bounds(), 28.0);
        assert_eq!(reversals.spent, 0.0);
        for at_ms in 0..200 {
            let direction = [Direction::Up, Direction::Down][at_ms as usize % 2];
            reversals.record(direction, at_ms, &bounds());
        }
        assert_eq!(reversals.spent, 2.0 + OWED_MAX);
    }

    #[test]
    fn the_price_stays_within_its_limits() {
        let config = TidepoolConfig::default();
        let mut reversals = Reversals::default();
        for at_ms in 0..200 {
            let direction = [Direction::Up, Direction::Down][at_ms as usize % 2];
            reversals.record(direction, at_ms, &bounds());
        }
        assert_eq!(reversals.price_s(&config), PRICE_S_MAX);
        (0..100).for_each(|_| reversals.pass(3_600.0, &bounds(), 28.0));
        assert_eq!(reversals.price_s(&config), PRICE_S_MIN);
        let free = TidepoolConfig {
            reversal_price_s: 0.0,
            ..config
        };
        assert_eq!(reversals.price_s(&free), 0.0, "who asks for none pays none");
    }
}
