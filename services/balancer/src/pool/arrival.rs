//! The guard of a request from its arrival to its one end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Pool;

/// How a request ended. Each request has exactly one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A handler answered; also with the word that the input is wrong.
    Answered,
    /// Not let in.
    Refused,
    /// Its deadline passed, waiting or running.
    DeadlineMissed,
    /// Its caller went away.
    Cancelled,
    /// The handler or something it needs failed.
    Failed,
}

impl Outcome {
    /// Number of outcomes.
    pub(crate) const COUNT: usize = 5;
    /// All outcomes, in the order of their index.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Answered,
        Self::Refused,
        Self::DeadlineMissed,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The label of `tidepool_requests_total`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::DeadlineMissed => "deadline_missed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A request between its arrival and its end. Dropped without an outcome, its caller is gone.
pub(crate) struct Arrival {
    pub(super) pool: Arc<Pool>,
    pub(super) kind_index: usize,
    pub(super) ended: bool,
}

impl Arrival {
    /// Ends the request, after it waited and perhaps was worked on.
    pub(crate) fn end(mut self, outcome: Outcome, waited: Duration, work: Option<Duration>) {
        if outcome != Outcome::Refused {
            self.pool.metrics.observe(self.kind_index, waited, work);
        }
        self.count(outcome);
    }

    /// Ends a request that was not let in.
    pub(crate) fn refuse(mut self) {
        self.count(Outcome::Refused);
    }

    fn count(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.pool.totals.ended[outcome as usize].fetch_add(1, Ordering::AcqRel);
            self.pool.metrics.count(self.kind_index, outcome);
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.count(Outcome::Cancelled);
    }
}
