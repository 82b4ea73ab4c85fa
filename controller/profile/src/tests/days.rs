use super::*;

/// A rate that is another on some days.
fn odd_on(days: &[u64], odd: fn(f64) -> f64) -> impl Fn(u64) -> f64 {
    let days = days.to_vec();
    move |at_ms| {
        let day = (at_ms - MONDAY_MS) / DAY_MS;
        let usual = office(hour_of_week(at_ms));
        if days.contains(&day) {
            odd(usual)
        } else {
            usual
        }
    }
}

fn after(days: u64, rate: impl Fn(u64) -> f64) -> Pattern {
    let mut pattern = pattern();
    feed(
        &mut pattern,
        MONDAY_MS..MONDAY_MS + days * DAY_MS + HOUR_MS,
        rate,
    );
    pattern
}

fn furthest_off(pattern: &Pattern, usual: &Pattern, weekday: usize) -> f64 {
    let hours = weekday * 24..weekday * 24 + 24;
    let off = hours.map(|hour| (learned(pattern, hour) / learned(usual, hour)).ln().abs());
    off.fold(0.0, f64::max)
}

#[test]
fn an_odd_day_does_not_move_the_profile() {
    let usual = after(21, odd_on(&[], |rate| rate));
    for odd in [|_| 3.0, |rate: f64| rate * 6.0, |rate: f64| 220.0 - rate] {
        let pattern = after(21, odd_on(&[15], odd));
        assert_eq!(pattern.days().put_aside, 1);
        assert!(furthest_off(&pattern, &usual, 1) < 0.02);
    }
}

#[test]
fn a_day_that_recurs_a_week_later_moves_it() {
    let usual = after(28, odd_on(&[], |rate| rate));
    let pattern = after(28, odd_on(&[15, 22], |_| 60.0));
    let days = pattern.days();
    assert_eq!((days.put_aside, days.recurred, days.waiting), (1, 1, 0));
    assert!(furthest_off(&pattern, &usual, 1) > 0.3);
    assert!(furthest_off(&pattern, &usual, 3) < 0.15);
}

#[test]
fn three_like_days_in_a_row_are_the_new_normal() {
    let days: Vec<_> = (14..28).collect();
    let pattern = after(28, odd_on(&days, |rate| rate * 5.0));
    let noon = learned(&pattern, 3 * 24 + 12) / office(84.5);
    assert!(noon > 2.0, "{noon}");
    assert!(pattern.days().recurred > 0);
    assert!(pattern.days().put_aside <= 4, "{:?}", pattern.days());
}

#[test]
fn wild_traffic_is_learned_in_the_end() {
    let wild = |at_ms: u64| {
        let mut random = fastrand::Rng::with_seed(at_ms / HOUR_MS);
        (random.f64() * 6.0).exp()
    };
    let pattern = after(35, wild);
    let known = pattern
        .week()
        .iter()
        .filter(|hour| hour.weight > 1.5)
        .count();
    assert!(known > 100, "{known} {:?}", pattern.days());
}

#[test]
fn what_is_put_aside_is_bounded() {
    let mut pattern = trained(14);
    for day in 14..60_u64 {
        let level = if day % 2 == 0 { 5_000.0 } else { 0.01 };
        let begin = MONDAY_MS + day * DAY_MS;
        feed(&mut pattern, begin..begin + DAY_MS, |_| level);
        assert!(pattern.days().waiting <= 7);
    }
}
