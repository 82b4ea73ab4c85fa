use std::time::Duration;

use super::*;
use crate::generator::Paced;
use crate::mix::{Body, Mix};
use crate::outcome::Outcome;
use crate::plan::{RatePlan, Stage};
use crate::recorder::{Recorder, Sample};

/// Ten seconds of 100/s, of which the first second is warm-up.
fn scenario(thresholds: &[&str]) -> Scenario {
    let plan = RatePlan::new(&[Stage::constant(100.0, Duration::from_secs(10))]).unwrap();
    let mix = Mix::only(1, Body::usual("echo"));
    let mut scenario = Scenario::usual("x", "a test", plan, mix, 1);
    scenario.thresholds = thresholds.iter().map(|t| t.parse().unwrap()).collect();
    scenario
}

/// 900 judged requests: 880 ok with 1..=880 ms, 10 refused in 1 ms, 10 timed out; 5 dropped.
fn results(scenario: &Scenario) -> Results {
    let grid = Grid::over(scenario.plan.duration());
    let mut recorder = Recorder::new(scenario.warmup, grid);
    let mut record = |at_ms: u64, service_ms: u64, outcome: Outcome| {
        recorder.record(Sample {
            at: Duration::from_millis(at_ms),
            lag: Duration::from_micros(50),
            service: Duration::from_millis(service_ms),
            outcome,
            request_id: None,
        });
    };
    (0..100).for_each(|i| record(i * 10, 5_000, Outcome::answered(200, None)));
    (1..=880).for_each(|i| record(1_000 + i * 10, i, Outcome::answered(200, None)));
    (0..10).for_each(|_| record(9_900, 1, Outcome::answered(503, Some("overloaded"))));
    (0..10).for_each(|_| record(9_950, 10_000, Outcome::lost("timeout")));
    let mut dropped_at = vec![0; grid.buckets];
    if let Some(dropped) = dropped_at.get_mut(3) {
        *dropped = 5;
    }
    Results {
        paced: Paced {
            due: 905,
            dropped: 5,
            dropped_at,
            lasted: Duration::from_secs(10),
        },
        recorder,
        abandoned: 0,
        grid,
    }
}

fn report(thresholds: &[&str], scaling: Option<Scaling>) -> Report {
    let scenario = scenario(thresholds);
    let circumstances = Circumstances {
        target: "http://127.0.0.1:1".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        interrupted: false,
        notes: Vec::new(),
    };
    Report::new(&scenario, &results(&scenario), scaling, circumstances)
}

#[test]
fn numbers_are_those_of_the_requests() {
    let report = report(&[], None);
    let expected = Counts {
        due: 905,
        dropped: 5,
        finished: 900,
        ok: 880,
        failed: 20,
        refused: 10,
        errors: 10,
        abandoned: 0,
        warmup: 100,
    };
    assert_eq!(report.counts, expected);
    assert!((report.rates.ok_per_s - 880.0 / 9.0).abs() < 1e-9);
    assert!((report.rates.failed.unwrap() - 20.0 / 900.0).abs() < 1e-9);
    assert!((report.rates.dropped.unwrap() - 5.0 / 905.0).abs() < 1e-9);
    let p50 = report.latency_ms.percentiles["p50"];
    assert!((p50 - 445.0).abs() < 2.0, "{p50}");
    assert_eq!(report.refused_ms.count, 10);
    assert_eq!(report.latency_ms.count, 890);
    let steps: u64 = report.latency_ms.histogram.iter().map(|(_, n)| n).sum();
    assert_eq!(steps, 890);
}

#[test]
fn refusals_do_not_flatter_the_percentiles_and_timeouts_do_not_hide() {
    let report = report(&["p(99)<1000", "refused.max<5", "error_rate<0.001"], None);
    let passed: Vec<_> = report.thresholds.iter().map(|j| j.passed).collect();
    assert_eq!(passed, [false, true, false]);
}

#[test]
fn the_timeline_has_every_second_with_its_plan_and_drops() {
    let report = report(&[], None);
    assert_eq!(report.timeline.len(), 10);
    assert!((report.timeline[4].planned_per_s - 100.0).abs() < 1e-6);
    assert_eq!(report.timeline[0].ok, 100);
    assert_eq!(report.timeline[3].dropped, 5);
}

#[test]
fn a_bucket_that_reaches_beyond_the_plan_has_the_rate_of_the_plan() {
    let mut scenario = scenario(&[]);
    scenario.plan = RatePlan::new(&[Stage::constant(100.0, Duration::from_millis(1_500))]).unwrap();
    let mut results = results(&scenario);
    results.paced.lasted = scenario.plan.duration();
    let rates = timeline(&scenario, &results)
        .into_iter()
        .map(|p| p.planned_per_s.round());
    assert_eq!(rates.collect::<Vec<_>>(), [100.0, 100.0]);
}

#[test]
fn an_unseen_pool_misses_its_thresholds() {
    let missed = report(&["flaps==0"], None);
    assert_eq!(missed.exit(), Exit::ThresholdMissed);
    assert_eq!(missed.thresholds[0].observed, None);
    assert!(missed.to_string().contains("not measured"));
}

#[test]
fn the_exit_follows_thresholds_and_interrupts() {
    assert_eq!(report(&[], None).exit(), Exit::Passed);
    assert_eq!(
        report(&["requests>=900", "ok_per_s>90"], None).exit(),
        Exit::Passed
    );
    assert_eq!(
        report(&["requests>=900", "failed==0"], None).exit(),
        Exit::ThresholdMissed
    );
    let mut interrupted = report(&["failed==0"], None);
    interrupted.interrupted = true;
    assert_eq!(interrupted.exit(), Exit::Interrupted);
}

#[test]
fn the_text_tells_the_story_of_the_pool() {
    let plan = scenario(&[]).plan;
    let sample = |at_s: f64, ready: u32| PoolSample {
        at_s,
        ready,
        starting: 0,
        draining: 0,
        target: ready,
        score: Some(0.9),
    };
    let decision = Decision {
        at_s: 2.0,
        from: 1,
        to: 4,
        sentence: "slots ask for 4 workers".to_owned(),
    };
    let samples = vec![sample(0.0, 1), sample(3.0, 4), sample(9.0, 2)];
    let scaling = Scaling::new("echo", &plan, samples, vec![decision]);
    let text = report(&["ready_max>=4"], scaling).to_string();
    for part in [
        "ready 1 → 4 → 2",
        "0:02  1 → 4  slots ask for 4 workers",
        "✓ ready_max>=4",
        "503 overloaded",
        "timeout",
        "note: 5 requests were due and not sent",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn the_json_report_reads_back() {
    let json = serde_json::to_value(report(&["dropped==0"], None)).unwrap();
    assert_eq!(json["counts"]["ok"], 880);
    assert_eq!(json["thresholds"][0]["passed"], false);
    assert_eq!(json["outcomes"][0]["status"], 200);
}
