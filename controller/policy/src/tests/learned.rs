//! What the learned pattern may do and may not.

use super::laws::{Loop, second};
use crate::{Block, Observation, Policy, ProfileForecast, Reason};

#[test]
fn the_learned_floor_adds_early_and_never_removes() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let without = pool.run(60, 100.0).to;
    let mut observation = second(100.0, 0.05, pool.ready);
    observation.forecast = Some(ProfileForecast {
        median_rate: 10.0,
        floor_rate: 10.0,
        growth: 1.0,
    });
    assert_eq!(pool.step(&observation, 1_000).to, without);
    observation.forecast = Some(ProfileForecast {
        median_rate: 300.0,
        floor_rate: 400.0,
        growth: 1.0,
    });
    let up = pool.step(&observation, 1_000);
    assert!(up.to > without);
    assert_eq!(up.reason, Reason::LearnedFloor);
}

#[test]
fn after_ten_blind_minutes_the_larger_of_current_and_median_counts() {
    let blind = |median_rate| Observation {
        forecast: Some(ProfileForecast {
            median_rate,
            floor_rate: 0.0,
            growth: 1.0,
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
    };
    for second_off in 0..600 {
        let mut observation = second(1.0, 0.05, pool.ready);
        observation.forecast = Some(expected(400.0));
        let decision = pool.step(&observation, 1_000);
        assert_eq!(decision.to, before, "after {second_off} s: {decision:?}");
    }
    assert_eq!(pool.log.last().unwrap().blocked_by, Some(Block::Dip));
    for _ in 0..600 {
        let mut observation = second(1.0, 0.05, pool.ready);
        observation.forecast = Some(expected(400.0));
        pool.step(&observation, 1_000);
    }
    assert!(pool.ready < before, "not for ever: {}", pool.ready);
}
