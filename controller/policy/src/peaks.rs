//! The largest need over windows of 15 seconds to half an hour, in constant space.
//!
//! Each window is a ring of eight buckets, so a maximum is forgotten after one to one and an
//! eighth of its window: later than exact, never earlier.

use serde::{Deserialize, Serialize};

const SHORTEST_MS: u64 = 15_000;
const WINDOWS: usize = 8;
/// Buckets within a window; one more is being filled.
const BUCKETS: usize = 9;

/// Maxima of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Window {
    buckets: [f64; BUCKETS],
    /// Number of the newest bucket since the beginning of time.
    newest: u64,
}

/// Maxima of all windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NeedPeaks {
    windows: [Window; WINDOWS],
    began_ms: Option<u64>,
}

impl Window {
    fn record(&mut self, bucket: u64, need: f64) {
        let skipped = bucket.saturating_sub(self.newest).min(BUCKETS as u64);
        for step in 1..=skipped {
            if let Some(slot) = self.slot(self.newest + step) {
                *slot = 0.0;
            }
        }
        if skipped == BUCKETS as u64 {
            self.buckets = [0.0; BUCKETS];
        }
        self.newest = self.newest.max(bucket);
        if let Some(slot) = self.slot(self.newest) {
            *slot = slot.max(need);
        }
    }

    fn slot(&mut self, bucket: u64) -> Option<&mut f64> {
        let index = usize::try_from(bucket % BUCKETS as u64).ok()?;
        self.buckets.get_mut(index)
    }

    fn max(&self) -> f64 {
        self.buckets.iter().copied().fold(0.0, f64::max)
    }
}

impl NeedPeaks {
    /// Takes in the need at policy time `now_ms`.
    pub(crate) fn record(&mut self, now_ms: u64, need: f64) {
        self.began_ms.get_or_insert(now_ms);
        let mut width_ms = SHORTEST_MS / 8;
        for window in &mut self.windows {
            window.record(now_ms / width_ms, need);
            width_ms *= 2;
        }
    }

    /// Windows of at least `from_s` seconds that have been watched in full, as
    /// `(seconds, largest need)`, the shortest first.
    pub(crate) fn since(&self, now_ms: u64, from_s: f64) -> impl Iterator<Item = (f64, f64)> {
        let watched_ms = now_ms.saturating_sub(self.began_ms.unwrap_or(now_ms));
        let mut width_ms = SHORTEST_MS / 2;
        self.windows.iter().filter_map(move |window| {
            width_ms *= 2;
            let width_s = crate::clock::seconds(width_ms);
            (width_s >= from_s && width_ms <= watched_ms).then(|| (width_s, window.max()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_never_forgets_early_and_forgets_soon_after(
            needs in prop::collection::vec(0.0_f64..100.0, 40..400),
        ) {
            let mut peaks = NeedPeaks::default();
            for (second, need) in needs.iter().enumerate() {
                let now_ms = 1_000 * second as u64;
                peaks.record(now_ms, *need);
                for (width_s, peak) in peaks.since(now_ms, 0.0) {
                    let over = |s: f64| {
                        let from = second.saturating_sub(s as usize);
                        needs[from..=second].iter().copied().fold(0.0, f64::max)
                    };
                    prop_assert!(peak >= over(width_s), "{width_s} s: {peak}");
                    prop_assert!(peak <= over(width_s * 9.0 / 8.0 + 1.0), "{width_s} s: {peak}");
                }
            }
        }
    }

    #[test]
    fn windows_count_only_once_they_were_watched_in_full() {
        let mut peaks = NeedPeaks::default();
        (0..=31).for_each(|s| peaks.record(1_000 * s, 1.0));
        let widths: Vec<f64> = peaks.since(31_000, 0.0).map(|(s, _)| s).collect();
        assert_eq!(widths, [15.0, 30.0]);
        assert_eq!(peaks.since(31_000, 20.0).count(), 1);
    }
}
