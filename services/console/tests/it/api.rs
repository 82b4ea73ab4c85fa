//! Documents, orders, problems, tokens and pages.

use serde_json::Value;

use crate::server::{TestServer, problem};

#[actix_web::test]
async fn status_tells_who_this_is_and_how_the_parts_are() {
    let server = TestServer::start().await;
    let status = server.document("/v1/status").await;
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["role"], "all");
    assert_eq!(status["leader"], "local");
    assert!(status["uptime_s"].as_f64().unwrap() >= 0.0);
    assert!(
        server
            .origin()
            .ends_with(status["addresses"]["operator"].as_str().unwrap())
    );
    assert_eq!(status["pools"][0]["pool"], "echo");
    let parts = status["components"].as_array().unwrap();
    let names: Vec<_> = parts
        .iter()
        .map(|part| part["component"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["store", "otlp", "events"]);
}

#[actix_web::test]
async fn pools_and_workers_are_listed_and_explained() {
    let server = TestServer::start().await;
    let pools = server.document("/v1/pools").await;
    assert_eq!(pools["pools"].as_array().unwrap().len(), 2);
    assert_eq!(server.document("/v1/pools/echo").await, pools["pools"][0]);
    let explained = server.document("/v1/pools/echo/explain").await;
    assert_eq!(explained["sentence"], "2 workers are enough.");
    let undecided = server.document("/v1/pools/grammar/explain").await;
    assert!(undecided["sentence"].as_str().unwrap().contains("grammar"));
    let workers = server.document("/v1/workers").await;
    assert_eq!(workers["workers"][1]["id"], "echo-2");
    for path in [
        "/v1/pools/none",
        "/v1/pools/none/explain",
        "/v1/pools/No%20Name",
    ] {
        let response = server.get(path).send().await.unwrap();
        problem(response, 404, "unknown_pool").await;
    }
}

#[actix_web::test]
async fn a_worker_is_drained_on_order() {
    let server = TestServer::start().await;
    let response = server
        .post("/v1/workers/echo-1/drain")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(server.fleet.drained(), ["echo-1"]);
    let busy = server
        .post("/v1/workers/echo-2/drain")
        .send()
        .await
        .unwrap();
    problem(busy, 503, "node_busy").await;
    let unknown = server
        .post("/v1/workers/echo-9/drain")
        .send()
        .await
        .unwrap();
    problem(unknown, 404, "unknown_worker").await;
}

#[actix_web::test]
async fn another_site_cannot_give_orders() {
    let server = TestServer::start().await;
    let order = |origin: &str| {
        server
            .post("/v1/workers/echo-1/drain")
            .header("origin", origin)
    };
    let foreign = order("http://evil.example").send().await.unwrap();
    problem(foreign, 403, "foreign_origin").await;
    assert!(server.fleet.drained().is_empty());
    let own = order(server.origin()).send().await.unwrap();
    assert_eq!(own.status(), 202);
}

#[actix_web::test]
async fn wrong_routes_methods_and_parameters_are_problems() {
    let server = TestServer::start().await;
    let nowhere = server.get("/v1/nothing").send().await.unwrap();
    problem(nowhere, 404, "not_found").await;
    let wrong = server.post("/v1/pools").send().await.unwrap();
    assert_eq!(wrong.headers()["allow"], "GET, HEAD");
    problem(wrong, 405, "method_not_allowed").await;
    let wrong = server.get("/v1/workers/echo-1/drain").send().await.unwrap();
    assert_eq!(wrong.headers()["allow"], "POST");
    problem(wrong, 405, "method_not_allowed").await;
    for (query, parameter) in [("limit=0", "limit"), ("since=x", "since"), ("typ=a", "typ")] {
        let path = format!("/v1/events?{query}");
        let response = server.get(&path).send().await.unwrap();
        let body = problem(response, 400, "bad_query").await;
        assert_eq!(body["errors"][0]["parameter"], parameter);
        assert!(body["detail"].as_str().unwrap().starts_with(parameter));
    }
    let page = server.get("/problems/bad_query").send().await.unwrap();
    assert!(page.text().await.unwrap().contains("400 bad_query"));
}

#[actix_web::test]
async fn answers_carry_the_callers_request_id_and_trace() {
    let server = TestServer::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = server
        .get("/v1/nothing")
        .header("x-request-id", "mine-1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let body = problem(request.send().await.unwrap(), 404, "not_found").await;
    assert_eq!(body["request_id"], "mine-1");
    assert_eq!(body["trace_id"], trace);
    let fresh = server.get("/livez").send().await.unwrap();
    assert_eq!(fresh.headers()["x-request-id"].len(), 36);
}

#[actix_web::test]
async fn with_a_token_only_probes_are_open() {
    let server = TestServer::start_with(Some("secret"), |config| config).await;
    for open in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(
            server.get(open).send().await.unwrap().status(),
            200,
            "{open}"
        );
    }
    for closed in [
        "/",
        "/v1/pools",
        "/v1/events",
        "/metrics",
        "/docs/",
        "/version",
        "/v1/nothing",
    ] {
        let response = server.get(closed).send().await.unwrap();
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"tidepool\""
        );
        problem(response, 401, "unauthorized").await;
        let wrong = server
            .get(closed)
            .bearer_auth("wrong")
            .send()
            .await
            .unwrap();
        problem(wrong, 401, "unauthorized").await;
    }
    let order = server
        .post("/v1/workers/echo-1/drain")
        .send()
        .await
        .unwrap();
    problem(order, 401, "unauthorized").await;
    assert!(server.fleet.drained().is_empty());
    let right = server
        .get("/v1/pools")
        .bearer_auth("secret")
        .send()
        .await
        .unwrap();
    assert_eq!(right.status(), 200);

    // A browser is offered what it can ask its user for.
    let browser = server
        .get("/")
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    let offers = browser.headers().get_all("www-authenticate").iter();
    let offers: Vec<_> = offers.map(|offer| offer.to_str().unwrap()).collect();
    assert!(
        offers.iter().any(|offer| offer.starts_with("Basic")),
        "{offers:?}"
    );
    let signed_in = server
        .get("/")
        .basic_auth("me", Some("secret"))
        .send()
        .await
        .unwrap();
    assert_eq!(signed_in.status(), 200);
}

#[actix_web::test]
async fn readiness_ends_with_draining_and_survives_a_failing_part() {
    let server = TestServer::start().await;
    let ready = server.document("/readyz?verbose").await;
    assert_eq!(ready["status"], "degraded");
    assert_eq!(ready["components"][1]["component"], "otlp");
    let without = server.document("/readyz?exclude=otlp").await;
    assert_eq!(without, serde_json::json!({"status": "ready"}));
    server.drain.send(true).unwrap();
    let draining = server.get("/readyz").send().await.unwrap();
    problem(draining, 503, "draining").await;
    assert_eq!(server.get("/livez").send().await.unwrap().status(), 200);
}

#[actix_web::test]
async fn metrics_are_prometheus_text() {
    let server = TestServer::start().await;
    let _subscription = server.feed.subscribe(None, Default::default());
    let response = server.get("/metrics").send().await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain"), "{kind}");
    let text = response.text().await.unwrap();
    assert!(text.contains("\ntidepool_event_subscribers 1\n"), "{text}");
}

#[actix_web::test]
async fn the_page_brings_everything_along() {
    let server = TestServer::start().await;
    let page = server.get("/").send().await.unwrap();
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("http://") && !html.contains("https://"));
    assert!(!html.contains("<style") && !html.contains("onclick"));
    let links = html.split(['"', '\'']).filter(|text| text.starts_with('/'));
    for link in links {
        let found = server.get(link).send().await.unwrap();
        assert!(found.status().as_u16() < 400, "{link}: {}", found.status());
    }
}

#[actix_web::test]
async fn documentation_works_without_a_network() {
    let server = TestServer::start().await;
    let contract = server.document("/openapi.json").await;
    assert_eq!(contract["info"]["version"], "1.2.3");
    let redirect = server.get("/docs").send().await.unwrap();
    assert_eq!(redirect.headers()["location"], "/docs/");
    let page = server.get("/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers().contains_key("content-security-policy"));
    let html = page.text().await.unwrap();
    assert!(!html.contains("https://"), "{html}");
    let script = server
        .get("/docs/swagger-ui-bundle.js")
        .send()
        .await
        .unwrap();
    assert_eq!(script.status(), 200);
    let start = server
        .get("/docs/swagger-initializer.js")
        .send()
        .await
        .unwrap();
    let start = start.text().await.unwrap();
    let url = start
        .split('"')
        .find(|text| text.ends_with("openapi.json"))
        .unwrap();
    let shown: Value = server.document(url).await;
    assert_eq!(shown, contract);
}

#[actix_web::test]
async fn head_is_answered_like_get_without_a_body() {
    let server = TestServer::start().await;
    let url = format!("{}/livez", server.origin());
    let head = server.client.head(url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.text().await.unwrap().is_empty());
}
