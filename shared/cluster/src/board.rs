//! What the leading controller knows of the pools, so that every process can show it: one value in
//! the store, replaced every second by whoever has the newest epoch.
//!
//! Clocks of machines differ. How old a board is follows from when this process saw it appear, and
//! the times in it are moved to this process's clock by that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidepool_core::Timestamp;
use tidepool_core::status::{Hearsay, PoolStatus};
use tidepool_store::{Epoch, Kv, StoreError, VALUE_BYTES_MAX, Version};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where it is.
const KEY: &str = "control/board";
/// How long it stays without another one.
const TTL: Duration = Duration::from_secs(5);
/// How often a process looks for a newer one.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Most pools on it.
const POOLS_MAX: usize = 1_024;
/// Most nodes on it.
const NODES_MAX: usize = 1_024;

/// What the controller that leads says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Board {
    /// Its name.
    pub leader: String,
    /// Where it takes orders.
    #[serde(default)]
    pub operator_addr: String,
    /// Its fencing epoch.
    pub epoch: u64,
    /// Order within the epoch.
    pub seq: u64,
    /// When it said so, by its own clock.
    pub at: Timestamp,
    /// The pools, without what policies in shadow would want.
    #[serde(default)]
    pub pools: Vec<PoolStatus>,
    /// How many further pools there are, for which there was no room.
    #[serde(default)]
    pub left_off: usize,
    /// Where nodes take orders, by name.
    #[serde(default)]
    pub nodes: BTreeMap<String, String>,
}

impl Board {
    fn keep_pools(&mut self, most: usize) {
        self.left_off += self.pools.len().saturating_sub(most);
        self.pools.truncate(most);
    }

    /// What fits the store; the rest is left off.
    fn into_bytes(mut self) -> Option<Bytes> {
        self.keep_pools(POOLS_MAX);
        for pool in &mut self.pools {
            pool.shadows.clear();
        }
        while self.nodes.len() > NODES_MAX {
            self.nodes.pop_last();
        }
        loop {
            let bytes = rmp_serde::to_vec_named(&self).ok()?;
            if bytes.len() <= VALUE_BYTES_MAX || self.pools.is_empty() {
                return Some(Bytes::from(bytes));
            }
            self.keep_pools(self.pools.len() / 2);
        }
    }
}

/// Puts a board up in place of the last one.
///
/// # Errors
/// [`StoreError::Fenced`] when there is a newer controller: the caller no longer leads.
pub async fn post(kv: &dyn Kv, board: Board) -> Result<(), StoreError> {
    let epoch = Epoch(board.epoch);
    let bytes = board.into_bytes().ok_or(StoreError::Invalid {
        what: "a board",
        reason: "cannot be encoded",
    })?;
    kv.put_fenced(KEY, epoch, bytes, Some(TTL)).await.map(drop)
}

/// A board as this process saw it.
#[derive(Clone, Debug)]
pub struct Posted {
    board: Board,
    seen: Instant,
    /// How long it may have been there before it was seen.
    unseen: Duration,
}

impl Posted {
    /// What it says.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How old it is, at most.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.seen) + self.unseen
    }

    /// Whose word it is.
    #[must_use]
    pub fn told_by(&self, now: Instant) -> Hearsay {
        Hearsay {
            leader: self.board.leader.clone(),
            operator_addr: self.board.operator_addr.clone(),
            epoch: self.board.epoch,
            age_s: self.age(now).as_secs_f64(),
            pools_left_off: self.board.left_off,
        }
    }

    /// The pools, with the times of their decisions by this process's clock, which shows `clock`
    /// at `now`.
    #[must_use]
    pub fn pools(&self, now: Instant, clock: Timestamp) -> Vec<PoolStatus> {
        let age = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
        let here = |at_ms: u64| {
            let before = self.board.at.since(Timestamp(at_ms)).as_millis();
            let ago = u64::try_from(before).unwrap_or(u64::MAX);
            clock.0.saturating_sub(ago.saturating_add(age))
        };
        let mut pools = self.board.pools.clone();
        for decided in pools.iter_mut().filter_map(|pool| pool.decided.as_mut()) {
            decided.at_ms = here(decided.at_ms);
            decided.changed_at_ms = decided.changed_at_ms.map(here);
        }
        pools
    }
}

/// Follows the boards; the last one stays while the store, or whoever leads, is away.
pub struct Boards {
    newest: watch::Receiver<Option<Arc<Posted>>>,
    task: JoinHandle<()>,
}

impl Boards {
    /// Begins to follow. Needs a tokio runtime.
    #[must_use]
    pub fn follow(kv: Arc<dyn Kv>) -> Self {
        let (sender, newest) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut looked = Looked::default();
            loop {
                match kv.get(KEY).await {
                    Ok(value) => {
                        let value = value.map(|value| (value.bytes, value.version));
                        looked.take(value, Instant::now(), &sender);
                    }
                    Err(error) => tracing::debug!(%error, "the board cannot be seen"),
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        Self { newest, task }
    }

    /// The last one that was seen.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Posted>> {
        self.newest.borrow().clone()
    }
}

impl Drop for Boards {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the last look found, and when that was.
#[derive(Default)]
struct Looked {
    at: Option<Instant>,
    version: Option<Version>,
}

impl Looked {
    /// Takes in what a look at `now` found.
    fn take(
        &mut self,
        found: Option<(Bytes, Version)>,
        now: Instant,
        newest: &watch::Sender<Option<Arc<Posted>>>,
    ) {
        let before = self.at.replace(now);
        let Some((bytes, version)) = found else {
            return;
        };
        if self.version.replace(version) == Some(version) {
            return;
        }
        let board = match rmp_serde::from_slice::<Board>(&bytes) {
            Ok(board) => board,
            Err(error) => {
                tracing::warn!(%error, "a board cannot be read");
                return;
            }
        };
        let unseen = before.map_or(TTL, |before| now.saturating_duration_since(before).min(TTL));
        newest.send_if_modified(|held| {
            let is_newer = held
                .as_ref()
                .is_none_or(|held| (board.epoch, board.seq) > (held.board.epoch, held.board.seq));
            if is_newer {
                *held = Some(Arc::new(Posted {
                    board,
                    seen: now,
                    unseen,
                }));
            }
            is_newer
        });
    }
}

#[cfg(test)]
mod tests {
    use tidepool_core::PoolName;
    use tidepool_core::status::{Decided, Signals};
    use tidepool_store::EmbeddedStore;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pool(name: &str, decided_ms: u64) -> PoolStatus {
        PoolStatus {
            pool: PoolName::new(name).unwrap(),
            kinds: vec![name.to_owned()],
            policy: "tidepool".to_owned(),
            ready: 2,
            starting: 0,
            draining: 0,
            target: 2,
            min: 1,
            max: 4,
            score: Some(0.5),
            signals: Signals::default(),
            paused: false,
            pinned: None,
            override_until: None,
            hold_until: None,
            bounds_until: None,
            reason: None,
            cooldown_until: None,
            queued: 0,
            busy_slots: 0,
            slots: 8,
            metrics_age_s: Some(0.5),
            decided: Some(Decided {
                at_ms: decided_ms,
                changed_at_ms: Some(decided_ms - 1_000),
                need: Some(1.5),
                epoch: 7,
                blind: false,
            }),
            shadows: Vec::new(),
        }
    }

    fn board(epoch: u64, seq: u64) -> Board {
        Board {
            leader: "one".to_owned(),
            operator_addr: "h:1".to_owned(),
            epoch,
            seq,
            at: Timestamp(500_000),
            pools: vec![pool("echo", 499_600)],
            left_off: 0,
            nodes: BTreeMap::new(),
        }
    }

    fn written(board: &Board) -> Bytes {
        rmp_serde::to_vec_named(board).unwrap().into()
    }

    #[test]
    fn times_are_moved_to_the_clock_of_who_looks() {
        let (sender, newest) = watch::channel(None);
        let (start, mut looked) = (Instant::now(), Looked::default());
        looked.take(None, start, &sender);
        let seen = start + SECOND / 2;
        looked.take(Some((written(&board(7, 1)), Version(1))), seen, &sender);
        let posted = newest.borrow().clone().unwrap();
        let now = seen + SECOND;
        assert_eq!(posted.age(now), 3 * SECOND / 2);
        // An hour before the clock of the one who leads.
        let pools = posted.pools(now, Timestamp(1_000_000));
        let decided = pools[0].decided.as_ref().unwrap();
        assert_eq!(decided.at_ms, 1_000_000 - 1_500 - 400);
        assert_eq!(decided.changed_at_ms, Some(decided.at_ms - 1_000));
        assert!(posted.told_by(now).age_s > 1.4);
    }

    #[test]
    fn what_was_there_before_the_first_look_may_be_as_old_as_it_lives() {
        let (sender, newest) = watch::channel(None);
        let (start, mut looked) = (Instant::now(), Looked::default());
        let mut look = |seq, after: Duration| {
            let found = Some((written(&board(7, seq)), Version(seq)));
            looked.take(found, start + after, &sender);
            let posted = newest.borrow().clone().unwrap();
            (posted.board().seq, posted.age(start + after))
        };
        assert_eq!(look(3, Duration::ZERO), (3, TTL));
        assert_eq!(look(3, SECOND), (3, TTL + SECOND), "it is still the same");
        assert_eq!(look(4, 2 * SECOND), (4, SECOND));
        // The store was away for long.
        assert_eq!(look(5, 100 * SECOND), (5, TTL));
        // Of a store that was put back.
        assert_eq!(look(2, 101 * SECOND).0, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_leader_is_read_and_an_older_one_refused() {
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        post(&*kv, board(1, 9)).await.unwrap();
        post(&*kv, board(2, 1)).await.unwrap();
        let late = post(&*kv, board(1, 10)).await;
        assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
        let boards = Boards::follow(kv);
        let mut newest = boards.newest.clone();
        let seen = newest.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(seen.unwrap().board().epoch, 2);
    }

    #[tokio::test]
    async fn the_largest_board_fits_the_store() {
        let kv = EmbeddedStore::ephemeral().unwrap();
        let long = |n: usize| format!("{n:0>63}");
        let mut full = pool("echo", 499_000);
        full.reason = Some("\u{10ffff}".repeat(200));
        full.kinds = vec![long(1); 4];
        let board = Board {
            pools: vec![full; 2_000],
            nodes: (0..5_000)
                .map(|n| (long(n), format!("{}:65535", long(n))))
                .collect(),
            ..board(1, 1)
        };
        post(&kv, board).await.unwrap();
        let kept = kv.get(KEY).await.unwrap().unwrap();
        let kept: Board = rmp_serde::from_slice(&kept.bytes).unwrap();
        assert_eq!(kept.nodes.len(), NODES_MAX);
        assert!(kept.pools.len() >= POOLS_MAX / 4, "{}", kept.pools.len());
        assert_eq!(kept.pools.len() + kept.left_off, 2_000);
    }
}
