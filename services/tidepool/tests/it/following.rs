//! Commands given to a process that does not lead: they reach the one that does, in one step, or end
//! with word of why not.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, SOON, leads};
use crate::process::{Tidepool, command, eventually};
use crate::stand_in::{self, StandIn};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A command that works, and what it told on stderr.
async fn works(process: &Tidepool, args: &[&str]) -> (String, String) {
    let output = process.cli(args).await;
    let (out, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{args:?}: {told}");
    (out, told)
}

/// A command that fails, as it says why.
async fn fails(process: &Tidepool, args: &[&str]) -> String {
    let output = process.cli(args).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
    assert!(output.stdout.is_empty(), "{args:?}");
    told
}

fn addr(process: &Tidepool) -> &str {
    process.operator.trim_start_matches("http://")
}

async fn knows_who_leads(process: &Tidepool) {
    let known = async || {
        let answer = process
            .operate("/v1/pools/echo/explain")
            .send()
            .await
            .ok()?;
        answer.headers().get("tidepool-operator-addr").map(|_| ())
    };
    eventually("it has heard who leads", SOON, known).await;
}

#[tokio::test]
async fn orders_and_questions_reach_the_leader_whoever_is_called() {
    let cluster = Cluster::new().await;
    let leader = cluster.run("controller", "one").await;
    leads(&leader, "one", SOON).await;
    let node = cluster.run("node", "a").await;
    let balancer = cluster.run("balancer", "front").await;
    let standby = cluster.run("controller", "two").await;
    balancer.ask("echo", &json!({})).await;
    let asked = format!("asking {}", addr(&leader));
    for process in [&balancer, &node, &standby] {
        knows_who_leads(process).await;
        for args in [
            &["pause", "echo", "--for", "1h"][..],
            &["explain", "echo"],
            &["pattern", "echo"],
            &["pin", "echo"],
            &["bounds", "echo", "--max", "3"],
            &["resume", "echo"],
        ] {
            let (_, told) = works(process, args).await;
            assert_eq!(told.matches("asking ").count(), 1, "{args:?}: {told}");
            assert!(told.contains(&asked), "{told}");
        }
        assert_eq!(leader.look("/v1/pools/echo").await["max"], 3);
        works(&leader, &["bounds", "echo", "--reset"]).await;
        let (table, _) = works(process, &["nodes"]).await;
        assert!(table.contains("\na "), "{table}");
        let workers = eventually("the worker", SOON, async || {
            let (workers, _) = works(process, &["workers", "-o", "json"]).await;
            let workers: Value = serde_json::from_str(&workers).expect("JSON");
            (workers[0]["node"] == "a").then_some(workers)
        })
        .await;
        let id = workers[0]["id"].as_str().expect("an id");
        works(process, &["drain", "a"]).await;
        works(process, &["drain", "a", "--undo"]).await;
        works(process, &["drain", id]).await;
        eventually("another worker", SOON, async || {
            let seen = leader.look("/v1/workers").await;
            let workers = seen["workers"].as_array()?;
            let is_new = |worker: &&Value| worker["id"] != id && worker["state"] == "ready";
            workers.iter().find(is_new).map(|_| ())
        })
        .await;
    }
    let (_, told) = works(&leader, &["nodes"]).await;
    assert_eq!(told, "", "who leads answers itself");
}

#[tokio::test]
async fn without_a_leader_commands_say_so_and_fail() {
    let cluster = Cluster::new().await;
    let balancer = cluster.run("balancer", "front").await;
    for args in [
        &["pause", "echo"][..],
        &["nodes"],
        &["workers"],
        &["explain"],
    ] {
        let told = fails(&balancer, args).await;
        assert!(told.contains("names nobody who can"), "{args:?}: {told}");
        assert!(told.contains("no controller has been heard of"), "{told}");
    }
    let leader = cluster.run("controller", "one").await;
    let node = cluster.run("node", "a").await;
    leads(&leader, "one", SOON).await;
    eventually("a worker", SOON, async || {
        node.look("/v1/workers").await["workers"].get(0).cloned()
    })
    .await;
    knows_who_leads(&balancer).await;
    knows_who_leads(&node).await;
    let gone = format!("{} does not answer", addr(&leader));
    leader.kill().await;
    for args in [&["pause", "echo"][..], &["nodes"], &["workers"]] {
        let told = fails(&balancer, args).await;
        assert!(told.contains(&gone), "{args:?}: {told}");
    }
    let (table, told) = works(&node, &["workers"]).await;
    assert!(
        table.contains("@a"),
        "its own are better than none: {table}"
    );
    assert!(
        told.contains(&gone) && told.contains("those of the process called"),
        "{told}"
    );
}

/// A refusal that names whom to ask.
fn refusal(addr: &str) -> String {
    let body = r#"{"code":"not_leader","detail":"somebody leads","status":503}"#;
    let answer = stand_in::json("503 Service Unavailable", body);
    answer.replacen(
        "\r\n",
        &format!("\r\ntidepool-operator-addr: {addr}\r\n"),
        1,
    )
}

async fn pause(at: &StandIn) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let run = command(folder.path())
        .args(["pause", "echo", "--operator-addr", &at.address])
        .env("TIDEPOOL_HTTP__OPERATOR_TOKEN", "s3cr3t")
        .output();
    tokio::time::timeout(SOON, run)
        .await
        .expect("it ends")
        .expect("it runs")
}

#[tokio::test]
async fn nobody_is_led_in_circles() {
    let second = StandIn::answering(vec![refusal("127.0.0.1:1"), refusal("127.0.0.1:1")]);
    let first = StandIn::answering(vec![refusal(&second.address), refusal(&second.address)]);
    let output = pause(&first).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot answer either: somebody leads"),
        "{told}"
    );
    for asked in [&first, &second] {
        let heads = asked.heads();
        assert_eq!(heads.len(), 1, "{heads:?}");
        assert!(heads[0].starts_with("patch /v1/pools/echo http/1.1"));
        assert!(heads[0].contains("authorization: bearer s3cr3t"));
    }
    let astray = StandIn::answering(vec![refusal("https://127.0.0.1:1/x")]);
    let output = pause(&astray).await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("which is no HOST:PORT"), "{told}");
}

#[tokio::test]
async fn who_cannot_tell_of_the_fleet_says_who_can() {
    let cluster = Cluster::new().await;
    let leader = cluster.run("controller", "one").await;
    leads(&leader, "one", SOON).await;
    let balancer = cluster.run("balancer", "front").await;
    knows_who_leads(&balancer).await;
    for route in ["/v1/nodes", "/v1/workers"] {
        let told = balancer.look(route).await;
        assert_eq!(told["elsewhere"]["operator_addr"], addr(&leader), "{told}");
        assert_eq!(leader.look(route).await["elsewhere"], Value::Null);
    }
    let drain = balancer.order(Method::POST, "/v1/workers/echo-1@nobody/drain");
    let answer = drain.send().await.expect("an answer");
    assert_eq!(answer.status(), 421);
    assert_eq!(answer.headers()["tidepool-operator-addr"], addr(&leader));
}
