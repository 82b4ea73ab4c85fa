//! Patterns, forecasts and series, from the request to the fleet.

use serde_json::json;

use crate::server::{TestServer, problem};

#[actix_web::test]
async fn a_pattern_is_exported_imported_and_checked() {
    let server = TestServer::start().await;
    let exported = server.document("/v1/pools/echo/pattern").await;
    assert_eq!(exported["document"]["version"], 2);
    let forecast = server.document("/v1/pools/echo/forecast").await;
    assert_eq!(forecast["points"], json!([]));
    // A pool exists before anything was learned of it.
    let nothing = server.document("/v1/pools/grammar/pattern").await;
    assert_eq!(nothing, json!({"pool": "grammar"}));
    let put = |body: String| server.put("/v1/pools/echo/pattern", body);
    let good = put(exported["document"].to_string()).basic_auth("ann", Some("x"));
    let good = good.send().await.unwrap();
    assert_eq!(good.status(), 200);
    assert_eq!(server.fleet.importers(), ["ann"]);
    let corrupt = put("{}".into()).send().await.unwrap();
    let told = problem(corrupt, 422, "invalid").await;
    assert_eq!(told["errors"][0]["parameter"], "document");
    let broken = put("{".into()).send().await.unwrap();
    problem(broken, 400, "bad_body").await;
    let large = put("x".repeat(2 << 20)).send().await.unwrap();
    problem(large, 413, "too_large").await;
    let unknown = server.put("/v1/pools/none/pattern", "{}").send().await;
    problem(unknown.unwrap(), 404, "unknown_pool").await;
}

#[actix_web::test]
async fn series_are_named_read_and_bounded() {
    let server = TestServer::start().await;
    let names = server.document("/v1/series").await;
    assert!(names["names"].as_array().unwrap().len() >= 8);
    let need = server
        .document("/v1/series?name=need&since=2h&step=60")
        .await;
    assert_eq!(need["step_s"], 60);
    assert_eq!(
        need["series"][0]["points"],
        json!([[10_000, 1.5], [20_000, null]])
    );
    for (query, parameter) in [
        ("name=x", "name"),
        ("name=need&step=0", "step"),
        ("a=b", "a"),
    ] {
        let response = server
            .get(&format!("/v1/series?{query}"))
            .send()
            .await
            .unwrap();
        let body = problem(response, 400, "bad_query").await;
        assert_eq!(body["errors"][0]["parameter"], parameter);
    }
}
