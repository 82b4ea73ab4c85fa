//! Guard rails, seen through decisions.

use super::laws::{Loop, second};
use crate::{Backlog, Block, Direction, Observation, Override, Policy, ProfileForecast, Reason};

/// A second in which `rate` comes and only `goodput` gets through, all slots being held.
fn capped(rate: f64, goodput: f64, ready: u32) -> Observation {
    let mut observation = second(rate, 0.05, ready);
    let slots = 4.0 * f64::from(ready);
    let work = observation.work.as_mut().unwrap();
    (work.completed, work.released) = (goodput, goodput);
    work.busy_slot_s = slots;
    observation.backlog = Some(Backlog {
        queued: 200.0,
        oldest_wait_s: 2.0,
        busy_slots: slots,
    });
    observation
}

#[test]
fn workers_that_bring_no_more_answers_freeze_growth_and_then_come_one_at_a_time() {
    let mut pool = Loop::new(Policy::tidepool(1, 500));
    pool.run(120, 60.0);
    for _ in 0..1_500 {
        let observation = capped(150.0, 70.0, pool.ready);
        pool.step(&observation, 1_000);
    }
    let frozen = pool
        .log
        .iter()
        .filter(|d| d.blocked_by == Some(Block::NoEffect));
    assert!(frozen.count() > 600, "{:?}", pool.log.last());
    let first = pool
        .log
        .iter()
        .position(|d| d.blocked_by == Some(Block::NoEffect));
    let after = &pool.log[first.unwrap()..];
    let growths: Vec<u32> = after
        .iter()
        .filter(|d| d.direction == Direction::Up)
        .map(|d| d.to - d.from)
        .collect();
    assert!(
        !growths.is_empty() && growths.iter().all(|step| *step == 1),
        "{growths:?}"
    );
    assert!(growths.len() <= 5, "{growths:?}");
}

#[test]
fn after_a_burst_nobody_goes_for_a_minute_and_then_by_halves() {
    let mut pool = Loop::new(Policy::tidepool(1, 500));
    pool.run(300, 20.0);
    pool.run(10, 2_000.0);
    let high = pool.ready;
    assert!(high > 20, "{high}");
    pool.run(48, 20.0);
    assert_eq!(pool.ready, high);
    assert!(pool.log.iter().any(|d| d.blocked_by == Some(Block::Burst)));
    pool.run(300, 20.0);
    let steps = pool.log.iter().filter(|d| d.direction == Direction::Down);
    assert!(steps.clone().all(|d| d.to >= d.from / 2), "by halves");
    assert!(
        steps.count() >= 3 && pool.ready < high / 4,
        "{}",
        pool.ready
    );
}

#[test]
fn failing_answers_keep_the_fleet_for_the_retries() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(300, 400.0).to;
    for _ in 0..120 {
        let mut observation = second(40.0, 0.05, pool.ready);
        let work = observation.work.as_mut().unwrap();
        work.failed = work.completed;
        assert_eq!(pool.step(&observation, 1_000).to, before);
    }
    assert_eq!(pool.log.last().unwrap().blocked_by, Some(Block::Failing));
}

#[test]
fn an_objective_shorter_than_the_work_asks_for_nobody() {
    let mut policy = Policy::tidepool(1, 60);
    policy.bounds.slo_ms = 10;
    let mut pool = Loop::new(policy);
    pool.run(120, 100.0);
    let mut slow = second(100.0, 0.05, pool.ready);
    slow.backlog = Some(Backlog {
        queued: 1.0,
        oldest_wait_s: 5.0,
        busy_slots: 5.0,
    });
    let decision = pool.step(&slow, 1_000);
    assert!(decision.infeasible);
    assert_eq!(decision.needs.latency, None);
}

#[test]
fn blindness_begins_anew_after_something_was_seen() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(60, 100.0).to;
    let blind = Observation {
        forecast: Some(ProfileForecast {
            median_rate: 900.0,
            floor_rate: 0.0,
            growth: 1.0,
        }),
        ..Observation::default()
    };
    for _ in 0..2 {
        (0..400).for_each(|_| assert_eq!(pool.step(&blind, 1_000).to, before));
        pool.run(1, 100.0);
    }
}

#[test]
fn a_bound_of_an_operator_holds_for_a_paused_pool_too() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(60, 20.0);
    let mut observation = second(20.0, 0.05, pool.ready);
    observation.operator = Some(Override {
        paused: true,
        min: Some(9),
        ..Override::default()
    });
    let decision = pool.step(&observation, 1_000);
    assert_eq!((decision.to, decision.reason), (9, Reason::Minimum));
}

#[test]
fn an_empty_pool_with_requests_starts_a_worker_whatever_fails() {
    let mut pool = Loop::new(Policy::tidepool(0, 60));
    let mut observation = second(0.0, 0.05, 0);
    observation.node_memory_share = Some(0.99);
    observation.backlog = Some(Backlog {
        queued: 1.0,
        oldest_wait_s: 0.1,
        busy_slots: 0.0,
    });
    let decision = pool.step(&observation, 1_000);
    assert_eq!((decision.to, decision.reason), (1, Reason::ColdStart));
}

#[test]
fn one_fewer_is_told_in_numbers() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let mut decision = pool.run(600, 400.0);
    // 20 Erlangs on 5 or 6 workers of 4 slots, nothing uncertain, a wait of one service time.
    decision.to = 6;
    decision.service_s = Some(0.05);
    decision.wait_objective_s = 0.05;
    let forecast = decision.forecast.as_mut().unwrap();
    (forecast.p50, forecast.p99) = (400.0, 400.0);
    let sure = decision.counterfactual().unwrap();
    assert_eq!(sure.workers, 5);
    assert!(sure.late_share > 0.999, "{sure:?}");
    // Erlang C of 24 slots under 20 Erlangs is 0.30, and four free slots let e^-4 of those wait.
    assert!(
        (sure.late_share_decided - 0.30 * (-4.0_f64).exp()).abs() < 0.001,
        "{sure:?}"
    );
    decision.forecast.as_mut().unwrap().p99 = 800.0;
    let unsure = decision.counterfactual().unwrap();
    assert!(
        unsure.late_share_decided > 10.0 * sure.late_share_decided,
        "{unsure:?}"
    );
    decision.to = 1;
    assert_eq!(decision.counterfactual(), None);
}
