//! What the learned pattern may do and may not.

use super::laws::{Loop, second};
use crate::{Block, Margin, Observation, Policy, ProfileForecast, Reason, Rule};

#[test]
fn the_learned_floor_adds_early_and_never_removes() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let without = pool.run(60, 100.0).to;
    let mut observation = second(100.0, 0.05, pool.ready);
    observation.forecast = Some(ProfileForecast {
        median_rate: 10.0,
        floor_rate: 10.0,
        growth: 1.0,
        ..ProfileForecast::default()
    });
    assert_eq!(pool.step(&observation, 1_000).to, without);
    observation.forecast = Some(ProfileForecast {
        median_rate: 300.0,
        floor_rate: 400.0,
        growth: 1.0,
        ..ProfileForecast::default()
    });
    let up = pool.step(&observation, 1_000);
    assert!(up.to > without);
    assert_eq!(up.reason, Reason::LearnedFloor);
}

#[test]
fn a_pool_that_sleeps_is_made_ready_for_the_median_whatever_margin_is_held() {
    let woken_to = |margin: Margin, waking: bool| {
        let mut policy = Policy::tidepool(0, 60);
        if let Rule::Tidepool(config) = &mut policy.rule {
            config.margin = Some(margin);
        }
        let mut pool = Loop::new(policy);
        pool.run(900, 0.0);
        assert_eq!(pool.ready, 0, "it sleeps");
        let mut observation = second(0.0, 0.05, 0);
        observation.forecast = Some(ProfileForecast {
            median_rate: 100.0,
            floor_rate: 300.0,
            growth: 1.0,
            waking,
            ..ProfileForecast::default()
        });
        pool.step(&observation, 1_000).to
    };
    let bold = Margin::default();
    let learned = Margin {
        learned: true,
        ..bold
    };
    let [first, median] = [false, true].map(|waking| woken_to(bold, waking));
    assert_eq!(
        first, 1,
        "of a pool that is awake the last minutes tell the rest"
    );
    assert_eq!(median, 2, "five busy slots of four each");
    let floor = woken_to(learned, true);
    assert_eq!(floor, woken_to(learned, false));
    assert!(floor >= 2 * median, "{floor} for {median}");
}

#[test]
fn after_ten_blind_minutes_the_larger_of_current_and_median_counts() {
    let blind = |median_rate| Observation {
        forecast: Some(ProfileForecast {
            median_rate,
            floor_rate: 0.0,
            growth: 1.0,
            ..ProfileForecast::default()
        }),
        ..Observation::default()
    };
    for (median_rate, grows) in [(400.0, true), (1.0, false)] {
        let mut pool = Loop::new(Policy::tidepool(1, 60));
        let before = pool.run(60, 100.0).to;
        (0..599).for_each(|_| assert_eq!(pool.step(&blind(median_rate), 1_000).to, before));
        for _ in 0..5 {
            pool.step(&blind(median_rate), 1_000);
        }
        assert_eq!(pool.ready > before, grows, "median {median_rate}");
    }
}

#[test]
fn a_fleet_is_kept_while_expected_load_stays_away() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(300, 400.0).to;
    let expected = |median_rate| ProfileForecast {
        median_rate,
        floor_rate: 0.0,
        growth: 1.0,
        ..ProfileForecast::default()
    };
    for second_off in 0..600 {
        let mut observation = second(1.0, 0.05, pool.ready);
        observation.forecast = Some(expected(400.0));
        let decision = pool.step(&observation, 1_000);
        assert_eq!(decision.to, before, "after {second_off} s: {decision:?}");
    }
    let last = pool.log.last().unwrap();
    assert_eq!(last.blocked_by, Some(Block::Dip));
    let left_ms = last.earliest_change_ms.unwrap() - pool.now_ms;
    assert!((295_000..=315_000).contains(&left_ms), "{left_ms}");
    for _ in 0..600 {
        let mut observation = second(1.0, 0.05, pool.ready);
        observation.forecast = Some(expected(400.0));
        pool.step(&observation, 1_000);
    }
    assert!(pool.ready < before, "not for ever: {}", pool.ready);
}

#[test]
fn a_rise_that_is_still_to_come_is_not_missed() {
    let missed = |median_rate: f64, growth: f64| {
        let mut pool = Loop::new(Policy::tidepool(1, 60));
        pool.run(60, 60.0);
        let mut observation = second(60.0, 0.05, pool.ready);
        observation.forecast = Some(ProfileForecast {
            median_rate,
            growth,
            ..ProfileForecast::default()
        });
        pool.step(&observation, 1_000);
        pool.memory.dip.held_until_ms() > 0
    };
    assert!(!missed(1_600.0, 8.0), "two hundred are expected by now");
    assert!(missed(1_600.0, 1.0));
    assert!(
        !missed(200.0, 0.1),
        "an evening is no reason to expect more"
    );
}

/// Workers of a pool that goes by the pattern alone, after a minute of a hundred requests a second.
fn led_by(startup_s: f64, expected_rate: f64) -> u32 {
    let mut policy = Policy::tidepool(1, 60);
    if let Rule::Tidepool(config) = &mut policy.rule {
        config.margin = Some(Margin {
            quantile: Some(3),
            ..Margin::default()
        });
    }
    let mut pool = Loop::new(policy);
    let mut observation = second(100.0, 0.05, pool.ready);
    observation.startup_p95_s = Some(startup_s);
    let mut quantile_rates = [0.0; crate::PATTERN_QUANTILES.len()];
    quantile_rates[3] = expected_rate;
    observation.forecast = Some(ProfileForecast {
        median_rate: 100.0,
        growth: 1.0,
        quantile_rates,
        ..ProfileForecast::default()
    });
    (0..60)
        .map(|_| pool.step(&observation, 1_000).to)
        .last()
        .unwrap()
}

#[test]
fn a_quantile_of_the_pattern_stands_in_for_the_last_minutes_where_starting_is_slow() {
    let [much, as_now, little] = [300.0, 100.0, 1.0].map(|rate| led_by(600.0, rate));
    assert!(much >= 2 * as_now, "{much} for {as_now}");
    // What comes now must be served now, whatever is expected.
    assert!(4 * little >= 5 && little <= as_now, "{little} for {as_now}");
    assert_eq!(
        led_by(30.0, 300.0),
        led_by(30.0, 100.0),
        "who starts quickly sees for himself"
    );
    // A pattern of an older version tells no quantiles: the last minutes speak.
    assert!(led_by(600.0, 0.0) >= as_now);
}
