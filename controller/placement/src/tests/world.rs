//! An imaginary cluster whose nodes do what they are told, sooner or later.

use tidepool_core::{NodeId, PoolName};

use crate::{Desired, Inventory, Limits, Node, NodeState, Targets, place};

pub(crate) fn pool(p: usize) -> PoolName {
    PoolName::new(&format!("p{p:02}")).unwrap()
}

pub(crate) fn node(n: usize) -> NodeId {
    NodeId::new(&format!("n{n:02}")).unwrap()
}

pub(crate) fn targets(counts: &[u32]) -> Targets {
    counts
        .iter()
        .enumerate()
        .map(|(p, n)| (pool(p), *n))
        .collect()
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) inventory: Inventory,
    pub(crate) targets: Targets,
    pub(crate) desired: Desired,
    pub(crate) limits: Limits,
}

impl World {
    pub(crate) fn new(capacities: &[u32], counts: &[u32]) -> Self {
        let mut inventory = Inventory::default();
        for (n, capacity) in capacities.iter().enumerate() {
            inventory.nodes.insert(node(n), Node::ready(*capacity));
        }
        Self {
            inventory,
            targets: targets(counts),
            desired: Desired::default(),
            limits: Limits { moves_max: 4 },
        }
    }

    pub(crate) fn set_state(&mut self, n: usize, state: NodeState) {
        if let Some(node) = self.inventory.nodes.get_mut(&node(n)) {
            node.state = state;
        }
    }

    pub(crate) fn decide(&mut self) {
        self.desired = place(&self.inventory, &self.targets, &self.desired, &self.limits);
    }

    /// Nodes that `hears` do what they are told; the others go on as before.
    pub(crate) fn obey(&mut self, hears: impl Fn(usize) -> bool) {
        for (n, (name, node)) in self.inventory.nodes.iter_mut().enumerate() {
            let is_there = matches!(node.state, NodeState::Ready | NodeState::Draining);
            if is_there && hears(n) {
                node.running = self.desired.nodes.get(name).cloned().unwrap_or_default();
            }
        }
    }

    /// Decides and obeys until nothing changes; how often that was.
    pub(crate) fn settle(&mut self) -> usize {
        for round in 0..2_000 {
            let before = self.desired.clone();
            self.decide();
            self.obey(|_| true);
            let waits = self.desired.moves.iter().all(|shift| {
                // A move to a silent node waits for its word.
                self.inventory.nodes[&shift.to].state == NodeState::Silent
            });
            if before == self.desired && waits {
                return round;
            }
        }
        panic!("never settles: {:?}", self.desired);
    }

    pub(crate) fn load(&self, n: usize) -> u32 {
        self.desired
            .nodes
            .get(&node(n))
            .map_or(0, |pools| pools.values().sum())
    }

    pub(crate) fn workers(&self, p: usize, n: usize) -> u32 {
        let pools = self.desired.nodes.get(&node(n));
        pools
            .and_then(|pools| pools.get(&pool(p)))
            .copied()
            .unwrap_or(0)
    }

    /// Workers of a pool that run.
    pub(crate) fn running(&self, p: usize) -> u32 {
        let nodes = self.inventory.nodes.values();
        nodes.filter_map(|node| node.running.get(&pool(p))).sum()
    }

    pub(crate) fn room(&self, n: usize) -> u32 {
        let node = &self.inventory.nodes[&node(n)];
        let is_ready = node.state == NodeState::Ready;
        if is_ready {
            node.capacity.saturating_sub(self.load(n))
        } else {
            0
        }
    }
}
