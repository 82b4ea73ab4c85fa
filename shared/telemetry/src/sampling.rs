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

    /// Whether to keep this trace: as OpenTelemetry's ratio sampler, by the low half of its id.
    #[must_use]
    pub fn keeps(self, trace_id: TraceId) -> bool {
        // Truncation is the point: the low 64 bits are the random ones.
        (trace_id.0 as u64 >> 1) < self.bound
    }
}

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

    #[test]
    fn keeps_about_the_share_asked_for() {
        let kept = (0..10_000)
            .filter(|_| Sampler::new(0.1).keeps(TraceId::random()))
            .count();
        assert!((800..1_200).contains(&kept), "{kept}");
    }
}
