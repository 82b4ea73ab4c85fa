//! What an operator sees of a pool: it goes up, settles, comes back down, and does not flap.

use super::pool::Pool;
use crate::{Direction, Policy, Reason};

fn quick(max: u32) -> Policy {
    let mut policy = Policy::tidepool(1, max);
    policy.bounds.cooldown_s = 15.0;
    policy.bounds.slo_ms = 250;
    policy
}

#[test]
fn a_spike_goes_up_past_80_settles_and_comes_back_below_30() {
    let mut pool = Pool::new(quick(8), 4, 0.05, 0.3);
    pool.run(90, 10.0);
    assert_eq!(pool.target(), 1);
    let (quiet, turns) = (pool.log.len(), pool.reversals());
    pool.run(60, 300.0);
    let peak = pool.log.iter().filter_map(|d| d.score).fold(0.0, f64::max);
    assert!(peak > 0.80, "the score peaked at {peak}");
    let grown = pool.target();
    assert!((5..=8).contains(&grown), "grew to {grown}");
    assert!(
        pool.score() <= 0.80 && pool.score() > 0.30,
        "{}",
        pool.score()
    );
    let first_up = pool.log[quiet..].iter().position(|d| d.to > 1).unwrap();
    assert!(first_up <= 2, "grew after {first_up} s");
    pool.run(120, 10.0);
    let low = pool.log[quiet + 60..]
        .iter()
        .filter_map(|d| d.score)
        .fold(1.0, f64::min);
    assert!(low < 0.30, "the score fell to {low}");
    assert_eq!(pool.target(), 1);
    // Up after whatever came before, and down: no more.
    assert!(pool.reversals() - turns <= 2);
    assert_eq!(pool.late, 0);
}

#[test]
fn an_idle_pool_is_back_at_its_minimum_within_about_a_minute() {
    for (slots, service_s, rate) in [(4, 0.05, 400.0), (1, 0.2, 25.0), (16, 0.001, 2_000.0)] {
        let mut pool = Pool::new(quick(8), slots, service_s, 0.1);
        pool.run(300, rate);
        pool.run(75, 0.0);
        assert_eq!(pool.target(), 1, "{slots} slots, {service_s} s, {rate} /s");
    }
}

#[test]
fn steady_load_does_not_flap() {
    for (slots, service_s, rate) in [
        (4, 0.05, 150.0),
        (1, 0.2, 20.0),
        (1, 0.02, 90.0),
        (8, 0.01, 1_000.0),
        (2, 0.1, 3.0),
    ] {
        let mut pool = Pool::new(quick(8), slots, service_s, 0.5);
        pool.run(1_800, rate);
        let reversals = pool.reversals();
        assert!(
            reversals <= 4,
            "{reversals} reversals at {slots} slots, {service_s} s, {rate} /s"
        );
    }
}

#[test]
fn load_that_swings_in_step_with_the_rule_meets_the_budget() {
    let mut pool = Pool::new(quick(8), 4, 0.05, 0.3);
    let mut an_hour = || {
        let before = pool.reversals();
        for _ in 0..60 {
            pool.run(30, 300.0).run(30, 5.0);
        }
        pool.reversals() - before
    };
    let (first, second) = (an_hour(), an_hour());
    assert!(first <= 22, "{first} reversals in the first hour");
    assert!(second <= 3, "{second} reversals in the second hour");
}

#[test]
fn a_slowly_starting_pool_launches_once_and_credits_what_starts() {
    let mut policy = Policy::tidepool(2, 60);
    policy.bounds.slo_ms = 2_500;
    let mut pool = Pool::new(policy, 10, 0.5, 30.0);
    pool.run(300, 20.0);
    pool.run(300, 120.0);
    let most = pool.log.iter().map(|d| d.to).max().unwrap();
    assert!((7..=14).contains(&most), "{most} workers for a load of six");
}

#[test]
fn an_empty_pool_starts_for_the_first_request_and_goes_back_to_sleep() {
    let mut policy = quick(8);
    policy.bounds.min = 0;
    let mut pool = Pool::new(policy, 4, 0.05, 0.3);
    pool.run(60, 0.0);
    assert_eq!(pool.target(), 0);
    pool.run(10, 5.0);
    assert!(pool.target() >= 1);
    let reasons: Vec<Reason> = pool.log.iter().map(|d| d.reason).collect();
    assert!(reasons.contains(&Reason::ColdStart), "{reasons:?}");
    pool.run(120, 0.0);
    assert_eq!(pool.target(), 0);
}

#[test]
fn the_plain_rule_steps_up_and_down_and_rests_between() {
    let mut policy = Policy::threshold(1, 8);
    policy.bounds.cooldown_s = 15.0;
    let mut pool = Pool::new(policy, 4, 0.05, 0.3);
    pool.run(60, 10.0).run(120, 150.0);
    assert!((3..=5).contains(&pool.target()), "{}", pool.target());
    pool.run(240, 10.0);
    assert_eq!(pool.target(), 1);
    let downs: Vec<usize> = pool
        .log
        .iter()
        .enumerate()
        .filter(|(_, d)| d.direction == Direction::Down)
        .map(|(second, _)| second)
        .collect();
    assert!(
        downs.windows(2).all(|pair| pair[1] - pair[0] >= 15),
        "{downs:?}"
    );
}
