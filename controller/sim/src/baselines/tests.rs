//! Step responses, worked out by hand from the rules, of fleets whose workers start at once.

use proptest::prelude::*;
use tidepool_policy::{Backlog, WorkSample, WorkerCounts};

use super::*;

const SLOTS: u32 = 10;

fn around() -> Surroundings<'static> {
    Surroundings {
        workers_min: 1,
        workers_max: 1000,
        training_work: &[3.0, 1.0, 2.0, 9.5],
    }
}

fn rival(name: &str) -> Box<dyn Autoscaler> {
    by_name(name, &around()).expect("known")
}

/// A second in which `load` requests are in service or wait.
fn second(second: u64, load: Option<f64>, ready: u32, starting: u32) -> Seen {
    let busy = |load: f64| load.min(f64::from(ready * SLOTS));
    Seen {
        second,
        now_ms: second * 1000,
        work: load.map(|load| WorkSample {
            window_s: 1.0,
            busy_slot_s: busy(load),
            ..WorkSample::default()
        }),
        backlog: load.map(|load| Backlog {
            queued: load - busy(load),
            busy_slots: busy(load),
            ..Backlog::default()
        }),
        workers: WorkerCounts {
            ready,
            starting,
            draining: 0,
            slots_per_worker: SLOTS,
        },
        startup_p95_s: None,
        memory: None,
    }
}

/// Each change of the fleet with its second.
fn changes(name: &str, workers: u32, seconds: u64, load: impl Fn(u64) -> f64) -> Vec<(u64, u32)> {
    let mut rival = rival(name);
    let mut have = workers;
    let mut changes = Vec::new();
    for t in 0..seconds {
        let target = rival.target(&second(t, Some(load(t)), have, 0));
        if target != have {
            changes.push((t, target));
            have = target;
        }
    }
    changes
}

fn step(at: u64, before: f64, after: f64) -> impl Fn(u64) -> f64 {
    move |t| if t < at { before } else { after }
}

#[test]
fn hpa_follows_a_step_up_as_its_lagged_average_does() {
    // At 120 the window is 76 to 105: 84 requests; at 135 119; at 150 all 140. 7 a worker.
    assert_eq!(
        changes("hpa", 10, 300, step(100, 70.0, 140.0)),
        [(120, 12), (135, 17), (150, 20)]
    );
}

#[test]
fn hpa_tolerates_a_tenth() {
    assert_eq!(changes("hpa", 10, 600, |_| 77.0), []);
    assert_eq!(changes("hpa", 10, 600, |_| 77.1)[0].1, 12);
    assert_eq!(changes("hpa", 10, 600, |_| 63.0), []);
}

#[test]
fn hpa_at_most_doubles_or_adds_four() {
    let grown: Vec<u32> = changes("hpa", 1, 200, |_| 500.0)
        .iter()
        .map(|c| c.1)
        .collect();
    assert_eq!(grown, [5, 10, 20, 40, 72]);
}

#[test]
fn hpa_shrinks_to_the_most_that_five_minutes_recommended() {
    // 315 tolerates and recommends 20 again, 330 recommends 15 and 345 recommends 10.
    assert_eq!(
        changes("hpa", 20, 900, step(300, 140.0, 70.0)),
        [(615, 15), (630, 10)]
    );
}

#[test]
fn hpa_on_cpu_sees_no_more_than_all_of_it() {
    let grown: Vec<u32> = changes("hpa-cpu", 10, 60, |_| 1000.0)
        .iter()
        .map(|c| c.1)
        .collect();
    // Each 1 / 0.7 of the one before, from 15 s on.
    assert_eq!(grown, [15, 22, 32]);
}

#[test]
fn hpa_on_cpu_counts_starting_workers_as_idle_before_it_adds_more() {
    let mut rival = rival("hpa-cpu");
    // Ten full ones ask for 15; with three idle they are 1.1 times the target, which is tolerated.
    assert!((0..61).all(|t| rival.target(&second(t, Some(1000.0), 10, 3)) == 13));
}

#[test]
fn kpa_starts_in_panic_and_halves_at_most() {
    assert_eq!(changes("kpa", 10, 200, |_| 14.0), [(62, 5), (64, 2)]);
}

#[test]
fn kpa_panics_at_twice_its_fleet_and_leaves_a_minute_after_the_last_breach() {
    let surge = |t| if (200..210).contains(&t) { 280.0 } else { 70.0 };
    // 200: stable 73.5. 202: 175 in 6 s ask for 25 of 11. 264: 87.5 ask for 13, half of 40 is 20.
    let expected = [
        (200, 11),
        (202, 25),
        (204, 35),
        (206, 40),
        (264, 20),
        (266, 12),
        (268, 11),
        (270, 10),
    ];
    assert_eq!(changes("kpa", 10, 400, surge), expected);
}

#[test]
fn kpa_does_not_panic_below_twice_its_fleet() {
    let most = |load: f64| {
        let mut rival = rival("kpa");
        let load = step(100, 70.0, load);
        (0..112)
            .map(|t| rival.target(&second(t, Some(load(t)), 10, 0)))
            .max()
    };
    // 6 s ask for 19 of 10, 60 s for 12; then 6 s ask for 20.
    assert_eq!(most(133.0), Some(12));
    assert_eq!(most(140.0), Some(20));
}

#[test]
fn ray_waits_half_a_minute_to_grow() {
    assert_eq!(changes("ray", 10, 200, step(100, 70.0, 140.0)), [(130, 20)]);
}

#[test]
fn ray_waits_ten_minutes_to_shrink_and_starts_over_after_a_break() {
    assert_eq!(
        changes("ray", 20, 2000, step(300, 140.0, 70.0)),
        [(902, 10)]
    );
    let broken = |t| match t {
        0..300 => 140.0,
        800 => 2100.0,
        _ => 70.0,
    };
    // The second of 2100 keeps the average at what 20 workers are for until 829.
    assert_eq!(changes("ray", 20, 2000, broken), [(1430, 10)]);
}

#[test]
fn ray_starts_one_at_once_where_there_is_none() {
    let around = Surroundings {
        workers_min: 0,
        ..around()
    };
    let mut ray = by_name("ray", &around).expect("known");
    assert_eq!(ray.target(&second(0, Some(0.0), 0, 0)), 0);
    assert_eq!(ray.target(&second(1, Some(3.0), 0, 0)), 1);
}

#[test]
fn aws_tracks_its_target_by_minutes() {
    assert_eq!(changes("aws", 10, 1200, step(60, 70.0, 71.0)), [(239, 11)]);
    assert_eq!(changes("aws", 10, 1200, |_| 62.0), [(899, 9)]);
    assert_eq!(changes("aws", 10, 3000, |_| 64.0), []);
}

#[test]
fn aws_does_not_shrink_while_workers_start() {
    let mut rival = rival("aws");
    assert!((0..2000).all(|t| rival.target(&second(t, Some(20.0), 9, 1)) == 10));
}

#[test]
fn aws_is_ready_five_minutes_before_an_hour_that_it_knows() {
    let at_nine = |t: u64| if t / 3600 % 24 == 9 { 280.0 } else { 70.0 };
    let changes = changes("aws", 10, 36 * 3600, at_nine);
    let nine_s = 33 * 3600;
    // On the first day it can only follow.
    assert_eq!(changes[0], (9 * 3600 + 179, 40));
    assert!(changes.contains(&(nine_s - 300, 40)), "{changes:?}");
    // It leaves scaling in to target tracking, fifteen low minutes later.
    assert_eq!(changes.last(), Some(&(nine_s + 3600 + 899, 10)));
}

#[test]
fn season_knows_days_of_the_week_after_a_week() {
    let mut season = season::Season::default();
    let load = |hour: u64| if hour / 24 % 7 == 3 { 10.0 } else { 40.0 };
    for hour in 0..=14 * 24 + 2 * 24 {
        assert_eq!(season.forecast(hour).is_some(), hour > 24, "{hour}");
        season.learn(hour, Some(load(hour)));
        season.learn(hour, None);
    }
    for hour in [16 * 24 + 1, 17 * 24 + 1] {
        let expected = season.forecast(hour).expect("within two days");
        assert!((expected - load(hour)).abs() < 1.0, "{hour}: {expected}");
    }
    assert_eq!(season.forecast(19 * 24), None);
}

#[test]
fn threshold_steps_and_rests() {
    assert_eq!(changes("threshold80", 10, 200, |_| 81.0), [(0, 13)]);
    assert_eq!(
        changes("threshold80", 10, 130, |_| 1000.0),
        [(0, 13), (60, 17), (120, 22)]
    );
    assert_eq!(
        changes("threshold80", 10, 130, |_| 10.0),
        [(0, 9), (60, 8), (120, 7)]
    );
    assert_eq!(changes("threshold80", 10, 500, |_| 31.0), []);
    assert_eq!(changes("threshold80@0.6", 10, 100, |_| 61.0), [(0, 13)]);
}

#[test]
fn static_is_a_percentile_of_the_training_days() {
    assert_eq!(changes("static", 1, 100, |t| t as f64 * 50.0), [(0, 10)]);
    assert_eq!(changes("static@0.75", 1, 100, |_| 0.0), [(0, 3)]);
    let untrained = Surroundings {
        training_work: &[],
        ..around()
    };
    assert_eq!(
        by_name("static", &untrained).err(),
        Some(NoSuchRival::Untrained)
    );
}

#[test]
fn a_target_is_part_of_the_name() {
    assert_eq!(changes("kpa@0.5", 14, 62, |_| 70.0), []);
    assert_eq!(rival("kpa@0.8").name(), "kpa@0.8");
    for name in ["kpa@0", "kpa@1.1", "kpa@NaN", "kpa@", "hpa@x"] {
        assert!(
            matches!(by_name(name, &around()), Err(NoSuchRival::Target(_))),
            "{name}"
        );
    }
    for name in ["", "tidepool", "kpa "] {
        assert!(
            matches!(by_name(name, &around()), Err(NoSuchRival::Name(_))),
            "{name}"
        );
    }
}

#[test]
fn without_metrics_everything_stays() {
    for name in NAMES.iter().filter(|name| **name != "static") {
        let mut rival = rival(name);
        for t in 0..3000 {
            let load = (700..1000).contains(&t).then_some(70.0);
            assert_eq!(rival.target(&second(t, load, 10, 0)), 10, "{name} at {t}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_they_keep_within_bounds(
        loads in prop::collection::vec((prop::option::of(0.0..1e7_f64), 0..2000_u32, 0..50_u32, 0..40_u64), 1..60),
    ) {
        for name in NAMES {
            let mut rival = rival(name);
            let mut t = 0;
            for (load, ready, starting, lasts) in &loads {
                for _ in 0..=*lasts {
                    let target = rival.target(&second(t, *load, *ready, *starting));
                    prop_assert!((1..=1000).contains(&target));
                    t += 1;
                }
            }
        }
    }
}
