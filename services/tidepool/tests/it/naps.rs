//! A process that stands still while it waits for Redis, and goes on.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tidepool_testing::RedisServer;
use tokio::task::JoinSet;

use crate::process::{Start, Tidepool, eventually};

/// Longer than an answer of the store may take.
const NAP: Duration = Duration::from_millis(2_500);
/// Less than that: a process that is stopped later may have given the store up already.
const STOPPED_WITHIN: Duration = Duration::from_millis(600);
/// Until requests have come to the store.
const ARRIVE: Duration = Duration::from_millis(150);
const WRITERS: usize = 40;
const TRIES_MAX: usize = 20;

fn note(n: usize) -> Value {
    let namespace = format!("n{}", n % 4);
    json!({ "op": "store", "namespace": namespace, "items": [{ "text": "a note" }] })
}

/// Notes that wait for answers of the store, which come while the process stands still. Gives those
/// that were not stored; nothing when the process was not stopped in time.
async fn refused_after_a_nap(process: &Tidepool, redis: &RedisServer) -> Option<Vec<StatusCode>> {
    redis.signal("STOP");
    let begin = Instant::now();
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let request = process.request("memory", &note(n)).send();
        writers.spawn(async move { request.await.expect("an answer").status() });
    }
    tokio::time::sleep(ARRIVE).await;
    process.signal("STOP").await;
    let is_in_time = begin.elapsed() < STOPPED_WITHIN;
    redis.signal("CONT");
    tokio::time::sleep(NAP).await;
    process.signal("CONT").await;
    let woken = Instant::now();
    let statuses = writers.join_all().await;
    eprintln!("the last answered {:?} after it woke", woken.elapsed());
    let refused = statuses
        .into_iter()
        .filter(|status| *status != StatusCode::OK);
    is_in_time.then(|| refused.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wakes_from_a_nap_answers_what_waits_for_the_store() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().expect("a folder");
    let process = Start::at(folder.path())
        .set("TIDEPOOL_STORE__KIND", "redis")
        .set("TIDEPOOL_STORE__REDIS_URL", redis.url())
        .run()
        .await;
    for _ in 0..TRIES_MAX {
        let stored = async || {
            let answer = process.request("memory", &note(0)).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        };
        eventually("a note that is stored", Duration::from_secs(20), stored).await;
        if let Some(refused) = refused_after_a_nap(&process, &redis).await {
            assert!(refused.is_empty(), "of {WRITERS}: {refused:?}");
            return;
        }
    }
    panic!("this machine is too slow to stop a process in time");
}
