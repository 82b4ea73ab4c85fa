//! Pools and nodes as a dense table, so that a thousand pools on a hundred nodes take milliseconds.
//!
//! All bookkeeping is here: a step changes a cell with [`Table::add`], [`Table::remove`],
//! [`Table::begin_move`] or [`Table::end_move`], and sums stay right.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use tidepool_core::{NodeId, PoolName};

use crate::desired::{Desired, Move};
use crate::inventory::{Inventory, NodeState, Targets};

/// Workers of one pool on one node that a report is believed for.
const CELL_MAX: u32 = 10_000;

/// A move by indices: pool, from, to.
pub(crate) type Shift = (usize, usize, usize);

/// A part of a whole, compared without rounding. A whole of zero counts as full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(pub(crate) u32, pub(crate) u32);

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.1, other.1) {
            (0, 0) => self.0.cmp(&other.0),
            (0, _) => Ordering::Greater,
            (_, 0) => Ordering::Less,
            _ => (u64::from(self.0) * u64::from(other.1))
                .cmp(&(u64::from(other.0) * u64::from(self.1))),
        }
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Share {}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) pools: Vec<PoolName>,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) state: Vec<NodeState>,
    pub(crate) capacity: Vec<u32>,
    /// Workers that each node has, in whatever state.
    present: Vec<u32>,
    /// Workers that each pool should have.
    pub(crate) target: Vec<u32>,
    pub(crate) moves: Vec<Shift>,
    running: Vec<u32>,
    want: Vec<u32>,
    /// Workers of a cell that are leaving, and that are arriving, by a move.
    leaving: Vec<u32>,
    arriving: Vec<u32>,
    /// Of each node: workers wanted, and those of them that are leaving.
    load: Vec<u32>,
    node_leaving: Vec<u32>,
    /// Of each pool: workers wanted, and moves on the way.
    sum: Vec<u32>,
    moving: Vec<u32>,
    /// Capacity of the nodes that a pool is spread over, and their number.
    spread_capacity: u64,
    spread_nodes: usize,
}

impl Table {
    pub(crate) fn new(inventory: &Inventory, targets: &Targets, previous: &Desired) -> Self {
        let pools = names(inventory, targets, previous);
        let (p, n) = (pools.len(), inventory.nodes.len());
        let spread = || {
            inventory
                .nodes
                .values()
                .filter(|node| is_lasting(node.state))
        };
        let mut table = Self {
            nodes: inventory.nodes.keys().cloned().collect(),
            state: inventory.nodes.values().map(|node| node.state).collect(),
            capacity: inventory.nodes.values().map(|node| node.capacity).collect(),
            present: inventory.nodes.values().map(|node| node.present).collect(),
            target: pools
                .iter()
                .map(|pool| match targets.get(pool) {
                    Some(target) => *target,
                    None => kept(inventory, previous, pool),
                })
                .collect(),
            moves: Vec::new(),
            running: vec![0; p * n],
            want: vec![0; p * n],
            leaving: vec![0; p * n],
            arriving: vec![0; p * n],
            load: vec![0; n],
            node_leaving: vec![0; n],
            sum: vec![0; p],
            moving: vec![0; p],
            spread_capacity: spread().map(|node| u64::from(node.capacity)).sum(),
            spread_nodes: spread().filter(|node| node.capacity > 0).count(),
            pools,
        };
        table.fill(inventory, previous);
        table
    }

    fn fill(&mut self, inventory: &Inventory, previous: &Desired) {
        let pools = self.pools.clone();
        let index: HashMap<&PoolName, usize> = pools.iter().zip(0..).collect();
        for (n, (name, node)) in inventory.nodes.iter().enumerate() {
            for (pool, count) in &node.running {
                let cell = self.cell(index[pool], n);
                self.running[cell] = *count;
            }
            for (pool, count) in previous.nodes.get(name).unwrap_or(&node.running) {
                self.add(index[pool], n, (*count).min(CELL_MAX));
            }
        }
    }

    fn cell(&self, p: usize, n: usize) -> usize {
        p * self.nodes.len() + n
    }

    pub(crate) fn want(&self, p: usize, n: usize) -> u32 {
        self.want[self.cell(p, n)]
    }

    /// Workers of a cell once all moves have ended.
    pub(crate) fn settled(&self, p: usize, n: usize) -> u32 {
        let cell = self.cell(p, n);
        self.want[cell] - self.leaving[cell]
    }

    /// Workers of a cell that no move concerns.
    pub(crate) fn unmoved(&self, p: usize, n: usize) -> u32 {
        self.settled(p, n) - self.arriving[self.cell(p, n)]
    }

    /// Workers of a cell that have not reported yet, those that arrive by a move included.
    pub(crate) fn starting(&self, p: usize, n: usize) -> u32 {
        let cell = self.cell(p, n);
        self.want[cell].saturating_sub(self.running[cell])
    }

    pub(crate) fn arriving(&self, p: usize, n: usize) -> u32 {
        self.arriving[self.cell(p, n)]
    }

    /// Workers of a node once all moves have ended.
    pub(crate) fn settled_load(&self, n: usize) -> u32 {
        self.load[n] - self.node_leaving[n]
    }

    /// Workers of a pool, those of moves once.
    pub(crate) fn steady(&self, p: usize) -> u32 {
        self.sum[p] - self.moving[p]
    }

    pub(crate) fn has_room(&self, n: usize) -> bool {
        self.state[n] == NodeState::Ready && self.load[n] < self.capacity[n]
    }

    /// Workers that ready nodes can still take.
    pub(crate) fn room(&self) -> u64 {
        (0..self.nodes.len())
            .filter(|n| self.state[*n] == NodeState::Ready)
            .map(|n| u64::from(self.capacity[n].saturating_sub(self.load[n])))
            .sum()
    }

    /// Workers of a pool that a node should have at most: its share by capacity, rounded up, and never
    /// all of them where there are two nodes.
    pub(crate) fn fair(&self, p: usize, n: usize) -> u32 {
        let target = self.target[p];
        if self.spread_capacity == 0 {
            return target;
        }
        let share =
            (u64::from(target) * u64::from(self.capacity[n])).div_ceil(self.spread_capacity);
        let apart = if self.spread_nodes > 1 {
            target.saturating_sub(1)
        } else {
            target
        };
        u32::try_from(share).unwrap_or(u32::MAX).min(apart).max(1)
    }

    pub(crate) fn add(&mut self, p: usize, n: usize, count: u32) {
        let cell = self.cell(p, n);
        self.want[cell] += count;
        self.load[n] += count;
        self.sum[p] += count;
    }

    pub(crate) fn remove(&mut self, p: usize, n: usize) {
        let cell = self.cell(p, n);
        self.want[cell] -= 1;
        self.load[n] -= 1;
        self.sum[p] -= 1;
    }

    /// Notes a move whose worker is wanted on both nodes already.
    pub(crate) fn begin_move(&mut self, (p, from, to): Shift) {
        let (source, destination) = (self.cell(p, from), self.cell(p, to));
        self.leaving[source] += 1;
        self.node_leaving[from] += 1;
        self.arriving[destination] += 1;
        self.moving[p] += 1;
        self.moves.push((p, from, to));
    }

    /// Forgets the move at `at`; who keeps the worker is for the caller to say with [`Self::remove`].
    pub(crate) fn end_move(&mut self, at: usize) -> Shift {
        let (p, from, to) = self.moves.remove(at);
        let (source, destination) = (self.cell(p, from), self.cell(p, to));
        self.leaving[source] -= 1;
        self.node_leaving[from] -= 1;
        self.arriving[destination] -= 1;
        self.moving[p] -= 1;
        (p, from, to)
    }

    pub(crate) fn into_desired(self) -> Desired {
        let (pools, nodes) = (self.pools.len(), self.nodes.len());
        let workers = |n: usize| -> BTreeMap<PoolName, u32> {
            (0..pools)
                .filter(|p| self.want(*p, n) > 0)
                .map(|p| (self.pools[p].clone(), self.want(p, n)))
                .collect()
        };
        let is_drained = |n: &usize| {
            self.state[*n] == NodeState::Draining && self.load[*n] == 0 && self.present[*n] == 0
        };
        Desired {
            nodes: (0..nodes)
                .map(|n| (self.nodes[n].clone(), workers(n)))
                .collect(),
            drained: (0..nodes)
                .filter(is_drained)
                .map(|n| self.nodes[n].clone())
                .collect(),
            moves: self.moves.iter().map(|shift| self.named(*shift)).collect(),
            unplaced: self.unplaced(),
        }
    }

    fn named(&self, (p, from, to): Shift) -> Move {
        Move {
            pool: self.pools[p].clone(),
            from: self.nodes[from].clone(),
            to: self.nodes[to].clone(),
        }
    }

    /// What nobody runs, and what runs on a draining node without room elsewhere.
    fn unplaced(&self) -> BTreeMap<PoolName, u32> {
        let mut room = self.room();
        let draining: Vec<_> = (0..self.nodes.len())
            .filter(|n| self.state[*n] == NodeState::Draining)
            .collect();
        let mut unplaced = BTreeMap::new();
        for p in 0..self.pools.len() {
            let missing = self.target[p].saturating_sub(self.steady(p));
            let leaving: u32 = draining.iter().map(|n| self.settled(p, *n)).sum();
            let stranded = u64::from(leaving).saturating_sub(room);
            room = room.saturating_sub(u64::from(leaving));
            let count = missing + u32::try_from(stranded).unwrap_or(u32::MAX);
            if count > 0 {
                unplaced.insert(self.pools[p].clone(), count);
            }
        }
        unplaced
    }
}

/// Whether a node is there to stay as far as anybody knows.
fn is_lasting(state: NodeState) -> bool {
    matches!(state, NodeState::Ready | NodeState::Silent)
}

/// All pools that anybody names.
fn names(inventory: &Inventory, targets: &Targets, previous: &Desired) -> Vec<PoolName> {
    let wanted = previous.nodes.values().flat_map(BTreeMap::keys);
    let running = inventory
        .nodes
        .values()
        .flat_map(|node| node.running.keys());
    let moving = previous.moves.iter().map(|shift| &shift.pool);
    let all: HashSet<&PoolName> = targets
        .keys()
        .chain(wanted)
        .chain(running)
        .chain(moving)
        .collect();
    let mut names: Vec<_> = all.into_iter().cloned().collect();
    names.sort_unstable();
    names
}

/// The number of a pool that has no target: what it has.
fn kept(inventory: &Inventory, previous: &Desired, pool: &PoolName) -> u32 {
    let wanted = previous.total(pool).saturating_sub(previous.moving(pool));
    let adopted = inventory
        .nodes
        .iter()
        .filter(|(name, _)| !previous.nodes.contains_key(*name))
        .filter_map(|(_, node)| node.running.get(pool))
        .fold(0_u32, |sum, n| sum.saturating_add((*n).min(CELL_MAX)));
    wanted.saturating_add(adopted)
}
