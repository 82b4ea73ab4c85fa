//! The windows of the last second: one, or some where reports come early because requests wait. Each of them
//! may be too short to prove that the load has jumped; together they prove it as one of a second would.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Most windows that are told apart.
const WINDOWS_MAX: usize = 16;

/// Length in seconds and arrivals of each window, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newest(VecDeque<(f64, f64)>);

impl Newest {
    /// Takes in a window with `rate` requests per second.
    pub(crate) fn observe(&mut self, window_s: f64, rate: f64) {
        self.0.push_front((window_s, window_s * rate));
        let mut span_s = 0.0;
        let within = |(window_s, _): &&(f64, f64)| {
            span_s += window_s;
            span_s < 1.0 + 1e-9
        };
        let kept = self.0.iter().take_while(within).count();
        self.0.truncate(kept.clamp(1, WINDOWS_MAX));
    }

    /// Requests per second that the newest window proves beyond `deviations` of chance, or the newest ones
    /// together.
    pub(crate) fn proven(&self, deviations: f64) -> f64 {
        let (mut span_s, mut arrivals) = (0.0, 0.0);
        let proven = self.0.iter().map(|(window_s, more)| {
            span_s += window_s;
            arrivals += more;
            if span_s > 0.0 {
                (arrivals - deviations * f64::sqrt(arrivals)) / span_s
            } else {
                0.0
            }
        });
        proven.fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a minute at 5/s, a second at 65/s in so many windows.
    fn risen(windows: u32) -> Newest {
        let mut newest = Newest::default();
        (0..60).for_each(|_| newest.observe(1.0, 5.0));
        let window_s = 1.0 / f64::from(windows);
        (0..windows).for_each(|_| newest.observe(window_s, 65.0));
        newest
    }

    #[test]
    fn a_second_of_short_windows_proves_as_much_as_one_long_one() {
        // 65 less four deviations of chance; a quarter of a second alone proves next to nothing.
        let whole = risen(1).proven(4.0);
        assert!((whole - 32.75).abs() < 0.01, "{whole}");
        assert!((risen(4).proven(4.0) - whole).abs() < 1e-9);
        let mut quarter = Newest::default();
        quarter.observe(0.25, 65.0);
        assert!(quarter.proven(4.0) < 1.0);
    }

    #[test]
    fn only_the_last_second_counts_and_a_bounded_number_of_windows_is_kept() {
        let mut newest = risen(4);
        newest.observe(1.0, 5.0);
        assert_eq!(newest.0, [(1.0, 5.0)]);
        assert_eq!(risen(1_000).0.len(), WINDOWS_MAX);
        assert_eq!(Newest::default().proven(4.0), 0.0);
    }
}
