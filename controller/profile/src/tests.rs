//! Laws of the pattern as a whole, on synthetic traffic.

mod days;
mod floor;
mod laws;
mod stored;
mod time;
mod waking;

use crate::{Config, Pattern};

/// Monday, 2026-01-05, midnight UTC.
const MONDAY_MS: u64 = 1_767_571_200_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Rate of an office: quiet nights, a steep morning, quieter weekends. By local time.
fn office(hour_of_week: f64) -> f64 {
    let hour = hour_of_week % 24.0;
    let weekend = if hour_of_week >= 120.0 { 0.4 } else { 1.0 };
    let day = 1.0 / (1.0 + (-(hour - 8.5) * 2.0).exp()) - 1.0 / (1.0 + (-(hour - 18.0)).exp());
    weekend * (20.0 + 180.0 * day.max(0.0))
}

fn hour_of_week(at_ms: u64) -> f64 {
    (at_ms.wrapping_sub(MONDAY_MS) % (7 * DAY_MS)) as f64 / HOUR_MS as f64
}

fn pattern() -> Pattern {
    Pattern::new(Config::default()).expect("the default configuration is sound")
}

/// Feeds windows of ten seconds within `span_ms`, with arrivals by chance.
fn feed(pattern: &mut Pattern, span_ms: std::ops::Range<u64>, rate: impl Fn(u64) -> f64) {
    let mut random = fastrand::Rng::with_seed(span_ms.start);
    for at_ms in span_ms.step_by(10_000) {
        let at_ms = at_ms + 10_000;
        let mean = rate(at_ms - 5_000) * 10.0;
        let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        pattern.observe(at_ms, 10.0, (mean + normal * mean.sqrt()).max(0.0));
        pattern.forecast(at_ms, 600.0);
    }
}

/// A pattern that saw an office for a number of days.
fn trained(days: u64) -> Pattern {
    let mut pattern = pattern();
    feed(
        &mut pattern,
        MONDAY_MS..MONDAY_MS + days * DAY_MS,
        |at_ms| office(hour_of_week(at_ms)),
    );
    pattern
}

/// Median rate of an hour of the learned week.
fn learned(pattern: &Pattern, hour_of_week: usize) -> f64 {
    pattern.week()[hour_of_week].median_rate.unwrap_or(f64::NAN)
}
