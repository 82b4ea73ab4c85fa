//! How many nodes the workers need.
//!
//! Up at once when workers do not fit, with nodes that are still starting counted for as long as a
//! start takes; down one at a time, when fewer would have been enough for a while, by draining the node
//! with fewest workers first. A start that fails or is overdue waits longer each time. Stale or missing
//! data never lowers the number.

use std::collections::BTreeSet;

use tidepool_core::NodeId;

use crate::inventory::{Node, NodeState};
use crate::nodes::{
    Demand, Fleet, NodeBlock, NodeDecision, NodeMemory, NodePolicy, NodeReason, Release, Removal,
};

/// A node that is being emptied and that nobody hears of is given up after so long: it may be cut off,
/// and serve what it was not told to give up.
const UNHEARD_MS: u64 = 300_000;

/// Says how many nodes a provisioner should hold.
///
/// `now_ms` is a wall time that does not go back, in milliseconds since the Unix epoch.
#[must_use]
pub fn nodes_wanted(
    policy: &NodePolicy,
    mut memory: NodeMemory,
    demand: &Demand<'_>,
    now_ms: u64,
) -> (NodeDecision, NodeMemory) {
    let count = Count::of(policy, &memory, demand);
    if demand.is_stale {
        memory.fewer_since_ms = None;
        let decision = count.hold(&memory, NodeReason::Blocked, Some(NodeBlock::Stale));
        return (decision, memory);
    }
    memory.learn(policy, demand, now_ms);
    let count = Count::of(policy, &memory, demand);
    let decision = raise(policy, &mut memory, demand, &count, now_ms)
        .unwrap_or_else(|| lower(policy, &mut memory, demand, &count, now_ms));
    (decision, memory)
}

impl NodeMemory {
    fn learn(&mut self, policy: &NodePolicy, demand: &Demand<'_>, now_ms: u64) {
        let joined = joined(demand);
        if joined > self.joined {
            self.failures = 0;
            self.retry_at_ms = None;
        }
        let starting = demand.fleet.existing.saturating_sub(joined);
        if starting > self.starting || starting == 0 {
            self.starting_since_ms = now_ms;
        }
        self.overdue = self.overdue.min(starting);
        if starting > 0 && now_ms.saturating_sub(self.starting_since_ms) >= policy.startup_ms {
            self.overdue = starting;
            self.starting_since_ms = now_ms;
            self.fail(policy, now_ms);
        }
        let failed = demand.fleet.failed_starts;
        if self.failed_starts.is_some_and(|before| failed > before) {
            self.fail(policy, now_ms);
        }
        self.failed_starts = Some(failed);
        (self.joined, self.starting) = (joined, starting);
        self.forget_gone(demand);
    }

    fn fail(&mut self, policy: &NodePolicy, now_ms: u64) {
        let doublings = self.failures.min(32);
        let wait_ms = policy.backoff_ms.saturating_mul(1 << doublings);
        self.failures = self.failures.saturating_add(1);
        self.retry_at_ms = Some(now_ms.saturating_add(wait_ms.min(policy.backoff_max_ms)));
    }

    /// A node on its way out that nobody sees any more is out.
    fn forget_gone(&mut self, demand: &Demand<'_>) {
        let is_gone = |node: &NodeId| {
            !demand.inventory.nodes.contains_key(node) && !demand.fleet.names.contains(node)
        };
        self.draining = self.draining.take().filter(|node| !is_gone(node));
        self.release = self
            .release
            .take()
            .filter(|release| !is_gone(&release.node));
    }
}

/// Nodes of the provisioner that have reported.
fn joined(demand: &Demand<'_>) -> u32 {
    let Demand {
        inventory, fleet, ..
    } = demand;
    let is_its = |name: &NodeId| fleet.names.is_empty() || fleet.names.contains(name);
    let count = inventory.nodes.keys().filter(|name| is_its(name)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The numbers of one decision.
#[derive(Debug)]
struct Count {
    existing: u32,
    /// Nodes that will be left once the one being stopped is gone.
    live: u32,
    workers: u32,
    unplaced: u32,
    /// Workers for which there should be room.
    need: u32,
    /// Workers for which ready and silent nodes have room.
    usable: u32,
    /// Workers for which starting nodes will have room.
    coming: u32,
    node_capacity: u32,
}

impl Count {
    fn of(policy: &NodePolicy, memory: &NodeMemory, demand: &Demand<'_>) -> Self {
        let nodes = &demand.inventory.nodes;
        let capacity =
            |is: fn(&Node) -> bool| total(nodes.values().filter(|n| is(n)).map(|n| n.capacity));
        let ready = capacity(|node| node.state == NodeState::Ready);
        let silent = capacity(|node| node.state == NodeState::Silent);
        let seen = nodes.values().map(|node| node.capacity).max().unwrap_or(0);
        let node_capacity = match (policy.node_capacity, seen) {
            (0, 0) => u32::MAX,
            (0, seen) => seen,
            (set, _) => set,
        };
        let workers = total(demand.targets.values().copied());
        let unplaced = total(demand.desired.unplaced.values().copied());
        let crowd = if unplaced > 0 {
            ready.saturating_add(unplaced)
        } else {
            0
        };
        let existing = demand.fleet.existing;
        // One node goes at a time: what was to be left does not count when others came since.
        let live = memory.release.as_ref().map_or(existing, |release| {
            release.count.clamp(existing.saturating_sub(1), existing)
        });
        Self {
            existing,
            live,
            workers,
            unplaced,
            need: workers.max(crowd).saturating_add(policy.headroom_workers),
            usable: ready.saturating_add(silent),
            coming: (memory.starting.saturating_sub(memory.overdue)).saturating_mul(node_capacity),
            node_capacity,
        }
    }

    fn hold(
        &self,
        memory: &NodeMemory,
        reason: NodeReason,
        block: Option<NodeBlock>,
    ) -> NodeDecision {
        self.decide(memory, self.live, self.live, reason, block)
    }

    fn decide(
        &self,
        memory: &NodeMemory,
        to: u32,
        wanted: u32,
        reason: NodeReason,
        blocked_by: Option<NodeBlock>,
    ) -> NodeDecision {
        let released = memory.release.iter().map(|release| release.node.clone());
        let release: BTreeSet<_> = released.collect();
        NodeDecision {
            from: self.existing,
            to,
            drain: memory
                .draining
                .iter()
                .cloned()
                .chain(release.iter().cloned())
                .collect(),
            release,
            reason,
            blocked_by,
            wanted,
            workers: self.workers,
            capacity: self.usable,
            unplaced: self.unplaced,
            retry_at_ms: memory.retry_at_ms,
        }
    }
}

fn total(counts: impl Iterator<Item = u32>) -> u32 {
    counts.fold(0, u32::saturating_add)
}

/// More nodes, if there is a need.
fn raise(
    policy: &NodePolicy,
    memory: &mut NodeMemory,
    demand: &Demand<'_>,
    count: &Count,
    now_ms: u64,
) -> Option<NodeDecision> {
    let missing = count
        .need
        .saturating_sub(count.usable.saturating_add(count.coming));
    if missing == 0 && count.live >= policy.nodes_min {
        return None;
    }
    memory.fewer_since_ms = None;
    if let Some(decision) = recall(memory, demand, count, missing) {
        return Some(decision);
    }
    let more = missing.div_ceil(count.node_capacity.max(1));
    let wanted = count.live.saturating_add(more).max(policy.nodes_min);
    if memory.retry_at_ms.is_some_and(|at_ms| at_ms > now_ms) {
        let block = Some(NodeBlock::Backoff);
        return Some(count.decide(memory, count.live, wanted, NodeReason::Blocked, block));
    }
    let to = wanted.min(policy.nodes_max).max(count.live);
    let block = (to < wanted).then_some(NodeBlock::Max);
    let reason = match block {
        Some(_) if to == count.live => NodeReason::Maximum,
        _ if missing == 0 => NodeReason::Minimum,
        _ => NodeReason::Need,
    };
    Some(count.decide(memory, to, wanted, reason, block))
}

/// The cheapest node to get is the one that was about to go.
fn recall(
    memory: &mut NodeMemory,
    demand: &Demand<'_>,
    count: &Count,
    missing: u32,
) -> Option<NodeDecision> {
    let is_alive = |node: &NodeId| {
        demand
            .inventory
            .nodes
            .get(node)
            .is_some_and(|node| node.state == NodeState::Draining)
    };
    if missing == 0 || !memory.draining.as_ref().is_some_and(is_alive) {
        return None;
    }
    memory.draining = None;
    Some(count.hold(memory, NodeReason::Recalled, None))
}

/// Fewer nodes, if that has been enough for long, or as many as before.
fn lower(
    policy: &NodePolicy,
    memory: &mut NodeMemory,
    demand: &Demand<'_>,
    count: &Count,
    now_ms: u64,
) -> NodeDecision {
    if memory.release.is_some() {
        return count.hold(memory, NodeReason::Released, None);
    }
    if let Some(node) = memory.draining.clone() {
        return go_on_draining(policy, memory, demand, count, (node, now_ms));
    }
    let is_over = count.live > policy.nodes_max;
    let idler = idler(policy, memory, demand, count);
    let Some(node) = idler
        .clone()
        .or_else(|| candidate(policy, demand, count, is_over))
    else {
        memory.fewer_since_ms = None;
        return count.hold(memory, steady(memory, count), None);
    };
    let doubtful = |node: &Node| node.state == NodeState::Silent;
    // Who should have joined long ago is not waited for.
    let is_starting = memory.starting > memory.overdue;
    if is_starting || demand.inventory.nodes.values().any(doubtful) {
        memory.fewer_since_ms = None;
        let (reason, block) = if is_starting {
            (NodeReason::Starting, None)
        } else {
            (NodeReason::Blocked, Some(NodeBlock::Silence))
        };
        return count.hold(memory, reason, block);
    }
    let since_ms = *memory.fewer_since_ms.get_or_insert(now_ms);
    if !is_over && now_ms.saturating_sub(since_ms) < policy.idle_ms {
        let wanted = count.live.saturating_sub(1);
        let block = Some(NodeBlock::Cooldown);
        return count.decide(memory, count.live, wanted, NodeReason::Blocked, block);
    }
    memory.fewer_since_ms = None;
    if idler.is_some() {
        return release(policy, memory, count, node);
    }
    (memory.draining, memory.unheard_since_ms) = (Some(node), None);
    let reason = if is_over {
        NodeReason::Maximum
    } else {
        NodeReason::Idle
    };
    count.decide(
        memory,
        count.live,
        count.live.saturating_sub(1),
        reason,
        None,
    )
}

fn steady(memory: &NodeMemory, count: &Count) -> NodeReason {
    let is_waiting = memory.starting > memory.overdue && count.need > count.usable;
    if is_waiting {
        NodeReason::Starting
    } else {
        NodeReason::Steady
    }
}

fn go_on_draining(
    policy: &NodePolicy,
    memory: &mut NodeMemory,
    demand: &Demand<'_>,
    count: &Count,
    (node, now_ms): (NodeId, u64),
) -> NodeDecision {
    let is_empty = demand.desired.drained.contains(&node);
    let is_unheard = !demand.inventory.nodes.contains_key(&node);
    if !is_unheard {
        memory.unheard_since_ms = None;
    }
    let since_ms = is_unheard.then(|| *memory.unheard_since_ms.get_or_insert(now_ms));
    let is_lost = since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= UNHEARD_MS);
    let wanted = count.live.saturating_sub(1);
    if is_empty || is_lost {
        return release(policy, memory, count, node);
    }
    count.decide(memory, count.live, wanted, NodeReason::Idle, None)
}

/// Gives up a node that has nothing to do.
fn release(
    policy: &NodePolicy,
    memory: &mut NodeMemory,
    count: &Count,
    node: NodeId,
) -> NodeDecision {
    let wanted = count.live.saturating_sub(1);
    let to = wanted.max(policy.nodes_min);
    (memory.draining, memory.unheard_since_ms) = (None, None);
    memory.release = Some(Release { node, count: to });
    count.decide(memory, to, wanted, NodeReason::Released, None)
}

/// A node that should have joined long ago and has not: it can go without being emptied, as far as it is
/// known by name.
fn idler(
    policy: &NodePolicy,
    memory: &NodeMemory,
    demand: &Demand<'_>,
    count: &Count,
) -> Option<NodeId> {
    if memory.overdue == 0 || memory.starting > memory.overdue || count.live <= policy.nodes_min {
        return None;
    }
    let names = demand.fleet.names.iter();
    let mut absent = names.filter(|name| !demand.inventory.nodes.contains_key(*name));
    absent
        .rfind(|name| is_removable(demand.fleet, name))
        .cloned()
}

fn is_removable(fleet: &Fleet, name: &NodeId) -> bool {
    match &fleet.removal {
        Removal::Any => fleet.names.is_empty() || fleet.names.contains(name),
        Removal::Only(only) => only.contains(name),
    }
}

/// The node to give up: one that drains already, then the one with fewest workers, then the smallest,
/// then the last by name; only if the others suffice, unless there are too many nodes.
fn candidate(
    policy: &NodePolicy,
    demand: &Demand<'_>,
    count: &Count,
    is_over: bool,
) -> Option<NodeId> {
    if count.live <= policy.nodes_min {
        return None;
    }
    let suffices = |node: &Node| {
        let lost = if node.state == NodeState::Draining {
            0
        } else {
            node.capacity
        };
        is_over || (count.unplaced == 0 && count.usable.saturating_sub(lost) >= count.need)
    };
    demand
        .inventory
        .nodes
        .iter()
        .filter(|(name, node)| is_removable(demand.fleet, name) && suffices(node))
        .min_by_key(|(name, node)| {
            let stays = node.state != NodeState::Draining;
            (
                stays,
                node.workers(),
                node.capacity,
                std::cmp::Reverse((*name).clone()),
            )
        })
        .map(|(name, _)| name.clone())
}
