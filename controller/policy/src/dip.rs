//! Load that stays away when the learned pattern expects it: more likely an outage upstream than
//! people who changed their habits, and after an outage everybody comes back at once. So the fleet
//! is kept for a while.

use serde::{Deserialize, Serialize};

/// Share of the expected rate below which load is missing.
const MISSING: f64 = 0.2;
/// Share of it from which it is back.
const BACK: f64 = 0.5;
/// For how long the fleet is kept.
const HOLD_MS: u64 = 900_000;
/// Load in slots below which nobody would notice.
const SLOTS_MIN: f64 = 4.0;

/// The absence that lasts, if one does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Absence {
    began_ms: u64,
    expected_rate: f64,
}

/// Whether expected load stays away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dip {
    absence: Option<Absence>,
}

impl Dip {
    /// Takes in the rate of the last seconds beside the median that the pattern expects.
    pub(crate) fn see(&mut self, now_ms: u64, rate: f64, median_rate: Option<f64>, service_s: f64) {
        if let Some(absence) = self.absence {
            // Back, or as it usually is by now.
            let usual = median_rate.is_some_and(|median| rate >= BACK * median);
            if rate >= BACK * absence.expected_rate || usual {
                self.absence = None;
            }
            return;
        }
        let expected = median_rate.filter(|median| median.is_finite());
        if let Some(expected_rate) = expected
            && expected_rate * service_s >= SLOTS_MIN
            && rate < MISSING * expected_rate
        {
            self.absence = Some(Absence {
                began_ms: now_ms,
                expected_rate,
            });
        }
    }

    /// Policy time until which the fleet is kept.
    pub(crate) fn held_until_ms(&self) -> u64 {
        self.absence
            .map_or(0, |absence| absence.began_ms.saturating_add(HOLD_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_load_holds_a_quarter_of_an_hour_and_only_once() {
        let mut dip = Dip::default();
        dip.see(1_000, 90.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
        dip.see(2_000, 3.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 2_000 + HOLD_MS);
        dip.see(3_000_000, 3.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 2_000 + HOLD_MS, "it is not renewed");
        dip.see(3_001_000, 80.0, Some(100.0), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
    }

    #[test]
    fn without_a_pattern_or_with_little_load_nothing_is_missed() {
        let mut dip = Dip::default();
        dip.see(1_000, 0.0, None, 0.5);
        dip.see(2_000, 0.0, Some(4.0), 0.5);
        dip.see(3_000, 0.0, Some(f64::NAN), 0.5);
        assert_eq!(dip.held_until_ms(), 0);
    }
}
