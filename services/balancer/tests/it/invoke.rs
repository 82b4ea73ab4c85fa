use serde_json::{Value, json};

use crate::harness::{Harness, eventually, problem};

#[actix_web::test]
async fn answers_with_the_headers_of_the_contract() {
    let harness = Harness::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = harness
        .post(r#"{"act":"echo"}"#)
        .header("traceparent", trace);
    let response = response
        .header("x-request-id", "mine")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-request-id"], "mine");
    assert_eq!(headers["tidepool-worker"], "act-1");
    let answered = headers["traceresponse"].to_str().unwrap();
    assert!(
        answered.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{answered}"
    );
    let timing = headers["server-timing"].to_str().unwrap();
    assert!(timing.starts_with("queue;dur=0.000, work;dur="), "{timing}");
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"act": "echo"})
    );
    harness.stop().await;
}

#[actix_web::test]
async fn speaks_messagepack_both_ways() {
    let harness = Harness::start().await;
    let packed = rmp_serde::to_vec_named(&json!({"act": "echo", "number": 7})).unwrap();
    let url = format!("{}/v1/invoke/act", harness.url);
    let request = harness
        .client
        .post(&url)
        .header("content-type", "application/msgpack");
    let response = request.body(packed.clone()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/msgpack");
    let value: Value = rmp_serde::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(value, json!({"act": "echo", "number": 7}));

    let request = harness
        .client
        .post(&url)
        .header("content-type", "application/msgpack");
    let response = request
        .header("accept", "application/json")
        .body(packed)
        .send()
        .await
        .unwrap();
    assert_eq!(response.json::<Value>().await.unwrap()["number"], 7);
    harness.stop().await;
}

#[actix_web::test]
async fn unknown_unconfigured_and_wrong_methods_are_told_apart() {
    let harness = Harness::start().await;
    let post = |path: &str| {
        harness
            .client
            .post(format!("{}{path}", harness.url))
            .body("{}")
            .send()
    };
    problem(
        post("/v1/invoke/nonsense").await.unwrap(),
        404,
        "unknown_kind",
    )
    .await;
    problem(post("/v1/invoke/").await.unwrap(), 404, "unknown_kind").await;
    problem(
        post("/v1/invoke/conversation").await.unwrap(),
        501,
        "kind_not_configured",
    )
    .await;
    problem(post("/v1/kinds").await.unwrap(), 405, "method_not_allowed").await;
    problem(post("/nothing").await.unwrap(), 404, "not_found").await;
    let get = harness
        .client
        .get(format!("{}/v1/invoke/act", harness.url))
        .send()
        .await
        .unwrap();
    assert_eq!(get.headers()["allow"], "POST");
    problem(get, 405, "method_not_allowed").await;
    harness.stop().await;
}

#[actix_web::test]
async fn pages_describe_what_is_served() {
    let harness = Harness::start().await;
    let get = async |path: &str| {
        let response = harness
            .client
            .get(format!("{}{path}", harness.url))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response
    };
    let kinds: Value = get("/v1/kinds").await.json().await.unwrap();
    assert_eq!(kinds["kinds"][0]["kind"], "act");
    assert_eq!(
        kinds["kinds"][0]["input_schema"]["properties"]["act"]["type"],
        "string"
    );
    assert_eq!(kinds["unconfigured"], json!(["conversation"]));
    let openapi: Value = get("/openapi.json").await.json().await.unwrap();
    assert!(openapi["paths"]["/v1/invoke/act"]["post"]["responses"]["503"].is_object());
    let docs = get("/").await;
    assert!(docs.url().path().starts_with("/docs/"));
    let docs = docs.text().await.unwrap();
    assert!(
        docs.contains("swagger-ui") && !docs.contains("https://"),
        "{docs}"
    );
    for path in [
        "/livez",
        "/readyz",
        "/healthz",
        "/version",
        "/problems/overloaded",
    ] {
        get(path).await;
    }
    harness.stop().await;
}

#[actix_web::test]
async fn counts_each_request_once_by_its_outcome() {
    let harness = Harness::start().await;
    for act in ["echo", "echo", "fail"] {
        harness.act(act).await;
    }
    harness.post("{}").send().await.unwrap();
    let count = |outcome: &str| {
        harness.metric(&format!(
            "tidepool_requests_total{{kind=\"act\",outcome=\"{outcome}\"}}"
        ))
    };
    eventually(|| count("answered") == Some(3.0) && count("failed") == Some(1.0)).await;
    let report = harness.pool.report(std::time::Instant::now());
    assert_eq!(
        (report.arrivals, report.completed, report.failed),
        (4, 4, 1)
    );
    assert_eq!(report.work.count(), 4);
    harness.stop().await;
}

#[actix_web::test]
async fn urgent_requests_overtake() {
    let harness = Harness::start().await;
    let holder = harness.spawn("hold");
    eventually(|| harness.running() == 1).await;
    let mut waiting = Vec::new();
    for (number, urgency) in [(1, 7), (2, 3), (3, 0)] {
        let request = harness
            .post(format!(r#"{{"act":"echo","number":{number}}}"#))
            .header("priority", format!("u={urgency}"));
        waiting.push(tokio::spawn(async move {
            request.send().await.unwrap().status().as_u16()
        }));
        eventually(|| harness.pool.in_flight() == 1 + u64::from(number as u32)).await;
    }
    harness.stage.release.notify_one();
    assert_eq!(holder.await.unwrap(), 200);
    for request in waiting {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(*harness.stage.served.lock(), [3, 2, 1]);
    harness.stop().await;
}

#[actix_web::test]
async fn a_session_stays_with_its_worker() {
    let mut harness = Harness::start().await;
    harness.target(3).await;
    let mut of_all = std::collections::HashSet::new();
    for session in ["a", "b", "c", "d"] {
        let mut of_session = std::collections::HashSet::new();
        for _ in 0..5 {
            let request = harness.post(r#"{"act":"echo"}"#);
            let response = request.header("tidepool-session", session).send().await;
            let response = response.unwrap();
            of_session.insert(response.headers()["tidepool-worker"].clone());
            eventually(|| harness.pool.busy_slots() == 0).await;
        }
        assert_eq!(of_session.len(), 1, "{session}");
        of_all.extend(of_session);
    }
    assert!(of_all.len() <= 3);
    harness.stop().await;
}
