//! Laws that hold for every policy, memory and observation.

use proptest::prelude::*;

use crate::{
    Backlog, Block, Bounds, CpuSample, Decision, Direction, Memory, Observation, Override, Policy,
    ProfileForecast, Reason, Signal, WorkSample, WorkerCounts, decide,
};

const NOW_MS: u64 = 1_700_000_000_000;

/// A second of a pool of `ready` workers with four slots.
pub(super) fn second(rate: f64, service_s: f64, ready: u32) -> Observation {
    let busy = (rate * service_s).min(f64::from(ready) * 4.0);
    let served = busy / service_s;
    Observation {
        work: Some(WorkSample {
            window_s: 1.0,
            arrivals: rate,
            completed: served,
            released: served,
            busy_slot_s: busy,
            wait_p95_s: Some(0.001),
            service_mean_s: Some(service_s),
            service_p95_s: Some(2.0 * service_s),
            ..WorkSample::default()
        }),
        backlog: Some(Backlog {
            busy_slots: busy,
            ..Backlog::default()
        }),
        work_age_s: Some(0.1),
        workers: Some(WorkerCounts {
            ready,
            starting: 0,
            draining: 0,
            slots_per_worker: 4,
        }),
        workers_age_s: Some(0.1),
        startup_p95_s: Some(0.5),
        ..Observation::default()
    }
}

/// Lets every target come true at once.
pub(super) struct Loop {
    pub(super) policy: Policy,
    pub(super) memory: Memory,
    pub(super) now_ms: u64,
    pub(super) ready: u32,
    pub(super) log: Vec<Decision>,
}

impl Loop {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            ready: policy.bounds.min,
            policy,
            memory: Memory::default(),
            now_ms: NOW_MS,
            log: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, observation: &Observation, dt_ms: u64) -> Decision {
        self.now_ms += dt_ms;
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = decide(&self.policy, memory, observation, self.now_ms);
        self.memory = memory;
        self.ready = decision.to;
        self.log.push(decision.clone());
        decision
    }

    pub(super) fn run(&mut self, seconds: u32, rate: f64) -> Decision {
        for _ in 0..seconds {
            let observation = second(rate, 0.05, self.ready);
            self.step(&observation, 1_000);
        }
        self.log.last().cloned().unwrap()
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    (0_u32..4, 1_u32..40, 0_u32..60, any::<bool>()).prop_map(|(min, span, cooldown_s, plain)| {
        let mut policy = if plain {
            Policy::threshold(min, min + span)
        } else {
            Policy::tidepool(min, min + span)
        };
        policy.bounds.cooldown_s = f64::from(cooldown_s);
        policy.bounds.start_hold_s = 5.0;
        policy
    })
}

/// Any number that a faulty meter may give.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0_f64..500.0,
        1 => Just(0.0),
        1 => prop::num::f64::ANY,
    ]
}

prop_compose! {
    fn works()(n in prop::array::uniform10(number()), p95 in prop::option::of(number())) -> WorkSample {
        let [window_s, arrivals, completed, refused, deadline_missed, failed, cancelled, released,
            busy_slot_s, service] = n;
        WorkSample {
            window_s: if window_s > 100.0 { window_s } else { 1.0 },
            arrivals, completed, refused, deadline_missed, failed, cancelled, released, busy_slot_s,
            late: p95,
            wait_p95_s: p95,
            service_mean_s: Some(service),
            service_p95_s: p95,
        }
    }
}

prop_compose! {
    fn orders()(
        paused in any::<bool>(),
        [pin, min, max] in prop::array::uniform3(prop::option::of(0_u32..50)),
        ends_s in prop::option::of(0_u64..600),
    ) -> Override {
        let until_ms = ends_s.map(|s| NOW_MS + 1_000 * s);
        Override { paused, pin, min, max, until_ms }
    }
}

prop_compose! {
    fn observations()(
        work in prop::option::weighted(0.9, works()),
        backlog in prop::option::weighted(0.9, [number(), number(), number()]),
        ages in [prop::option::weighted(0.9, number()), prop::option::weighted(0.9, number())],
        workers in prop::option::weighted(0.9, (0_u32..60, 0_u32..10, 0_u32..10, 0_u32..20)),
        startup_p95_s in prop::option::of(number()),
        cpu in prop::option::of([number(), number()]),
        node_memory_share in prop::option::of(0.0_f64..1.0),
        forecast in prop::option::of([number(), number(), number()]),
        operator in prop::option::weighted(0.2, orders()),
    ) -> Observation {
        Observation {
            work,
            backlog: backlog.map(|[queued, oldest_wait_s, busy_slots]| Backlog {
                queued, oldest_wait_s, busy_slots,
            }),
            work_age_s: ages[0].map(|age_s| age_s / 100.0),
            workers: workers.map(|(ready, starting, draining, slots_per_worker)| WorkerCounts {
                ready, starting, draining, slots_per_worker,
            }),
            workers_age_s: ages[1].map(|age_s| age_s / 100.0),
            startup_p95_s,
            cpu: cpu.map(|[used_cores, quota_cores_per_worker]| CpuSample {
                used_cores, quota_cores_per_worker,
            }),
            memory: None,
            node_memory_share,
            forecast: forecast.map(|[median_rate, floor_rate, growth]| ProfileForecast {
                median_rate, floor_rate, growth, quantile_rates: [floor_rate; crate::PATTERN_QUANTILES.len()],
                // Both ways, and the same for more load as for less.
                waking: growth > 1.0 }),
            operator,
        }
    }
}

fn bounds_in_force(policy: &Policy, observation: &Observation, now_ms: u64) -> Bounds {
    let order = observation.operator.filter(|order| order.in_force(now_ms));
    order.map_or_else(
        || policy.bounds.clone(),
        |order| order.bounds(&policy.bounds),
    )
}

proptest! {
    #[test]
    fn bounds_hold_and_every_number_is_sound(
        policy in policies(),
        inputs in prop::collection::vec((observations(), 0_u64..20_000), 1..60),
    ) {
        let mut pool = Loop::new(policy.clone());
        for (observation, dt_ms) in &inputs {
            let decision = pool.step(observation, *dt_ms);
            let bounds = bounds_in_force(&policy, observation, pool.now_ms);
            prop_assert!(decision.to >= bounds.min && decision.to <= bounds.max);
            prop_assert_eq!(decision.direction == Direction::Hold, decision.from == decision.to);
            for number in [decision.score, decision.raw_need, decision.observed_rate] {
                prop_assert!(number.is_none_or(|n| n.is_finite() && n >= 0.0), "{decision:?}");
            }
            let sentence = decision.sentence();
            prop_assert!(sentence.len() < 400, "{sentence}");
        }
    }

    #[test]
    fn more_load_never_means_fewer_workers(
        policy in policies(),
        past in prop::collection::vec(0.0_f64..600.0, 1..120),
        now in 0.0_f64..600.0,
        more in [0.0_f64..400.0, 0.0_f64..400.0, 0.0_f64..400.0, 0.0_f64..50.0],
    ) {
        let mut pool = Loop::new(policy.clone());
        for rate in past {
            let observation = second(rate, 0.05, pool.ready);
            pool.step(&observation, 1_000);
        }
        let less = second(now, 0.05, pool.ready);
        let mut heavier = less.clone();
        let work = heavier.work.as_mut().unwrap();
        work.arrivals += more[0];
        work.refused += more[1];
        work.deadline_missed += more[3];
        let backlog = heavier.backlog.as_mut().unwrap();
        backlog.queued += more[2];
        backlog.oldest_wait_s += more[3] / 10.0;
        let at_ms = pool.now_ms + 1_000;
        let (a, _) = decide(&policy, pool.memory.clone(), &less, at_ms);
        let (b, _) = decide(&policy, pool.memory, &heavier, at_ms);
        // Of what waits although workers were added, more is a proof that still more would not help.
        let is_proven = b.blocked_by == Some(Block::NoEffect) && b.to >= b.from;
        prop_assert!(b.to >= a.to || is_proven, "{} then {}", a.sentence(), b.sentence());
        prop_assert!(b.raw_need >= a.raw_need);
    }

    #[test]
    fn more_steady_load_never_settles_at_fewer_workers(rate in 1.0_f64..600.0, more in 1.0_f64..4.0) {
        let settled = |rate| Loop::new(Policy::tidepool(1, 60)).run(400, rate).to;
        prop_assert!(settled(rate * more) >= settled(rate));
    }

    #[test]
    fn stale_or_missing_input_never_lowers(
        policy in policies(),
        past in prop::collection::vec(0.0_f64..600.0, 1..60),
        gaps in prop::collection::vec((0_u8..4, 0.0_f64..600.0), 1..300),
    ) {
        let mut pool = Loop::new(policy);
        for rate in past {
            let observation = second(rate, 0.05, pool.ready);
            pool.step(&observation, 1_000);
        }
        for (kind, rate) in gaps {
            let mut observation = second(rate, 0.05, pool.ready);
            match kind {
                0 => observation.work_age_s = Some(4.0),
                1 => observation.workers_age_s = None,
                2 => (observation.work, observation.work_age_s) = (None, None),
                _ => observation = Observation::default(),
            }
            let decision = pool.step(&observation, 1_000);
            prop_assert_ne!(decision.direction, Direction::Down, "{}", decision.sentence());
        }
    }

    #[test]
    fn a_replay_decides_identically_also_through_a_saved_memory(
        policy in policies(),
        inputs in prop::collection::vec((observations(), 0_u64..5_000), 2..40),
    ) {
        let mut once = Loop::new(policy.clone());
        inputs.iter().for_each(|(o, dt_ms)| { once.step(o, *dt_ms); });
        let mut again = Loop::new(policy);
        for (observation, dt_ms) in &inputs {
            let bytes = rmp_serde::to_vec_named(&again.memory).unwrap();
            let restored: Memory = rmp_serde::from_slice(&bytes).unwrap();
            prop_assert_eq!(&restored, &again.memory);
            again.memory = restored;
            again.step(observation, *dt_ms);
        }
        prop_assert_eq!(once.log, again.log);
    }

    #[test]
    fn noise_inside_the_band_makes_no_change(seed: u64, rate in 100.0_f64..500.0) {
        let mut pool = Loop::new(Policy::tidepool(1, 60));
        pool.run(600, rate);
        let settled = pool.ready;
        let mut random = fastrand::Rng::with_seed(seed);
        // Up to one worker above the need, noise moves nothing.
        let need = pool.log.last().and_then(|d| d.raw_need).unwrap();
        prop_assume!(f64::from(settled) - need > 0.15 && f64::from(settled) - need < 0.85);
        for _ in 0..300 {
            let noisy = rate * (0.99 + 0.02 * random.f64());
            let observation = second(noisy, 0.05, pool.ready);
            let decision = pool.step(&observation, 1_000);
            prop_assert!(!decision.is_change(), "{}", decision.sentence());
        }
    }

    #[test]
    fn a_jump_of_the_clock_counts_for_ten_seconds_at_most(
        jump_ms in prop_oneof![-90_000_000_i64..-1_000, 10_000_i64..90_000_000],
        rate in 50.0_f64..500.0,
        after in prop_oneof![Just(0.0), 50.0_f64..500.0],
    ) {
        let mut jumps = Loop::new(Policy::tidepool(1, 60));
        let mut steady = Loop::new(Policy::tidepool(1, 60));
        jumps.run(120, rate);
        steady.run(120, rate);
        jumps.now_ms = jumps.now_ms.saturating_add_signed(jump_ms);
        // Back: no time passes. Forth: ten seconds do.
        steady.now_ms = steady.now_ms.saturating_add_signed(jump_ms.clamp(-1_000, 9_000));
        for _ in 0..30 {
            let observation = second(after, 0.05, jumps.ready);
            let jumped = jumps.step(&observation, 1_000);
            let expected = steady.step(&observation, 1_000);
            prop_assert_eq!(jumped.to, expected.to, "{}", jumped.sentence());
            prop_assert_eq!(jumped.blocked_by, expected.blocked_by);
        }
    }

    #[test]
    fn a_corrupt_memory_neither_panics_nor_leaves_the_bounds(
        policy in policies(),
        past in prop::collection::vec(0.0_f64..600.0, 1..60),
        digits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..10), 1..40),
    ) {
        let mut pool = Loop::new(policy.clone());
        for rate in past {
            let observation = second(rate, 0.05, pool.ready);
            pool.step(&observation, 1_000);
        }
        let mut text = serde_json::to_vec(&pool.memory).unwrap();
        for (index, digit) in digits {
            let at = index.index(text.len());
            if text[at].is_ascii_digit() {
                text[at] = b'0' + digit;
            }
        }
        let Ok(memory) = serde_json::from_slice(&text) else { return Ok(()) };
        pool.memory = memory;
        for _ in 0..20 {
            let observation = second(100.0, 0.05, pool.ready);
            let decision = pool.step(&observation, 1_000);
            let bounds = bounds_in_force(&policy, &observation, pool.now_ms);
            prop_assert!(decision.to >= bounds.min && decision.to <= bounds.max);
        }
    }
}

#[test]
fn an_older_memory_loads() {
    let memory: Memory = serde_json::from_str(r#"{"target":3,"gone":1}"#).unwrap();
    assert_eq!(memory.target(), Some(3));
}

#[test]
fn nothing_is_decided_before_the_live_count_is_known() {
    let mut pool = Loop::new(Policy::tidepool(2, 9));
    let decision = pool.step(&Observation::default(), 1_000);
    assert_eq!(decision.blocked_by, Some(Block::Blind));
    assert_eq!(pool.memory.target(), None);
    let decision = pool.step(&second(50.0, 0.05, 5), 1_000);
    assert_eq!((decision.to, decision.reason), (5, Reason::Adopted));
}

#[test]
fn a_new_supervisor_adopts_and_does_not_shrink_at_once() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(300, 400.0);
    let before = pool.ready;
    pool.memory = std::mem::take(&mut pool.memory).taken_over();
    let first = pool.run(1, 0.0);
    assert_eq!((first.to, first.reason), (before, Reason::Adopted));
    let held = pool.run(28, 0.0);
    assert_eq!((held.to, held.blocked_by), (before, Some(Block::StartHold)));
    assert_eq!(pool.run(60, 0.0).to, 1);
}

#[test]
fn a_new_supervisor_adopts_what_runs_whatever_was_wanted_before() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(300, 400.0);
    pool.ready += 3;
    let before = pool.ready;
    pool.memory = std::mem::take(&mut pool.memory).taken_over();
    let first = pool.run(1, 0.0);
    assert_eq!((first.from, first.to), (before, before));
}

#[test]
fn a_cooldown_never_blocks_a_larger_need() {
    let mut policy = Policy::tidepool(1, 60);
    policy.bounds.cooldown_s = 600.0;
    let mut pool = Loop::new(policy);
    pool.run(60, 100.0);
    let before = pool.ready;
    let up = pool.run(5, 400.0);
    assert!(up.to > before, "{}", up.sentence());
    let held = pool.run(90, 0.0);
    assert_eq!(held.blocked_by, Some(Block::Cooldown));
    assert!(held.earliest_change_ms.unwrap() > pool.now_ms + 400_000);
}

#[test]
fn failing_answers_freeze_and_never_raise() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(60, 100.0);
    let before = pool.ready;
    for second_s in 0..60 {
        let rate = if second_s < 10 { 100.0 } else { 400.0 };
        let mut observation = second(rate, 0.05, pool.ready);
        let work = observation.work.as_mut().unwrap();
        work.failed = work.completed;
        pool.step(&observation, 1_000);
    }
    let decision = pool.log.last().unwrap();
    assert_eq!(
        decision.blocked_by,
        Some(Block::Failing),
        "{}",
        decision.sentence()
    );
    assert_eq!(decision.to, before);
}

#[test]
fn refusals_are_demand() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(60, 100.0);
    let calm = pool.log.last().and_then(|d| d.needs.errors).unwrap();
    assert_eq!(calm, 0.0);
    let mut observation = second(100.0, 0.05, pool.ready);
    observation.work.as_mut().unwrap().refused = 400.0;
    let mut decision = pool.step(&observation, 1_000);
    for _ in 0..5 {
        decision = pool.step(&observation, 1_000);
    }
    assert_eq!(decision.winner, Some(Signal::Errors));
    assert_eq!(
        decision.direction,
        Direction::Hold,
        "already grown: {}",
        decision.sentence()
    );
}

#[test]
fn long_waits_add_one_worker_and_then_watch() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(60, 60.0);
    let before = pool.ready;
    let mut slow = second(60.0, 0.05, before);
    slow.work.as_mut().unwrap().wait_p95_s = Some(5.0);
    slow.backlog.as_mut().unwrap().queued = 2.0;
    let up = pool.step(&slow, 1_000);
    assert_eq!((up.to, up.winner), (before + 1, Some(Signal::Latency)));
    slow.workers.as_mut().unwrap().ready = before + 1;
    assert_eq!(pool.step(&slow, 1_000).to, before + 1);
}

#[test]
fn lowered_and_raised_bounds_are_obeyed_at_once() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(60, 400.0);
    pool.policy.bounds.max = 2;
    let down = pool.run(1, 400.0);
    assert_eq!((down.to, down.reason), (2, Reason::Maximum));
    (pool.policy.bounds.min, pool.policy.bounds.max) = (9, 60);
    let up = pool.run(1, 0.0);
    assert!(up.to >= 9, "{}", up.sentence());
}

#[test]
fn a_missing_cpu_signal_holds_a_busy_pool_for_a_minute() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    for _ in 0..60 {
        let mut observation = second(10.0, 0.05, pool.ready);
        observation.cpu = Some(CpuSample {
            used_cores: 8.0,
            quota_cores_per_worker: 1.0,
        });
        pool.step(&observation, 1_000);
    }
    assert_eq!(pool.log.last().and_then(|d| d.winner), Some(Signal::Cpu));
    let before = pool.ready;
    assert_eq!(pool.run(58, 10.0).to, before);
    assert!(pool.run(120, 10.0).to < before);
}
