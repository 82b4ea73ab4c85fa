//! How often one caller may ask.

use std::num::NonZeroU32;
use std::sync::Arc;

use tidepool_balancer::Quota;

use crate::harness::{Harness, problem, spec};

#[actix_web::test]
async fn a_caller_beyond_its_quota_is_told_when_to_come_again() {
    let quota = Quota {
        per_minute: NonZeroU32::MIN,
        burst: NonZeroU32::new(2).expect("not zero"),
    };
    let mut harness = Harness::made_of(spec(), Arc::default(), Some("secret"), Some(quota));
    harness.target(1).await;
    let ask = || harness.post(r#"{"act":"echo"}"#);
    // Whoever may not come in takes nothing from those who may.
    for _ in 0..3 {
        problem(ask().send().await.expect("an answer"), 401, "unauthorized").await;
    }
    for left in ["1", "0"] {
        let response = ask().bearer_auth("secret").send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let told = response.headers()["ratelimit"].to_str().expect("text");
        assert!(
            told.starts_with(&format!("\"caller\";r={left};t=")),
            "{told}"
        );
        assert_eq!(
            response.headers()["ratelimit-policy"],
            "\"caller\";q=1;w=60"
        );
    }
    let refused = ask().bearer_auth("secret").send().await.expect("an answer");
    let after = refused.headers()["retry-after"].to_str().expect("text");
    let after: u64 = after.parse().expect("seconds");
    assert!((1..=60).contains(&after), "{after}");
    let told = refused.headers()["ratelimit"].to_str().expect("text");
    assert_eq!(told, format!("\"caller\";r=0;t={after}"));
    let body = problem(refused, 429, "quota_exceeded").await;
    assert_eq!(body["retryable"], true);
    // Everything but requests for kinds is free.
    let kinds = harness.client.get(format!("{}/v1/kinds", harness.url));
    let kinds = kinds.bearer_auth("secret").send().await.expect("an answer");
    assert_eq!(kinds.status(), 200);
    harness.stop().await;
}

#[actix_web::test]
async fn without_a_quota_nothing_is_said_of_one() {
    let harness = Harness::start().await;
    let response = harness.act("echo").await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("ratelimit"));
    harness.stop().await;
}
