//! Pools that sleep at night and have to be awake in the morning.

use super::*;
use crate::Advice;

/// Nine to five on five days, and nothing else.
fn shop(hour_of_week: f64) -> f64 {
    let is_open = hour_of_week < 120.0 && (9.0..17.0).contains(&(hour_of_week % 24.0));
    if is_open { 10.0 } else { 0.0 }
}

/// A pattern of a shop that starts workers in `lead_s`, from its first Monday on.
fn of_a_shop(days: u64, lead_s: f64, rate: impl Fn(u64) -> f64) -> Pattern {
    let mut pattern = pattern();
    let mut random = fastrand::Rng::with_seed(3);
    for at_ms in (MONDAY_MS..MONDAY_MS + days * DAY_MS).step_by(1_000) {
        let mean = rate(at_ms + 500);
        let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        let arrivals = (mean + normal * mean.sqrt()).max(0.0);
        pattern.observe(at_ms + 1_000, 1.0, arrivals);
        pattern.forecast(at_ms + 1_000, lead_s);
    }
    pattern
}

fn advice(pattern: &mut Pattern, lead_s: f64) -> Option<Advice> {
    let now_ms = pattern.seen_ms;
    pattern.forecast(now_ms, lead_s)?.advice()
}

/// Goes on in silence for so many hours.
fn sleep_for(pattern: &mut Pattern, hours: f64) {
    let until_ms = pattern.seen_ms + (hours * HOUR_MS as f64) as u64;
    for at_ms in (pattern.seen_ms + 1_000..=until_ms).step_by(1_000) {
        pattern.observe(at_ms, 1.0, 0.0);
    }
}

#[test]
fn a_pool_that_sleeps_is_woken_for_what_the_morning_brings_at_any_lead() {
    for lead_s in [20.0, 120.0, 600.0] {
        // To Friday's midnight; the day that begins is a Friday.
        let mut pattern = of_a_shop(11, lead_s, |at_ms| shop(hour_of_week(at_ms)));
        assert!(pattern.quality()[0].waking_believed, "lead {lead_s}");
        sleep_for(&mut pattern, 9.0 - 1.5 * lead_s / 3_600.0);
        let early = advice(&mut pattern, lead_s).expect("it is believed");
        assert_eq!(
            (early.median_rate, early.floor_rate),
            (0.0, 0.0),
            "lead {lead_s}"
        );
        sleep_for(&mut pattern, lead_s * 0.6 / 3_600.0);
        let morning = advice(&mut pattern, lead_s).expect("it is believed");
        assert!(
            (9.0..12.0).contains(&morning.median_rate),
            "lead {lead_s}: {morning:?}"
        );
    }
}

#[test]
fn a_silent_weekend_takes_nothing_of_monday() {
    let mut pattern = of_a_shop(7, 120.0, |at_ms| shop(hour_of_week(at_ms)));
    sleep_for(&mut pattern, 9.0 - 60.0 / 3_600.0);
    let monday = advice(&mut pattern, 120.0).expect("it is believed");
    assert!((9.0..12.0).contains(&monday.median_rate), "{monday:?}");
}

#[test]
fn a_day_off_is_noticed_and_the_next_day_is_waited_for_again() {
    let lead_s = 120.0;
    let mut pattern = of_a_shop(11, lead_s, |at_ms| shop(hour_of_week(at_ms)));
    sleep_for(&mut pattern, 9.0);
    let opening = advice(&mut pattern, lead_s).expect("it is believed");
    assert!(opening.median_rate > 9.0, "{opening:?}");
    // Four leads later nobody has come.
    sleep_for(&mut pattern, 8.0 / 60.0);
    let off = advice(&mut pattern, lead_s).expect("it is believed");
    assert_eq!((off.median_rate, off.floor_rate), (0.0, 0.0));
    // To Monday's morning.
    sleep_for(&mut pattern, 72.0 - 8.0 / 60.0 - 0.01);
    let next = advice(&mut pattern, lead_s).expect("one day off is forgiven");
    assert!(next.median_rate > 9.0, "{next:?}");
}

#[test]
fn who_stays_away_by_night_does_not_cancel_the_morning() {
    // A job sends five hundred requests at every full hour that the shop is closed.
    let with_a_job = |at_ms: u64| {
        let shop = shop(hour_of_week(at_ms));
        if shop > 0.0 || at_ms % HOUR_MS >= 10_000 {
            shop
        } else {
            50.0
        }
    };
    let lead_s = 120.0;
    let mut pattern = of_a_shop(11, lead_s, with_a_job);
    sleep_for(&mut pattern, 9.0 - 60.0 / 3_600.0);
    let morning = advice(&mut pattern, lead_s).expect("it is believed");
    assert!(morning.median_rate > 8.0, "{morning:?}");
}

#[test]
fn tomorrow_is_expected_on_a_day_off() {
    let mut pattern = of_a_shop(8, 120.0, |at_ms| shop(hour_of_week(at_ms)));
    sleep_for(&mut pattern, 11.0);
    let outlook = pattern.outlook(pattern.seen_ms, 24, 3_600);
    let rates: Vec<f64> = outlook.iter().map(|point| point.p50_rate).collect();
    assert!(rates[2] < 1.0, "no more today: {rates:?}");
    assert!(rates[23] > 8.0, "again tomorrow: {rates:?}");
}

#[test]
fn the_chance_that_a_floor_is_for_wakes_nobody() {
    // Half as much or half as much again for twenty seconds each: by day a floor has to allow for it.
    let moody = |at_ms: u64| {
        let turn = (at_ms / 20_000).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63;
        shop(hour_of_week(at_ms)) * (0.5 + turn as f64)
    };
    let lead_s = 120.0;
    let mut pattern = of_a_shop(11, lead_s, moody);
    // Too many were late, so that the floor is to cover all but one in ten thousand.
    let now_ms = pattern.seen_ms;
    pattern.budget(now_ms, 10_000.0, 1_000.0);
    sleep_for(&mut pattern, 3.0);
    let night = advice(&mut pattern, lead_s).expect("it is believed");
    assert_eq!((night.median_rate, night.floor_rate), (0.0, 0.0));
    sleep_for(&mut pattern, 6.0 - 60.0 / 3_600.0);
    let morning = advice(&mut pattern, lead_s).expect("it is believed");
    assert!(
        morning.floor_rate > 1.2 * morning.median_rate,
        "{morning:?}"
    );
}

#[test]
fn who_wakes_at_any_hour_is_not_waited_for() {
    // A burst of ten minutes once a day, at an hour that is never the same.
    let whim = |at_ms: u64| {
        let (day, of_day_ms) = (at_ms / DAY_MS, at_ms % DAY_MS);
        let begin_ms = day * 7 % 23 * HOUR_MS;
        let is_on = (begin_ms..begin_ms + 600_000).contains(&of_day_ms);
        if is_on { 10.0 } else { 0.0 }
    };
    let pattern = of_a_shop(10, 120.0, whim);
    assert!(
        !pattern.quality()[0].waking_believed,
        "{:?}",
        pattern.quality()
    );
}
