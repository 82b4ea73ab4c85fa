//! Processes of a cluster whose store no other process sees: refused where they could do nothing, warned
//! where they do with less.

use std::process::Output;
use std::time::Duration;

use serde_json::json;

use crate::process::{Start, command, eventually};

const SOON: Duration = Duration::from_secs(20);

async fn refused(role: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let addresses = [
        "--api-addr",
        "127.0.0.1:0",
        "--operator-addr",
        "127.0.0.1:0",
    ];
    let run = command(folder.path())
        .arg(role)
        .args(addresses)
        .env("TIDEPOOL_NODE__ADDR", "127.0.0.1:0")
        .output();
    // One that is not refused would serve for ever.
    let ended = tokio::time::timeout(SOON, run).await;
    let Output { status, stderr, .. } = ended.expect("it is refused").expect("it runs");
    let told = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(78), "{told}");
    told
}

#[tokio::test]
async fn who_could_reach_nobody_is_not_started() {
    for (role, why) in [
        ("controller", "this controller would lead alone"),
        ("balancer", "this balancer would find none"),
    ] {
        let told = refused(role).await;
        for part in [
            why,
            "store.kind = \"embedded\"",
            "store.redis_url",
            "run `tidepool`",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}

#[tokio::test]
async fn who_is_found_otherwise_serves_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Start::at(&folder).set("TIDEPOOL_NODE__NAME", name)
    };
    let node = at("a")
        .role("node")
        .set("TIDEPOOL_NODE__ADDR", "127.0.0.1:0");
    let node = node.run().await;
    let addresses = node.look("/v1/status").await["addresses"].clone();
    let link = addresses["node"].as_str().expect("an address").to_owned();
    let balancer = at("front").role("balancer");
    let balancer = balancer.set("TIDEPOOL_CLUSTER__NODES", link).run().await;
    eventually("an answer", SOON, async || {
        let asked = balancer.request("echo", &json!({ "text": "x" }));
        let answer = asked.send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    for (process, lacks) in [
        (&node, "no controller sees this node"),
        (&balancer, "no controller sees this balancer"),
    ] {
        assert!(process.log().contains(lacks), "{}", process.log());
    }
}
