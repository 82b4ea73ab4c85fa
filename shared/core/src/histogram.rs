//! Counts durations where they are measured, on the path of every request.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::counts::LatencyCounts;

/// Largest value told apart, in microseconds (ten minutes); longer ones count as this.
pub(crate) const HIGHEST_US: u64 = 600_000_000;

/// Counts of durations in microseconds with two significant digits, quick to count into. Takes as
/// much memory as the longest duration wants: 2 KB when empty, 11 KB up to 100 ms, 25 KB at most.
#[derive(Clone, Debug)]
pub struct LatencyHistogram(Histogram<u64>);

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram.
    ///
    /// # Panics
    /// Never: the digits are a constant that the crate accepts.
    #[must_use]
    pub fn new() -> Self {
        Self(Histogram::new(2).expect("two digits are valid"))
    }

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Grows as far as the clamped value wants, which is never more than can be counted.
        let _ = self.0.record(us.clamp(1, HIGHEST_US));
    }

    /// What was counted, to be told. A value is the middle of those that count as the same.
    #[must_use]
    pub fn counts(&self) -> LatencyCounts {
        let steps = self.0.iter_recorded();
        let pairs = steps.map(|step| {
            let us = self.0.median_equivalent(step.value_iterated_to());
            (us, step.count_since_last_iteration())
        });
        LatencyCounts::new(pairs.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_the_longest_duration_up_to_a_bound() {
        let mut h = LatencyHistogram::new();
        let places = |h: &LatencyHistogram| h.0.distinct_values();
        assert!(places(&h) <= 256);
        h.record(Duration::from_millis(100));
        assert!(places(&h) <= 1_500, "{}", places(&h));
        h.record(Duration::MAX);
        assert!(places(&h) <= 3_200, "{}", places(&h));
    }

    #[test]
    fn values_beyond_the_range_are_kept_at_its_end() {
        let mut h = LatencyHistogram::new();
        h.record(Duration::from_secs(10_000));
        h.record(Duration::ZERO);
        let told = h.counts().counted(None);
        assert_eq!(told, [(1, 1), (HIGHEST_US, 1)]);
    }
}
