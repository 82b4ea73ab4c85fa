//! A whole number, or a range to draw it from: `60` or `[10, 50]`.

use serde::Deserialize;

/// Whole numbers from `low` to `high`, both included, neither above `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(try_from = "Written")]
pub struct IntRange<const MAX: u64> {
    low: u64,
    high: u64,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number such as 60, or a range such as [10, 50]"
)]
enum Written {
    One(u64),
    Between([u64; 2]),
}

impl<const MAX: u64> IntRange<MAX> {
    /// Always `n`, or the bound if that is smaller.
    #[must_use]
    pub fn exactly(n: u64) -> Self {
        let n = n.min(MAX);
        Self { low: n, high: n }
    }

    pub(super) fn draw(self, rng: &mut fastrand::Rng) -> u64 {
        if self.low == self.high {
            self.low
        } else {
            rng.u64(self.low..=self.high)
        }
    }
}

impl<const MAX: u64> TryFrom<Written> for IntRange<MAX> {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let (low, high) = match written {
            Written::One(n) => (n, n),
            Written::Between([low, high]) => (low, high),
        };
        if high > MAX {
            return Err(format!("{high} is too much; at most {MAX}"));
        }
        if low > high {
            return Err(format!(
                "[{low}, {high}] is empty; write the smaller number first"
            ));
        }
        Ok(Self { low, high })
    }
}
