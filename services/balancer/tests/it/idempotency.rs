use crate::harness::{Harness, eventually, problem};

fn keyed(harness: &Harness, act: &str, number: u32) -> reqwest::RequestBuilder {
    let body = format!(r#"{{"act":"{act}","number":{number}}}"#);
    harness.post(body).header("idempotency-key", "\"k1\"")
}

#[actix_web::test]
async fn the_same_key_runs_once_and_answers_twice() {
    let harness = Harness::start().await;
    let first = keyed(&harness, "echo", 1).send().await.unwrap();
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let first = first.bytes().await.unwrap();
    let again = keyed(&harness, "echo", 1).send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.bytes().await.unwrap(), first);
    assert_eq!(*harness.stage.served.lock(), [1]);
    problem(
        keyed(&harness, "echo", 2).send().await.unwrap(),
        422,
        "idempotency_key_reused",
    )
    .await;
    harness.stop().await;
}

#[actix_web::test]
async fn a_running_request_holds_its_key_and_a_failed_one_frees_it() {
    let harness = Harness::start().await;
    let first = keyed(&harness, "hold", 1);
    let first = tokio::spawn(async move { first.send().await.unwrap().status().as_u16() });
    eventually(|| harness.running() == 1).await;
    let second = keyed(&harness, "hold", 1).send().await.unwrap();
    problem(second, 409, "idempotency_in_progress").await;
    harness.stage.release.notify_one();
    assert_eq!(first.await.unwrap(), 200);

    let failing = |harness: &Harness| {
        harness
            .post(r#"{"act":"fail","number":9}"#)
            .header("idempotency-key", "k2")
            .send()
    };
    for _ in 0..2 {
        problem(failing(&harness).await.unwrap(), 500, "handler_failed").await;
        eventually(|| harness.pool.in_flight() == 0).await;
    }
    assert_eq!(
        harness
            .stage
            .served
            .lock()
            .iter()
            .filter(|n| **n == 9)
            .count(),
        2
    );
    harness.stop().await;
}

#[actix_web::test]
async fn a_request_that_ran_out_of_time_keeps_its_key_for_a_while() {
    let harness = Harness::start().await;
    let late = keyed(&harness, "hold", 1).header("tidepool-deadline-ms", "30");
    problem(late.send().await.unwrap(), 504, "deadline_exceeded").await;
    let again = keyed(&harness, "hold", 1).send().await.unwrap();
    problem(again, 409, "idempotency_in_progress").await;
    assert_eq!(*harness.stage.served.lock(), [1]);
    harness.stop().await;
}
