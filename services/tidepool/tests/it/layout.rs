//! Processes of every role at a store that another release has written.

use std::time::Duration;

use tidepool_store::{Layout, RedisStore};

use crate::cluster::{Cluster, SOON};
use crate::process::eventually;

const ROLES: [&str; 4] = ["serve", "balancer", "node", "controller"];

/// Leaves the mark of a release that this one can be followed by, or not.
async fn written_by(cluster: &Cluster, oldest_reader: u32) {
    let layout = Layout {
        version: Layout::CURRENT.version + 8,
        oldest_reader,
        reads_from: 1,
    };
    let store = RedisStore::open_as(&cluster.redis.url(), layout).expect("a store");
    store.ping().await.expect("its answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_starts_at_a_store_that_only_newer_releases_can_read() {
    let cluster = Cluster::new().await;
    let ours = Layout::CURRENT.version;
    written_by(&cluster, ours + 7).await;
    for role in ROLES {
        let ended = cluster.prepare(role, "early").refused().await;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{role}: {said}");
        for words in ["its data has layout", "start a newer release"] {
            assert!(said.contains(words), "{role}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_starts_at_a_store_of_the_release_after() {
    let cluster = Cluster::new().await;
    written_by(&cluster, Layout::CURRENT.version).await;
    for role in ROLES {
        let process = cluster.run(role, role).await;
        let is_ok = async || (process.component("redis").await["state"] == "ok").then_some(());
        eventually("a store in use", SOON, is_ok).await;
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_without_the_store_does_not_wait_for_it() {
    let mut cluster = Cluster::new().await;
    cluster.redis.kill();
    let begin = std::time::Instant::now();
    let process = cluster.run("balancer", "b").await;
    assert!(begin.elapsed() < SOON);
    cluster.redis.restart();
    let is_ok = async || (process.component("redis").await["state"] == "ok").then_some(());
    eventually("a store in use", Duration::from_secs(5), is_ok).await;
    process.stop().await;
}
