//! Whatever callers send, they are told what is wrong with it, and others are served on.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::process::{Start, Tidepool};

const KINDS: [&str; 4] = ["echo", "grammar", "memory", "reasoning"];

/// An input that the kind answers, with a hole for one value.
fn around(kind: &str, value: &[u8]) -> Vec<u8> {
    let (before, after): (&str, &str) = match kind {
        "echo" => (r#"{"text":"#, "}"),
        "grammar" => (r#"{"text":"#, "}"),
        "memory" => (r#"{"op":"recall","namespace":"n","query":"#, "}"),
        _ => (r#"{"query":"p(X)","program":"#, "}"),
    };
    [before.as_bytes(), value, after.as_bytes()].concat()
}

fn deep() -> Vec<u8> {
    [vec![b'['; 100_000], vec![b']'; 100_000]].concat()
}

/// What must be said of a body: one of these codes.
type Expected = &'static [&'static str];
const MALFORMED: Expected = &["malformed"];
const INVALID: Expected = &["invalid_input"];
const EITHER: Expected = &["malformed", "invalid_input"];

/// Bodies that no kind may take.
fn of_every_kind(kind: &str) -> Vec<(&'static str, Vec<u8>, Expected)> {
    let good = around(kind, br#""p(a).""#);
    vec![
        ("nothing", Vec::new(), MALFORMED),
        ("cut off", good[..good.len() - 1].to_vec(), MALFORMED),
        ("two values", [good.clone(), good].concat(), MALFORMED),
        ("no JSON", b"text=hello".to_vec(), MALFORMED),
        ("not UTF-8", around(kind, b"\"\xff\xfe\""), MALFORMED),
        ("half a surrogate", around(kind, br#""\ud800""#), MALFORMED),
        ("too deep", around(kind, &deep()), EITHER),
        ("an array", b"[]".to_vec(), INVALID),
        ("a number", b"1e999".to_vec(), EITHER),
        ("null", b"null".to_vec(), INVALID),
    ]
}

/// Bodies that one kind may not take.
fn of_some_kinds() -> Vec<(&'static str, &'static str, Vec<u8>, Expected)> {
    let long = json!({ "text": "a ".repeat(50_001) }).to_string();
    let rows: [(&str, &str, &str, Expected); 15] = [
        ("echo", "wrong type", r#"{"sleep_ms":"x"}"#, INVALID),
        ("echo", "negative", r#"{"sleep_ms":-1}"#, INVALID),
        ("echo", "too long", r#"{"spin_ms":60001}"#, INVALID),
        ("grammar", "wrong type", r#"{"text":7}"#, INVALID),
        ("grammar", "unknown field", r#"{"text":"a","x":1}"#, INVALID),
        (
            "grammar",
            "no such dialect",
            r#"{"text":"a","dialect":"x"}"#,
            INVALID,
        ),
        ("grammar", "missing", "{}", INVALID),
        (
            "memory",
            "no such op",
            r#"{"op":"burn","namespace":"n"}"#,
            INVALID,
        ),
        (
            "memory",
            "wrong type",
            r#"{"op":"stats","namespace":[1]}"#,
            INVALID,
        ),
        (
            "memory",
            "unknown field",
            r#"{"op":"stats","namespace":"n","x":1}"#,
            INVALID,
        ),
        (
            "memory",
            "missing",
            r#"{"op":"recall","namespace":"n"}"#,
            INVALID,
        ),
        (
            "reasoning",
            "wrong type",
            r#"{"program":1,"query":"p(X)"}"#,
            INVALID,
        ),
        (
            "reasoning",
            "unknown field",
            r#"{"program":"","query":"p(X)","x":1}"#,
            INVALID,
        ),
        (
            "reasoning",
            "no program",
            r#"{"program":"p(a","query":"p(X)"}"#,
            INVALID,
        ),
        (
            "reasoning",
            "unsafe",
            r#"{"program":"p(X).","query":"p(X)"}"#,
            INVALID,
        ),
    ];
    let mut rows: Vec<_> = rows
        .map(|(kind, what, body, expected)| (kind, what, body.as_bytes().to_vec(), expected))
        .into();
    rows.push(("grammar", "too large a text", long.into_bytes(), INVALID));
    rows
}

/// The problem, after a check of what all problems have in common.
async fn problem(answer: reqwest::Response, what: &str) -> Value {
    let status = answer.status();
    assert_eq!(
        answer.headers()[CONTENT_TYPE],
        "application/problem+json",
        "{what}"
    );
    let problem: Value = answer.json().await.expect("a problem");
    assert_eq!(problem["status"], status.as_u16(), "{what}");
    for text in [
        "type",
        "title",
        "detail",
        "instance",
        "code",
        "request_id",
        "trace_id",
    ] {
        let is_told = problem[text].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_told, "{what}: no {text} in {problem}");
    }
    problem
}

async fn assert_refused(
    process: &Tidepool,
    (kind, what, body, expected): (&str, &str, Vec<u8>, Expected),
) {
    let what = format!("{kind}, {what}");
    let answer = process
        .request_of(kind, body)
        .send()
        .await
        .expect("an answer");
    let status = answer.status();
    let problem = problem(answer, &what).await;
    let code = problem["code"].as_str().unwrap_or_default();
    assert!(expected.contains(&code), "{what}: {problem}");
    let fits = if code == "malformed" { 400 } else { 422 };
    assert_eq!(status.as_u16(), fits, "{what}");
    assert_eq!(problem["retryable"], false, "{what}");
    assert_eq!(
        code == "invalid_input",
        problem["errors"].is_array(),
        "{what}: {problem}"
    );
}

async fn assert_serves(process: &Tidepool) {
    for kind in KINDS {
        let good = serde_json::from_slice(&around(kind, br#""p(a).""#)).expect("an input");
        process.ask(kind, &good).await;
    }
}

#[tokio::test]
async fn no_body_is_answered_wrongly_or_does_harm() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    assert_serves(&process).await;
    for kind in KINDS {
        for (what, body, expected) in of_every_kind(kind) {
            assert_refused(&process, (kind, what, body, expected)).await;
        }
    }
    for row in of_some_kinds() {
        assert_refused(&process, row).await;
    }
    assert_serves(&process).await;
    let workers = process.look("/v1/workers").await;
    for worker in workers["workers"].as_array().unwrap() {
        assert_eq!(worker["panics"], 0, "{worker}");
    }
    let log = process.log();
    assert!(!log.contains("panicked"), "{log}");
    process.stop().await;
}

#[tokio::test]
async fn heads_and_sizes_that_do_not_fit_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path())
        .set("TIDEPOOL_HTTP__MAX_BODY_BYTES", 2_048)
        .run()
        .await;
    let request = |kind: &str, media: &str, body: Vec<u8>| {
        let url = format!("{}/v1/invoke/{kind}", process.api);
        process
            .client
            .post(url)
            .header(CONTENT_TYPE, media)
            .body(body)
    };
    let (json, pack) = ("application/json", "application/msgpack");
    let large = json!({ "text": "x".repeat(3_000) })
        .to_string()
        .into_bytes();
    for (request, status, code) in [
        (request("echo", json, large), 413, "too_large"),
        (
            request("echo", "text/csv", b"{}".to_vec()),
            415,
            "unsupported_media_type",
        ),
        (request("echo", pack, vec![0xc1]), 400, "malformed"),
        (
            request("echo", pack, vec![0xdf, 0xff, 0xff, 0xff, 0xff]),
            400,
            "malformed",
        ),
        (request("nope", json, b"{}".to_vec()), 404, "unknown_kind"),
        (request("%ff%00", json, b"{}".to_vec()), 404, "unknown_kind"),
        (
            request("conversation", json, b"{}".to_vec()),
            501,
            "kind_not_configured",
        ),
        (
            request("echo", json, b"{}".to_vec()).header("tidepool-deadline-ms", "soon"),
            400,
            "bad_header",
        ),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{code}");
        assert_eq!(problem(answer, code).await["code"], code);
    }
    // What cannot be read of a trace is no reason to refuse a request.
    let odd = request("echo", json, b"{}".to_vec()).header("traceparent", "00-zz-zz-zz");
    assert_eq!(odd.send().await.unwrap().status(), StatusCode::OK);
    process.stop().await;
}
