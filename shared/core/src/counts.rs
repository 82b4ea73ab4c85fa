//! How often which durations were seen, as it is reported: only what was seen, in order. A second of
//! a pool has a hundred values out of the thousands that a histogram has places for, and whoever adds
//! up a thousand pools a second walks over the hundred.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::histogram::{HIGHEST_US, LatencyHistogram};

/// Most values that are told apart. A histogram has no more; what is added up from coarser ones of
/// many reporters could have.
const VALUES_MAX: usize = 4_096;
/// Leading digits that are kept when there are more: no more than 2^6 values of each of 30 lengths.
const BITS_OF_TOO_MANY: u32 = 7;

/// Durations in microseconds to two significant digits, and how often each was counted. They add up:
/// percentiles of many workers come from added counts, never from averaged percentiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyCounts {
    /// By rising value.
    pairs: Vec<(u64, u64)>,
    total: u64,
}

impl LatencyCounts {
    /// Counts by value in any order; values beyond what a histogram holds count as its ends.
    pub(crate) fn new(mut pairs: Vec<(u64, u64)>) -> Self {
        pairs.retain(|(_, count)| *count > 0);
        for (us, _) in &mut pairs {
            *us = (*us).clamp(1, HIGHEST_US);
        }
        if !pairs.is_sorted_by(|one, next| one.0 < next.0) {
            pairs.sort_unstable_by_key(|(us, _)| *us);
            pairs.dedup_by(|next, kept| {
                let is_same = next.0 == kept.0;
                if is_same {
                    kept.1 = kept.1.saturating_add(next.1);
                }
                is_same
            });
        }
        Self::rising(pairs)
    }

    fn rising(pairs: Vec<(u64, u64)>) -> Self {
        let counts = pairs.iter().map(|(_, count)| *count);
        let total = counts.fold(0, u64::saturating_add);
        let mut rising = Self { pairs, total };
        if rising.pairs.len() > VALUES_MAX {
            rising.pairs = rising.coarse(BITS_OF_TOO_MANY);
        }
        rising
    }

    /// Adds the counts of another.
    pub fn absorb(&mut self, other: Self) {
        if self.pairs.is_empty() {
            *self = other;
            return;
        }
        if other.pairs.is_empty() {
            return;
        }
        let mut sum = Vec::with_capacity(self.pairs.len() + other.pairs.len());
        let (mut left, mut right) = (self.pairs.iter().peekable(), other.pairs.iter().peekable());
        while let (Some((l, n)), Some((r, m))) = (left.peek(), right.peek()) {
            let pair = match l.cmp(r) {
                Ordering::Less => (*l, *n),
                Ordering::Equal => (*l, n.saturating_add(*m)),
                Ordering::Greater => (*r, *m),
            };
            left.next_if(|(us, _)| *us == pair.0);
            right.next_if(|(us, _)| *us == pair.0);
            sum.push(pair);
        }
        sum.extend(left.chain(right));
        *self = Self::rising(sum);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// How many durations were longer than `limit` by as much as two digits tell apart.
    #[must_use]
    pub fn count_above(&self, limit: Duration) -> u64 {
        let us = u64::try_from(limit.as_micros())
            .unwrap_or(u64::MAX)
            .min(HIGHEST_US);
        let within = us + us / 128;
        let above = self
            .pairs
            .iter()
            .rev()
            .take_while(|(value, _)| *value > within);
        above.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Pairs of a value in microseconds and how often it was counted, by rising value, as they are
    /// written down. With `bits`, values that agree in so many leading binary digits are one pair at
    /// their mean (with 0 all are): less exact quantiles, the same count and mean, for those who have
    /// no room for all.
    #[must_use]
    pub fn counted(&self, bits: Option<u32>) -> Vec<(u64, u64)> {
        bits.map_or_else(|| self.pairs.clone(), |bits| self.coarse(bits))
    }

    fn coarse(&self, bits: u32) -> Vec<(u64, u64)> {
        let group = |value: u64| {
            let shift = (u64::BITS - value.leading_zeros()).saturating_sub(bits);
            (shift, value >> shift)
        };
        let mut groups: Vec<((u32, u64), u128, u64)> = Vec::new();
        for (value, count) in &self.pairs {
            let of = if bits == 0 { (0, 0) } else { group(*value) };
            let sum = u128::from(*value) * u128::from(*count);
            match groups.last_mut().filter(|(before, ..)| *before == of) {
                Some((_, all, counts)) => {
                    *all += sum;
                    *counts = counts.saturating_add(*count);
                }
                None => groups.push((of, sum, *count)),
            }
        }
        let mean = |sum: u128, count: u64| (sum / u128::from(count.max(1))).try_into();
        let pair = |(_, sum, count)| (mean(sum, count).unwrap_or(HIGHEST_US), count);
        groups.into_iter().map(pair).collect()
    }

    /// The `q`-quantile (0 to 1; the nearest rank), or nothing when empty.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of some seconds are far below 2^52"
    )]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen: u64 = 0;
        let reaches = |(_, count): &&(u64, u64)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        };
        let (us, _) = self
            .pairs
            .iter()
            .find(reaches)
            .or_else(|| self.pairs.last())?;
        Some(Duration::from_micros(*us))
    }

    /// The mean, or nothing when empty.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no last digits")]
    pub fn mean(&self) -> Option<Duration> {
        let pairs = self.pairs.iter();
        let sum_us: f64 = pairs.map(|(us, count)| *us as f64 * *count as f64).sum();
        let mean_s = sum_us / self.count() as f64 / 1e6;
        Duration::try_from_secs_f64(mean_s).ok()
    }
}

/// Counts these durations.
impl FromIterator<Duration> for LatencyCounts {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut histogram = LatencyHistogram::new();
        durations
            .into_iter()
            .for_each(|duration| histogram.record(duration));
        histogram.counts()
    }
}

/// As pairs of a value in microseconds and how often it was counted.
impl Serialize for LatencyCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LatencyCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    fn counts(values_us: &[u64]) -> LatencyCounts {
        values_us
            .iter()
            .map(|us| Duration::from_micros(*us))
            .collect()
    }

    proptest! {
        #[test]
        fn adding_equals_counting_together(
            left in prop::collection::vec(0_u64..10_000_000, 0..50),
            right in prop::collection::vec(0_u64..10_000_000, 0..50),
        ) {
            let mut sum = counts(&left);
            sum.absorb(counts(&right));
            prop_assert_eq!(sum, counts(&[left, right].concat()));
        }

        #[test]
        fn what_is_read_is_what_was_written_in_whatever_order(
            pairs in prop::collection::vec((0_u64..1_000_000_000, 0_u64..9), 0..60),
        ) {
            let read = LatencyCounts::new(pairs.clone());
            let text = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(&serde_json::from_str::<LatencyCounts>(&text).unwrap(), &read);
            let mut backwards = pairs.clone();
            backwards.reverse();
            prop_assert_eq!(&LatencyCounts::new(backwards), &read);
            prop_assert!(read.pairs.is_sorted_by(|one, next| one.0 < next.0));
            prop_assert_eq!(read.count(), pairs.iter().map(|(_, count)| count).sum::<u64>());
        }

        #[test]
        fn it_tells_what_a_histogram_tells(
            values in prop::collection::vec(1_u64..590_000_000, 1..200), q in 0.0..1.0_f64,
        ) {
            let mut histogram = Histogram::<u64>::new(2).unwrap();
            values.iter().for_each(|us| histogram.record(*us).unwrap());
            let told = counts(&values);
            prop_assert_eq!(told.count(), histogram.len());
            let place = histogram.median_equivalent(histogram.value_at_quantile(q));
            prop_assert_eq!(told.quantile(q), Some(Duration::from_micros(place)));
            let mean = told.mean().unwrap().as_secs_f64() * 1e6;
            prop_assert!((mean / histogram.mean() - 1.0).abs() < 1e-6, "{mean}");
        }

        #[test]
        fn fewer_digits_keep_the_count_and_the_mean_and_miss_a_quantile_by_little(
            values in prop::collection::vec(1_u64..600_000_000, 1..200), bits in 0_u32..6,
        ) {
            let exact = counts(&values);
            let pairs = exact.counted(Some(bits));
            let most = if bits == 0 { 1 } else { 30 << (bits - 1) };
            prop_assert!(pairs.len() <= most.min(exact.counted(None).len()));
            let coarse = LatencyCounts::new(pairs.clone());
            prop_assert_eq!(coarse.counted(None), pairs);
            prop_assert_eq!(coarse.count(), exact.count());
            let ratio = |q| {
                let of = |counts: &LatencyCounts| counts.quantile(q).unwrap().as_secs_f64();
                of(&coarse) / of(&exact)
            };
            let means = coarse.mean().unwrap().as_secs_f64() / exact.mean().unwrap().as_secs_f64();
            prop_assert!((means - 1.0).abs() < 0.02, "{means}");
            if bits > 0 {
                let widest = 1.02 * (1.0 + 2.0_f64.powi(1 - i32::try_from(bits).unwrap()));
                let off = ratio(0.95);
                prop_assert!(off < widest && off > 1.0 / widest, "{off} and {widest}");
            }
        }
    }

    #[test]
    fn without_counts_there_are_no_percentiles() {
        assert_eq!(LatencyCounts::default().quantile(0.5), None);
        assert_eq!(LatencyCounts::default().mean(), None);
    }

    #[test]
    fn those_above_a_limit_are_counted() {
        let ms = [0, 10, 999, 1_000, 1_050, 2_000, 10_000_000];
        let counts: LatencyCounts = ms.into_iter().map(Duration::from_millis).collect();
        assert_eq!(counts.count_above(Duration::from_secs(1)), 3);
        assert_eq!(counts.count_above(Duration::from_secs(10_000)), 0);
        assert_eq!(LatencyCounts::default().count_above(Duration::ZERO), 0);
    }

    #[test]
    fn however_many_are_added_up_they_take_bounded_room() {
        let mut sum = LatencyCounts::default();
        for reporter in 0..40_u64 {
            let pairs = (0..1_000).map(|n| (1 + reporter + n * 599_000, 1));
            sum.absorb(LatencyCounts::new(pairs.collect()));
            assert!(sum.pairs.len() <= VALUES_MAX, "{}", sum.pairs.len());
        }
        assert_eq!(sum.count(), 40_000);
        let p50_s = sum.quantile(0.5).unwrap().as_secs_f64();
        assert!((p50_s / 300.0 - 1.0).abs() < 0.02, "{p50_s}");
        let endless = (0..10_000).map(|n| (n, u64::MAX)).collect();
        assert_eq!(LatencyCounts::new(endless).count(), u64::MAX);
    }
}
