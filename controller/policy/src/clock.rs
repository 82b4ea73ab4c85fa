//! Time as the policy sees it: what passed between calls, whatever the wall clock did.

use serde::{Deserialize, Serialize};

/// Most time that one call can let pass. A longer gap is a jump of the clock or a process that
/// slept; neither is a reason to let a cooldown expire.
const STEP_MS_MAX: u64 = 10_000;

/// Milliseconds of policy time since the memory began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Clock {
    elapsed_ms: u64,
    wall_ms: Option<u64>,
    step_ms: u64,
}

impl Clock {
    /// Moves on to wall time `now_ms`.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.wall_ms.unwrap_or(now_ms));
        self.step_ms = passed_ms.min(STEP_MS_MAX);
        self.elapsed_ms = self.elapsed_ms.saturating_add(self.step_ms);
        self.wall_ms = Some(now_ms);
    }

    /// Policy time in milliseconds.
    pub(crate) fn now_ms(self) -> u64 {
        self.elapsed_ms
    }

    /// Wall time of the last call in milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(self) -> u64 {
        self.wall_ms.unwrap_or(0)
    }

    /// Seconds that passed since the call before.
    pub(crate) fn step_s(self) -> f64 {
        seconds(self.step_ms)
    }

    /// Seconds since `then_ms` of policy time.
    pub(crate) fn seconds_since(self, then_ms: u64) -> f64 {
        seconds(self.elapsed_ms.saturating_sub(then_ms))
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact below 285,000 years")]
pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

/// Seconds as whole milliseconds, rounded up; zero for what is not a positive number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates and the value is not negative"
)]
pub(crate) fn millis(s: f64) -> u64 {
    (crate::ewma::clean(s) * 1e3).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_lets_ten_seconds_pass_at_most() {
        let mut clock = Clock::default();
        clock.advance(1_000_000);
        clock.advance(1_001_000);
        assert_eq!(clock.now_ms(), 1_000);
        clock.advance(1_001_000 + 3_600_000);
        assert_eq!(clock.now_ms(), 11_000);
    }

    #[test]
    fn never_goes_back_and_runs_on_after_a_jump_back() {
        let mut clock = Clock::default();
        clock.advance(5_000_000);
        clock.advance(1_400_000);
        assert_eq!(clock.now_ms(), 0);
        clock.advance(1_401_000);
        assert_eq!(clock.now_ms(), 1_000);
    }
}
