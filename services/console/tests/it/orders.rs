//! Changes of pools, from the request to the fleet.

use std::time::Duration;

use crate::server::{TestServer, problem};

#[actix_web::test]
async fn a_change_reaches_the_fleet_with_its_author_and_answers_the_pool() {
    let server = TestServer::start().await;
    let body = r#"{"paused":true,"for":"30m","reason":"deploy"}"#;
    let request = server
        .patch("/v1/pools/echo", body)
        .basic_auth("ann", Some("x"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let pool: serde_json::Value = response.json().await.unwrap();
    assert_eq!(
        (&pool["pool"], &pool["paused"]),
        (&"echo".into(), &true.into())
    );
    let change = server.fleet.changes().pop().unwrap();
    assert_eq!(change.paused, Some(true));
    assert_eq!(change.duration, Some(Duration::from_secs(1_800)));
    assert_eq!(
        (change.by.as_str(), change.reason.as_deref()),
        ("ann", Some("deploy"))
    );
}

#[actix_web::test]
async fn what_cannot_be_is_refused_by_its_member() {
    let server = TestServer::start().await;
    for (body, status, code, member) in [
        ("{", 400, "bad_body", None),
        ("[]", 400, "bad_body", None),
        (r#"{"pausd":true}"#, 422, "invalid", Some("pausd")),
        (r#"{"paused":true,"for":"8d"}"#, 422, "invalid", Some("for")),
        (r#"{"pin":99,"for":"1m"}"#, 422, "invalid", Some("pin")),
        (r#"{"pin":98,"for":"1m"}"#, 503, "store_unavailable", None),
        (r#"{"pin":97,"for":"1m"}"#, 404, "unknown_pool", None),
    ] {
        let response = server.patch("/v1/pools/echo", body).send().await.unwrap();
        let body = problem(response, status, code).await;
        assert_eq!(body["errors"][0]["parameter"].as_str(), member);
    }
    let unknown = server.patch("/v1/pools/none", "{}").send().await.unwrap();
    problem(unknown, 404, "unknown_pool").await;
    let large = format!(r#"{{"reason":"{}"}}"#, "x".repeat(10_000));
    let large = server.patch("/v1/pools/echo", large).send().await.unwrap();
    problem(large, 413, "too_large").await;
    let wrong = server.post("/v1/pools/echo").send().await.unwrap();
    assert_eq!(wrong.headers()["allow"], "GET, HEAD, PATCH");
    problem(wrong, 405, "method_not_allowed").await;
}

#[actix_web::test]
async fn another_site_cannot_change_a_pool() {
    let server = TestServer::start().await;
    let order = server.patch("/v1/pools/echo", r#"{"paused":false}"#);
    let foreign = order.header("origin", "http://evil.example").send().await;
    problem(foreign.unwrap(), 403, "foreign_origin").await;
    assert!(server.fleet.changes().is_empty());
}
