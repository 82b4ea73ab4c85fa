//! Handlers that panic, fail, or do not start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::handlers::Stage;
use crate::harness::{Harness, eventually, problem, spec};

#[actix_web::test]
async fn a_panic_costs_one_request_wherever_it_happens() {
    let mut harness = Harness::with(spec(), Arc::default());
    harness.target(2).await;
    let other = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    for act in ["panic", "panic_wait", "panic_compute"] {
        problem(harness.act(act).await, 500, "handler_panicked").await;
        eventually(|| harness.pool.ready_slots() == 2).await;
        assert_eq!(harness.act("echo").await.status(), 200);
    }
    harness.stage.release.notify_one();
    assert_eq!(other.await.unwrap(), 200, "others are not affected");
    assert!(harness.told("worker.crashed"));
    assert_eq!(harness.stage.starts.load(Ordering::SeqCst), 2 + 3);
    harness.stop().await;
}

#[actix_web::test]
async fn endless_panics_end_in_an_alert_and_a_pause() {
    let harness = Harness::start().await;
    let mut restarts = 0;
    while !harness.told("alert.firing") {
        let panicking = harness
            .post(r#"{"act":"panic"}"#)
            .header("tidepool-deadline-ms", "2000");
        panicking.send().await.unwrap();
        restarts += 1;
        assert!(restarts < 20, "it has to give up");
        eventually(|| harness.pool.ready_slots() == 1 || harness.told("alert.firing")).await;
    }
    assert_eq!(
        harness.stage.starts.load(Ordering::SeqCst),
        6,
        "five restarts and no more"
    );
    let waiting = harness
        .post(r#"{"act":"echo"}"#)
        .header("tidepool-deadline-ms", "50");
    problem(waiting.send().await.unwrap(), 504, "deadline_exceeded").await;
    harness.stop().await;
}

#[actix_web::test]
async fn a_handler_that_does_not_start_is_tried_again() {
    let stage = Arc::new(Stage::default());
    stage.failing_starts.store(2, Ordering::SeqCst);
    let mut harness = Harness::with(spec(), stage);
    harness.target(1).await;
    assert_eq!(harness.act("echo").await.status(), 200);
    assert_eq!(harness.stage.starts.load(Ordering::SeqCst), 3);
    harness.stop().await;
}

#[actix_web::test]
async fn the_cause_of_a_failure_is_not_told_to_the_caller() {
    let harness = Harness::start().await;
    let body = problem(harness.act("fail").await, 500, "handler_failed").await;
    assert!(!body.to_string().contains("secret"), "{body}");
    harness.stop().await;
}
