//! What the learned pattern may do and may not.

use super::laws::{Loop, second};
use crate::{Observation, Policy, ProfileForecast, Reason};

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
