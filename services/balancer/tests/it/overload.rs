use std::time::Instant;

use crate::harness::{Harness, eventually, problem, spec};

#[actix_web::test]
async fn sheds_when_the_queue_is_full_and_serves_what_it_let_in() {
    let harness = Harness::start().await;
    let holder = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    let waiting: Vec<_> = (0..harness.pool.spec.queue_len_max)
        .map(|_| harness.spawn("echo"))
        .collect();
    eventually(|| harness.pool.in_flight() == 1 + waiting.len() as u64).await;
    let refused = harness.act("echo").await;
    let after: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=45).contains(&after), "{after}");
    let body = problem(refused, 503, "overloaded").await;
    assert_eq!(body["retryable"], true);
    harness.stage.release.notify_one();
    assert_eq!(holder.await.unwrap(), 200);
    for request in waiting {
        assert_eq!(request.await.unwrap(), 200);
    }
    let report = harness.pool.report(Instant::now());
    assert_eq!(
        (report.arrivals, report.completed, report.refused),
        (10, 9, 1)
    );
    harness.stop().await;
}

#[actix_web::test]
async fn requests_wait_for_a_worker_that_is_still_to_come() {
    let mut harness = Harness::with(spec(), Default::default());
    let waiting = harness.spawn("echo");
    eventually(|| harness.pool.in_flight() == 1).await;
    harness.target(1).await;
    assert_eq!(waiting.await.unwrap(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn a_draining_worker_finishes_and_takes_nothing_new() {
    let mut harness = Harness::start().await;
    let running = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    harness.order(0);
    eventually(|| harness.told("worker.draining")).await;
    let waiting = harness.spawn("echo");
    eventually(|| harness.pool.in_flight() == 2).await;
    assert!(!harness.told("worker.stopped"));
    harness.stage.release.notify_one();
    assert_eq!(running.await.unwrap(), 200);
    eventually(|| harness.told("worker.stopped")).await;
    assert_eq!(
        harness.pool.in_flight(),
        1,
        "a drained worker takes nothing from the queue"
    );
    harness.target(1).await;
    assert_eq!(waiting.await.unwrap(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn a_closed_pool_serves_what_waits_and_refuses_the_rest() {
    let harness = Harness::start().await;
    let running = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    let waiting = harness.spawn("echo");
    eventually(|| harness.pool.in_flight() == 2).await;
    harness.pool.close();
    problem(harness.act("echo").await, 503, "draining").await;
    harness.stage.release.notify_one();
    assert_eq!((running.await.unwrap(), waiting.await.unwrap()), (200, 200));
    harness.stop().await;
}

#[actix_web::test]
async fn those_who_still_wait_at_the_end_of_a_stop_are_refused() {
    let harness = Harness::start().await;
    let running = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    let waiting = harness.spawn("echo");
    eventually(|| harness.pool.in_flight() == 2).await;
    harness.pool.dismiss_waiting();
    assert_eq!(waiting.await.unwrap(), 503);
    harness.stage.release.notify_one();
    assert_eq!(running.await.unwrap(), 200);
    harness.stop().await;
}
