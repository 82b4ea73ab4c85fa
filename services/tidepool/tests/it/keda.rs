//! KEDA is told what is decided: as a document and over gRPC, by a client with messages of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use self::client::{Active, Client, Metric, Object, object};
use crate::process::{Start, Tidepool, eventually};

#[path = "../../../keda/tests/it/client.rs"]
#[expect(dead_code, reason = "the tests of the listener itself ask for more")]
mod client;

const SOON: Duration = Duration::from_secs(30);
/// A decision has to show within this time.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const MAX: i64 = 3;

async fn connected(process: &Tidepool) -> Client {
    let addr = process.keda.as_ref().expect("a listener for KEDA");
    Client::connect(addr.parse().expect("an address")).await
}

async fn desired(client: &Client, object: Object) -> Result<i64, Status> {
    let values = client.values_of(object).await?;
    let [value] = &values[..] else {
        panic!("one metric: {values:?}");
    };
    assert_eq!(value.name, "tidepool-echo");
    #[expect(clippy::cast_precision_loss, reason = "a few workers")]
    let whole = value.whole as f64;
    assert_eq!(whole.to_bits(), value.real.to_bits());
    Ok(value.whole)
}

async fn started(folder: &tempfile::TempDir) -> Tidepool {
    Start::at(folder.path())
        .set("TIDEPOOL_KEDA__ADDR", "127.0.0.1:0")
        .set("TIDEPOOL_POOLS__ECHO__SLOTS", 2)
        .set("TIDEPOOL_POOLS__ECHO__MAX", MAX)
        .run()
        .await
}

#[tokio::test]
async fn both_front_ends_tell_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let process = started(&folder).await;
    let status = process.look("/v1/status").await;
    let keda = process.keda.clone().expect("the banner names it");
    assert_eq!(status["addresses"]["keda"], keda);
    let scaler = connected(&process).await;
    let echo = || object(&[("pool", "echo")]);
    // The specification needs no decision.
    let spec = scaler.specs(echo()).await.unwrap();
    let one = Metric {
        name: "tidepool-echo".into(),
        whole: 1,
        real: 1.0,
    };
    assert_eq!(spec, [one]);
    let desired = eventually("a decision", SOON, async || {
        desired(&scaler, echo()).await.ok()
    })
    .await;
    let pool = process.look("/v1/pools/echo").await;
    assert_eq!(pool["target"], desired);
    let document = process.look("/v1/pools/echo/keda").await;
    assert_eq!(document["desired_workers"], desired, "{document}");
    assert_eq!(document["stale"], false, "{document}");
    assert!(document["epoch"].as_u64() >= Some(1), "{document}");
    assert!(scaler.is_active("echo").await.unwrap());
    let unknown = scaler.is_active("eco").await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);

    // An open stream does not hold a stop up, and ends as one that has told all.
    let mut states = scaler.stream(echo()).await.unwrap();
    let first = states.message().await.unwrap();
    assert_eq!(first, Some(Active { result: true }));
    let stop = process.stop();
    let (end, ()) = tokio::join!(states.message(), stop);
    assert_eq!(end.unwrap(), None);
}

#[tokio::test]
async fn who_has_no_token_is_told_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path())
        .set("TIDEPOOL_KEDA__ADDR", "127.0.0.1:0")
        .tokens("kelp-forest-4711", "lighthouse-0815")
        .run()
        .await;
    let scaler = connected(&process).await;
    for token in ["", "kelp-forest-4711", "lighthouse"] {
        let asked = object(&[("pool", "echo"), ("tokenFromEnv", token)]);
        let fault = desired(&scaler, asked).await.unwrap_err();
        assert_eq!(fault.code(), Code::Unauthenticated, "{fault}");
    }
    let asked = || object(&[("pool", "echo"), ("tokenFromEnv", "lighthouse-0815")]);
    eventually("a decision", SOON, async || {
        desired(&scaler, asked()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn there_is_no_listener_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    assert_eq!(process.keda, None);
    let status = process.look("/v1/status").await;
    assert_eq!(status["addresses"]["keda"], Value::Null);
}

/// Clients that keep more requests in the pool than its smallest size has places.
fn burst(process: &Arc<Tidepool>, enough: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let (process, enough) = (Arc::clone(process), Arc::clone(enough));
        clients.spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                process.ask("echo", &json!({ "sleep_ms": 200 })).await;
            }
        });
    }
    clients
}

/// When each number was first told over gRPC, until the largest is.
async fn watch(scaler: &Client) -> Vec<(i64, jiff::Timestamp)> {
    let mut told: Vec<(i64, jiff::Timestamp)> = Vec::new();
    let began = Instant::now();
    while told.last().is_none_or(|(number, _)| *number < MAX) {
        assert!(began.elapsed() < SOON, "the pool does not grow: {told:?}");
        if let Ok(number) = desired(scaler, object(&[("pool", "echo")])).await
            && told.last().is_none_or(|(last, _)| *last != number)
        {
            told.push((number, jiff::Timestamp::now()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    told
}

#[tokio::test]
async fn a_decision_under_load_shows_within_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let process = Arc::new(started(&folder).await);
    let scaler = connected(&process).await;
    eventually("the smallest size", SOON, async || {
        let desired = desired(&scaler, object(&[("pool", "echo")])).await;
        (desired.ok()? == 1).then_some(())
    })
    .await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut clients = burst(&process, &enough);
    let told = watch(&scaler).await;
    enough.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.expect("every request is answered");
    }
    let events = process.events().await;
    let of_echo = |event: &&Value| event["data"]["pool"] == "echo";
    let mut decided = events
        .iter()
        .filter(|event| event["type"] == "io.tidepool.scaling.decided")
        .filter(of_echo);
    let last = decided.next_back().expect("a decision");
    assert_eq!(last["data"]["to"], MAX, "{last}");
    let at: jiff::Timestamp = last["time"].as_str().unwrap().parse().unwrap();
    let (number, shown_at) = told.last().expect("a number");
    assert_eq!(*number, MAX);
    let took = shown_at.duration_since(at);
    eprintln!("decided at {at}, told {took:?} later; all: {told:?}");
    assert!(took.unsigned_abs() < SHOWN_WITHIN, "{took:?}");
}
