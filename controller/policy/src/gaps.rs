//! How long an idle pool that may sleep keeps its last worker: until a request is no longer likely
//! to come before keeping it has cost more than a cold start.
//!
//! The lengths of idle gaps are counted on a logarithmic scale, the last few dozens of them weighing
//! most. Keeping for `T` costs the gap itself where it ends sooner, else `T` and a cold start; the
//! `T` of least expected cost is held. Before enough gaps were seen it is the price of a cold start,
//! which never costs more than twice the best (ski rental).

use serde::{Deserialize, Serialize};

use crate::clock::seconds;

/// Start-up times of a worker that a request which has to wait for one is worth.
const STARTUPS: f64 = 10.0;
/// Bounds of that price in worker-seconds.
const PRICE_S_MIN: f64 = 15.0;
const PRICE_S_MAX: f64 = 3_600.0;
/// Gaps shorter than this are the load's own rhythm.
const GAP_S_MIN: f64 = 2.0;
/// Half-octaves of a second from the shortest gap: up to three hours.
const BINS: usize = 26;
const BINS_PER_OCTAVE: f64 = 2.0;
/// Gaps after which one weighs a third, and how many must be known.
const KEPT: f64 = 48.0;
const KNOWN_MIN: f64 = 8.0;

/// Idle gaps of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gaps {
    /// Policy time at which requests last came or ran.
    active_ms: Option<u64>,
    counts: [f64; BINS],
}

/// What a worker that is kept through a gap of bin `bin` has cost at its end, in seconds.
fn longest_s(bin: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "26 at most")]
    let octaves = (bin + 1) as f64 / BINS_PER_OCTAVE;
    GAP_S_MIN * octaves.exp2()
}

fn bin(gap_s: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates and the value is not negative"
    )]
    let bin = (BINS_PER_OCTAVE * (gap_s / GAP_S_MIN).log2()).max(0.0) as usize;
    bin.min(BINS - 1)
}

impl Gaps {
    /// Takes in whether requests came, and whether any are there.
    pub(crate) fn see(&mut self, now_ms: u64, came: bool, present: bool) {
        if came {
            let gap_s = self.gap_s(now_ms);
            if gap_s >= GAP_S_MIN {
                let keep = 1.0 - 1.0 / KEPT;
                self.counts.iter_mut().for_each(|count| *count *= keep);
                if let Some(count) = self.counts.get_mut(bin(gap_s)) {
                    *count += 1.0;
                }
            }
        }
        if came || present || self.active_ms.is_none() {
            self.active_ms = Some(now_ms);
        }
    }

    /// Seconds for which nothing came or ran.
    pub(crate) fn gap_s(&self, now_ms: u64) -> f64 {
        seconds(now_ms.saturating_sub(self.active_ms.unwrap_or(now_ms)))
    }

    /// Policy time until which the last worker is kept when starting one takes `startup_s`.
    pub(crate) fn kept_until_ms(&self, startup_s: f64) -> u64 {
        let keep_ms = crate::clock::millis(self.keep_s(startup_s));
        self.active_ms
            .map_or(0, |at_ms| at_ms.saturating_add(keep_ms))
    }

    fn keep_s(&self, startup_s: f64) -> f64 {
        let price_s = (STARTUPS * startup_s).clamp(PRICE_S_MIN, PRICE_S_MAX);
        let known: f64 = self.counts.iter().sum();
        if !(known >= KNOWN_MIN && known.is_finite()) {
            return price_s;
        }
        // Not at all, or to the end of any gap that could be worth it.
        let (mut best_s, mut least) = (0.0, known * price_s);
        let (mut waited, mut left) = (0.0, known);
        for (bin, count) in self.counts.iter().enumerate() {
            let keep_s = longest_s(bin);
            waited += count * keep_s;
            left -= count;
            let cost = waited + left * (keep_s + price_s);
            if keep_s <= PRICE_S_MAX && cost < least {
                (best_s, least) = (keep_s, cost);
            }
        }
        best_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool that was idle for each of these gaps, in seconds, between requests.
    fn after(gaps_s: &[u64]) -> Gaps {
        let mut gaps = Gaps::default();
        let mut now_ms = 0;
        gaps.see(now_ms, true, false);
        for gap_s in gaps_s {
            now_ms += 1_000 * gap_s;
            gaps.see(now_ms, true, false);
        }
        gaps
    }

    #[test]
    fn before_anything_is_known_a_worker_is_kept_for_the_price_of_a_cold_start() {
        assert_eq!(after(&[]).keep_s(30.0), 300.0);
        assert_eq!(after(&[5; 7]).keep_s(0.1), 15.0);
        assert_eq!(after(&[]).keep_s(9_000.0), 3_600.0);
    }

    #[test]
    fn gaps_that_end_soon_are_waited_for_and_long_ones_are_not() {
        let short = after(&[60; 20]).keep_s(30.0);
        assert!((60.0..=91.0).contains(&short), "{short}");
        assert_eq!(after(&[1_200; 20]).keep_s(30.0), 0.0);
        // Three of four come back within ten seconds: waiting for them pays, for the fourth not.
        let mixed = [10, 10, 10, 3_000].repeat(10);
        let keep_s = after(&mixed).keep_s(30.0);
        assert!((10.0..=16.0).contains(&keep_s), "{keep_s}");
    }

    #[test]
    fn a_wait_longer_than_a_cold_start_is_held_where_it_pays() {
        let keep_s = after(&[200; 20]).keep_s(30.0);
        assert!((200.0..300.0).contains(&keep_s), "{keep_s}");
    }

    #[test]
    fn old_gaps_are_forgotten_and_running_requests_are_no_gap() {
        let mut gaps = after(&[vec![20; 50], vec![1_500; 200]].concat());
        assert_eq!(gaps.keep_s(10.0), 0.0);
        let now_ms = gaps.active_ms.unwrap() + 60_000;
        gaps.see(now_ms, false, true);
        assert_eq!(gaps.gap_s(now_ms), 0.0);
        assert_eq!(gaps.kept_until_ms(10.0), now_ms);
    }
}
