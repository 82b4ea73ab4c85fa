//! The engine against a plain simulation of single requests and workers, and against queueing
//! theory.

mod heap;

use tidepool_sim::engine::simulate;
use tidepool_sim::model::{Model, ServiceShape};
use tidepool_sim::outcome::Outcome;
use tidepool_sim::scaler::{Autoscaler, Seen};
use tidepool_sim::workload::Workload;

/// Targets by second, whatever is seen.
struct Script(fn(u64) -> u32);

impl Autoscaler for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn target(&mut self, seen: &Seen) -> u32 {
        (self.0)(seen.second)
    }
}

fn load(rates: Vec<f32>) -> Workload {
    Workload {
        rates,
        score_from_s: 120,
        start_ms: 0,
    }
}

fn run(model: &Model, load: &Workload, targets: fn(u64) -> u32, seed: u64) -> Outcome {
    simulate(model, load, &mut Script(targets), seed, &mut ())
}

/// Probability of waiting longer than `t_s` in M/M/c (Erlang C).
fn erlang_c_late(erlangs: f64, servers: u32, mean_s: f64, t_s: f64) -> f64 {
    let mut blocked = 1.0;
    for n in 1..=servers {
        blocked = erlangs * blocked / (f64::from(n) + erlangs * blocked);
    }
    let c = f64::from(servers);
    let waits = blocked / (1.0 - (erlangs / c) * (1.0 - blocked));
    waits * (-(c - erlangs) * t_s / mean_s).exp()
}

#[test]
fn waits_are_those_of_erlang_c() {
    let model = Model {
        service_shape: ServiceShape::Exponential,
        workers_max: 3,
        ..Model::default()
    };
    for (rate, late_after_s) in [(54.0, 0.2), (57.0, 0.5), (57.0, 1.0), (50.0, 0.1)] {
        let model = Model {
            late_after_s,
            ..model.clone()
        };
        let load = load(vec![rate; 60_000]);
        let late: f64 = (1..=4)
            .map(|seed| run(&model, &load, |_| 3, seed).late_pct() / 400.0)
            .sum();
        let expected = erlang_c_late(f64::from(rate) * 0.5, 30, 0.5, late_after_s);
        assert!(
            (late / expected - 1.0).abs() < 0.08,
            "{rate}/s later than {late_after_s} s: {late} for {expected}"
        );
    }
}

fn wave(second: u64) -> f32 {
    let angle = second as f32 / 600.0 * std::f32::consts::TAU;
    80.0 + 40.0 * angle.sin()
}

/// Too small at each crest, with launches, launches called off, and retirements.
fn targets(second: u64) -> u32 {
    match second % 600 {
        0..60 => 5,
        60..63 => 9,
        63..250 => 6,
        250..400 => 4,
        _ => 3,
    }
}

#[test]
fn agrees_with_single_requests_on_single_workers() {
    let model = Model {
        startup_s: 10.0,
        launch_failure: 0.1,
        workers_max: 20,
        ..Model::default()
    };
    let load = load((0..30_000).map(wave).collect());
    let seeds = 4;
    let mean = |pick: fn(&Outcome) -> f64, runs: &[Outcome]| {
        runs.iter().map(pick).sum::<f64>() / runs.len() as f64
    };
    let ours: Vec<Outcome> = (0..seeds).map(|s| run(&model, &load, targets, s)).collect();
    let exact: Vec<Outcome> = (0..seeds)
        .map(|s| heap::run(&model, &load, targets, s))
        .collect();
    let close = |name: &str, pick: fn(&Outcome) -> f64, tolerance: f64| {
        let (ours, exact) = (mean(pick, &ours), mean(pick, &exact));
        assert!(
            (ours / exact - 1.0).abs() < tolerance,
            "{name}: {ours} for {exact}"
        );
    };
    close("requests", |o| o.requests as f64, 0.005);
    close("late", Outcome::late_pct, 0.10);
    close("worker seconds", |o| o.worker_s, 0.005);
    close("p99 of the wait", |o| o.wait_p99_s, 0.10);
    close("starts", |o| o.starts as f64, 0.05);
    assert!(mean(Outcome::late_pct, &exact) > 1.0, "nothing was tested");
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let model = Model::default();
    let load = load((0..2_000).map(wave).collect());
    let one = run(&model, &load, targets, 1);
    let again = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| run(&model, &load, targets, 1)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().unwrap())
            .collect::<Vec<_>>()
    });
    let text = |outcome: &Outcome| serde_json::to_string(outcome).unwrap();
    assert!(again.iter().all(|run| text(run) == text(&one)));
    assert_ne!(text(&one), text(&run(&model, &load, targets, 2)));
}

#[test]
fn a_bound_on_the_same_requests_lies_below_what_is_never_late() {
    let model = Model {
        startup_s: 10.0,
        ..Model::default()
    };
    let load = load((0..7_320).map(wave).collect());
    let outcome = run(&model, &load, |_| 8, 3);
    assert_eq!(outcome.late, 0);
    let bound = tidepool_sim::offered::clairvoyant(&model, &load, 3).unwrap();
    assert!(bound.worker_s < outcome.worker_s);
    // What it is about: nearly the work that the run counted.
    let share = bound.work_s / outcome.work_s;
    assert!((share - 1.0).abs() < 0.02, "{share} of the work");
}
