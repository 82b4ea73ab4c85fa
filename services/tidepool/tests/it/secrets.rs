//! No secret of a cluster is in a log, an event, an answer or a list of processes, whatever goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tidepool_testing::RedisServer;

use crate::process::{Start, Tidepool, command, eventually};

const SOON: std::time::Duration = std::time::Duration::from_secs(30);

const API_TOKEN: &str = "kelp-forest-token-4711";
const OPERATOR_TOKEN: &str = "lighthouse-token-0815";
const CLUSTER_SECRET: &str = "barnacle-secret-of-the-cluster-2718";
const OLD_SECRET: &str = "limpet-secret-before-that-one-1618";
const FOREIGN_SECRET: &str = "urchin-secret-of-a-stranger-3141";
const REDIS_PASSWORD: &str = "anemone-password-1414";
const WRONG_PASSWORD: &str = "whelk-password-that-is-wrong-1732";
/// `ann:` and the operator token, as a browser sends them.
const BASIC: &str = "YW5uOmxpZ2h0aG91c2UtdG9rZW4tMDgxNQ==";

const SECRETS: [&str; 8] = [
    API_TOKEN,
    OPERATOR_TOKEN,
    CLUSTER_SECRET,
    OLD_SECRET,
    FOREIGN_SECRET,
    REDIS_PASSWORD,
    WRONG_PASSWORD,
    BASIC,
];

/// A cluster that keeps its secrets in files, apart from one token that comes by the environment.
struct Guarded {
    redis: RedisServer,
    folder: TempDir,
}

impl Guarded {
    async fn new() -> Self {
        Self {
            redis: RedisServer::start_with(&format!("requirepass {REDIS_PASSWORD}")),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A file of that name; names of files may be told.
    fn file(&self, name: &str, secret: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("{secret}\n")).expect("a file");
        path.display().to_string()
    }

    fn prepare(&self, role: &'static str, name: &str) -> Start {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let variables = self.variables(CLUSTER_SECRET, REDIS_PASSWORD);
        let start = Start::at(&folder)
            .tokens_of_requests(API_TOKEN, OPERATOR_TOKEN)
            .role(role)
            .set("TIDEPOOL_NODE__NAME", name)
            .set("TIDEPOOL_NODE__ADDR", "127.0.0.1:0");
        let set = |start: Start, (name, value): (&str, String)| start.set(name, value);
        variables.into_iter().fold(start, set)
    }

    fn variables(&self, secret: &str, password: &str) -> Vec<(&'static str, String)> {
        let url = self.redis.url_for("", password);
        let first_word = |text: &str| text.split('-').next().unwrap_or_default().to_owned();
        let (url_name, secret_name) = (first_word(password), first_word(secret));
        vec![
            ("TIDEPOOL_TELEMETRY__LOG_LEVEL", "trace".to_owned()),
            ("TIDEPOOL_STORE__KIND", "redis".to_owned()),
            ("TIDEPOOL_STORE__REDIS_URL_FILE", self.file(&url_name, &url)),
            (
                "TIDEPOOL_CLUSTER__SECRET_FILE",
                self.file(&secret_name, secret),
            ),
            (
                "TIDEPOOL_CLUSTER__PREVIOUS_SECRET_FILE",
                self.file("old", OLD_SECRET),
            ),
            ("TIDEPOOL_HTTP__API_TOKEN_FILE", self.file("api", API_TOKEN)),
            ("TIDEPOOL_HTTP__OPERATOR_TOKEN", OPERATOR_TOKEN.to_owned()),
        ]
    }

    /// Nodes that the controller has started, by their number.
    fn provisioned(&self) -> Vec<u32> {
        let mark = format!("PROVISIONED_BY_TIDEPOOL=127-0-0-1-{}-", self.redis.port());
        let entries = fs::read_dir("/proc").expect("processes").flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |number: &u32| {
            let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable.starts_with(mark.as_bytes()))
        };
        numbers.filter(is_ours).collect()
    }
}

/// Nodes outlive their controller, but not the test.
impl Drop for Guarded {
    fn drop(&mut self) {
        for number in self.provisioned() {
            let _ = Command::new("kill")
                .args(["-KILL", &number.to_string()])
                .status();
        }
    }
}

/// Whoever asks and is refused, and whatever cannot be read.
async fn make_errors(balancer: &Tidepool, operated: &[&Tidepool]) {
    let invoke = format!("{}/v1/invoke/echo", balancer.api);
    for token in ["guess", OPERATOR_TOKEN, CLUSTER_SECRET] {
        let request = balancer.client.post(&invoke).bearer_auth(token).body("{}");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_tells_nothing("a refusal", &answer.text().await.expect("a problem"));
    }
    for (kind, body) in [
        ("echo", r#"{"sleep_ms":"long"}"#.to_owned()),
        ("echo", "{".to_owned()),
        ("unheard-of", "{}".to_owned()),
        ("reasoning", r#"{"program":"p(","query":"p(X)"}"#.to_owned()),
    ] {
        let answer = balancer.request_of(kind, body).send().await;
        assert!(answer.expect("an answer").status().is_client_error());
    }
    for process in operated {
        for (user, password, status) in [
            ("ann", OPERATOR_TOKEN, 200),
            ("ann", API_TOKEN, 401),
            (OPERATOR_TOKEN, "ann", 401),
        ] {
            let url = format!("{}/v1/status", process.operator);
            let request = process.client.get(url).basic_auth(user, Some(password));
            assert_eq!(request.send().await.expect("an answer").status(), status);
        }
        let order = process.order(Method::PATCH, "/v1/pools/echo").body("{");
        assert!(!order.send().await.expect("an answer").status().is_success());
    }
}

/// One that does not belong here, and one that the store does not let in.
async fn strangers(cluster: &Guarded) -> Vec<Tidepool> {
    let mut strangers = Vec::new();
    for (name, secret, password) in [
        ("stranger", FOREIGN_SECRET, REDIS_PASSWORD),
        ("locked-out", CLUSTER_SECRET, WRONG_PASSWORD),
    ] {
        let mut start = cluster.prepare("node", name);
        for (name, value) in cluster.variables(secret, password) {
            start = start.set(name, value);
        }
        let file = cluster.file("foreign", FOREIGN_SECRET);
        if name == "stranger" {
            start = start.set("TIDEPOOL_CLUSTER__PREVIOUS_SECRET_FILE", file);
        }
        strangers.push(start.run().await);
    }
    strangers
}

/// Everything that a process tells operators.
async fn told(process: &Tidepool) -> String {
    let mut told = String::new();
    for route in [
        "/v1/status",
        "/v1/events?limit=1000",
        "/v1/pools",
        "/v1/workers",
        "/v1/nodes",
        "/metrics",
        "/readyz?verbose",
    ] {
        let answer = process.operate(route).send().await.expect("an answer");
        told += &answer.text().await.expect("a text");
    }
    told
}

fn assert_tells_nothing(what: &str, told: &str) {
    for secret in SECRETS {
        let at = told.find(secret).map(|at| {
            let before: String = told[..at].chars().rev().take(200).collect();
            before.chars().rev().collect::<String>()
        });
        assert_eq!(at, None, "{what} tells a secret after this");
    }
}

/// Arguments of a process.
fn arguments(number: u32) -> String {
    let arguments = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).replace('\0', " ")
}

fn logs(folder: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let logs = entries.map(|entry| entry.path().join("tidepool.log"));
    logs.filter_map(|log| Some((log.clone(), fs::read_to_string(log).ok()?)))
        .collect()
}

async fn config_shown(cluster: &Guarded) -> String {
    let folder = cluster.folder.path();
    let run = command(folder)
        .args(["config", "show"])
        .envs(cluster.variables(CLUSTER_SECRET, REDIS_PASSWORD))
        .output();
    let shown = run.await.expect("it runs");
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_told_by_any_process() {
    let mut cluster = Guarded::new().await;
    let controller = cluster
        .prepare("controller", "one")
        .set("TIDEPOOL_PROVISIONER__KIND", "process")
        .set("TIDEPOOL_PROVISIONER__NODES_MIN", 1)
        .set("TIDEPOOL_PROVISIONER__NODES_MAX", 1)
        .run()
        .await;
    let node = cluster.prepare("node", "own").run().await;
    let balancer = cluster.prepare("balancer", "front").run().await;
    let started = eventually("a node is started", SOON, async || {
        let found = cluster.provisioned();
        let nodes = balancer.component("nodes").await;
        let are_linked = nodes["detail"].as_str()?.starts_with("2 nodes");
        (found.len() == 1 && are_linked).then_some(found)
    })
    .await;
    balancer.ask("echo", &json!({ "text": "hello" })).await;
    let stored = json!({ "op": "store", "namespace": "n", "items": [{ "text": "a" }] });
    balancer.ask("memory", &stored).await;

    let strangers = strangers(&cluster).await;
    eventually("the strangers are refused", SOON, async || {
        let refused = balancer
            .log()
            .contains("does not know the cluster's secret");
        let out = strangers[1].component("redis").await;
        (refused && out["state"] != "ok").then_some(())
    })
    .await;
    make_errors(&balancer, &[&controller, &node, &balancer]).await;
    let pools = controller.cli(&["pools"]).await;
    assert!(pools.status.success(), "{pools:?}");

    let mut everybody = vec![&controller, &node, &balancer];
    everybody.extend(&strangers);
    let numbers = everybody.iter().map(|process| process.pid());
    for number in numbers.chain(started).chain([cluster.redis.pid()]) {
        let arguments = arguments(number);
        assert!(
            arguments.contains("tidepool") || arguments.contains("redis"),
            "{arguments}"
        );
        assert_tells_nothing("a list of processes", &arguments);
    }
    for process in &everybody {
        assert_tells_nothing("an answer", &told(process).await);
    }
    let events = controller.events().await;
    assert!(events.len() > 3, "{events:?}");
    assert_tells_nothing("config show", &config_shown(&cluster).await);

    cluster.redis.kill();
    eventually("the store is missed", SOON, async || {
        let health = node.component("redis").await;
        (health["state"] == "down").then_some(())
    })
    .await;
    let refused = balancer.request("memory", &stored).send().await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_tells_nothing("a problem", &refused.text().await.expect("a problem"));
    for process in &everybody {
        assert_tells_nothing("an answer", &told(process).await);
    }
    let logs = logs(cluster.folder.path());
    assert_eq!(logs.len(), 5);
    for (path, log) in logs {
        let is_detailed = log.contains("TRACE") || log.contains("DEBUG");
        assert!(is_detailed, "{}: {} bytes", path.display(), log.len());
        assert_tells_nothing(&path.display().to_string(), &log);
    }
}
