//! Which nodes operators drain: kept in the store before it counts, so that a new leader knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::json;
use tidepool_core::status::NodeOrderError;
use tidepool_core::{EventDraft, NodeId};
use tidepool_feed::Feed;
use tidepool_store::{Kv, StoreError};

/// Where they are kept.
const KEY: &str = "controller/drained_nodes";
/// Most nodes that are drained at a time.
const DRAINED_MAX: usize = 256;

/// The orders, under the epoch of one leader: a newer one's are not overwritten.
#[derive(Clone)]
pub(super) struct Drains {
    kv: Arc<dyn Kv>,
    feed: Feed,
    nodes: Arc<RwLock<BTreeSet<NodeId>>>,
    /// Held while the orders change.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Drains {
    /// Reads what is in force; `kv` fences.
    pub(super) async fn open(kv: Arc<dyn Kv>, feed: Feed) -> anyhow::Result<Self> {
        let kept = kv.get(KEY).await;
        let kept = kept.context("the orders to drain nodes cannot be read")?;
        let nodes = match kept {
            Some(value) => serde_json::from_slice(&value.bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the orders to drain nodes cannot be understood");
                BTreeSet::new()
            }),
            None => BTreeSet::new(),
        };
        Ok(Self {
            kv,
            feed,
            nodes: Arc::new(RwLock::new(nodes)),
            changing: Arc::default(),
        })
    }

    /// The nodes.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.nodes.read().clone()
    }

    /// Drains a node, or lets it work again. Orders about nodes that are not `present` make room for
    /// others when there are too many.
    pub(super) async fn order(
        self,
        (node, drain): (NodeId, bool),
        by: String,
        present: BTreeSet<NodeId>,
    ) -> Result<(), NodeOrderError> {
        let _changing = self.changing.lock().await;
        let mut nodes = self.nodes();
        let is_change = if drain {
            nodes.insert(node.clone())
        } else {
            nodes.remove(&node)
        };
        if !is_change {
            return Ok(());
        }
        if nodes.len() > DRAINED_MAX {
            nodes.retain(|node| present.contains(node));
        }
        if nodes.len() > DRAINED_MAX {
            return Err(NodeOrderError::TooMany(DRAINED_MAX));
        }
        self.keep(&nodes).await.map_err(|error| {
            tracing::warn!(%error, "an order about a node cannot be kept");
            NodeOrderError::Unavailable(error.to_string())
        })?;
        *self.nodes.write() = nodes;
        self.feed.publish(told(&node, drain, &by));
        Ok(())
    }

    async fn keep(&self, nodes: &BTreeSet<NodeId>) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(nodes).map_err(|_| StoreError::Invalid {
            what: "the drained nodes",
            reason: "cannot be written down",
        })?;
        self.kv.put(KEY, Bytes::from(bytes), None).await.map(drop)
    }
}

fn told(node: &NodeId, drain: bool, by: &str) -> EventDraft {
    let sentence = if drain {
        format!("{by} drains node {node}: its workers move to other nodes")
    } else {
        format!("{by} lets node {node} take workers again")
    };
    let data = json!({ "node": node, "drained": drain, "by": by, "sentence": sentence });
    EventDraft::new("config.applied", data)
}

#[cfg(test)]
mod tests {
    use tidepool_feed::FeedConfig;
    use tidepool_store::{EmbeddedStore, Epoch, FencedKv};

    use super::*;

    #[tokio::test]
    async fn an_order_outlives_its_leader_and_an_older_one_cannot_change_it() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let feed = Feed::following(store.clone(), FeedConfig::new("/t"));
        let drains = async |epoch| {
            let kv: Arc<dyn Kv> = Arc::new(FencedKv::new(store.clone(), Epoch(epoch)));
            Drains::open(kv, feed.clone()).await.unwrap()
        };
        let node = NodeId::new("a").unwrap();
        let old = drains(1).await;
        let order = |drain| ((node.clone(), drain), "ann".to_owned(), BTreeSet::new());
        let (what, by, present) = order(true);
        old.clone().order(what, by, present).await.unwrap();
        let new = drains(2).await;
        assert_eq!(new.nodes(), BTreeSet::from([node.clone()]));
        let (what, by, present) = order(false);
        let refused = old.order(what, by, present).await;
        assert!(matches!(refused, Err(NodeOrderError::Unavailable(_))));
        let (what, by, present) = order(false);
        new.clone().order(what, by, present).await.unwrap();
        assert!(drains(3).await.nodes().is_empty());
    }
}
