//! When a crashed worker starts again: at once the first time, then later and later, and not
//! for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often and how soon a worker restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts within [`Self::window`] before the worker gives up.
    pub restarts_max: usize,
    /// The window that restarts are counted in.
    pub window: Duration,
    /// Wait before the second restart; doubles from there. The first is immediate.
    pub backoff_min: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            window: Duration::from_secs(60),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// What to do about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start again after this long.
    After(Duration),
    /// Stop: it crashes too often.
    GiveUp,
}

/// The crashes that still count.
#[derive(Clone, Debug, Default)]
pub struct RestartState {
    crashes: VecDeque<Instant>,
}

impl RestartState {
    /// Takes note of a crash and says what to do.
    pub fn crashed(&mut self, policy: &RestartPolicy, now: Instant) -> Restart {
        while self
            .crashes
            .front()
            .is_some_and(|at| now.duration_since(*at) >= policy.window)
        {
            self.crashes.pop_front();
        }
        if self.crashes.len() >= policy.restarts_max {
            return Restart::GiveUp;
        }
        let earlier = u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        self.crashes.push_back(now);
        Restart::After(match earlier {
            0 => Duration::ZERO,
            n => policy
                .backoff_min
                .saturating_mul(1 << (n - 1).min(16))
                .min(policy.backoff_max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_and_then_gives_up() {
        let policy = RestartPolicy::default();
        let mut state = RestartState::default();
        let now = Instant::now();
        let waits: Vec<Restart> = (0..6).map(|_| state.crashed(&policy, now)).collect();
        let after = |ms| Restart::After(Duration::from_millis(ms));
        assert_eq!(
            waits,
            [
                after(0),
                after(100),
                after(200),
                after(400),
                after(800),
                Restart::GiveUp
            ]
        );
    }

    #[test]
    fn forgets_crashes_of_long_ago() {
        let policy = RestartPolicy::default();
        let mut state = RestartState::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            assert_eq!(state.crashed(&policy, now), Restart::After(Duration::ZERO));
            now += policy.window;
        }
        assert!(state.crashes.len() <= policy.restarts_max);
    }
}
