//! A request that nodes die of, until it is set aside: operators hear of it wherever they listen.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, SOON, leads};
use crate::process::{Tidepool, eventually};

const SECRET: &str = "nobody-should-read-this";

/// The place of the node that has work, among those that are left.
async fn busy(nodes: &[Tidepool]) -> usize {
    eventually("a node has the request", SOON, async || {
        for (place, node) in nodes.iter().enumerate() {
            let seen = node.look("/v1/workers").await;
            let workers = seen["workers"].as_array().expect("a list");
            if workers.iter().any(|worker| worker["busy"] == 1) {
                return Some(place);
            }
        }
        None
    })
    .await
}

fn is_of(event: &Value, kind: &str) -> bool {
    event["type"] == kind && event["data"]["alertname"] == "RequestSetAside"
}

async fn alert(process: &Tidepool) -> Value {
    eventually("the alert is on the feed", SOON, async || {
        let mut events = process.events().await.into_iter();
        events.find(|event| is_of(event, "io.tidepool.alert.firing"))
    })
    .await
}

#[tokio::test]
async fn operators_are_told_of_a_request_that_was_set_aside() {
    let cluster = Cluster::new().await;
    let run = |role, name| {
        let start = cluster.prepare(role, name);
        start.set("TIDEPOOL_POOLS__ECHO__MIN", 3).run()
    };
    let leader = run("controller", "one").await;
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(run("node", name).await);
    }
    leads(&leader, "one", SOON).await;
    let balancer = run("balancer", "front").await;
    let everywhere = async || {
        for node in &nodes {
            let seen = node.look("/v1/workers").await;
            let workers = seen["workers"].as_array()?;
            workers.iter().find(|worker| worker["state"] == "ready")?;
        }
        let health = balancer.component("nodes").await;
        health["detail"]
            .as_str()?
            .starts_with("3 nodes")
            .then_some(())
    };
    eventually("a worker on each node", SOON, everywhere).await;

    let request = balancer
        .request("echo", &json!({ "text": SECRET, "sleep_ms": 55_000 }))
        .header("tidepool-deadline-ms", "59000")
        .timeout(Duration::from_secs(60));
    let asked = tokio::spawn(request.send());
    for _ in 0..2 {
        let place = busy(&nodes).await;
        nodes.remove(place).kill().await;
    }
    let answer = asked.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 500);
    let told: Value = answer.json().await.expect("a problem");
    assert_eq!(told["code"], "set_aside", "{told}");

    for process in [&leader, &balancer] {
        let event = alert(process).await;
        assert_eq!(event["subject"], "echo");
        assert_eq!(event["source"], "/tidepool/front");
        let data = &event["data"];
        assert_eq!(
            (&data["pool"], &data["kind"]),
            (&json!("echo"), &json!("echo"))
        );
        assert_eq!(data["trace_id"], told["trace_id"]);
        assert!(!event.to_string().contains(SECRET), "{event}");
        let events = process.events().await;
        let fired = events
            .iter()
            .filter(|e| is_of(e, "io.tidepool.alert.firing"));
        assert_eq!(fired.count(), 1);
    }
}
