//! A pool grows under load within its bounds, and tells why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::process::{Start, Tidepool, eventually};

const SOON: Duration = Duration::from_secs(30);
const MAX: u64 = 3;

/// Clients that keep more requests in the pool than its largest size has places.
fn burst(process: &Arc<Tidepool>, enough: &Arc<AtomicBool>) -> JoinSet<u64> {
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let (process, enough) = (Arc::clone(process), Arc::clone(enough));
        clients.spawn(async move {
            let mut answered = 0;
            while !enough.load(Ordering::Relaxed) {
                process.ask("echo", &json!({ "sleep_ms": 200 })).await;
                answered += 1;
            }
            answered
        });
    }
    clients
}

async fn decisions(process: &Tidepool) -> Vec<Value> {
    let route = "/v1/events?type=io.tidepool.scaling.decided&pool=echo&limit=1000";
    let events = process.look(route).await;
    let events = events.as_array().expect("a batch").iter();
    events.map(|event| event["data"].clone()).collect()
}

fn assert_told(decision: &Value) {
    let sentence = decision["sentence"].as_str().expect("a sentence");
    let (from, to) = (&decision["from"], &decision["to"]);
    assert!(
        sentence.starts_with(&format!("{from} -> {to}: ")),
        "{sentence}"
    );
    let trace_id = decision["trace_id"].as_str().expect("a trace");
    assert!(trace_id.len() == 32 && trace_id.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(to.as_u64() <= Some(MAX), "{decision}");
}

#[tokio::test]
async fn a_burst_grows_the_pool_to_its_bound_and_the_reasons_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path())
        .set("TIDEPOOL_POOLS__ECHO__SLOTS", 2)
        .set("TIDEPOOL_POOLS__ECHO__MAX", MAX)
        .set("TIDEPOOL_POOLS__ECHO__COOLDOWN_S", 1)
        .run()
        .await;
    let process = Arc::new(process);
    let enough = Arc::new(AtomicBool::new(false));
    let mut clients = burst(&process, &enough);
    eventually("three workers serve", SOON, async || {
        let pool = process.look("/v1/pools/echo").await;
        assert!(pool["target"].as_u64() <= Some(MAX), "{pool}");
        (pool["ready"] == MAX && pool["target"] == MAX).then_some(())
    })
    .await;
    let grown = decisions(&process).await;
    enough.store(true, Ordering::Relaxed);
    while let Some(answered) = clients.join_next().await {
        assert!(answered.expect("every request is answered") > 0);
    }

    grown.iter().for_each(assert_told);
    let path: Vec<_> = grown.iter().map(|decision| &decision["to"]).collect();
    assert!(
        path.windows(2)
            .all(|pair| pair[0].as_u64() < pair[1].as_u64()),
        "{path:?}"
    );
    let last = grown.last().expect("a decision");
    assert_eq!(
        (&last["to"], &last["direction"]),
        (&json!(MAX), &json!("up"))
    );
    assert!(last["score"].as_f64() > Some(0.80), "{last}");
    assert!(
        last["winner"].is_string() && last["raw_need"].is_number(),
        "{last}"
    );

    let explained = process.cli(&["explain", "echo"]).await;
    let text = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.status.success(), "{text}");
    let sentence = last["sentence"].as_str().unwrap();
    assert!(text.contains(sentence), "{text} has not: {sentence}");
    // What was just started is kept for a while; when that ends is no secret.
    let explanation = eventually("a wish to shrink that is held", SOON, async || {
        let explanation = process.look("/v1/pools/echo/explain").await;
        explanation["blocked_by"].is_string().then_some(explanation)
    })
    .await;
    assert!(explanation["earliest_change"].is_string(), "{explanation}");
    let pool = process.look("/v1/pools/echo").await;
    assert!(pool["target"].as_u64() >= Some(1), "{pool}");
}

#[tokio::test]
async fn the_commands_for_operators_understand_the_running_program() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    eventually("ready workers", SOON, async || {
        let pools = process.look("/v1/pools").await;
        let pools = pools["pools"].as_array()?.clone();
        (pools.len() == 4 && pools.iter().all(|pool| pool["ready"] == 1)).then_some(())
    })
    .await;
    for (args, lines) in [
        (&["pools", "-o", "jsonl"][..], 4),
        (&["workers", "-o", "jsonl"], 4),
        (&["explain", "-o", "jsonl"], 4),
        (&["events", "-o", "jsonl", "--type", "worker.ready"], 4),
        (
            &["events", "-o", "jsonl", "--pool", "echo", "--limit", "1"],
            1,
        ),
    ] {
        let output = process.cli(args).await;
        assert!(output.status.success(), "{args:?} {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), lines, "{args:?}: {text}");
        for line in text.lines() {
            serde_json::from_str::<Value>(line).expect("a JSON document a line");
        }
    }
    assert!(process.cli(&["health"]).await.status.success());
    assert!(process.cli(&["drain", "echo-1"]).await.status.success());
    eventually("its successor", SOON, async || {
        let workers = process.look("/v1/workers").await;
        let mut workers = workers["workers"].as_array()?.iter();
        let is_next = |worker: &Value| worker["id"] == "echo-2" && worker["state"] == "ready";
        workers.any(is_next).then_some(())
    })
    .await;
    let unknown = process.cli(&["drain", "echo-77"]).await;
    assert_eq!(unknown.status.code(), Some(1));
}
