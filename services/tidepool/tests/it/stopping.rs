//! An orderly stop: what was let in is answered, nothing else is let in.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::process::{Start, Tidepool, eventually};

const SOON: Duration = Duration::from_secs(20);
/// Places of the only worker, and as many requests that wait for them.
const SLOTS: u64 = 3;

fn send(process: &Tidepool, requests: u64, sleep_ms: u64) -> JoinSet<(StatusCode, String)> {
    let mut answers = JoinSet::new();
    for n in 0..requests {
        let request = process.request("echo", &json!({ "n": n, "sleep_ms": sleep_ms }));
        answers.spawn(async move {
            let answer = request.send().await.expect("every request is answered");
            (answer.status(), answer.text().await.expect("in full"))
        });
    }
    answers
}

async fn small(folder: &tempfile::TempDir) -> Tidepool {
    Start::at(folder.path())
        .set("TIDEPOOL_POOLS__ECHO__SLOTS", SLOTS)
        .set("TIDEPOOL_POOLS__ECHO__MAX", 1)
        .run()
        .await
}

async fn is_full(process: &Tidepool) -> Option<()> {
    let pool = process.look("/v1/pools/echo").await;
    (pool["busy_slots"] == SLOTS && pool["queued"] == SLOTS).then_some(())
}

#[tokio::test]
async fn sigterm_answers_running_and_waiting_requests_and_lets_nothing_else_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = small(&folder).await;
    let answers = send(&process, 2 * SLOTS, 3_000);
    eventually("running and waiting requests", SOON, async || {
        is_full(&process).await
    })
    .await;
    process.signal("TERM").await;
    let problem: Value = eventually("readyz is 503", SOON, async || {
        let answer = process.operate("/readyz").send().await.ok()?;
        let is_draining = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        is_draining.then_some(answer)
    })
    .await
    .json()
    .await
    .unwrap();
    assert_eq!(problem["code"], "draining");
    // A late request finds the door closed, or is told to go elsewhere.
    let late = process.request("echo", &json!({})).send().await;
    if let Ok(late) = late {
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(late.headers().contains_key("retry-after"));
    }
    for (status, body) in answers.join_all().await {
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    let log = process.log();
    assert!(log.contains("stopped") && !log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn a_kept_connection_is_told_of_the_drain_and_does_not_delay_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = small(&folder).await;
    let busy = send(&process, SLOTS, 2_500);
    eventually("running requests", SOON, async || {
        let pool = process.look("/v1/pools/echo").await;
        (pool["busy_slots"] == SLOTS).then_some(())
    })
    .await;
    // The same connection, kept by the client, is used before and after the signal.
    let idle = reqwest::Client::new();
    let ready = format!("{}/readyz", process.api);
    eventually("ready", SOON, async || {
        let status = idle.get(&ready).send().await.unwrap().status();
        (status == StatusCode::OK).then_some(())
    })
    .await;
    process.signal("TERM").await;
    eventually("no longer ready", SOON, async || {
        match idle.get(&ready).send().await {
            Ok(answer) => (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(()),
            Err(_closed) => Some(()),
        }
    })
    .await;
    for (status, body) in busy.join_all().await {
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), process.ended()).await;
    assert_eq!(ended.expect("well before any grace period").code(), Some(0));
}
