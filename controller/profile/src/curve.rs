//! From 168 hourly means to a curve: steep mornings must not be smeared over two hours, and each
//! hour of the curve must still have the mean that was learned for it.
//!
//! Method: the piecewise parabola of Colella and Woodward ("The Piecewise Parabolic Method", 1984),
//! which keeps the mean of each cell and makes no new peaks.

use crate::local::WEEK_HOURS;

/// Points of the curve per hour.
pub(crate) const HOUR_POINTS: usize = 12;
/// Points of a week, every five minutes.
pub(crate) const WEEK_POINTS: usize = WEEK_HOURS * HOUR_POINTS;

/// Rate in the middle of every five minutes of the week.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    rates: Vec<f32>,
}

impl Curve {
    /// A curve through hourly mean rates; `least` is the smallest rate it may take.
    pub(crate) fn through(hours: &[f64; WEEK_HOURS], least: f64) -> Self {
        let edges = edges(hours);
        let mut rates = Vec::with_capacity(WEEK_POINTS);
        for hour in 0..WEEK_HOURS {
            let (mean, left, right) = (hours[hour], edges[hour], edges[(hour + 1) % WEEK_HOURS]);
            let (left, right) = limited(mean, left, right);
            for point in 0..HOUR_POINTS {
                let x = (point as f64 + 0.5) / HOUR_POINTS as f64;
                let rate = parabola(mean, left, right, x);
                rates.push(rate.max(least) as f32);
            }
        }
        Self { rates }
    }

    /// Logarithm of the rate at a place of the week, in hours since Monday's midnight.
    pub(crate) fn ln_rate(&self, hour_of_week: f64) -> f64 {
        let place = hour_of_week.clamp(0.0, WEEK_HOURS as f64) * HOUR_POINTS as f64;
        let place = place + WEEK_POINTS as f64 - 0.5;
        let point = place as usize;
        let [here, next] = [point, point + 1].map(|p| f64::from(self.rates[p % WEEK_POINTS]));
        (here + (next - here) * (place - point as f64)).ln()
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

/// Edges of one hour, moved so that its parabola has no peak inside.
fn limited(mean: f64, left: f64, right: f64) -> (f64, f64) {
    if (right - mean) * (mean - left) <= 0.0 {
        return (mean, mean);
    }
    let slope = right - left;
    let curvature = 6.0 * (mean - (left + right) / 2.0);
    if slope * curvature > slope * slope {
        (3.0 * mean - 2.0 * right, right)
    } else if slope * curvature < -slope * slope {
        (left, 3.0 * mean - 2.0 * left)
    } else {
        (left, right)
    }
}

fn parabola(mean: f64, left: f64, right: f64, x: f64) -> f64 {
    let curvature = 6.0 * (mean - (left + right) / 2.0);
    left + x * (right - left + curvature * (1.0 - x))
}
