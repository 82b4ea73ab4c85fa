//! What the parts of a cluster say of themselves, and waiting until they say it.

use anyhow::{bail, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::{Cluster, LOOK_EVERY, READY_MAX, TOKEN, Who};

impl Cluster {
    /// What the operator API of a part says at `route`.
    async fn ask(&self, who: Who, route: &str) -> Option<reqwest::Response> {
        let url = format!("{}{route}", self.members.get(&who)?.operator);
        self.http.get(url).bearer_auth(TOKEN).send().await.ok()
    }

    async fn document(&self, who: Who, route: &str) -> Option<Value> {
        let answer = self.ask(who, route).await?.bytes().await.ok()?;
        serde_json::from_slice(&answer).ok()
    }

    /// Waits until a part says that it is ready.
    pub(super) async fn wait_for_ready(&self, who: Who) -> anyhow::Result<()> {
        let end = Instant::now() + READY_MAX;
        loop {
            let answer = self.ask(who, "/readyz").await;
            if answer.is_some_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{} does not become ready", who.name());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a balancer has links to all nodes.
    pub(super) async fn wait_for_nodes(&self, who: Who) -> anyhow::Result<()> {
        let nodes = self.layout.nodes_min();
        let end = Instant::now() + READY_MAX;
        let mut seen = String::new();
        while Instant::now() < end {
            seen = self.links(who).await.unwrap_or_default();
            let has = seen
                .split_once(' ')
                .and_then(|(n, _)| n.parse::<usize>().ok());
            if has >= Some(nodes) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("{} does not find {nodes} nodes: {seen}", who.name())
    }

    /// Waits until a node has echo workers: it says that it is ready before it has.
    pub(super) async fn wait_for_workers(&self, who: Who) -> anyhow::Result<()> {
        let end = Instant::now() + READY_MAX;
        while self.workers(who).await.unwrap_or(0) < self.layout.workers as usize {
            ensure!(Instant::now() < end, "{} has no workers", who.name());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn workers(&self, who: Who) -> Option<usize> {
        let told = self.document(who, "/v1/workers").await?;
        let workers = told["workers"].as_array()?.iter();
        let ready = workers.filter(|w| w["pool"] == "echo" && w["state"] == "ready");
        Some(ready.count())
    }

    async fn links(&self, who: Who) -> Option<String> {
        let status = self.document(who, "/v1/status").await?;
        let parts = status["components"].as_array()?;
        let links = parts.iter().find(|part| part["component"] == "nodes")?;
        Some(links["detail"].as_str()?.to_owned())
    }
}
