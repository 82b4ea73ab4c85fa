//! A request that a node answers is one tree of spans over both processes.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::Span;
use reqwest::StatusCode;
use serde_json::json;

use crate::cluster::{Cluster, SOON};
use crate::collector::{Collector, hex};
use crate::process::{Tidepool, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const SERVER: &str = "POST /v1/invoke/{kind}";

async fn traced(
    cluster: &Cluster,
    role: &'static str,
    name: &str,
    collector: &Collector,
) -> Tidepool {
    cluster
        .prepare(role, name)
        .set("TIDEPOOL_TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        // Whether a trace is wanted is for its caller to say.
        .set("TIDEPOOL_TELEMETRY__SAMPLE_RATIO", 0)
        .set("OTEL_BSP_SCHEDULE_DELAY", 50)
        .set("TIDEPOOL_POOLS__MEMORY__MAX", 1)
        .run()
        .await
}

/// A tree of spans, each known by its process and name.
struct Tree(BTreeMap<String, (String, Span)>);

impl Tree {
    /// What is said to be the parent of the only span of that name in that process.
    fn parent_of(&self, process: &str, name: &str) -> String {
        let named = |(by, span): &&(String, Span)| by == process && span.name == name;
        let mut found = self.0.values().filter(named);
        let (_, span) = found
            .next()
            .unwrap_or_else(|| panic!("no {process}/{name} in {:#?}", self.0));
        assert!(found.next().is_none(), "{process}/{name} is there twice");
        let parent = hex(&span.parent_span_id);
        let known = self.0.get(&parent);
        known.map_or(parent, |(by, span)| format!("{by}/{}", span.name))
    }

    /// The spans above one, up to the caller's.
    fn depth(&self, id: &str) -> usize {
        let mut seen = BTreeSet::new();
        let mut id = id.to_owned();
        while let Some((_, span)) = self.0.get(&id) {
            assert!(seen.insert(id), "a circle through {}", span.name);
            id = hex(&span.parent_span_id);
        }
        assert_eq!(id, CALLER, "everything leads to the caller");
        seen.len()
    }
}

#[tokio::test]
async fn a_request_over_two_processes_is_one_tree() {
    let collector = Collector::start().await;
    let cluster = Cluster::new().await;
    let _node = traced(&cluster, "node", "a", &collector).await;
    let balancer = traced(&cluster, "balancer", "front", &collector).await;
    eventually("the node is linked", SOON, async || {
        let health = balancer.component("nodes").await;
        (health["state"] == "ok").then_some(())
    })
    .await;
    let input = json!({ "op": "store", "namespace": "n", "items": [{ "text": "a private word" }] });
    let request = balancer
        .request("memory", &input)
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    // Each process hands its topmost span over last.
    let told = eventually("both processes have told", SOON, async || {
        let told = collector.told(TRACE);
        let has = |process: &str, name: &str| {
            told.iter()
                .any(|(by, span)| by == process && span.name == name)
        };
        (has("front", SERVER) && has("a", "node")).then_some(told)
    })
    .await;
    let count = told.len();
    let by_id = |(process, span): (String, Span)| (hex(&span.span_id), (process, span));
    let tree = Tree(told.into_iter().map(by_id).collect());
    assert_eq!(tree.0.len(), count, "ids are unique");

    assert_eq!(tree.parent_of("front", SERVER), CALLER);
    for below in ["queue", "dispatch", "call memory"] {
        assert_eq!(tree.parent_of("front", below), format!("front/{SERVER}"));
    }
    assert_eq!(tree.parent_of("a", "node"), "front/call memory");
    for below in ["queue", "dispatch", "worker"] {
        assert_eq!(tree.parent_of("a", below), "a/node");
    }
    assert_eq!(tree.parent_of("a", "handler memory"), "a/worker");
    assert_eq!(tree.parent_of("a", "store.append"), "a/handler memory");
    let depths: Vec<_> = tree.0.keys().map(|id| tree.depth(id)).collect();
    assert_eq!(depths.iter().max(), Some(&6), "{:#?}", tree.0);
    for (_, span) in tree.0.values() {
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        assert!(
            !format!("{span:?}").contains("private"),
            "no texts in spans"
        );
    }
}

/// Above what a link holds by itself.
const LARGE_BYTES: usize = 66 << 20;

#[tokio::test]
async fn a_body_as_large_as_clients_may_send_gets_to_a_node() {
    let cluster = Cluster::new().await;
    let roomy = |role, name| {
        cluster
            .prepare(role, name)
            .set("TIDEPOOL_HTTP__MAX_BODY_BYTES", 2 * LARGE_BYTES)
            .set("TIDEPOOL_HTTP__BODY_READ_TIMEOUT_MS", 60_000)
            .set("TIDEPOOL_POOLS__ECHO__DEADLINE_MS", 60_000)
            .set("TIDEPOOL_POOLS__ECHO__QUEUE_BYTES", 4 * LARGE_BYTES)
    };
    let _node = roomy("node", "a").run().await;
    let balancer = roomy("balancer", "front").run().await;
    eventually("the node is linked", SOON, async || {
        let health = balancer.component("nodes").await;
        (health["state"] == "ok").then_some(())
    })
    .await;
    // Spaces around a small document: only their way is of interest here.
    let mut body = vec![b' '; LARGE_BYTES];
    body.extend_from_slice(b"{}");
    let answer = balancer.request_of("echo", body).send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, StatusCode::OK, "{}", answer.text().await.unwrap());
}
