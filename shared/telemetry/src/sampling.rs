//! Which traces are kept whatever their outcome.

use tidepool_core::TraceId;

/// Keeps a share of traces, the same ones in every process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    bound: u64,
}

impl Sampler {
    /// Keeps about `ratio` (0 to 1) of all traces that no caller decided on.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        // The product is within u64 for a ratio of at most 1; the cast saturates.
        Self {
            bound: (ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64,
        }
    }

    /// Whether to keep this trace, by a hash of the low half of its id. Not by the half itself: an
    /// id that is a UUID has fixed bits at the top of it, then a counter, and randomness last.
    #[must_use]
    pub fn keeps(self, trace_id: TraceId) -> bool {
        // Truncation is the point: the high half is time or absent.
        (trace_id.0 as u64).wrapping_mul(GOLDEN_RATIO) >> 1 < self.bound
    }
}

/// 2^64 over the golden ratio, odd: products with it spread over the whole range (Knuth's
/// multiplicative hashing), and each of their high bits depends on all low bits.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_keeps_none_and_one_keeps_all() {
        for id in [1, u128::MAX, 1 << 64, u128::from(u64::MAX)] {
            assert!(!Sampler::new(0.0).keeps(TraceId(id)));
            assert!(Sampler::new(1.0).keeps(TraceId(id)));
        }
    }

    /// As a version-7 UUID of the same millisecond: time, a counter around the variant, and 32
    /// random bits.
    fn like_a_uuid(counter: u32) -> TraceId {
        let low = (0b10 << 62) | (u64::from(counter) << 32) | u64::from(TraceId::random().0 as u32);
        TraceId((0x0199_aaaa_bbbb_7000 << 64) | u128::from(low))
    }

    #[test]
    fn keeps_about_the_share_asked_for_whatever_ids_look_like() {
        for ratio in [0.1, 0.5, 0.9] {
            let sampler = Sampler::new(ratio);
            let share = |id: &dyn Fn(u32) -> TraceId| {
                (0..10_000).filter(|n| sampler.keeps(id(*n))).count() as f64 / 10_000.0
            };
            let shares = [share(&|_| TraceId::random()), share(&like_a_uuid)];
            assert!(
                shares.iter().all(|s| (s - ratio).abs() < 0.03),
                "{shares:?}"
            );
        }
    }
}
