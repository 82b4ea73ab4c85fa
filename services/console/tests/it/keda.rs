//! What KEDA's metrics-api scaler is told.

use serde_json::json;

use crate::server::{TestServer, problem};

#[actix_web::test]
async fn the_number_and_what_it_stands_on_are_told() {
    let server = TestServer::start().await;
    let document = server.document("/v1/pools/echo/keda").await;
    assert_eq!(
        document,
        json!({
            "pool": "echo", "desired_workers": 2, "need": 1.5, "ready": 2, "starting": 0,
            "score": 0.5, "stale": false, "metrics_age_s": 0.5, "epoch": 7,
            "decided_at": "2023-11-14T22:13:20.000Z", "changed_at": null,
        })
    );
    let contract = server.document("/openapi.json").await;
    let described = contract["components"]["schemas"]["Advice"]["properties"].as_object();
    let told = document.as_object().unwrap();
    assert!(told.keys().eq(described.unwrap().keys()), "{contract}");
}

#[actix_web::test]
async fn what_is_not_known_is_no_number() {
    let server = TestServer::start().await;
    // One pool has no measurement, one no decision.
    for pool in ["grammar", "memory"] {
        let path = format!("/v1/pools/{pool}/keda");
        let response = server.get(&path).send().await.unwrap();
        let body = problem(response, 503, "no_number").await;
        assert!(body["detail"].as_str().unwrap().contains(pool), "{body}");
        assert!(body.get("desired_workers").is_none());
    }
    let response = server.get("/v1/pools/none/keda").send().await.unwrap();
    let body = problem(response, 404, "unknown_pool").await;
    assert!(
        body["detail"].as_str().unwrap().contains("echo, grammar"),
        "{body}"
    );
}

#[actix_web::test]
async fn a_token_is_demanded_where_there_is_one() {
    let server = TestServer::start_with(Some("secret"), |config| config).await;
    let refused = server.get("/v1/pools/echo/keda").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let request = server.get("/v1/pools/echo/keda").bearer_auth("secret");
    assert_eq!(request.send().await.unwrap().status(), 200);
}
