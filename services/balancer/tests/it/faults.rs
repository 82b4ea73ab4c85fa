//! Handlers that panic, fail, or do not start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use actix::Actor as _;
use tidepool_balancer::LoadBalancer;
use tidepool_core::NodeId;
use tidepool_worker::{Naming, Node, NodeConfig, NodePorts, RestartPolicy};

use crate::handlers::Stage;
use crate::harness::{Harness, eventually, problem, spec};

/// Where a handler can panic.
const PANICS: [&str; 4] = ["panic", "panic_wait", "panic_compute", "panic_timer"];
/// Longest from the request to the worker in place of the one that panicked with it.
const REPLACED_WITHIN: Duration = Duration::from_millis(200);
/// Of which the fastest counts.
const TRIES: u32 = 5;

#[actix_web::test]
async fn a_panic_costs_one_request_wherever_it_happens() {
    let mut harness = Harness::with(spec(), Arc::default());
    harness.target(2).await;
    let other = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    for act in PANICS {
        problem(harness.act(act).await, 500, "handler_panicked").await;
        eventually(|| harness.pool.ready_slots() == 2).await;
        assert_eq!(harness.act("echo").await.status(), 200);
    }
    harness.stage.release.notify_one();
    assert_eq!(other.await.unwrap(), 200, "others are not affected");
    assert!(harness.told("worker.crashed"));
    let starts = || harness.stage.starts.load(Ordering::SeqCst);
    assert_eq!(starts(), 2 + 4);
    // One that nobody waits for hurts nobody.
    assert_eq!(harness.act("panic_later").await.status(), 200);
    eventually(|| harness.stage.late.load(Ordering::SeqCst) == 1).await;
    assert_eq!(harness.act("echo").await.status(), 200);
    assert_eq!((starts(), harness.pool.ready_slots()), (2 + 4, 2));
    harness.stop().await;
}

#[actix_web::test]
async fn a_worker_whose_handler_panicked_is_replaced_at_once() {
    for act in PANICS {
        let mut fastest = Duration::MAX;
        for _ in 0..TRIES {
            let harness = Harness::start().await;
            let asked = Instant::now();
            problem(harness.act(act).await, 500, "handler_panicked").await;
            let starts = || harness.stage.starts.load(Ordering::SeqCst);
            eventually(|| starts() == 2 && harness.pool.ready_slots() == 1).await;
            fastest = fastest.min(asked.elapsed());
            let is_ready = || {
                let events = harness.events.lock();
                events
                    .iter()
                    .filter(|event| event.kind == "worker.ready")
                    .count()
                    == 2
            };
            eventually(is_ready).await;
            let events = harness.events.lock().clone();
            let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
            let crashed = kinds.iter().position(|kind| *kind == "worker.crashed");
            let crashed = crashed.expect("the crash is told");
            assert_eq!(kinds[crashed + 1..], ["worker.starting", "worker.ready"]);
            assert_eq!(
                events[crashed].data["restart_in_ms"], 0,
                "no wait the first time"
            );
            harness.stop().await;
        }
        // A machine with much else to do takes longer now and then; a program that does, always.
        assert!(fastest <= REPLACED_WITHIN, "{act}: {fastest:?}");
    }
}

/// A port that panics the first time, and how often it was called.
fn panicking<T>() -> (impl Fn(T) + Send + Sync, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let port = move |_| {
        let before = counted.fetch_add(1, Ordering::SeqCst);
        assert!(before > 0, "told to");
    };
    (port, calls)
}

#[actix_web::test]
async fn a_panic_in_the_timer_of_an_actor_costs_one_turn() {
    let harness = Harness::start().await;
    let (port, reports) = panicking();
    let pools = vec![Arc::clone(&harness.pool)];
    let balancer = LoadBalancer::new(pools, Arc::new(port)).start();
    eventually(|| reports.load(Ordering::SeqCst) >= 2).await;
    assert!(balancer.connected(), "it takes orders as before");
    let (port, reports) = panicking();
    let node = Node::new(NodeConfig {
        node: NodeId::new("local").unwrap(),
        naming: Naming::Alone,
        pools: vec![],
        restart: RestartPolicy::default(),
        ports: NodePorts {
            reports: Arc::new(port),
            events: Arc::new(|_| {}),
        },
    })
    .start();
    eventually(|| reports.load(Ordering::SeqCst) >= 2).await;
    assert!(node.connected(), "it hosts workers as before");
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
