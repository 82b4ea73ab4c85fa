//! The event feed over the death and the orderly end of the process.

use std::time::Duration;

use serde_json::Value;
use tidepool_core::EventId;

use crate::process::{Start, Tidepool, eventually};

const SOON: Duration = Duration::from_secs(20);

fn ids(events: &[Value]) -> Vec<EventId> {
    let id = |event: &Value| event["id"].as_str().and_then(|id| id.parse().ok());
    events
        .iter()
        .map(|event| id(event).expect("an id"))
        .collect()
}

fn of_type<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    let name = format!("io.tidepool.{name}");
    events
        .iter()
        .filter(|event| event["type"] == name)
        .collect()
}

/// Waits until all four pools are up and that is on disk; returns everything that happened.
async fn settled(process: &Tidepool, workers_ready: usize) -> Vec<Value> {
    eventually("events of ready workers, stored", SOON, async || {
        let events = process.events().await;
        let last = events.last()?["id"].as_str()?.to_owned();
        let feed = process.component("events").await;
        let is_stored = feed["detail"] == format!("stored up to {last}");
        (is_stored && of_type(&events, "worker.ready").len() == workers_ready).then_some(events)
    })
    .await
}

fn assert_growing(events: &[Value]) {
    let ids = ids(events);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

/// Ids of a stream that resumes after `last_seen` and ends after `limit` events.
async fn stream(process: &Tidepool, last_seen: &EventId, limit: usize) -> Vec<EventId> {
    let request = process
        .operate(&format!("/v1/events?limit={limit}"))
        .header("accept", "text/event-stream")
        .header("last-event-id", last_seen.to_string());
    let answer = request.send().await.expect("a stream");
    let text = answer.text().await.expect("its end");
    assert!(!text.contains("event: resync"), "{text}");
    text.lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .map(|id| id.parse().expect("an id"))
        .collect()
}

#[tokio::test]
async fn history_survives_sigkill_and_sigterm_and_ids_keep_growing() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    let first = settled(&process, 4).await;
    process.kill().await;

    let process = Start::at(folder.path()).run().await;
    let second = settled(&process, 8).await;
    assert_eq!(
        second[..first.len()],
        first,
        "what was stored is told again"
    );
    assert_growing(&second);
    process.stop().await;

    let process = Start::at(folder.path()).run().await;
    let third = settled(&process, 12).await;
    assert_eq!(third[..second.len()], second);
    assert_growing(&third);
    let stopped = of_type(&third[second.len()..], "worker.stopped");
    assert_eq!(
        stopped.len(),
        4,
        "the last events of an orderly stop are stored"
    );
    process.stop().await;
}

#[tokio::test]
async fn a_stream_resumes_over_a_restart_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    let last_seen = ids(&settled(&process, 4).await)[4];
    process.kill().await;

    let process = Start::at(folder.path()).run().await;
    let told = ids(&settled(&process, 8).await);
    let missed = told.len() - 5;
    // Four more than there are: the stream goes on with what happens while it is open.
    let drain = async {
        let url = format!("{}/v1/workers/echo-1/drain", process.operator);
        let answer = process.client.post(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    };
    let (streamed, ()) = tokio::join!(stream(&process, &last_seen, missed + 4), drain);
    assert_eq!(streamed[..missed], told[5..]);
    let history = ids(&process.events().await);
    assert_eq!(streamed, history[5..][..streamed.len()]);
    assert_eq!(streamed.len(), missed + 4);
    process.stop().await;
}
