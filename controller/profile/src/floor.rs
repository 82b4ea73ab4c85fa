//! How much a forecast may ask to be ready for, whatever errors were like.

use crate::horizon::{DOUBT, JUDGED_S, rate_at};

/// A floor is at most this many times the larger of the median and the largest hour that was learned...
const FLOOR_TIMES_MAX: f64 = 1.5;
/// ...and so many standard deviations of arrivals by chance.
const CHANCE_DEVIATIONS: f64 = 3.0;

/// Most that a floor may be where an hour of `largest_rate` is the largest that was learned.
///
/// An error is remembered as a factor. One made while next to nothing was expected says nothing about
/// a busy hour, which it would multiply: twenty times the peak was once asked for. Half as much again
/// as the largest hour leaves room for the steep part of such an hour, and three deviations for
/// chance, which is all there is to see of a few requests an hour. What exceeds that is no matter of
/// the hour: the signals of the moment ask for it, and recurring bursts are announced.
pub(crate) fn most_rate(largest_rate: f64) -> f64 {
    let arrivals = largest_rate * JUDGED_S;
    (FLOOR_TIMES_MAX * arrivals + CHANCE_DEVIATIONS * arrivals.sqrt() + DOUBT) / JUDGED_S
}

/// The floor for residuals at the median and at the floor, no more than what it may be at most and
/// no less than the median.
pub(crate) fn floor_rate(ln_forecast: f64, (median, floor): (f64, f64), most_rate: f64) -> f64 {
    let median_rate = rate_at(ln_forecast, median);
    let most_rate = most_rate.max(FLOOR_TIMES_MAX * median_rate);
    rate_at(ln_forecast, floor).min(most_rate).max(median_rate)
}
