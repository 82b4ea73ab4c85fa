//! Who may come in, from where, and that secrets stay secret.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use crate::process::{Start, Tidepool, command, eventually};

const API_TOKEN: &str = "kelp-forest-4711";
const OPERATOR_TOKEN: &str = "lighthouse-0815";

/// Ends with 78 before anything listens; returns what it says.
async fn refused(variable: (&str, &str)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let run = command(folder.path())
        .env("TIDEPOOL_STORE__PATH", folder.path().join("data"))
        .env("TIDEPOOL_HTTP__API_ADDR", "127.0.0.1:0")
        .env("TIDEPOOL_HTTP__OPERATOR_ADDR", "127.0.0.1:0")
        .env(variable.0, variable.1)
        .output();
    let ended = tokio::time::timeout(Duration::from_secs(20), run).await;
    let output = ended.expect("it does not start").expect("it runs");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(output.stdout.is_empty());
    assert!(!folder.path().join("data").exists(), "nothing was touched");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test]
async fn a_mistyped_variable_is_told_with_the_nearest_name() {
    let told = refused(("TIDEPOOL_POOLS__ECHO__COOLDWN_S", "3")).await;
    assert!(
        told.contains("`TIDEPOOL_POOLS__ECHO__COOLDOWN_S`"),
        "{told}"
    );
}

#[tokio::test]
async fn an_open_address_without_a_token_is_refused() {
    for name in ["TIDEPOOL_HTTP__API_ADDR", "TIDEPOOL_HTTP__OPERATOR_ADDR"] {
        let told = refused((name, "0.0.0.0:0")).await;
        assert!(told.contains("token"), "{told}");
    }
}

async fn guarded(folder: &tempfile::TempDir) -> Tidepool {
    Start::at(folder.path())
        .set("TIDEPOOL_TELEMETRY__LOG_LEVEL", "trace")
        .tokens(API_TOKEN, OPERATOR_TOKEN)
        .run()
        .await
}

#[tokio::test]
async fn tokens_are_demanded_and_told_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let process = guarded(&folder).await;
    let echo = format!("{}/v1/invoke/echo", process.api);
    let status = format!("{}/v1/status", process.operator);
    let requests = || {
        let echo = process.client.post(&echo).json(&json!({ "text": "hello" }));
        [
            (echo, API_TOKEN),
            (process.client.get(&status), OPERATOR_TOKEN),
        ]
    };
    for (request, own) in requests() {
        let foreign = if own == API_TOKEN {
            OPERATOR_TOKEN
        } else {
            API_TOKEN
        };
        for token in [None, Some("guess"), Some(foreign), Some("")] {
            let mut request = request.try_clone().expect("a body in memory");
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{token:?}");
            assert!(answer.headers().contains_key("www-authenticate"));
            let text = answer.text().await.unwrap();
            assert!(!text.contains(own), "{text}");
        }
        let answer = request.bearer_auth(own).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let pools = process.cli(&["pools"]).await;
    assert!(pools.status.success(), "{pools:?}");

    let mut told = String::new();
    for route in [
        "/v1/status",
        "/metrics",
        "/v1/events",
        "/v1/pools",
        "/openapi.json",
    ] {
        told += &process
            .operate(route)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
    }
    eventually("detailed logs", Duration::from_secs(20), async || {
        let log = process.log();
        (log.contains("TRACE") || log.contains("DEBUG")).then_some(())
    })
    .await;
    told += &process.log();
    for token in [API_TOKEN, OPERATOR_TOKEN] {
        let at = told.find(token).map(|at| &told[at.saturating_sub(200)..at]);
        assert_eq!(at, None, "a token is told after this");
    }
}
