//! When a request stops being worth anything to its caller.

use std::time::{Duration, Instant};

/// The instant after which an answer is of no use. Relative on the wire, absolute inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// A deadline `budget` from `now`.
    #[must_use]
    pub fn from_now(now: Instant, budget: Duration) -> Self {
        Self(now + budget)
    }

    /// What is left at `now`; zero once it has passed.
    #[must_use]
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether it has passed at `now`.
    #[must_use]
    pub fn has_passed(self, now: Instant) -> bool {
        self.0 <= now
    }
}
