//! What nodes should run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidepool_core::{NodeId, PoolName};

/// Bounds of what one answer may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Moves on the way at any time, of all pools together. Zero forbids moves, and with them drains.
    pub moves_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { moves_max: 16 }
    }
}

/// A worker on its way to another node: it is wanted on both until the new one runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Move {
    /// Its pool.
    pub pool: PoolName,
    /// Who gives it up.
    pub from: NodeId,
    /// Who starts it.
    pub to: NodeId,
}

/// What every node should run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// Workers of each pool on each node; a node of the inventory without workers is named too.
    pub nodes: BTreeMap<NodeId, BTreeMap<PoolName, u32>>,
    /// Draining nodes that have nothing left to do: nothing is wanted there, and no worker is left.
    pub drained: BTreeSet<NodeId>,
    /// Workers that are wanted twice for the time of a move.
    pub moves: Vec<Move>,
    /// Workers without a lasting place, for each pool that has such.
    pub unplaced: BTreeMap<PoolName, u32>,
}

impl Desired {
    /// Workers of `pool` on all nodes, those of moves twice.
    #[must_use]
    pub fn total(&self, pool: &PoolName) -> u32 {
        self.nodes
            .values()
            .filter_map(|pools| pools.get(pool))
            .fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Moves of `pool` on the way.
    #[must_use]
    pub fn moving(&self, pool: &PoolName) -> u32 {
        let count = self.moves.iter().filter(|m| m.pool == *pool).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
