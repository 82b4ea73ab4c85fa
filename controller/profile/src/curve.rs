//! From 168 hourly means to a curve: steep mornings must not be smeared over two hours, and each
//! hour of the curve must still have the mean that was learned for it.
//!
//! Method: the piecewise parabola of Colella and Woodward ("The Piecewise Parabolic Method", 1984),
//! which keeps the mean of each cell and makes no new peaks.

use crate::local::WEEK_HOURS;

/// Rate at every moment of the week.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    hours: Vec<Hour>,
    least: f64,
}

/// An hour's mean rate, and those at its beginning and end. Two hours may differ where they meet: a
/// pool that sleeps until nine has its full load at nine.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hour {
    mean: f64,
    left: f64,
    right: f64,
}

impl Curve {
    /// A curve through hourly mean rates; `least` is the smallest rate it may take.
    pub(crate) fn through(hours: &[f64; WEEK_HOURS], least: f64) -> Self {
        let edges = edges(hours);
        let hour = |place: usize| {
            let next = (place + 1) % WEEK_HOURS;
            Hour::limited(hours[place], edges[place], edges[next])
        };
        Self {
            hours: (0..WEEK_HOURS).map(hour).collect(),
            least,
        }
    }

    /// Logarithm of the rate at a place of the week, in hours since Monday's midnight.
    pub(crate) fn ln_rate(&self, hour_of_week: f64) -> f64 {
        let place = hour_of_week.clamp(0.0, WEEK_HOURS as f64);
        let hour = self.hours[place as usize % WEEK_HOURS];
        hour.rate(place.fract()).max(self.least).ln()
    }
}

/// Rate at the beginning of each hour, from the two hours on either side.
fn edges(hours: &[f64; WEEK_HOURS]) -> Vec<f64> {
    let at = |hour: usize| hours[hour % WEEK_HOURS];
    (0..WEEK_HOURS)
        .map(|hour| {
            let [far, before, after, beyond] =
                [WEEK_HOURS - 2, WEEK_HOURS - 1, 0, 1].map(|offset| at(hour + offset));
            let edge = (7.0 * (before + after) - far - beyond) / 12.0;
            edge.clamp(before.min(after), before.max(after))
        })
        .collect()
}

impl Hour {
    /// An hour between edges that are moved so that its parabola has no peak inside.
    fn limited(mean: f64, left: f64, right: f64) -> Self {
        let hour = |left, right| Self { mean, left, right };
        if (right - mean) * (mean - left) <= 0.0 {
            return hour(mean, mean);
        }
        let slope = right - left;
        let bend = slope * hour(left, right).curvature();
        if bend > slope * slope {
            hour(3.0 * mean - 2.0 * right, right)
        } else if bend < -slope * slope {
            hour(left, 3.0 * mean - 2.0 * left)
        } else {
            hour(left, right)
        }
    }

    fn curvature(self) -> f64 {
        6.0 * (self.mean - (self.left + self.right) / 2.0)
    }

    /// Rate at a share `x` of the hour.
    fn rate(self, x: f64) -> f64 {
        self.left + x * (self.right - self.left + self.curvature() * (1.0 - x))
    }
}
