//! What the rivals measure, and windows over it.

use std::collections::VecDeque;

use crate::scaler::Seen;

/// Concurrent places in a worker; zero is taken as one.
pub(super) fn slots(seen: &Seen) -> f64 {
    f64::from(seen.workers.slots_per_worker.max(1))
}

/// Slots in use, averaged over the second.
pub(super) fn busy(seen: &Seen) -> Option<f64> {
    let work = seen.work.as_ref()?;
    let busy = work.busy_slot_s / work.window_s;
    (busy.is_finite() && busy >= 0.0).then_some(busy)
}

/// Requests in service, averaged over the second, and those that wait at its end.
pub(super) fn concurrency(seen: &Seen) -> Option<f64> {
    let queued = seen.backlog?.queued;
    let concurrency = busy(seen)? + queued;
    (concurrency.is_finite() && queued >= 0.0).then_some(concurrency)
}

/// The last seconds of a measurement, with gaps where there was none.
#[derive(Clone, Debug)]
pub(super) struct Window {
    seconds: VecDeque<Option<f64>>,
    length_s: usize,
}

impl Window {
    /// Remembers that many seconds.
    pub(super) fn new(length_s: usize) -> Self {
        Self {
            seconds: VecDeque::with_capacity(length_s + 1),
            length_s,
        }
    }

    /// Takes in a second.
    pub(super) fn push(&mut self, value: Option<f64>) {
        self.seconds.push_front(value);
        self.seconds.truncate(self.length_s);
    }

    /// Mean over `length_s` seconds that ended `lag_s` seconds ago; `None` if none was measured.
    pub(super) fn mean(&self, lag_s: usize, length_s: usize) -> Option<f64> {
        let (sum, count) = self
            .seconds
            .iter()
            .skip(lag_s)
            .take(length_s)
            .flatten()
            .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        (count > 0.0).then(|| sum / count)
    }
}
