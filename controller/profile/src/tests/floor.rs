//! What a burst of misses does to the floor.

use proptest::prelude::*;

use super::*;
use crate::{Forecast, conformal::Conformal};

/// A demonstrated day: pattern time in one observation, a real second, and in one window of it.
const STEP_MS: u64 = 720_000;
const WINDOW_MS: u64 = 10_000;
const LEAD_S: f64 = 1_440.0;

/// The demonstrated load: nothing at night, from `opens` on a swell to `peak` within six hours.
fn demonstrated(at_ms: u64, opens: f64, peak: f64) -> f64 {
    let hour = hour_of_week(at_ms) % 24.0;
    let place = (hour - opens) / 12.0;
    if (0.0..1.0).contains(&place) {
        peak * (std::f64::consts::PI * place).sin()
    } else {
        0.0
    }
}

/// The windows of one observation, as time that is sped up has them.
fn cut(at_ms: u64, rate: f64) -> impl Iterator<Item = (u64, f64, f64)> {
    (1..=STEP_MS / WINDOW_MS).map(move |window| (at_ms + window * WINDOW_MS, 10.0, rate * 10.0))
}

/// Lives through a span and returns what was foretold after each observation.
fn demonstrate(
    pattern: &mut Pattern,
    span_ms: std::ops::Range<u64>,
    rate: impl Fn(u64) -> f64,
) -> Vec<Forecast> {
    let step = |at_ms: u64| {
        pattern.observe_cut(cut(at_ms, rate(at_ms + STEP_MS / 2)));
        pattern.forecast(at_ms + STEP_MS, LEAD_S)
    };
    span_ms.step_by(STEP_MS as usize).filter_map(step).collect()
}

/// The most that a floor may be, by the words of its document.
fn most(median: f64, largest: f64) -> f64 {
    let chance = (3.0 * (20.0 * largest).sqrt() + 2.0) / 20.0;
    (1.5 * median).max(1.5 * largest + chance)
}

fn shift(pattern: &Pattern) -> f64 {
    pattern.horizons[0].conformal.shift
}

#[test]
fn the_second_demonstrated_morning_asks_for_what_may_come() {
    for opens in [8.0, 8.1, 8.35] {
        let mut pattern = pattern();
        let day = |at_ms| demonstrated(at_ms, opens, 40.0);
        let told = demonstrate(&mut pattern, MONDAY_MS..MONDAY_MS + 2 * DAY_MS, day);
        let most = told.iter().map(|f| f.floor_rate).fold(0.0, f64::max);
        assert!(most < 65.0, "{most} for a peak of 40 from {opens}");
        let first = MONDAY_MS + DAY_MS + (opens * HOUR_MS as f64) as u64;
        let in_time = |f: &&Forecast| f.at_ms > first && f.at_ms < first + LEAD_S as u64 * 1_000;
        let in_time: Vec<_> = told.iter().filter(in_time).collect();
        assert!(in_time.iter().any(|f| f.floor_rate > 0.1), "{in_time:?}");
    }
}

#[test]
fn one_observation_is_charged_once_however_many_forecasts_it_judges() {
    let lives = |rate: f64, is_cut: bool| {
        let mut pattern = pattern();
        let quiet = MONDAY_MS..MONDAY_MS + 2 * DAY_MS;
        demonstrate(&mut pattern, quiet, |_| 5.0);
        let (before, judged) = (shift(&pattern), pattern.quality()[0].judged);
        let windows = cut(MONDAY_MS + 2 * DAY_MS, rate);
        if is_cut {
            pattern.observe_cut(windows);
        } else {
            windows.for_each(|(at_ms, window_s, n)| pattern.observe(at_ms, window_s, n));
        }
        (
            shift(&pattern) - before,
            pattern.quality()[0].judged - judged,
        )
    };
    let mut charged = Conformal::default();
    let mut tally = crate::conformal::Tally::default();
    tally.add(0.95, false);
    charged.judge(tally);
    let (moved, judged) = lives(400.0, true);
    assert!(judged > 3, "{judged}");
    // The first windows go by before the rate has risen, so a few of the forecasts may hold.
    let once = charged.shift;
    assert!(
        (once * 1.001..once * 0.5).contains(&moved),
        "{moved} for {once}"
    );
    let (each, _) = lives(400.0, false);
    assert!(
        each < 3.0 * once,
        "{each}: windows that are observations count"
    );
    let (held, judged) = lives(5.0, true);
    assert!(held > 0.0 && judged > 3, "{held}");
}

#[test]
fn a_cut_of_one_is_an_observation() {
    let (mut whole, mut cut_up) = (trained(3), trained(3));
    for minute in 1..600 {
        let at_ms = MONDAY_MS + 3 * DAY_MS + minute * 60_000;
        let arrivals = 60.0 * (20 + minute * 7 % 11) as f64;
        whole.observe(at_ms, 60.0, arrivals);
        cut_up.observe_cut([(at_ms, 60.0, arrivals)]);
    }
    assert_eq!(whole.export(), cut_up.export());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_burst_of_misses_never_lifts_the_floor_above_its_most(
        opens in 1_u64..11, peak in 1.0_f64..500.0,
        hour in 0_u64..24, factor in 1.0_f64..1_000.0, minutes in 1_u64..60, late in 0.0_f64..1.0,
    ) {
        let mut pattern = pattern();
        let usual = |at_ms| demonstrated(at_ms, opens as f64, peak);
        demonstrate(&mut pattern, MONDAY_MS..MONDAY_MS + 2 * DAY_MS, usual);
        let burst = MONDAY_MS + 2 * DAY_MS + hour * HOUR_MS;
        let burst = burst..burst + minutes * 60_000;
        let third = MONDAY_MS + 2 * DAY_MS..MONDAY_MS + 3 * DAY_MS;
        let told = demonstrate(&mut pattern, third.clone(), |at_ms| {
            let times = if burst.contains(&at_ms) { factor } else { 1.0 };
            times * (usual(at_ms) + 0.1)
        });
        pattern.budget(third.end, 1e6, late * 1e6);
        for forecast in &told {
            // The burst itself is learned at midnight at the earliest.
            let most = most(forecast.median_rate, peak);
            prop_assert!(forecast.floor_rate <= most * 1.001, "{forecast:?} above {most}");
            prop_assert!(forecast.floor_rate >= forecast.median_rate);
        }
        let fourth = third.end..third.end + DAY_MS;
        let told = demonstrate(&mut pattern, fourth, usual);
        // The day with the burst was learned, if at all, when its first minute was over.
        let largest = learned_most(&pattern).max(peak);
        for forecast in told {
            let most = most(forecast.median_rate, largest);
            prop_assert!(forecast.floor_rate <= most * 1.001, "{forecast:?} above {most}");
        }
    }
}

/// Mean rate of the largest hour of the learned week.
fn learned_most(pattern: &Pattern) -> f64 {
    let hours = pattern.week.bins.iter().filter(|bin| bin.weight > 0.0);
    hours.map(|bin| bin.ln_rate.exp()).fold(0.0, f64::max)
}
