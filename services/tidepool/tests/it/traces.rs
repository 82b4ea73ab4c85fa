//! One trace tells the whole story of a request or a decision, whatever the collector does.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode as SpanStatus};
use reqwest::StatusCode;
use serde_json::json;

use crate::collector::{Collector, dead, hex, silent};
use crate::process::{Start, Tidepool, eventually};

const SOON: Duration = Duration::from_secs(20);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const SERVER: &str = "POST /v1/invoke/{kind}";

async fn traced(folder: &tempfile::TempDir, endpoint: &str, ratio: f64) -> Tidepool {
    Start::at(folder.path())
        .set("TIDEPOOL_TELEMETRY__OTLP_ENDPOINT", endpoint)
        .set("TIDEPOOL_TELEMETRY__SAMPLE_RATIO", ratio)
        // The exporter's pause between two batches, in milliseconds.
        .set("OTEL_BSP_SCHEDULE_DELAY", 50)
        .run()
        .await
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == key);
    let value = found.and_then(|pair| pair.value.clone());
    format!("{:?}", value.and_then(|value| value.value))
}

#[tokio::test]
async fn a_store_request_is_one_tree_below_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let process = traced(&folder, &collector.endpoint, 1.0).await;
    let input = json!({ "op": "store", "namespace": "n", "items": [{ "text": "a private word" }] });
    let request = process
        .request("memory", &input)
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let told = answer.headers()["traceresponse"]
        .to_str()
        .unwrap()
        .to_owned();

    // The server span is handed over last, so that all others have come with it.
    let spans = eventually("the trace", SOON, async || {
        let spans = collector.trace(TRACE);
        spans
            .iter()
            .any(|span| span.name == SERVER)
            .then_some(spans)
    })
    .await;
    let by_id: BTreeMap<_, _> = spans
        .iter()
        .map(|span| (hex(&span.span_id), span))
        .collect();
    let parent_of = |name: &str| {
        let mut named = spans.iter().filter(|span| span.name == name);
        let span = named
            .next()
            .unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
        assert!(named.next().is_none(), "{name} is there twice");
        let parent = hex(&span.parent_span_id);
        by_id.get(&parent).map_or(parent, |span| span.name.clone())
    };
    assert_eq!(parent_of(SERVER), CALLER);
    for below in ["queue", "dispatch", "worker"] {
        assert_eq!(parent_of(below), SERVER);
    }
    assert_eq!(parent_of("handler memory"), "worker");
    assert_eq!(parent_of("store.append"), "handler memory");
    assert_eq!(by_id.len(), spans.len(), "ids are unique");
    let server = spans.iter().find(|span| span.name == SERVER).unwrap();
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&server.span_id)));
    for span in &spans {
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        assert!(
            span.start_time_unix_nano >= server.start_time_unix_nano,
            "{span:?}"
        );
        assert!(
            span.end_time_unix_nano <= server.end_time_unix_nano,
            "{span:?}"
        );
        assert!(
            !format!("{span:?}").contains("private"),
            "no texts in spans"
        );
    }
    assert_eq!(process.component("otlp").await["state"], "ok");
    process.stop().await;
}

#[tokio::test]
async fn a_decision_of_the_feed_has_its_span() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let process = traced(&folder, &collector.endpoint, 1.0).await;
    let decision = eventually("a decision", SOON, async || {
        let events = process.events().await;
        let decided = |event: &&serde_json::Value| {
            event["type"] == "io.tidepool.scaling.decided" && event["subject"] == "echo"
        };
        events
            .iter()
            .find(decided)
            .map(|event| event["data"].clone())
    })
    .await;
    let trace_id = decision["trace_id"].as_str().expect("a trace").to_owned();
    let spans = eventually("its span", SOON, async || {
        let spans = collector.trace(&trace_id);
        (!spans.is_empty()).then_some(spans)
    })
    .await;
    let sentence = decision["sentence"].as_str().unwrap();
    let tells = |span: &Span| attribute(span, "tidepool.sentence").contains(sentence);
    assert!(spans.iter().any(tells), "{spans:#?}");
}

async fn all_answered_although_degraded(endpoint: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let process = traced(&folder, endpoint, 1.0).await;
    // More spans than the exporter's queue of 2,048 holds.
    for _ in 0..700 {
        process.ask("echo", &json!({ "text": "hello" })).await;
    }
    eventually("otlp is degraded", SOON, async || {
        (process.component("otlp").await["state"] == "degraded").then_some(())
    })
    .await;
    process.ask("echo", &json!({})).await;
    let ready = process.operate("/readyz").send().await.expect("an answer");
    assert_eq!(ready.status(), StatusCode::OK, "degraded is not unready");
    process.stop().await;
}

#[tokio::test]
async fn requests_are_as_before_without_the_collector() {
    all_answered_although_degraded(&dead().await).await;
}

#[tokio::test]
async fn requests_are_as_before_when_the_collector_hangs() {
    all_answered_although_degraded(&silent().await).await;
}

#[tokio::test]
async fn at_ratio_zero_only_what_failed_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let process = traced(&folder, &collector.endpoint, 0.0).await;
    for _ in 0..20 {
        process.ask("echo", &json!({})).await;
    }
    let refused = process.request("echo", &json!({ "sleep_ms": "long" }));
    let refused = refused.send().await.unwrap().status();
    assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
    let late = process
        .request("echo", &json!({ "sleep_ms": 5_000 }))
        .header("tidepool-deadline-ms", "50");
    let late = late.send().await.unwrap();
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    let told = late.headers()["traceresponse"].to_str().unwrap().to_owned();

    // Spans are sent in order: what came before the failed request would be there by now.
    let requests = eventually("the failed request", SOON, async || {
        let requests = collector.requests();
        (!requests.is_empty()).then_some(requests)
    })
    .await;
    assert_eq!(requests.len(), 1, "{requests:#?}");
    assert!(told.contains(&hex(&requests[0].trace_id)), "{told}");
    let status = requests[0].status.clone().unwrap_or_default();
    assert_eq!(status.code(), SpanStatus::Error);
    assert!(attribute(&requests[0], "http.response.status_code").contains("504"));
    process.stop().await;
}
