//! The pages beside the requests.

use reqwest::Method;

use crate::harness::{Harness, problem};

#[actix_web::test]
async fn health_answers_to_head_as_to_get() {
    let harness = Harness::start().await;
    for path in ["/livez", "/readyz", "/healthz", "/version", "/v1/kinds"] {
        let url = format!("{}{path}", harness.url);
        let get = harness.client.get(&url).send().await.expect("an answer");
        let head = harness.client.head(&url).send().await.expect("an answer");
        assert_eq!(
            (get.status(), head.status()),
            (200.try_into().expect("a status"), get.status())
        );
        assert_eq!(
            head.headers()["content-length"],
            get.headers()["content-length"]
        );
        assert!(head.bytes().await.expect("nothing").is_empty(), "{path}");
    }
    harness.api.drain();
    let ready = harness.client.head(format!("{}/readyz", harness.url));
    assert_eq!(ready.send().await.expect("an answer").status(), 503);
    harness.stop().await;
}

#[actix_web::test]
async fn other_methods_are_told_which_ones_there_are() {
    let harness = Harness::start().await;
    let put = |path: &str| {
        harness
            .client
            .request(Method::PUT, format!("{}{path}", harness.url))
    };
    for (path, allowed) in [("/livez", "GET, HEAD"), ("/v1/invoke/act", "POST")] {
        let response = put(path).send().await.expect("an answer");
        assert_eq!(response.headers()["allow"], allowed, "{path}");
        problem(response, 405, "method_not_allowed").await;
    }
    harness.stop().await;
}

#[actix_web::test]
async fn a_name_is_found_however_it_is_escaped() {
    let harness = Harness::start().await;
    for (path, status) in [
        ("/v1/invoke/%61ct", 200),
        ("/v1/invoke/act/", 404),
        ("/v1/invoke", 404),
    ] {
        let request = harness.client.post(format!("{}{path}", harness.url));
        let request = request.header("content-type", "application/json");
        let response = request.body(r#"{"act":"echo"}"#).send().await;
        assert_eq!(response.expect("an answer").status(), status, "{path}");
    }
    harness.stop().await;
}
