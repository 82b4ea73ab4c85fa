//! Guard rails, seen through decisions.

use super::laws::{Loop, second};
use crate::{
    Backlog, Block, Bound, Direction, Observation, Override, Policy, ProfileForecast, Reason,
};

/// A second in which `rate` comes and only `goodput` gets through, all slots being held.
pub(super) fn capped(rate: f64, goodput: f64, ready: u32) -> Observation {
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
    let last = pool.log.last().unwrap();
    assert_eq!(last.blocked_by, Some(Block::Burst));
    let left_ms = last.earliest_change_ms.unwrap() - pool.now_ms;
    assert!((1_000..=60_000).contains(&left_ms), "{left_ms}");
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
fn the_plain_rule_tells_of_such_an_objective_too() {
    let told = |slo_ms, wait_objective_s| {
        let mut policy = Policy::threshold(1, 60);
        policy.bounds.slo_ms = slo_ms;
        policy.bounds.wait_objective_s = wait_objective_s;
        let decision = Loop::new(policy).run(120, 100.0);
        let is_said = decision.sentence().contains("longer than the objective");
        assert_eq!(is_said, decision.infeasible);
        decision.infeasible
    };
    assert!(told(10, None), "the work takes 50 ms");
    assert!(!told(1_000, None));
    assert!(
        !told(10, Some(0.01)),
        "the objective is one of waiting alone"
    );
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
            ..ProfileForecast::default()
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
    decision.to = 0;
    assert_eq!(decision.counterfactual(), None);
}

#[test]
fn what_holds_slots_longer_is_answered_with_twice_the_workers_and_told() {
    let mut pool = Loop::new(Policy::tidepool(1, 2_000));
    let before = pool.run(300, 150.0).to;
    for _ in 0..200 {
        let observation = capped(150.0, 100.0, pool.ready);
        pool.step(&observation, 1_000);
    }
    // Small pools may gain four unproven.
    assert!(
        pool.ready <= 2 * before.max(4),
        "{before} to {}",
        pool.ready
    );
    let held = |d: &&crate::Decision| {
        d.bounded_by == Some(Bound::Unproven) || d.blocked_by == Some(Block::Unproven)
    };
    let told = pool.log.iter().find(held).expect("it is told");
    assert!(told.sentence().contains("shown"), "{}", told.sentence());
    let counted = pool.log.iter().find(|d| d.service_counted_s.is_some());
    let text = counted.expect("not all of it counts").sentence();
    assert!(text.contains("of which"), "{text}");
}

#[test]
fn a_pool_that_has_spent_its_hours_lives_on_what_it_earns() {
    let mut policy = Policy::tidepool(1, 60);
    policy.bounds.spend_worker_h = Some(4.0);
    assert_eq!(policy.validate(), Ok(()));
    let mut pool = Loop::new(policy);
    pool.run(300, 20.0);
    let burst = pool.run(60, 800.0);
    assert!(
        burst.to > 8,
        "what was saved pays for a burst: {}",
        burst.to
    );
    let spent = pool.run(7_200, 800.0);
    assert_eq!((spent.to, spent.blocked_by), (4, Some(Block::Spend)));
    let text = spent.sentence();
    assert!(
        text.contains("worker-hours") && text.contains("would wait too long"),
        "{text}"
    );
    let wish = spent.counterfactual_of_wish().unwrap();
    assert!(
        wish.workers == spent.wanted && wish.late_share < 0.05,
        "{wish:?}"
    );
    assert!(wish.late_share_decided > 0.9, "{wish:?}");
    assert!(pool.log.iter().any(|d| d.reason == Reason::Spend));
    // Ten seconds of nothing do not undo it, and the least is kept whatever it costs.
    pool.policy.bounds.min = 6;
    assert_eq!(pool.run(1, 800.0).to, 6);
}

#[test]
fn a_cap_below_the_least_is_no_policy() {
    let mut policy = Policy::tidepool(5, 60);
    policy.bounds.spend_worker_h = Some(4.0);
    let fault = policy.validate().unwrap_err().to_string();
    assert!(fault.contains("spend_worker_h is 4"), "{fault}");
}

#[test]
fn the_last_worker_is_kept_for_as_long_as_the_gaps_say() {
    // Seconds from the last request until the pool sleeps, after gaps of this length.
    let asleep_after = |gap_s: u32| {
        let mut pool = Loop::new(Policy::tidepool(0, 60));
        let calm = |pool: &mut Loop, rate: f64| {
            let mut observation = second(rate, 0.05, pool.ready);
            observation.startup_p95_s = Some(10.0);
            pool.step(&observation, 1_000)
        };
        // Few, or the budget of reversals keeps it awake.
        for s in 0..9 * gap_s {
            calm(&mut pool, if s % gap_s == 0 { 1.0 } else { 0.0 });
        }
        calm(&mut pool, 1.0);
        pool.ready = pool.ready.max(1);
        let slept = (1..600).find(|_| calm(&mut pool, 0.0).to == 0);
        let kept = pool
            .log
            .iter()
            .any(|d| d.blocked_by == Some(Block::KeepAlive));
        (slept, kept)
    };
    let (short, kept) = asleep_after(50);
    assert!(
        kept && short.is_some_and(|s| (50..80).contains(&s)),
        "{short:?}"
    );
    let (long, _) = asleep_after(400);
    assert!(long.is_some_and(|s| s < 40), "{long:?}");
}

#[test]
fn margins_learn_nothing_while_an_operator_holds_the_pool() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(600, 200.0);
    let costs = |pool: &Loop| -> Vec<f64> { pool.memory.margins().map(|m| m.cost).collect() };
    let before = costs(&pool);
    for _ in 0..300 {
        let mut observation = second(200.0, 0.05, pool.ready);
        observation.operator = Some(Override {
            min: Some(40),
            ..Override::default()
        });
        pool.step(&observation, 1_000);
    }
    assert_eq!(costs(&pool), before);
}

#[test]
fn a_learned_floor_beyond_reason_is_not_followed_beyond_twenty_times() {
    let grown = |growth: f64| {
        let mut pool = Loop::new(Policy::tidepool(1, 5_000));
        pool.run(120, 100.0);
        let mut observation = second(100.0, 0.05, pool.ready);
        observation.forecast = Some(ProfileForecast {
            median_rate: 100.0,
            floor_rate: 0.0,
            growth,
            ..ProfileForecast::default()
        });
        (0..5).map(|_| pool.step(&observation, 1_000).to).max()
    };
    assert_eq!(grown(1e6), grown(20.0));
}

#[test]
fn what_has_just_recovered_is_not_met_by_everything_that_waits() {
    let mut pool = Loop::new(Policy::tidepool(1, 2_000));
    let before = pool.run(300, 400.0).to;
    for _ in 0..60 {
        let mut observation = second(400.0, 0.05, pool.ready);
        let work = observation.work.as_mut().unwrap();
        work.failed = work.completed;
        pool.step(&observation, 1_000);
    }
    // It answers again, and a minute's worth of requests waits.
    let mut most = 0;
    for _ in 0..40 {
        let mut observation = second(400.0, 0.05, before);
        observation.backlog = Some(Backlog {
            queued: 24_000.0,
            oldest_wait_s: 60.0,
            busy_slots: 4.0 * f64::from(before),
        });
        most = most.max(pool.step(&observation, 1_000).to);
    }
    assert!(most > before && most <= 2 * before, "{before} to {most}");
}

#[test]
fn a_node_whose_memory_is_nearly_full_gets_no_more_workers() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(60, 100.0).to;
    let mut observation = second(400.0, 0.05, pool.ready);
    observation.node_memory_share = Some(0.96);
    for _ in 0..5 {
        let decision = pool.step(&observation, 1_000);
        assert_eq!(
            (decision.to, decision.blocked_by),
            (before, Some(Block::NodeMemory))
        );
    }
}

#[test]
fn margins_learn_nothing_while_answers_fail() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(600, 200.0);
    let costs = |pool: &Loop| -> Vec<f64> { pool.memory.margins().map(|m| m.cost).collect() };
    let failing = |pool: &mut Loop| {
        let mut observation = second(200.0, 0.05, pool.ready);
        let work = observation.work.as_mut().unwrap();
        work.failed = work.completed;
        pool.step(&observation, 1_000);
    };
    (0..10).for_each(|_| failing(&mut pool));
    let before = costs(&pool);
    (0..100).for_each(|_| failing(&mut pool));
    assert_eq!(costs(&pool), before);
}
