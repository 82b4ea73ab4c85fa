//! A caller that goes away takes its request with it, wherever that is.

use tidepool_handler::Stop;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Harness, eventually, problem};

/// Sends a request on a connection of its own, to be dropped by the test.
async fn send(harness: &Harness, act: &str) -> TcpStream {
    send_with(harness, act, "").await
}

/// The same with more header lines, each with its end.
async fn send_with(harness: &Harness, act: &str, headers: &str) -> TcpStream {
    let body = format!(r#"{{"act":"{act}"}}"#);
    let request = format!(
        "POST /v1/invoke/act HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(harness.addr)
        .await
        .expect("a connection");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the server reads");
    stream
}

fn cancelled(harness: &Harness) -> Option<f64> {
    harness.metric("tidepool_requests_total{kind=\"act\",outcome=\"cancelled\"}")
}

#[actix_web::test]
async fn a_closed_connection_cancels_work_that_waits() {
    let harness = Harness::start().await;
    let connection = send(&harness, "hold").await;
    eventually(|| harness.running() == 1).await;
    drop(connection);
    eventually(|| harness.running() == 0 && cancelled(&harness) == Some(1.0)).await;
    assert_eq!(
        harness.act("echo").await.status(),
        200,
        "the slot is free again"
    );
    harness.stop().await;
}

#[actix_web::test]
async fn a_closed_connection_cancels_work_that_computes() {
    let harness = Harness::start().await;
    let connection = send(&harness, "spin").await;
    eventually(|| harness.running() == 1).await;
    drop(connection);
    eventually(|| harness.running() == 0 && cancelled(&harness) == Some(1.0)).await;
    assert_eq!(*harness.stage.stops.lock(), [Stop::Cancelled]);
    harness.stop().await;
}

#[actix_web::test]
async fn a_request_with_a_key_runs_once_also_when_its_caller_loses_the_connection() {
    let harness = Harness::start().await;
    let connection = send_with(&harness, "hold", "idempotency-key: k\r\n").await;
    eventually(|| harness.running() == 1).await;
    drop(connection);
    let again = || {
        let request = harness.post(r#"{"act":"hold"}"#);
        request.header("idempotency-key", "k").send()
    };
    problem(again().await.unwrap(), 409, "idempotency_in_progress").await;
    harness.stage.release.notify_one();
    eventually(|| harness.pool.in_flight() == 0).await;
    let mut answer = again().await.unwrap();
    // Its answer is kept a moment after the work has ended.
    while answer.status() == 409 {
        answer = again().await.unwrap();
    }
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["idempotency-replayed"], "true");
    assert_eq!(cancelled(&harness), Some(0.0));
    harness.stop().await;
}

#[actix_web::test]
async fn a_closed_connection_leaves_the_queue() {
    let harness = Harness::start().await;
    let holder = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    let waiting = send(&harness, "echo").await;
    eventually(|| harness.pool.in_flight() == 2).await;
    drop(waiting);
    eventually(|| harness.pool.in_flight() == 1).await;
    assert_eq!(harness.pool.report(std::time::Instant::now()).queued, 0);
    harness.stage.release.notify_one();
    assert_eq!(holder.await.unwrap(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn a_deadline_ends_a_wait_in_the_queue() {
    let harness = Harness::start().await;
    let holder = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    let late = harness
        .post(r#"{"act":"echo"}"#)
        .header("tidepool-deadline-ms", "30");
    problem(late.send().await.unwrap(), 504, "deadline_exceeded").await;
    assert_eq!(harness.pool.in_flight(), 1);
    harness.stage.release.notify_one();
    assert_eq!(holder.await.unwrap(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn a_deadline_ends_running_work_and_tells_it() {
    let harness = Harness::start().await;
    for act in ["hold", "spin"] {
        let body = format!(r#"{{"act":"{act}"}}"#);
        let late = harness
            .post(body)
            .header("tidepool-deadline-ms", "30")
            .send()
            .await
            .unwrap();
        problem(late, 504, "deadline_exceeded").await;
        eventually(|| harness.running() == 0).await;
    }
    assert_eq!(harness.stage.stops.lock().len(), 1);
    harness.stop().await;
}
