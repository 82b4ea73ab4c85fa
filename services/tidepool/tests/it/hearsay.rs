//! What processes that do not lead say of the pools, whom they name for what they cannot do, and when
//! a node calls itself ready.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, SOON, leads};
use crate::process::{Tidepool, eventually};

/// The problem in an answer of that status.
async fn problem(request: reqwest::RequestBuilder, status: u16) -> Value {
    let answer = request.send().await.expect("an answer");
    let got = answer.status();
    let body: Value = answer.json().await.expect("a problem");
    assert_eq!(got, status, "{body}");
    body
}

/// The pools that a process tells of, once these are those of `leader`, who said so a moment ago.
async fn told(process: &Tidepool, leader: &str) -> Value {
    eventually("the pools are told", SOON, async || {
        let answer = process.operate("/v1/pools").send().await.ok()?;
        let body: Value = answer.json().await.ok()?;
        let (by, decided) = (&body["told_by"], &body["pools"][0]["decided"]);
        let is_fresh = by["age_s"].as_f64()? < 4.0;
        (by["leader"] == leader && is_fresh && !decided.is_null()).then(|| body.clone())
    })
    .await
}

#[tokio::test]
async fn every_process_tells_of_the_pools_and_names_who_decides() {
    let cluster = Cluster::new().await;
    let controller = cluster.run("controller", "one").await;
    let node = cluster.run("node", "a").await;
    let balancer = cluster.run("balancer", "front").await;
    let standby = cluster
        .prepare("controller", "two")
        .set("TIDEPOOL_KEDA__ADDR", "127.0.0.1:0")
        .run()
        .await;
    let epoch = leads(&controller, "one", SOON).await;
    balancer.ask("echo", &json!({})).await;
    let host = controller.operator.trim_start_matches("http://");
    for process in [&node, &balancer, &standby] {
        let body = told(process, "one").await;
        assert_eq!(body["told_by"]["operator_addr"], host);
        assert_eq!(body["told_by"]["epoch"], epoch);
        let named = |pools: &Value| {
            let pools = pools["pools"].as_array().expect("a list").clone();
            let name = |pool: &Value| pool["pool"].as_str().expect("a name").to_owned();
            pools.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(named(&body), named(&controller.look("/v1/pools").await));
        let status = process.look("/v1/status").await;
        assert_eq!(status["leader"], "one");
        assert_eq!(
            status["pools"].as_array().unwrap().len(),
            named(&body).len()
        );
        let echo = process.look("/v1/pools/echo").await;
        assert_eq!(echo["told_by"]["leader"], "one");

        let order = process.order(Method::PATCH, "/v1/pools/echo");
        let refused = problem(order.body(r#"{"paused":true,"for":"1m"}"#), 503).await;
        assert_eq!(refused["code"], "not_leader");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(&controller.operator), "{detail}");
    }
    assert_eq!(controller.look("/v1/status").await["told_by"], Value::Null);

    // The number for KEDA is the leader's, whoever is asked for it.
    for process in [&controller, &standby, &balancer, &node] {
        let advice = eventually("a number", SOON, async || {
            let answer = process.operate("/v1/pools/echo/keda").send().await.ok()?;
            let is_good = answer.status().is_success();
            let advice: Value = answer.json().await.ok()?;
            is_good.then_some(advice)
        })
        .await;
        assert_eq!(advice["epoch"], epoch);
        assert!(advice["desired_workers"].as_u64() >= Some(1), "{advice}");
        assert!(advice["metrics_age_s"].as_f64() < Some(10.0), "{advice}");
    }
}

#[tokio::test]
async fn the_drain_of_a_worker_elsewhere_names_its_node() {
    let cluster = Cluster::new().await;
    let controller = cluster.run("controller", "one").await;
    let nodes = [
        cluster.run("node", "a").await,
        cluster.run("node", "b").await,
    ];
    let balancer = cluster.run("balancer", "front").await;
    leads(&controller, "one", SOON).await;
    let worker = eventually("a worker on a", SOON, async || {
        let body = nodes[0].look("/v1/workers").await;
        body["workers"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let drain = format!("/v1/workers/{worker}/drain");
    for process in [&controller, &balancer, &nodes[1]] {
        told_of_node(process, &nodes[0], &drain).await;
    }
    let unknown = balancer.order(Method::POST, "/v1/workers/echo-1@nobody/drain");
    let detail = problem(unknown, 421).await["detail"].clone();
    let detail = detail.as_str().unwrap();
    assert!(detail.contains(&controller.operator), "{detail}");
    let taken = nodes[0].order(Method::POST, &drain).send().await.unwrap();
    assert_eq!(taken.status(), 202);
}

async fn told_of_node(process: &Tidepool, node: &Tidepool, drain: &str) {
    eventually("the node is named", SOON, async || {
        let answer = process.order(Method::POST, drain).send().await.ok()?;
        let is_elsewhere = answer.status() == 421;
        let body: Value = answer.json().await.ok()?;
        let detail = body["detail"].as_str()?;
        (is_elsewhere && detail.contains(&node.operator)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_is_ready_when_its_workers_are() {
    let cluster = Cluster::new().await;
    // What no controller has ordered is run after a while.
    let node = cluster
        .prepare("node", "a")
        .set("TIDEPOOL_POOLS__ECHO__MIN", 2)
        .set("TIDEPOOL_POOLS__ECHO__MAX", 2)
        .run()
        .await;
    let early = problem(node.operate("/readyz"), 503).await;
    assert_eq!(early["code"], "not_ready");
    assert!(
        early["detail"]
            .as_str()
            .unwrap()
            .contains("what this node is to run")
    );
    eventually("it is ready", SOON, async || {
        let answer = node.operate("/readyz").send().await.ok()?;
        let workers = node.look("/v1/workers").await;
        let workers = workers["workers"].as_array()?;
        let ready = workers.iter().filter(|worker| worker["state"] == "ready");
        let ready = ready.count();
        // The workers are looked at last: they only come here.
        assert!(!answer.status().is_success() || ready == 2, "{workers:?}");
        answer.status().is_success().then_some(())
    })
    .await;
    // Nobody has said anything of pools.
    let nobody = problem(node.operate("/v1/pools"), 503).await;
    assert_eq!(nobody["code"], "not_leader");
    assert!(
        nobody["detail"]
            .as_str()
            .unwrap()
            .starts_with("no controller")
    );
}

/// Waits until `/readyz` answers with that status, and gives what it says.
async fn answers_ready(process: &Tidepool, status: u16, what: &str) -> Value {
    eventually(what, SOON, async || {
        let answer = process.operate("/readyz").send().await.ok()?;
        let got = answer.status();
        let body = answer.json().await.ok()?;
        (got == status).then_some(body)
    })
    .await
}

#[tokio::test]
async fn a_balancer_is_ready_while_it_reaches_a_node_with_or_without_redis() {
    let mut cluster = Cluster::new().await;
    let balancer = cluster.run("balancer", "front").await;
    let early = problem(balancer.operate("/readyz"), 503).await;
    assert_eq!(early["code"], "not_ready");
    let detail = early["detail"].as_str().unwrap();
    assert!(detail.contains("no node has been linked"), "{detail}");
    let node = cluster.run("node", "a").await;
    answers_ready(&balancer, 200, "a node is linked").await;

    cluster.redis.kill();
    let degraded = eventually("Redis is missed", SOON, async || {
        let answer = balancer.operate("/readyz?verbose").send().await.ok()?;
        assert_eq!(answer.status(), 200, "it still serves");
        let body: Value = answer.json().await.ok()?;
        (body["status"] == "degraded").then_some(body)
    })
    .await;
    assert!(degraded["components"].is_array(), "{degraded}");

    node.kill().await;
    let lost = answers_ready(&balancer, 503, "no node is left").await;
    let detail = lost["detail"].as_str().unwrap();
    assert!(detail.contains("no node has been linked for"), "{detail}");
}

#[tokio::test]
async fn others_are_told_the_advertised_address() {
    let cluster = Cluster::new().await;
    let at = |role, name: &str| {
        let advertised = format!("{name}.example:8701");
        let start = cluster.prepare(role, name);
        start.set("TIDEPOOL_HTTP__OPERATOR_ADVERTISE_ADDR", advertised)
    };
    let controller = at("controller", "one").run().await;
    let node = at("node", "a").run().await;
    let balancer = at("balancer", "front").run().await;
    leads(&controller, "one", SOON).await;
    assert_eq!(
        told(&balancer, "one").await["told_by"]["operator_addr"],
        "one.example:8701"
    );
    let order = balancer.order(Method::PATCH, "/v1/pools/echo");
    let refused = problem(order.body(r#"{"paused":true,"for":"1m"}"#), 503).await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("http://one.example:8701"), "{detail}");
    let status = balancer.look("/v1/status").await;
    assert!(
        status.to_string().contains("front.example:8701"),
        "{status}"
    );

    let worker = eventually("a worker on a", SOON, async || {
        let body = node.look("/v1/workers").await;
        body["workers"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let drain = format!("/v1/workers/{worker}/drain");
    eventually("the node is named", SOON, async || {
        let answer = balancer.order(Method::POST, &drain).send().await.ok()?;
        let body: Value = answer.json().await.ok()?;
        let detail = body["detail"].as_str()?;
        detail.contains("a.example:8701").then_some(())
    })
    .await;
}
