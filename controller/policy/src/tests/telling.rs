//! What a decision tells of itself: what holds it, until when, and what fewer workers would have meant.

use super::laws::{Loop, second};
use crate::{Block, Decision, Policy};

/// Policy time and wall time are the same here, but for where they begin.
fn seconds_until_change(pool: &Loop, decision: &Decision) -> Option<f64> {
    let at_ms = decision.earliest_change_ms?;
    Some((at_ms as f64 - pool.now_ms as f64) / 1e3)
}

#[test]
fn who_is_needed_now_is_not_given_up_before_having_been_spare_for_a_while() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let busy = pool.run(600, 100.0);
    assert!(busy.to > 1 && busy.blocked_by.is_none(), "{busy:?}");
    let s = seconds_until_change(&pool, &busy).unwrap();
    assert!(s >= 15.0 || crate::decision::whole(busy.raw_need.unwrap()) < busy.to);
    let mut policy = Policy::tidepool(busy.to, 60);
    policy.bounds.min = busy.to;
    let mut least = Loop::new(policy);
    let at_least = least.run(600, 10.0);
    assert_eq!(at_least.earliest_change_ms, None, "it cannot shrink");
}

#[test]
fn growth_that_is_frozen_tells_when_it_goes_on() {
    let mut pool = Loop::new(Policy::tidepool(1, 500));
    pool.run(120, 60.0);
    let frozen = (0..1_500).find_map(|_| {
        let decision = pool.step(&super::rails::capped(150.0, 70.0, pool.ready), 1_000);
        (decision.blocked_by == Some(Block::NoEffect)).then_some(decision)
    });
    let s = seconds_until_change(&pool, &frozen.unwrap()).unwrap();
    // It may shrink before the five minutes are over, and not within the next seconds.
    assert!((15.0..=300.0).contains(&s), "{s}");
}

#[test]
fn the_last_worker_has_a_counterfactual_too() {
    let mut pool = Loop::new(Policy::tidepool(0, 8));
    let one = pool.run(120, 2.0);
    assert_eq!(one.to, 1);
    let without = one.counterfactual().unwrap();
    assert_eq!(without.workers, 0);
    // A worker takes half a second to start.
    assert_eq!((one.startup_s, without.late_share), (0.5, 0.0));
    assert!(without.late_share_decided < 0.01, "{without:?}");
    let mut hasty = Policy::tidepool(0, 8);
    hasty.bounds.wait_objective_s = Some(0.4);
    let without = Loop::new(hasty).run(120, 2.0).counterfactual().unwrap();
    assert_eq!(without.late_share, 1.0, "a cold start is late there");
}

#[test]
fn the_plain_rule_says_what_it_waits_for_and_what_came() {
    let mut pool = Loop::new(Policy::threshold(1, 8));
    for _ in 0..60 {
        let observation = second(200.0, 0.05, pool.ready);
        pool.step(&observation, 1_000);
    }
    let waits = |d: &&Decision| d.blocked_by == Some(Block::Unsettled);
    let last = pool.log.iter().rev().find(waits).unwrap();
    assert!(last.wanted > last.to);
    assert!((last.observed_rate.unwrap() - 200.0).abs() < 1.0);
    assert!(
        last.sentence().contains("has not had time to show"),
        "{}",
        last.sentence()
    );
}

#[test]
fn a_launch_limit_and_a_budget_that_ran_out_are_named() {
    let mut policy = Policy::tidepool(1, 60);
    (policy.bounds.launch_step, policy.bounds.launch_factor) = (1, 1);
    let mut pool = Loop::new(policy);
    for _ in 0..60 {
        let mut observation = second(1_000.0, 0.05, pool.ready);
        observation.startup_p95_s = Some(20.0);
        pool.step(&observation, 1_000);
    }
    let limited = |d: &&Decision| d.blocked_by == Some(Block::LaunchRate);
    assert!(
        pool.log.iter().filter(limited).count() > 10,
        "{:?}",
        pool.log.last()
    );

    let mut policy = Policy::tidepool(1, 60);
    policy.bounds.reversals_max = 1.0;
    policy.bounds.cooldown_s = 0.0;
    let mut pool = Loop::new(policy);
    for rate in [200.0, 20.0, 200.0, 20.0, 200.0] {
        pool.run(120, rate);
    }
    let rest = pool.run(120, 20.0);
    assert_eq!(rest.blocked_by, Some(Block::ReversalBudget), "{rest:?}");
    let s = seconds_until_change(&pool, &rest).unwrap();
    assert!(s > 600.0, "{s}");
}
