//! Several processes over one Redis: a controller leads, nodes run what it wants, a balancer answers;
//! another controller takes over when the first one dies or freezes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidepool_cluster::{DesiredState, publish};
use tidepool_store::{Log, RedisStore, StoreError};
use tidepool_testing::RedisServer;
use tokio::task::JoinSet;

use crate::process::{Start, Tidepool, eventually};

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A standby has to lead within this time of the end of a leader.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);
/// Longer than the lease of a leader.
const FROZEN_FOR: Duration = Duration::from_secs(4);

/// One cluster on free ports.
pub(crate) struct Cluster {
    pub(crate) redis: RedisServer,
    folder: TempDir,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        Self {
            redis: RedisServer::start(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) async fn run(&self, role: &'static str, name: &str) -> Tidepool {
        self.prepare(role, name).run().await
    }

    /// A process of this cluster, to be configured further and run.
    pub(crate) fn prepare(&self, role: &'static str, name: &str) -> Start {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Start::at(&folder)
            .role(role)
            .set("TIDEPOOL_STORE__KIND", "redis")
            .set("TIDEPOOL_STORE__REDIS_URL", self.redis.url())
            .set("TIDEPOOL_NODE__NAME", name)
            .set("TIDEPOOL_NODE__ADDR", "127.0.0.1:0")
            .set("TIDEPOOL_NODE__WORKERS_MAX", 16)
            .set("TIDEPOOL_POOLS__ECHO__SLOTS", 2)
            .set("TIDEPOOL_POOLS__ECHO__MAX", 4)
            .set("TIDEPOOL_POOLS__GRAMMAR__MAX", 0)
            .set("TIDEPOOL_POOLS__MEMORY__MAX", 0)
            .set("TIDEPOOL_POOLS__REASONING__MAX", 0)
    }
}

/// Clients that keep more requests in the pool than its largest size has places.
struct Burst {
    enough: Arc<AtomicBool>,
    clients: JoinSet<u64>,
}

impl Burst {
    fn on(balancer: &Arc<Tidepool>) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..12 {
            let (process, enough) = (Arc::clone(balancer), Arc::clone(&enough));
            clients.spawn(async move {
                let mut answered = 0;
                while !enough.load(Ordering::Relaxed) {
                    process.ask("echo", &json!({ "sleep_ms": 100 })).await;
                    answered += 1;
                }
                answered
            });
        }
        Self { enough, clients }
    }

    /// Ends it; every request was answered, or a client has panicked.
    async fn end(self) -> u64 {
        self.enough.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().sum()
    }
}

async fn list(process: &Tidepool, what: &str) -> Vec<Value> {
    let answer = process.look(&format!("/v1/{what}")).await;
    answer[what].as_array().expect("a list").clone()
}

/// The nodes that have a ready worker.
async fn hosts(controller: &Tidepool) -> BTreeSet<String> {
    let workers = list(controller, "workers").await.into_iter();
    let ready = workers.filter(|worker| worker["state"] == "ready");
    ready
        .map(|worker| worker["node"].as_str().expect("a node").to_owned())
        .collect()
}

async fn ready(controller: &Tidepool) -> usize {
    let workers = list(controller, "workers").await;
    let ready = workers.iter().filter(|worker| worker["state"] == "ready");
    ready.count()
}

pub(crate) async fn leader(process: &Tidepool) -> Value {
    process.look("/v1/status").await["leader"].clone()
}

/// Waits until `controller` decides, and gives its epoch.
pub(crate) async fn leads(controller: &Tidepool, name: &str, within: Duration) -> u64 {
    let epoch = async || {
        let answer = controller.operate("/v1/pools").send().await.ok()?;
        let pools: Value = answer.json().await.ok()?;
        let is_own = pools["told_by"].is_null();
        let epoch = pools["pools"][0]["decided"]["epoch"].as_u64();
        epoch.filter(|_| is_own)
    };
    let epoch = eventually(&format!("{name} leads"), within, epoch).await;
    assert_eq!(leader(controller).await, name);
    epoch
}

#[tokio::test]
async fn load_makes_workers_on_every_node_and_a_drained_node_is_emptied() {
    let cluster = Cluster::new().await;
    let controller = cluster.run("controller", "one").await;
    let nodes = [
        cluster.run("node", "a").await,
        cluster.run("node", "b").await,
    ];
    let balancer = Arc::new(cluster.run("balancer", "front").await);
    leads(&controller, "one", SOON).await;
    let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let names = async || {
        let nodes = list(&controller, "nodes").await;
        let names = nodes
            .iter()
            .map(|node| node["node"].as_str().unwrap().to_owned());
        (names.collect::<BTreeSet<_>>() == both).then_some(())
    };
    eventually("both nodes are listed", SOON, names).await;
    let burst = Burst::on(&balancer);
    let spread = async || (hosts(&controller).await == both).then_some(());
    eventually("workers on both nodes", SOON, spread).await;
    assert!(burst.end().await > 0);

    let drained = controller.cli(&["drain", "a"]).await;
    assert!(drained.status.success(), "{drained:?}");
    let emptied = async || {
        let nodes = list(&controller, "nodes").await;
        let a = nodes.iter().find(|node| node["node"] == "a")?;
        (a["state"] == "drained").then_some(())
    };
    eventually("a is emptied", SOON, emptied).await;
    balancer.ask("echo", &json!({ "text": "still" })).await;
    let shown = String::from_utf8(controller.cli(&["nodes"]).await.stdout).unwrap();
    let row = shown.lines().find(|row| row.starts_with("a ")).unwrap();
    assert!(row.contains("drained"), "{shown}");
    let undone = controller.cli(&["drain", "--undo", "a"]).await;
    assert!(undone.status.success(), "{undone:?}");
    let nowhere = controller.cli(&["drain", "nobody"]).await;
    assert_eq!(nowhere.status.code(), Some(1));

    let joined = async || {
        let events = controller
            .look("/v1/events?type=io.tidepool.node.joined")
            .await;
        (events.as_array()?.len() == 2).then_some(())
    };
    eventually("both nodes have joined, once", SOON, joined).await;
    drop(nodes);
}

#[tokio::test]
async fn a_standby_leads_when_the_leader_is_killed_and_nothing_shrinks() {
    let cluster = Cluster::new().await;
    let first = cluster.run("controller", "one").await;
    let _nodes = [
        cluster.run("node", "a").await,
        cluster.run("node", "b").await,
    ];
    let old_epoch = leads(&first, "one", SOON).await;
    let balancer = Arc::new(cluster.run("balancer", "front").await);
    let second = cluster.run("controller", "two").await;
    let known = async || (leader(&second).await == "one").then_some(());
    eventually("the standby knows who leads", SOON, known).await;
    let refused = second
        .operate("/v1/pools/echo/explain")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 503);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "not_leader");
    let told = problem["detail"].as_str().unwrap();
    assert!(told.contains(&first.operator), "{told}");

    let burst = Burst::on(&balancer);
    let grown = async || (ready(&second).await == 4).then_some(());
    eventually("the pool has grown", SOON, grown).await;
    first.kill().await;
    let killed = Instant::now();
    let epoch = leads(&second, "two", TAKEOVER_MAX).await;
    eprintln!(
        "took over {} ms after the kill",
        killed.elapsed().as_millis()
    );
    assert!(epoch > old_epoch, "{epoch} after {old_epoch}");
    while killed.elapsed() < TAKEOVER_MAX + Duration::from_secs(2) {
        assert_eq!(ready(&second).await, 4, "nothing shrinks");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(burst.end().await > 0);
    let changed = second
        .look("/v1/events?type=io.tidepool.leader.changed")
        .await;
    let last = changed.as_array().unwrap().last().unwrap()["data"].clone();
    assert_eq!(
        (&last["previous"], &last["leader"]),
        (&json!("one"), &json!("two"))
    );
    assert_eq!(last["epoch"], epoch);
}

#[tokio::test]
async fn a_frozen_leader_that_wakes_acts_no_more() {
    let cluster = Cluster::new().await;
    let first = cluster.run("controller", "one").await;
    let _node = cluster.run("node", "a").await;
    let old_epoch = leads(&first, "one", SOON).await;
    let second = cluster.run("controller", "two").await;
    first.signal("STOP").await;
    let frozen = Instant::now();
    leads(&second, "two", TAKEOVER_MAX).await;
    tokio::time::sleep(FROZEN_FOR.saturating_sub(frozen.elapsed())).await;
    first.signal("CONT").await;
    let stepped_down = async || (leader(&first).await == "two").then_some(());
    eventually("the old leader follows", SOON, stepped_down).await;
    let has_withdrawn = async || {
        let metrics = first.operate("/metrics").send().await.ok()?;
        let metrics = metrics.text().await.ok()?;
        let is_shown = metrics.contains("tidepool_pool_target");
        (metrics.contains("tidepool_leader 0") && !is_shown).then_some(())
    };
    eventually("nobody reads its numbers", SOON, has_withdrawn).await;
    let told = async || {
        let pools = first.look("/v1/pools").await;
        (pools["told_by"]["leader"] == "two").then_some(())
    };
    eventually("it passes on what the new one says", SOON, told).await;

    let log: Arc<dyn Log> = Arc::new(RedisStore::connect(&cluster.redis.url()).await.unwrap());
    let late = DesiredState {
        epoch: old_epoch,
        seq: u64::MAX,
        ..DesiredState::default()
    };
    let late = publish(&log, &late).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    let decisions = second
        .look("/v1/events?type=io.tidepool.scaling.decided")
        .await;
    let decisions = decisions.as_array().unwrap().iter();
    let epochs: Vec<_> = decisions.map(|d| d["data"]["epoch"].as_u64()).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    // Whoever stops gives the lease up, and nobody has to wait for its end.
    second.stop().await;
    leads(&first, "one", Duration::from_secs(2)).await;
}
