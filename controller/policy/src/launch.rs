//! How fast a pool may grow: within one start-up time some times over, or by a few workers.
//!
//! Workers that are still starting cannot have shown yet whether they help.

use serde::{Deserialize, Serialize};

use crate::config::Bounds;

/// What a pool may gain within one start-up time: the larger of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// Workers that may always be added.
    pub(crate) step: u32,
    /// Times over that a larger pool may grow.
    pub(crate) factor: u32,
}

impl Allowance {
    pub(crate) fn of(bounds: &Bounds) -> Self {
        Self {
            step: bounds.launch_step,
            factor: bounds.launch_factor,
        }
    }
}

/// The growth limit of the current start-up time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LaunchWindow {
    began_ms: Option<u64>,
    base: u32,
}

impl LaunchWindow {
    /// Largest target allowed at policy time `now_ms`, with `target` being the current one.
    pub(crate) fn limit(
        &mut self,
        now_ms: u64,
        target: u32,
        startup_s: f64,
        Allowance { step, factor }: Allowance,
    ) -> u32 {
        let length_ms = crate::clock::millis(startup_s.max(1.0));
        let over = |began_ms| now_ms.saturating_sub(began_ms) >= length_ms;
        if self.began_ms.is_none_or(over) {
            self.began_ms = Some(now_ms);
            self.base = target;
        }
        // After a retirement within the window the base must not grant more.
        self.base = self.base.min(target);
        let step = step.saturating_mul(start_ups_a_second(startup_s));
        let grown = self.base.saturating_mul(factor.max(1));
        self.base.saturating_add(step).max(grown)
    }
}

/// Start-up times that fit into the second between two decisions: a pool whose workers start in
/// milliseconds need not wait for the next one to be allowed another step.
fn start_ups_a_second(startup_s: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 to 16"
    )]
    let times = (1.0 / startup_s).clamp(1.0, 16.0) as u32;
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Allowance = Allowance { step: 4, factor: 2 };

    #[test]
    fn a_small_pool_gains_a_step_and_a_large_one_grows_by_a_factor() {
        assert_eq!(LaunchWindow::default().limit(0, 1, 30.0, SMALL), 5);
        assert_eq!(LaunchWindow::default().limit(0, 20, 30.0, SMALL), 40);
    }

    #[test]
    fn quick_starters_take_several_steps_in_a_second() {
        assert_eq!(LaunchWindow::default().limit(0, 1, 0.25, SMALL), 17);
        assert_eq!(LaunchWindow::default().limit(0, 1, 0.0, SMALL), 65);
        assert_eq!(LaunchWindow::default().limit(0, 1, 1.0, SMALL), 5);
    }

    #[test]
    fn the_limit_stands_for_one_start_up_time() {
        let mut window = LaunchWindow::default();
        assert_eq!(window.limit(0, 2, 30.0, SMALL), 6);
        assert_eq!(window.limit(29_000, 6, 30.0, SMALL), 6);
        assert_eq!(window.limit(30_000, 6, 30.0, SMALL), 12);
    }
}
