use proptest::prelude::*;

use super::*;
use crate::{
    conformal::{Conformal, Tally},
    curve::Curve,
    local::WEEK_HOURS,
    residual::{RESIDUAL_MAX, Residuals},
};

#[test]
fn says_nothing_before_a_day_is_known() {
    let mut pattern = pattern();
    feed(&mut pattern, MONDAY_MS..MONDAY_MS + 10 * HOUR_MS, |_| 50.0);
    assert!(pattern.forecast(MONDAY_MS + 10 * HOUR_MS, 60.0).is_none());
    assert!(pattern.outlook(MONDAY_MS, 24, 300).is_empty());
}

#[test]
fn sees_the_morning_coming() {
    let mut pattern = trained(14);
    let half_past_seven = MONDAY_MS + 14 * DAY_MS + 7 * HOUR_MS + HOUR_MS / 2;
    let all_night = MONDAY_MS + 14 * DAY_MS..half_past_seven;
    feed(&mut pattern, all_night, |at_ms| office(hour_of_week(at_ms)));
    let forecast = pattern
        .forecast(half_past_seven, 600.0)
        .expect("two weeks are enough");
    let truth = office(7.0 + 2.0 / 3.0);
    assert!(forecast.believed, "{:?}", pattern.quality());
    let off = (forecast.median_rate / truth).ln().abs();
    assert!(off < 0.15, "{} instead of {truth}", forecast.median_rate);
    assert!(forecast.growth > 1.15, "{}", forecast.growth);
}

#[test]
fn beats_the_last_value_on_a_daily_pattern() {
    let [one_lead, _] = trained(14).quality();
    assert!(
        one_lead.profile_loss < 0.8 * one_lead.last_value_loss,
        "{one_lead:?}"
    );
}

#[test]
fn does_no_harm_where_nothing_recurs() {
    let mut pattern = pattern();
    let mut random = fastrand::Rng::with_seed(3);
    let mut ln_rate = 4.0_f64;
    for step in 1..=12 * 8_640_u64 {
        ln_rate += (random.f64() - 0.5) * 0.03 + (4.0 - ln_rate) * 0.0005;
        let at_ms = MONDAY_MS + step * 10_000;
        pattern.observe(at_ms, 10.0, ln_rate.exp() * 10.0);
        if let Some(forecast) = pattern.forecast(at_ms, 120.0) {
            assert!(
                !forecast.believed || (0.7..1.4).contains(&forecast.growth),
                "{forecast:?}"
            );
        }
    }
    let [one_lead, _] = pattern.quality();
    let ratio = one_lead.profile_loss_mean / one_lead.last_value_loss_mean;
    assert!(ratio < 1.01, "{one_lead:?}");
}

#[test]
fn is_doubted_when_the_pattern_ends_and_believed_again_when_it_returns() {
    let mut pattern = trained(14);
    assert!(pattern.quality()[0].believed);
    let begin = MONDAY_MS + 14 * DAY_MS;
    // The week runs half a day late: every rise comes where a fall was learned.
    feed(&mut pattern, begin..begin + 2 * DAY_MS, |at_ms| {
        office(hour_of_week(at_ms + 11 * HOUR_MS))
    });
    let [doubted, _] = pattern.quality();
    assert!(doubted.growth_share < 0.95, "{doubted:?}");
    // What the last minutes say carries it meanwhile; it is doubted only where that is not enough.
    let is_better = doubted.profile_loss < doubted.last_value_loss;
    assert_eq!(doubted.believed, is_better, "{doubted:?}");
    let begin = begin + 2 * DAY_MS;
    feed(&mut pattern, begin..begin + 7 * DAY_MS, |at_ms| {
        office(hour_of_week(at_ms))
    });
    assert!(pattern.quality()[0].believed);
}

#[test]
fn meets_bursts_that_recur_and_no_others() {
    let bursting = |minute: u64| {
        move |at_ms: u64| {
            let is_burst = (at_ms / 60_000) % 60 / 5 == minute / 5;
            if is_burst { 200.0 } else { 50.0 }
        }
    };
    let mut regular = pattern();
    feed(
        &mut regular,
        MONDAY_MS..MONDAY_MS + 5 * DAY_MS,
        bursting(20),
    );
    let phases = regular.burst_phases();
    let proven: Vec<_> = phases
        .iter()
        .filter(|p| p.proven)
        .map(|p| p.minute % 60)
        .collect();
    assert!(
        !proven.is_empty() && proven.iter().all(|minute| (20..=25).contains(minute)),
        "{proven:?}"
    );
    let at_ms = MONDAY_MS + 5 * DAY_MS + HOUR_MS;
    assert!(
        regular
            .peek(at_ms + 21 * 60_000 - 600_000, 600.0)
            .is_some_and(|f| f.burst > 2.0)
    );
    assert!(
        regular
            .peek(at_ms + 40 * 60_000, 600.0)
            .is_some_and(|f| f.burst == 1.0)
    );

    let calm = trained(5);
    assert!(calm.burst_phases().iter().all(|phase| !phase.proven));
}

#[test]
fn a_late_request_of_the_night_weighs_no_more_than_one_of_the_day() {
    let mut pattern = trained(2);
    let now_ms = MONDAY_MS + 2 * DAY_MS;
    (1..=60).for_each(|minute| pattern.budget(now_ms + minute * 60_000, 6_000.0, 0.0));
    let before = pattern.quantile();
    // A minute with one request, and that one late.
    pattern.budget(now_ms + 61 * 60_000, 1.0, 1.0);
    assert!(
        pattern.quantile() - before < 0.001,
        "{before} {}",
        pattern.quantile()
    );
    pattern.budget(now_ms + 62 * 60_000, f64::NAN, 1.0);
    pattern.budget(now_ms + 63 * 60_000, 1.0, -1.0);
    assert!(pattern.quantile() - before < 0.001, "nonsense is left out");
    pattern.budget(now_ms + 64 * 60_000, 6_000.0, 6_000.0);
    assert!(pattern.quantile() > 0.99, "{}", pattern.quantile());
}

#[test]
fn a_spent_budget_raises_the_floor_and_an_unspent_one_lowers_it() {
    let mut pattern = trained(8);
    let now_ms = MONDAY_MS + 8 * DAY_MS;
    let before = pattern.quantile();
    for minute in 0..60 * 24 {
        pattern.budget(now_ms + minute * 60_000, 6_000.0, 60.0);
    }
    let strained = pattern.quantile();
    assert!(strained > 0.999 && strained > before, "{before} {strained}");
    for minute in 60 * 24..60 * 24 * 30 {
        pattern.budget(now_ms + minute * 60_000, 6_000.0, 0.0);
    }
    assert!(
        (0.9..=0.91).contains(&pattern.quantile()),
        "{}",
        pattern.quantile()
    );
}

#[test]
fn numbers_that_no_counter_shows_are_left_out() {
    let mut pattern = trained(2);
    let now_ms = MONDAY_MS + 2 * DAY_MS;
    let before = pattern.export();
    for (window_s, arrivals) in [(1.0, 1e300), (1e-300, 5.0), (f64::NAN, 5.0), (1.0, -1.0)] {
        pattern.observe(now_ms + 10_000, window_s, arrivals);
    }
    assert_eq!(pattern.export(), before);
}

/// An observation that judges one bound.
fn one(target: f64, did_hold: bool) -> Tally {
    let mut tally = Tally::default();
    tally.add(target, did_hold);
    tally
}

/// One line of what a clock and a counter gone mad might report.
fn report() -> impl Strategy<Value = (u64, f64, f64)> {
    let clock = prop_oneof![
        20 => (0_u64..40_000).prop_map(|step| MONDAY_MS + step * 30_000),
        1 => any::<u64>(),
        1 => Just(0),
    ];
    let window = prop_oneof![10 => 1.0_f64..60.0, 1 => any::<f64>()];
    let arrivals = prop_oneof![10 => 0.0_f64..1e4, 1 => any::<f64>(), 1 => Just(0.0)];
    (clock, window, arrivals)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn never_answers_with_nonsense(
        days in 0_u64..3,
        reports in prop::collection::vec(report(), 1..200),
        ordered: bool,
        lead_s in prop_oneof![1.0_f64..4_000.0, any::<f64>()],
    ) {
        let mut reports = reports;
        if ordered {
            reports.sort_by_key(|report| report.0);
        }
        let mut pattern = trained(days);
        for (at_ms, window_s, arrivals) in reports {
            pattern.observe(at_ms, window_s, arrivals);
            pattern.budget(at_ms, arrivals, arrivals);
            let Some(forecast) = pattern.forecast(at_ms, lead_s) else { continue };
            let rates = [forecast.median_rate, forecast.floor_rate, forecast.upper_rate];
            prop_assert!(rates.iter().all(|rate| rate.is_finite() && *rate >= 0.0), "{forecast:?}");
            prop_assert!(forecast.median_rate <= forecast.floor_rate, "{forecast:?}");
            prop_assert!(forecast.median_rate <= forecast.upper_rate, "{forecast:?}");
            prop_assert!(forecast.growth.is_finite() && forecast.growth > 0.0);
            prop_assert!((0.9..=0.9999).contains(&forecast.quantile));
        }
        for point in pattern.outlook(MONDAY_MS + 3 * DAY_MS, 24, 900) {
            let rates = [point.p10_rate, point.p50_rate, point.p90_rate, point.p99_rate];
            prop_assert!(rates.iter().all(|rate| rate.is_finite()), "{point:?}");
            prop_assert!(rates.is_sorted(), "{point:?}");
        }
    }

    #[test]
    fn quantiles_rise(residuals in prop::collection::vec(-4.0_f64..4.0, 0..300), asked in prop::collection::vec(0.0_f64..=1.0, 6)) {
        let mut histogram = Residuals::default();
        residuals.iter().for_each(|residual| histogram.add(*residual, 0.999));
        let mut asked = asked;
        asked.sort_by(f64::total_cmp);
        let found: Vec<_> = asked.iter().map(|q| histogram.quantile(*q)).collect();
        prop_assert!(found.is_sorted(), "{asked:?} {found:?}");
    }

    #[test]
    fn coverage_comes_to_its_target(seed: u64, target in 0.9_f64..0.999, scale in 0.1_f64..0.6) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut residuals, mut conformal) = (Residuals::default(), Conformal::default());
        let mut held = 0;
        for step in 0..40_000 {
            let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            let residual = ((scale * normal).exp() - 1.2).min(RESIDUAL_MAX);
            let floor = residuals.quantile(conformal.quantile(target));
            conformal.judge(one(target, residual <= floor));
            held += u32::from(step >= 20_000 && residual <= floor);
            residuals.add(residual, 0.99995);
        }
        let coverage = f64::from(held) / 20_000.0;
        let tolerance = 0.25 * (1.0 - target) + 0.0005;
        prop_assert!((coverage - target).abs() < tolerance, "{coverage} instead of {target}");
    }

    #[test]
    fn coverage_comes_to_its_target_however_many_forecasts_an_observation_judges(
        seed: u64, target in 0.9_f64..0.99, forecasts in 1_u32..12,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut residuals, mut conformal) = (Residuals::default(), Conformal::default());
        let mut held = 0;
        for step in 0..40_000 {
            let residual = random.f64() + random.f64() - 1.0;
            let floor = residuals.quantile(conformal.quantile(target));
            let mut tally = Tally::default();
            (0..random.u32(1..=forecasts)).for_each(|_| tally.add(target, residual <= floor));
            conformal.judge(tally);
            held += u32::from(step >= 20_000 && residual <= floor);
            residuals.add(residual, 0.99995);
        }
        let coverage = f64::from(held) / 20_000.0;
        let tolerance = 0.25 * (1.0 - target) + 0.0005;
        prop_assert!((coverage - target).abs() < tolerance, "{coverage} instead of {target}");
        let shown = conformal.coverage_mean().unwrap_or(0.0);
        prop_assert!((shown - target).abs() < 0.02, "{shown} instead of {target}");
    }

    #[test]
    fn coverage_holds_although_the_noise_grows(seed: u64, factor in 1.0_f64..4.0) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut residuals, mut conformal) = (Residuals::default(), Conformal::default());
        for step in 0..60_000 {
            let scale = 0.2 * (1.0 + (factor - 1.0) * f64::from(step) / 60_000.0);
            let residual = scale * (random.f64() - 0.5);
            let floor = residuals.quantile(conformal.quantile(0.95));
            conformal.judge(one(0.95, residual <= floor));
            residuals.add(residual, 0.9999);
        }
        let coverage = conformal.coverage_mean().unwrap_or(0.0);
        prop_assert!((coverage - 0.95).abs() < 0.01, "{coverage}");
    }

    #[test]
    fn the_curve_keeps_the_mean_of_each_hour(rates in prop::collection::vec(1.0_f64..50.0, WEEK_HOURS)) {
        let hours: [f64; WEEK_HOURS] = rates.try_into().unwrap_or([1.0; WEEK_HOURS]);
        let curve = Curve::through(&hours, 1e-6);
        let fine = 480;
        for (hour, mean) in hours.iter().enumerate() {
            let around = [WEEK_HOURS - 1, 0, 1].map(|offset| hours[(hour + offset) % WEEK_HOURS]);
            let least = around.iter().copied().fold(f64::INFINITY, f64::min);
            let most = around.iter().copied().fold(0.0, f64::max);
            let points = (0..fine).map(|point| hour as f64 + (f64::from(point as u32) + 0.5) / fine as f64);
            let sum: f64 = points
                .map(|place| curve.ln_rate(place).exp())
                .inspect(|rate| assert!((least * 0.9999..=most * 1.0001).contains(rate)))
                .sum();
            let kept = sum / fine as f64;
            prop_assert!((kept - mean).abs() < 1e-4 * most, "{kept} instead of {mean}");
        }
    }
}
