//! KEDA is told what is decided: as a document and over gRPC, by a client with messages of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::process::{Start, Tidepool, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A decision has to show within this time.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const MAX: i64 = 3;

#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(message, optional, tag = "1")]
    object: Option<Object>,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    whole: i64,
    #[prost(double, tag = "3")]
    real: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Metrics {
    #[prost(message, repeated, tag = "1")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Active {
    #[prost(bool, tag = "1")]
    result: bool,
}

fn object(metadata: &[(&str, &str)]) -> Object {
    let metadata = metadata.iter();
    Object {
        name: "web".into(),
        namespace: "shop".into(),
        metadata: metadata
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn path(method: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/externalscaler.ExternalScaler/{method}")).expect("a path")
}

/// The connection of a KEDA.
struct Keda(Channel);

impl Keda {
    async fn of(process: &Tidepool) -> Self {
        let addr = process.keda.as_ref().expect("a listener for KEDA");
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address");
        Self(endpoint.connect().await.expect("a connection"))
    }

    async fn grpc(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.expect("a connection");
        grpc
    }

    async fn call<A, B>(&self, method: &str, message: A) -> Result<B, Status>
    where
        A: Message + Default + 'static,
        B: Message + Default + 'static,
    {
        let codec = ProstCodec::<A, B>::default();
        let mut grpc = self.grpc().await;
        let answer = grpc.unary(Request::new(message), path(method), codec);
        answer.await.map(Response::into_inner)
    }

    async fn states(&self, object: Object) -> Result<Streaming<Active>, Status> {
        let codec = ProstCodec::<Object, Active>::default();
        let mut grpc = self.grpc().await;
        let answer = grpc.server_streaming(Request::new(object), path("StreamIsActive"), codec);
        answer.await.map(Response::into_inner)
    }

    async fn desired(&self, object: Object) -> Result<i64, Status> {
        let question = Question {
            object: Some(object),
            name: "tidepool-echo".into(),
        };
        let values: Metrics = self.call("GetMetrics", question).await?;
        let [value] = &values.metrics[..] else {
            panic!("one metric: {values:?}");
        };
        assert_eq!(value.name, "tidepool-echo");
        #[expect(clippy::cast_precision_loss, reason = "a few workers")]
        let whole = value.whole as f64;
        assert_eq!(whole.to_bits(), value.real.to_bits());
        Ok(value.whole)
    }
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
    let scaler = Keda::of(&process).await;
    let echo = || object(&[("pool", "echo")]);
    // The specification needs no decision.
    let spec: Metrics = scaler.call("GetMetricSpec", echo()).await.unwrap();
    let one = Metric {
        name: "tidepool-echo".into(),
        whole: 1,
        real: 1.0,
    };
    assert_eq!(spec.metrics, [one]);
    let desired = eventually("a decision", SOON, async || {
        scaler.desired(echo()).await.ok()
    })
    .await;
    let pool = process.look("/v1/pools/echo").await;
    assert_eq!(pool["target"], desired);
    let document = process.look("/v1/pools/echo/keda").await;
    assert_eq!(document["desired_workers"], desired, "{document}");
    assert_eq!(document["stale"], false, "{document}");
    assert!(document["epoch"].as_u64() >= Some(1), "{document}");
    let active: Active = scaler.call("IsActive", echo()).await.unwrap();
    assert!(active.result);
    let unknown: Result<Active, _> = scaler.call("IsActive", object(&[("pool", "eco")])).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);

    // An open stream does not hold a stop up, and ends as one that has told all.
    let mut states = scaler.states(echo()).await.unwrap();
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
    let scaler = Keda::of(&process).await;
    for token in ["", "kelp-forest-4711", "lighthouse"] {
        let asked = object(&[("pool", "echo"), ("tokenFromEnv", token)]);
        let fault = scaler.desired(asked).await.unwrap_err();
        assert_eq!(fault.code(), Code::Unauthenticated, "{fault}");
    }
    let asked = || object(&[("pool", "echo"), ("tokenFromEnv", "lighthouse-0815")]);
    eventually("a decision", SOON, async || {
        scaler.desired(asked()).await.ok()
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
async fn watch(scaler: &Keda) -> Vec<(i64, jiff::Timestamp)> {
    let mut told: Vec<(i64, jiff::Timestamp)> = Vec::new();
    let began = Instant::now();
    while told.last().is_none_or(|(number, _)| *number < MAX) {
        assert!(began.elapsed() < SOON, "the pool does not grow: {told:?}");
        if let Ok(number) = scaler.desired(object(&[("pool", "echo")])).await
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
    let scaler = Keda::of(&process).await;
    eventually("the smallest size", SOON, async || {
        let desired = scaler.desired(object(&[("pool", "echo")])).await;
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
