use super::*;
use crate::{DayKind, Error, local::LocalClock};

const BERLIN: &str = "Europe/Berlin";

fn ms(text: &str) -> u64 {
    let at: jiff::Timestamp = text.parse().expect("a time");
    u64::try_from(at.as_millisecond()).expect("after 1970")
}

fn clock(zone: &str) -> LocalClock {
    LocalClock::new(&Config::in_zone(zone)).expect("a zone")
}

#[test]
fn knows_the_hour_of_the_week_in_summer_and_winter() {
    let clock = clock(BERLIN);
    let hour = |text| clock.at(ms(text)).hour_of_week();
    assert_eq!(hour("2026-01-05T08:30:00Z"), 9.5);
    assert_eq!(hour("2026-07-06T07:30:00Z"), 9.5);
    assert_eq!(super::hour_of_week(ms("2026-01-05T09:30:00Z")), 9.5);
    let india = LocalClock::new(&Config::in_zone("Asia/Kolkata")).expect("a zone");
    assert_eq!(india.at(ms("2026-01-05T00:00:00Z")).hour_of_week(), 5.5);
}

#[test]
fn skips_and_repeats_an_hour_when_the_clock_changes() {
    let clock = clock(BERLIN);
    let hour = |text| clock.at(ms(text)).hour_of_week() - 6.0 * 24.0;
    assert_eq!(hour("2026-03-29T00:59:59Z").floor(), 1.0);
    assert_eq!(hour("2026-03-29T01:00:00Z"), 3.0);
    assert_eq!(hour("2026-10-25T00:30:00Z"), 2.5);
    assert_eq!(hour("2026-10-25T01:30:00Z"), 2.5);
    assert_eq!(hour("2026-10-25T02:00:00Z"), 3.0);
}

/// Berlin's hour of the week, worked out without a database: an hour more than UTC, two in summer.
fn berlin_hour(at_ms: u64) -> f64 {
    let is_summer = (ms("2026-03-29T01:00:00Z")..ms("2026-10-25T01:00:00Z")).contains(&at_ms);
    let offset_hours = if is_summer { 2 } else { 1 };
    super::hour_of_week(at_ms + offset_hours * HOUR_MS)
}

/// Feeds four weeks of an office that lives by Berlin time, the change in the middle.
fn through_change(change: &str) -> Pattern {
    let mut pattern = Pattern::new(Config::in_zone(BERLIN)).expect("a zone");
    let begin = ms(change) - 21 * DAY_MS;
    let end = ms(change) + 8 * DAY_MS;
    feed(&mut pattern, begin..end, |at_ms| office(berlin_hour(at_ms)));
    pattern
}

#[test]
fn the_pattern_keeps_its_place_on_both_change_days() {
    for change in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
        let pattern = through_change(change);
        for hour in 0..168 {
            let truth: f64 = (0..60)
                .map(|m| office(hour as f64 + f64::from(m) / 60.0))
                .sum::<f64>()
                / 60.0;
            let off = (learned(&pattern, hour) / truth).ln().abs();
            assert!(
                off < 0.12,
                "{change}: hour {hour} {} instead of {truth}",
                learned(&pattern, hour)
            );
        }
        assert_eq!(pattern.days().put_aside, 0, "{change}");
    }
}

#[test]
fn forecasts_look_across_the_change() {
    for change in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
        let mut pattern = Pattern::new(Config::in_zone(BERLIN)).expect("a zone");
        let rate = |at_ms: u64| office(berlin_hour(at_ms));
        let now_ms = ms(change);
        feed(&mut pattern, now_ms - 21 * DAY_MS..now_ms, rate);
        for point in pattern.outlook(now_ms, 20, 900) {
            let off = (point.p50_rate / rate(point.at_ms)).ln().abs();
            assert!(
                off < 0.3,
                "{change} + {} min: {point:?}",
                (point.at_ms - now_ms) / 60_000
            );
        }
    }
}

#[test]
fn a_gap_is_unknown_and_not_idle() {
    let mut pattern = trained(14);
    let begin = MONDAY_MS + 14 * DAY_MS;
    let before = learned(&pattern, 12);
    // Monday is seen from two in the afternoon on.
    feed(
        &mut pattern,
        begin + 14 * HOUR_MS..begin + DAY_MS + HOUR_MS,
        |at_ms| office(hour_of_week(at_ms)),
    );
    assert!(
        (learned(&pattern, 12) / before).ln().abs() < 0.01,
        "its morning was not seen"
    );
    // An hour into silence the profile goes on telling the time of day.
    let forecast = pattern
        .peek(begin + DAY_MS + 10 * HOUR_MS, 600.0)
        .expect("it is known");
    assert!(forecast.median_rate > 150.0, "{forecast:?}");
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let healthy = trained(14);
    let mut jumped = trained(14);
    let now_ms = MONDAY_MS + 14 * DAY_MS;
    let year_ms = 365 * DAY_MS;
    jumped.observe(now_ms + year_ms, 10.0, 700.0);
    jumped.observe(1, 1.0, 5.0);
    jumped.observe(now_ms + year_ms, 10.0, 700.0);
    let back = now_ms..now_ms + 3 * HOUR_MS;
    feed(&mut jumped, back, |at_ms| office(hour_of_week(at_ms)));
    for hour in 0..168 {
        let off = (learned(&jumped, hour) / learned(&healthy, hour))
            .ln()
            .abs();
        assert!(off < 0.05, "hour {hour}: {off}");
    }
    let forecast = jumped
        .forecast(now_ms + 3 * HOUR_MS, 600.0)
        .expect("it is known");
    let truth = office(3.2);
    assert!(
        (forecast.median_rate / truth).ln().abs() < 0.3,
        "{forecast:?}"
    );
}

#[test]
fn a_clock_that_stutters_counts_nothing_twice() {
    let mut pattern = pattern();
    for step in 1..=26 * 360_u64 {
        let at_ms = MONDAY_MS + step * 10_000;
        pattern.observe(at_ms, 10.0, 100.0);
        pattern.observe(at_ms, 10.0, 100.0);
        pattern.observe(at_ms - 5_000, 10.0, 100.0);
    }
    let rate = learned(&pattern, 12);
    assert!((rate - 10.0).abs() < 0.01, "{rate}");
}

#[test]
fn a_calendar_day_is_what_it_is_said_to_be() {
    let mut config = Config::default();
    config
        .calendar
        .insert("2026-01-07".to_owned(), DayKind::Sunday);
    config
        .calendar
        .insert("2026-01-08".to_owned(), DayKind::Unlearned);
    let clock = LocalClock::new(&config).expect("a calendar");
    assert_eq!(clock.at(ms("2026-01-07T10:00:00Z")).hour_of_week(), 154.0);
    let unlearned = clock.at(ms("2026-01-08T10:00:00Z"));
    assert!(!unlearned.is_learned && unlearned.weekday == 3);
}

#[test]
fn says_what_is_wrong_with_a_configuration() {
    let said = |config: Config| {
        Pattern::new(config)
            .map(|_| ())
            .expect_err("it is wrong")
            .to_string()
    };
    assert!(said(Config::in_zone("Berlin")).contains("`Berlin`"));
    let mut config = Config::default();
    config
        .calendar
        .insert("25.12.2026".to_owned(), DayKind::Sunday);
    assert!(said(config).contains("25.12.2026"));
    let config = Config {
        quantile: 0.5,
        ..Config::default()
    };
    let expected = Error::Setting {
        field: "quantile",
        value: 0.5,
        range: "0.9 to 0.9999",
    };
    assert_eq!(Pattern::new(config).map(|_| ()), Err(expected));
    assert!(
        said(Config {
            half_life_days: f64::NAN,
            ..Config::default()
        })
        .contains("half_life_days")
    );
}
