//! The largest need over windows of 15 seconds to half an hour, in constant space.
//!
//! Each window is a ring of eight buckets, so a maximum is forgotten after one to one and an
//! eighth of its window: later than exact, never earlier.

use serde::{Deserialize, Serialize};

const SHORTEST_MS: u64 = 15_000;
/// Width of a bucket of the shortest window. Those of the next one are twice as wide.
const BUCKET_MS: u64 = SHORTEST_MS / 8;
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
    /// Whether `need` at `bucket` would change nothing.
    fn knows(&self, bucket: u64, need: f64) -> bool {
        let known = Self::place(bucket).and_then(|place| self.buckets.get(place));
        bucket == self.newest && known.is_some_and(|known| *known >= need)
    }

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
        self.buckets.get_mut(Self::place(bucket)?)
    }

    fn place(bucket: u64) -> Option<usize> {
        usize::try_from(bucket % BUCKETS as u64).ok()
    }

    fn max(&self) -> f64 {
        self.buckets.iter().copied().fold(0.0, f64::max)
    }
}

impl NeedPeaks {
    /// Takes in the need at policy time `now_ms`.
    pub(crate) fn record(&mut self, now_ms: u64, need: f64) {
        self.began_ms.get_or_insert(now_ms);
        let mut bucket = now_ms / BUCKET_MS;
        for window in &mut self.windows {
            // Buckets lie within those of the next window, so what is no news here is none there.
            // Each of many margins keeps such windows, and this is what most of them do every second.
            if window.knows(bucket, need) {
                return;
            }
            window.record(bucket, need);
            bucket /= 2;
        }
    }

    /// Windows of at least `from_s` seconds that have been watched in full, as `(seconds, largest
    /// need)`, the shortest first. What a window has seen, all longer ones have.
    pub(crate) fn since(&self, now_ms: u64, from_s: f64) -> impl Iterator<Item = (f64, Peak<'_>)> {
        let watched_ms = now_ms.saturating_sub(self.began_ms.unwrap_or(now_ms));
        let mut width_ms = SHORTEST_MS / 2;
        self.windows.iter().filter_map(move |window| {
            width_ms *= 2;
            let width_s = crate::clock::seconds(width_ms);
            (width_s >= from_s && width_ms <= watched_ms).then_some((width_s, Peak(window)))
        })
    }
}

/// The largest need of a window, worked out when asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peak<'a>(&'a Window);

impl Peak<'_> {
    pub(crate) fn need(self) -> f64 {
        self.0.max()
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
                    let peak = peak.need();
                    prop_assert!(peak >= over(width_s), "{width_s} s: {peak}");
                    prop_assert!(peak <= over(width_s * 9.0 / 8.0 + 1.0), "{width_s} s: {peak}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_left_out_would_have_changed_nothing(
            seen in prop::collection::vec((0_u64..40_000, 0.0_f64..5.0), 1..200),
        ) {
            let (mut peaks, mut now_ms) = (NeedPeaks::default(), 0);
            let mut each = [Window::default(); WINDOWS];
            for (step_ms, need) in seen {
                now_ms += step_ms;
                peaks.record(now_ms, need.floor());
                for (place, window) in each.iter_mut().enumerate() {
                    window.record(now_ms / (BUCKET_MS << place), need.floor());
                }
                prop_assert_eq!(peaks.windows, each);
                let maxima: Vec<f64> = each.iter().map(Window::max).collect();
                prop_assert!(maxima.is_sorted(), "a longer window knows less: {maxima:?}");
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
