//! Requests that are accepted now and answered later.

use std::time::Instant;

use serde_json::Value;

use crate::harness::{Harness, eventually, problem};

fn later(harness: &Harness, act: &str) -> reqwest::RequestBuilder {
    let request = harness.post(format!(r#"{{"act":"{act}"}}"#));
    request.header("prefer", "respond-async")
}

/// Sends a request to be answered later, and gives where.
async fn accept(harness: &Harness, act: &str) -> String {
    let response = later(harness, act).send().await.expect("an answer");
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["preference-applied"], "respond-async");
    let location = response.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(
        (&body["state"], &body["kind"]),
        (&"running".into(), &"act".into())
    );
    assert_eq!(
        location,
        format!("/v1/requests/{}", body["id"].as_str().expect("an id"))
    );
    location
}

async fn ask(harness: &Harness, location: &str) -> reqwest::Response {
    let url = format!("{}{location}", harness.url);
    harness.client.get(url).send().await.expect("an answer")
}

/// Asks until the request has ended.
async fn answer(harness: &Harness, location: &str) -> reqwest::Response {
    let begin = Instant::now();
    loop {
        let response = ask(harness, location).await;
        if response.status() != 202 {
            return response;
        }
        assert_eq!(response.headers()["retry-after"], "1");
        assert!(begin.elapsed().as_secs() < 60, "it never ended");
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn an_accepted_request_runs_without_its_connection_and_keeps_its_answer() {
    let harness = Harness::start().await;
    let location = accept(&harness, "hold").await;
    eventually(|| harness.running() == 1).await;
    let state = ask(&harness, &location).await;
    assert_eq!(state.status(), 202);
    let state: Value = state.json().await.unwrap();
    assert_eq!(state["state"], "running");
    assert_eq!(
        harness.metric("tidepool_accepted_requests_running"),
        Some(1.0)
    );
    harness.stage.release.notify_one();
    for _ in 0..2 {
        let response = answer(&harness, &location).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(
            response.json::<Value>().await.unwrap(),
            serde_json::json!({"act": "hold"})
        );
    }
    let url = format!("{}{location}", harness.url);
    let packed = harness
        .client
        .get(url)
        .header("accept", "application/msgpack");
    let packed = packed.send().await.unwrap().bytes().await.unwrap();
    let packed: Value = rmp_serde::from_slice(&packed).unwrap();
    assert_eq!(packed["act"], "hold");
    let ended = harness.metric(r#"tidepool_accepted_requests_total{end="answered"}"#);
    assert_eq!(ended, Some(1.0));
    assert_eq!(
        harness.metric("tidepool_accepted_requests_running"),
        Some(0.0)
    );
    harness.stop().await;
}

#[actix_web::test]
async fn failures_are_kept_as_the_problems_they_are() {
    let harness = Harness::start().await;
    for (act, status, code) in [
        ("fail", 500, "handler_failed"),
        ("panic", 500, "handler_panicked"),
    ] {
        let location = accept(&harness, act).await;
        let body = problem(answer(&harness, &location).await, status, code).await;
        assert_eq!(body["instance"], location);
        eventually(|| harness.pool.ready_slots() == 1).await;
    }
    let invalid = harness
        .post(r#"{"act":1}"#)
        .header("prefer", "respond-async");
    let location = invalid.send().await.unwrap().headers()["location"].clone();
    let found = answer(&harness, location.to_str().unwrap()).await;
    let body = problem(found, 422, "invalid_input").await;
    assert_eq!(body["errors"][0]["pointer"], "/act");
    let nobody = ask(
        &harness,
        "/v1/requests/0199aaaa-bbbb-7000-8000-000000000000",
    )
    .await;
    problem(nobody, 404, "unknown_request").await;
    problem(
        ask(&harness, "/v1/requests/x").await,
        404,
        "unknown_request",
    )
    .await;
    harness.stop().await;
}

#[actix_web::test]
async fn what_cannot_be_accepted_is_refused_at_once() {
    let harness = Harness::start().await;
    let holder = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    harness.pool.close();
    problem(
        later(&harness, "echo").send().await.unwrap(),
        503,
        "draining",
    )
    .await;
    harness.stage.release.notify_one();
    assert_eq!(holder.await.unwrap(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn a_stop_waits_for_what_was_accepted_and_dismisses_what_still_waits() {
    let harness = Harness::start().await;
    let running = accept(&harness, "hold").await;
    eventually(|| harness.running() == 1).await;
    let waiting = accept(&harness, "echo").await;
    eventually(|| harness.pool.in_flight() == 2).await;
    let api = harness.api.clone();
    let finished = actix_web::rt::spawn(async move { api.finish_accepted().await });
    harness.pool.close();
    harness.pool.dismiss_waiting();
    problem(answer(&harness, &waiting).await, 503, "draining").await;
    assert!(!finished.is_finished(), "one still runs");
    harness.stage.release.notify_one();
    finished.await.unwrap();
    assert_eq!(ask(&harness, &running).await.status(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn the_same_key_runs_once_also_when_it_is_answered_later() {
    let harness = Harness::start().await;
    let keyed = || {
        let body = r#"{"act":"echo","number":7}"#;
        harness.post(body).header("idempotency-key", "k")
    };
    for _ in 0..2 {
        let response = keyed()
            .header("prefer", "respond-async")
            .send()
            .await
            .unwrap();
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(answer(&harness, &location).await.status(), 200);
    }
    assert_eq!(
        keyed().send().await.unwrap().headers()["idempotency-replayed"],
        "true"
    );
    assert_eq!(*harness.stage.served.lock(), [7]);
    harness.stop().await;
}
