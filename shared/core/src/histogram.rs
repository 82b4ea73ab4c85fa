//! Latency histograms that merge: percentiles of many workers come from merged counts,
//! never from averaged percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest value told apart, in microseconds (ten minutes); longer ones count as this.
const HIGHEST_US: u64 = 600_000_000;

/// Counts of durations in microseconds with two significant digits. Takes as much memory as the
/// longest duration wants: 2 KB when empty, 11 KB up to 100 ms, 25 KB at most.
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
        self.record_n(us, 1);
    }

    fn record_n(&mut self, us: u64, count: u64) {
        // Grows as far as the clamped value wants, which is never more than can be counted.
        let _ = self.0.record_n(us.clamp(1, HIGHEST_US), count);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        // Grows to the other's range, so adding cannot fail.
        let _ = self.0.add(&other.0);
    }

    /// Forgets all counts and keeps the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// How many durations were longer than `limit`, to within the two digits that are told apart: those
    /// that look the same as the limit do not count.
    #[must_use]
    pub fn count_above(&self, limit: Duration) -> u64 {
        let us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let next = self.0.next_non_equivalent(us.min(HIGHEST_US));
        if self.0.max() < next {
            return 0;
        }
        self.0.count_between(next, u64::MAX)
    }

    /// Pairs of a value in microseconds and how often it was counted, by rising value, as they are
    /// written down. With `bits`, values that agree in so many leading binary digits are one pair at
    /// their mean (with 0 all are): less exact quantiles, the same count and mean, for those who have
    /// no room for all.
    #[must_use]
    pub fn counted(&self, bits: Option<u32>) -> Vec<(u64, u64)> {
        let pairs = self.0.iter_recorded();
        let pairs = pairs.map(|step| (step.value_iterated_to(), step.count_since_last_iteration()));
        match bits {
            Some(bits) => merged(pairs, bits),
            None => pairs.collect(),
        }
    }

    /// The `q`-quantile (0 to 1), or nothing when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(q)))
    }

    /// The mean, or nothing when empty.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_secs_f64(self.0.mean() / 1e6))
    }
}

/// As pairs of a value in microseconds and how often it was counted.
impl Serialize for LatencyHistogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.counted(None))
    }
}

/// Makes one pair of neighbours that agree in `bits` leading digits.
fn merged(pairs: impl Iterator<Item = (u64, u64)>, bits: u32) -> Vec<(u64, u64)> {
    let group = |value: u64| {
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(bits);
        (shift, value >> shift)
    };
    let mut groups: Vec<((u32, u64), u128, u64)> = Vec::new();
    for (value, count) in pairs {
        let of = if bits == 0 { (0, 0) } else { group(value) };
        let sum = u128::from(value) * u128::from(count);
        match groups.last_mut().filter(|(before, ..)| *before == of) {
            Some((_, all, counts)) => {
                *all += sum;
                *counts = counts.saturating_add(count);
            }
            None => groups.push((of, sum, count)),
        }
    }
    let mean = |sum: u128, count: u64| (sum / u128::from(count.max(1))).try_into();
    let pair = |(_, sum, count)| (mean(sum, count).unwrap_or(u64::MAX), count);
    groups.into_iter().map(pair).collect()
}

impl<'de> Deserialize<'de> for LatencyHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut histogram = Self::new();
        for (us, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            histogram.record_n(us, count);
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_equals_counting_together(
            left in prop::collection::vec(0_u64..10_000_000, 0..50),
            right in prop::collection::vec(0_u64..10_000_000, 0..50),
        ) {
            let fill = |values: &[u64]| {
                let mut h = LatencyHistogram::new();
                values.iter().for_each(|v| h.record(Duration::from_micros(*v)));
                h
            };
            let mut merged = fill(&left);
            merged.merge(&fill(&right));
            let together = fill(&[left, right].concat());
            prop_assert_eq!(merged.count(), together.count());
            prop_assert_eq!(merged.quantile(0.95), together.quantile(0.95));
        }
    }

    proptest! {
        #[test]
        fn fewer_digits_keep_the_count_and_the_mean_and_miss_a_quantile_by_little(
            values in prop::collection::vec(1_u64..600_000_000, 1..200), bits in 0_u32..6,
        ) {
            let mut exact = LatencyHistogram::new();
            values.iter().for_each(|us| exact.record(Duration::from_micros(*us)));
            let pairs = exact.counted(Some(bits));
            let most = if bits == 0 { 1 } else { 30 << (bits - 1) };
            prop_assert!(pairs.len() <= most.min(exact.counted(None).len()));
            prop_assert!(pairs.is_sorted());
            let mut coarse = LatencyHistogram::new();
            pairs.iter().for_each(|(us, n)| coarse.record_n(*us, *n));
            prop_assert_eq!(coarse.count(), exact.count());
            let ratio = |of: &LatencyHistogram, by: &LatencyHistogram, q| {
                of.quantile(q).unwrap().as_secs_f64() / by.quantile(q).unwrap().as_secs_f64()
            };
            let means = coarse.mean().unwrap().as_secs_f64() / exact.mean().unwrap().as_secs_f64();
            prop_assert!((means - 1.0).abs() < 0.02, "{means}");
            if bits > 0 {
                let widest = 1.02 * (1.0 + 2.0_f64.powi(1 - i32::try_from(bits).unwrap()));
                let off = ratio(&coarse, &exact, 0.95);
                prop_assert!(off < widest && off > 1.0 / widest, "{off} and {widest}");
            }
        }
    }

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        assert_eq!(LatencyHistogram::new().quantile(0.5), None);
        assert_eq!(LatencyHistogram::new().mean(), None);
    }

    #[test]
    fn those_above_a_limit_are_counted() {
        let mut h = LatencyHistogram::new();
        for ms in [0, 10, 999, 1_000, 1_050, 2_000, 10_000_000] {
            h.record(Duration::from_millis(ms));
        }
        assert_eq!(h.count_above(Duration::from_secs(1)), 3);
        assert_eq!(h.count_above(Duration::from_secs(10_000)), 0);
        assert_eq!(LatencyHistogram::new().count_above(Duration::ZERO), 0);
    }

    #[test]
    fn memory_grows_with_the_longest_duration_up_to_a_bound() {
        let mut h = LatencyHistogram::new();
        let places = |h: &LatencyHistogram| h.0.distinct_values();
        assert!(places(&h) <= 256);
        h.record(Duration::from_millis(100));
        assert!(places(&h) <= 1_500, "{}", places(&h));
        h.record(Duration::MAX);
        assert!(places(&h) <= 3_200, "{}", places(&h));
        let mut merged = LatencyHistogram::new();
        merged.merge(&h);
        assert_eq!(merged.counted(None), h.counted(None));
    }

    #[test]
    fn values_beyond_the_range_are_kept_at_its_end() {
        let mut h = LatencyHistogram::new();
        h.record(Duration::from_secs(10_000));
        h.record(Duration::ZERO);
        assert_eq!(h.count(), 2);
    }
}
