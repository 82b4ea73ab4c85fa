//! What every node is to run: a stream that only the controller of the newest epoch can add to.
//!
//! A record is the whole desired state, never a step, so that a reader needs only the newest one
//! and repeating it does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidepool_core::{NodeId, PoolName, SetTarget};
use tidepool_store::{Epoch, Log, Position, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The stream of desired states.
const STREAM: &str = "control/desired";
/// Records that are kept.
const KEPT: u64 = 16;
/// How often a node looks for a newer one.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Workers of each pool.
pub type Orders = BTreeMap<PoolName, u32>;

/// What the controller wants.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DesiredState {
    /// Fencing epoch of the controller.
    pub epoch: u64,
    /// Order within the epoch.
    pub seq: u64,
    /// What each node is to run.
    #[serde(default)]
    pub nodes: BTreeMap<NodeId, Orders>,
    /// Nodes that are to finish what they have and take nothing new.
    #[serde(default)]
    pub drained: BTreeSet<NodeId>,
}

impl DesiredState {
    /// The targets of one node; a pool that is not named is to have no worker there. Nothing for
    /// a node that the controller does not know yet.
    #[must_use]
    pub fn targets_of(&self, node: &NodeId, pools: &[PoolName]) -> Option<Vec<SetTarget>> {
        let orders = self.nodes.get(node)?;
        let target = |pool: &PoolName| SetTarget {
            pool: pool.clone(),
            epoch: self.epoch,
            seq: self.seq,
            n: orders.get(pool).copied().unwrap_or(0),
        };
        Some(pools.iter().map(target).collect())
    }
}

/// Says what is wanted from now on.
///
/// # Errors
/// [`StoreError::Fenced`] when there is a newer controller: the caller no longer leads.
pub async fn publish(log: &Arc<dyn Log>, state: &DesiredState) -> Result<(), StoreError> {
    let record = rmp_serde::to_vec_named(state).map_err(|_| StoreError::Invalid {
        what: "a desired state",
        reason: "cannot be encoded",
    })?;
    let at = log
        .append(STREAM, Epoch(state.epoch), vec![Bytes::from(record)])
        .await?;
    log.trim(STREAM, at.back(KEPT)).await
}

/// Shuts out the controllers of older epochs before anything is wanted, and gives what the last of
/// them wanted: nobody can add to that any more. Nothing if the stream is empty.
///
/// # Errors
/// [`StoreError::Fenced`] when there is a newer one: the caller does not lead.
pub async fn fence(log: &Arc<dyn Log>, epoch: u64) -> Result<Option<DesiredState>, StoreError> {
    let mut at = log
        .append(STREAM, Epoch(epoch), Vec::new())
        .await?
        .back(KEPT);
    let mut last = None;
    loop {
        let records = log.read(STREAM, at, KEPT as usize).await?;
        let Some((read_to, _)) = records.last() else {
            return Ok(last);
        };
        at = *read_to;
        let states = records.iter().filter_map(|(_, record)| decoded(record));
        last = states.chain(last).max_by_key(order);
    }
}

/// What it comes after.
fn order(state: &DesiredState) -> (u64, u64) {
    (state.epoch, state.seq)
}

fn decoded(record: &[u8]) -> Option<DesiredState> {
    rmp_serde::from_slice(record)
        .inspect_err(|error| tracing::warn!(%error, "a desired state cannot be read"))
        .ok()
}

/// The newest desired state, followed over the store; the last one stays while the store is away.
pub struct Follower {
    newest: watch::Receiver<Option<Arc<DesiredState>>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Begins to follow. Needs a tokio runtime.
    #[must_use]
    pub fn start(log: Arc<dyn Log>) -> Self {
        let (sender, newest) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut after = Position::START;
            loop {
                if let Err(error) = read(&log, &mut after, &sender).await {
                    tracing::debug!(%error, "the desired state cannot be read");
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        Self { newest, task }
    }

    /// A reader that is told of every newer state.
    #[must_use]
    pub fn reader(&self) -> watch::Receiver<Option<Arc<DesiredState>>> {
        self.newest.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(
    log: &Arc<dyn Log>,
    after: &mut Position,
    newest: &watch::Sender<Option<Arc<DesiredState>>>,
) -> Result<(), StoreError> {
    // A store that lost its data and came back empty begins anew.
    if log.tail(STREAM).await? < *after {
        *after = Position::START;
    }
    loop {
        let records = log.read(STREAM, *after, KEPT as usize).await?;
        let Some((last, _)) = records.last() else {
            return Ok(());
        };
        *after = *last;
        for state in records.iter().filter_map(|(_, record)| decoded(record)) {
            take(state, newest);
        }
    }
}

/// Keeps the newer of two states: a store that came back empty may have been given an old one.
fn take(state: DesiredState, newest: &watch::Sender<Option<Arc<DesiredState>>>) {
    newest.send_if_modified(|held| {
        let is_newer = held.as_ref().is_none_or(|held| order(&state) > order(held));
        if is_newer {
            *held = Some(Arc::new(state));
        }
        is_newer
    });
}

#[cfg(test)]
mod tests {
    use tidepool_store::EmbeddedStore;

    use super::*;

    fn state(epoch: u64, seq: u64, n: u32) -> DesiredState {
        let orders = Orders::from([(PoolName::new("echo").unwrap(), n)]);
        DesiredState {
            epoch,
            seq,
            nodes: BTreeMap::from([(NodeId::new("a").unwrap(), orders)]),
            drained: BTreeSet::new(),
        }
    }

    fn on(n: Option<Arc<DesiredState>>) -> u32 {
        let pools = ["echo", "grammar"].map(|name| PoolName::new(name).unwrap());
        let node = NodeId::new("a").unwrap();
        let targets = n.unwrap().targets_of(&node, &pools).unwrap();
        assert_eq!(targets[1].n, 0, "a pool that is not named has no worker");
        targets[0].n
    }

    #[tokio::test]
    async fn nodes_follow_the_newest_epoch_and_an_old_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
        publish(&log, &state(1, 1, 2)).await.unwrap();
        let follower = Follower::start(Arc::clone(&log));
        let mut reader = follower.reader();
        reader.wait_for(Option::is_some).await.unwrap();
        assert_eq!(on(reader.borrow().clone()), 2);

        publish(&log, &state(2, 1, 5)).await.unwrap();
        fence(&log, 2).await.unwrap();
        assert!(fence(&log, 1).await.is_err());
        let refused = publish(&log, &state(1, 9, 1)).await;
        assert!(
            matches!(refused, Err(StoreError::Fenced { .. })),
            "{refused:?}"
        );
        reader
            .wait_for(|s| s.as_ref().is_some_and(|s| s.epoch == 2))
            .await
            .unwrap();
        assert_eq!(on(reader.borrow().clone()), 5);
    }

    #[tokio::test]
    async fn who_shuts_out_others_learns_what_they_wanted_last() {
        let log: Arc<dyn Log> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        assert_eq!(fence(&log, 1).await.unwrap(), None);
        for (epoch, seq) in [(1, 1), (2, 7), (2, 8)] {
            publish(&log, &state(epoch, seq, 2)).await.unwrap();
        }
        // What nobody can read is no reason to forget what was wanted before.
        let broken = vec![Bytes::from_static(b"?")];
        log.append(STREAM, Epoch(2), broken).await.unwrap();
        let last = fence(&log, 3).await.unwrap();
        assert_eq!(last.as_ref().map(order), Some((2, 8)));
    }

    #[tokio::test]
    async fn old_states_are_trimmed_and_unknown_nodes_have_no_target() {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
        for seq in 0..40 {
            publish(&log, &state(1, seq, 2)).await.unwrap();
        }
        let kept = log.read(STREAM, Position::START, 100).await.unwrap();
        assert_eq!(kept.len() as u64, KEPT);
        let other = NodeId::new("b").unwrap();
        assert_eq!(state(1, 1, 1).targets_of(&other, &[]), None);
    }
}
