use proptest::prelude::*;

use super::world::{World, node};
use crate::{
    Demand, Fleet, Node, NodeBlock, NodeDecision, NodeMemory, NodePolicy, NodeReason, NodeState,
    Removal, nodes_wanted,
};

const SECOND: u64 = 1_000;

fn policy() -> NodePolicy {
    NodePolicy {
        nodes_max: 6,
        node_capacity: 4,
        idle_ms: 60 * SECOND,
        startup_ms: 30 * SECOND,
        ..NodePolicy::default()
    }
}

/// A cluster and the provisioner that holds its nodes.
struct Case {
    world: World,
    fleet: Fleet,
    policy: NodePolicy,
    memory: NodeMemory,
    now_ms: u64,
    is_stale: bool,
}

impl Case {
    fn new(nodes: usize, counts: &[u32]) -> Self {
        let world = World::new(&vec![4; nodes], counts);
        let fleet = Fleet {
            existing: u32::try_from(nodes).unwrap(),
            names: world.inventory.nodes.keys().cloned().collect(),
            ..Fleet::default()
        };
        Self {
            world,
            fleet,
            policy: policy(),
            memory: NodeMemory::default(),
            now_ms: 1,
            is_stale: false,
        }
    }

    /// A second passes, drains are obeyed, and it is decided again.
    fn tick(&mut self) -> NodeDecision {
        self.world.decide();
        self.world.obey(|_| true);
        let demand = Demand {
            inventory: &self.world.inventory,
            targets: &self.world.targets,
            desired: &self.world.desired,
            fleet: &self.fleet,
            is_stale: self.is_stale,
        };
        let (decision, memory) =
            nodes_wanted(&self.policy, self.memory.clone(), &demand, self.now_ms);
        self.memory = memory;
        self.now_ms += SECOND;
        for (name, node) in &mut self.world.inventory.nodes {
            if matches!(node.state, NodeState::Ready | NodeState::Draining) {
                let leaves = decision.drain.contains(name);
                node.state = if leaves {
                    NodeState::Draining
                } else {
                    NodeState::Ready
                };
            }
        }
        decision
    }

    fn ticks(&mut self, n: usize) -> NodeDecision {
        (1..n).for_each(|_| drop(self.tick()));
        self.tick()
    }

    fn join(&mut self, n: usize) {
        self.world.inventory.nodes.insert(node(n), Node::ready(4));
        self.fleet.names.insert(node(n));
    }
}

#[test]
fn what_does_not_fit_asks_for_as_many_nodes_as_hold_it_and_one_more_worker() {
    for (workers, nodes) in [
        (3, 1),
        (4, 2),
        (7, 2),
        (8, 3),
        (16, 5),
        (23, 6),
        (24, 6),
        (90, 6),
    ] {
        let mut case = Case::new(1, &[workers]);
        let decision = case.tick();
        assert_eq!(
            decision.to,
            nodes,
            "{workers} workers: {}",
            decision.sentence()
        );
    }
    let decision = Case::new(1, &[90]).tick();
    assert_eq!(
        (decision.blocked_by, decision.wanted),
        (Some(NodeBlock::Max), 23)
    );
    assert_eq!(
        decision.sentence(),
        "1 -> 6 nodes: 90 workers and room for 4; 23 would be needed, and this is the most there may be; \
         86 workers without a lasting place"
    );
}

#[test]
fn a_pending_start_is_not_asked_for_twice_and_an_overdue_one_is_replaced_after_a_wait() {
    let mut case = Case::new(1, &[6]);
    assert_eq!(case.tick().to, 2);
    case.fleet.existing = 2;
    let decision = case.ticks(29);
    assert_eq!((decision.to, decision.reason), (2, NodeReason::Starting));
    let decision = case.ticks(3);
    assert_eq!(
        (decision.to, decision.blocked_by, decision.wanted),
        (2, Some(NodeBlock::Backoff), 3)
    );
    assert_eq!(case.ticks(5).to, 3);
}

#[test]
fn a_larger_need_does_not_wait_for_a_pending_start() {
    let mut case = Case::new(1, &[6]);
    case.tick();
    case.fleet.existing = 2;
    case.world.targets = super::world::targets(&[9]);
    assert_eq!(case.tick().to, 3);
}

#[test]
fn failed_starts_wait_longer_each_time_and_a_node_that_joins_ends_that() {
    let mut case = Case::new(1, &[6]);
    case.tick();
    let mut waits = Vec::new();
    for _ in 0..3 {
        case.fleet.failed_starts += 1;
        let decision = case.tick();
        assert_eq!(decision.blocked_by, Some(NodeBlock::Backoff));
        waits.push((decision.retry_at_ms.unwrap() + SECOND - case.now_ms) / SECOND);
    }
    assert_eq!(waits, [5, 10, 20]);
    case.fleet.existing = 2;
    case.join(1);
    assert_eq!(case.tick().retry_at_ms, None);
}

#[test]
fn a_node_is_given_up_only_after_a_while_and_once_it_is_empty() {
    let mut case = Case::new(3, &[6]);
    let decision = case.ticks(60);
    assert_eq!(
        (decision.to, decision.blocked_by),
        (3, Some(NodeBlock::Cooldown))
    );
    let decision = case.tick();
    assert_eq!(
        (decision.to, decision.reason, decision.drain.len()),
        (3, NodeReason::Idle, 1)
    );
    let leaving = decision.drain.first().unwrap().clone();
    let released = (0..5)
        .map(|_| case.tick())
        .find(|d| d.reason == NodeReason::Released)
        .unwrap();
    assert_eq!(
        (released.to, released.release.contains(&leaving)),
        (2, true)
    );
    assert_eq!(
        released.sentence(),
        format!("3 -> 2 nodes: {leaving} is empty and is given up")
    );
    // Told again, the answer is the same until the node is gone, whatever the provisioner counts.
    assert_eq!(case.tick().to, 2);
    case.fleet.existing = 2;
    assert_eq!(case.tick().to, 2);
    case.fleet.names.remove(&leaving);
    case.world.inventory.nodes.remove(&leaving);
    let decision = case.tick();
    assert_eq!((decision.to, decision.reason), (2, NodeReason::Steady));
}

#[test]
fn a_node_whose_last_worker_still_ends_is_not_given_up() {
    let mut case = Case::new(3, &[2]);
    let leaving = case.ticks(61).drain.first().unwrap().clone();
    // Nothing is wanted there any more, and a worker is finishing its requests.
    let node_of = |case: &mut Case, present| {
        let node = case.world.inventory.nodes.get_mut(&leaving).unwrap();
        node.present = present;
    };
    node_of(&mut case, 1);
    let decision = case.ticks(30);
    assert_eq!((decision.to, decision.reason), (3, NodeReason::Idle));
    assert_eq!(case.world.desired.nodes[&leaving].len(), 0);
    node_of(&mut case, 0);
    assert_eq!(case.tick().release, [leaving.clone()].into());
}

#[test]
fn a_draining_node_that_nobody_hears_of_is_given_up_only_after_minutes() {
    let mut case = Case::new(3, &[2]);
    let leaving = case.ticks(61).drain.first().unwrap().clone();
    // It is cut off before it hears that it is to empty itself.
    let cut_off = case.world.inventory.nodes.remove(&leaving).unwrap();
    let decision = case.ticks(200);
    assert_eq!((decision.to, decision.release.len()), (3, 0));
    case.world.inventory.nodes.insert(
        leaving.clone(),
        Node {
            present: 1,
            ..cut_off
        },
    );
    case.tick();
    case.world.inventory.nodes.remove(&leaving);
    assert_eq!(case.ticks(300).release.len(), 0, "counted anew");
    let decision = case.tick();
    assert_eq!(
        (decision.to, decision.release),
        (2, [leaving.clone()].into())
    );
    // Who has ended needs no such wait.
    let mut case = Case::new(3, &[2]);
    let leaving = case.ticks(61).drain.first().unwrap().clone();
    case.world.inventory.nodes.remove(&leaving);
    case.fleet.names.remove(&leaving);
    case.fleet.existing = 2;
    let decision = case.tick();
    assert_eq!((decision.to, decision.drain.len()), (2, 0));
}

#[test]
fn a_node_that_never_joins_is_given_up_first_and_holds_up_no_other() {
    // Three that serve, of which two would do, and a fourth that stays pending.
    let mut case = Case::new(3, &[6]);
    case.fleet.existing = 4;
    let decision = case.ticks(30);
    assert_eq!((decision.to, decision.reason), (4, NodeReason::Starting));
    let decision = case.tick();
    assert_eq!(
        (decision.to, decision.blocked_by),
        (4, Some(NodeBlock::Cooldown))
    );
    // By name it can be given up, and has nothing that would have to move.
    case.fleet.names.insert(node(7));
    let decision = case.ticks(60);
    assert_eq!((decision.to, decision.release), (3, [node(7)].into()));
    case.fleet.existing = 3;
    case.fleet.names.remove(&node(7));
    let decision = case.ticks(61);
    assert_eq!(
        (decision.reason, decision.drain.len()),
        (NodeReason::Idle, 1)
    );
    // Without names it cannot be told which it is, but another one can go.
    let mut case = Case::new(3, &[6]);
    case.fleet.existing = 4;
    case.fleet.names.clear();
    assert_eq!(case.ticks(100).drain.len(), 1);
}

#[test]
fn the_node_with_fewest_workers_goes_among_those_that_may() {
    let mut case = Case::new(3, &[2]);
    assert!(case.ticks(61).drain.contains(&node(2)));
    let mut case = Case::new(3, &[2]);
    case.fleet.removal = Removal::Only([node(1)].into());
    assert!(case.ticks(61).drain.contains(&node(1)));
}

#[test]
fn a_draining_node_is_kept_when_it_is_needed_again() {
    let mut case = Case::new(2, &[2]);
    // One move at a time: the drain takes longer than a tick.
    case.world.limits.moves_max = 0;
    assert_eq!(case.ticks(61).reason, NodeReason::Idle);
    case.world.targets = super::world::targets(&[6]);
    let decision = case.tick();
    assert_eq!(
        (decision.reason, decision.to, decision.drain.len()),
        (NodeReason::Recalled, 2, 0)
    );
}

#[test]
fn nothing_changes_on_stale_data_and_silence_never_shrinks() {
    let mut case = Case::new(3, &[1]);
    case.is_stale = true;
    let decision = case.ticks(100);
    assert_eq!(
        (decision.to, decision.blocked_by),
        (3, Some(NodeBlock::Stale))
    );
    case.world.targets = super::world::targets(&[50]);
    assert_eq!(case.tick().to, 3);
    let mut case = Case::new(3, &[1]);
    case.world.set_state(0, NodeState::Silent);
    let decision = case.ticks(100);
    assert_eq!(
        (decision.to, decision.blocked_by),
        (3, Some(NodeBlock::Silence))
    );
}

#[test]
fn the_bounds_hold() {
    let mut case = Case::new(1, &[0]);
    case.policy.nodes_min = 2;
    let decision = case.tick();
    assert_eq!((decision.to, decision.reason), (2, NodeReason::Minimum));
    let mut case = Case::new(3, &[12]);
    case.policy.nodes_max = 2;
    let decision = case.tick();
    assert_eq!((decision.to, decision.reason), (3, NodeReason::Maximum));
}

proptest! {
    #[test]
    fn the_number_keeps_its_bounds_and_never_falls_on_doubt(
        nodes in 0..8_usize,
        steps in prop::collection::vec((prop::collection::vec(0..30_u32, 1..4), 0..9_usize, 0..3_usize, any::<bool>(), 0..9_u32, 0..40_000_u64), 1..30),
    ) {
        let mut case = Case::new(nodes, &[1]);
        for (counts, n, state, is_stale, existing, pause_ms) in steps {
            case.world.targets = super::world::targets(&counts);
            let state = [NodeState::Ready, NodeState::Draining, NodeState::Silent][state];
            case.world.set_state(n, state);
            case.fleet.existing = existing;
            case.is_stale = is_stale;
            case.now_ms += pause_ms;
            let decision = case.tick();
            prop_assert!(decision.to <= existing.max(case.policy.nodes_max), "{decision:?}");
            prop_assert!(decision.to >= existing.saturating_sub(1), "{decision:?}");
            prop_assert!(!is_stale || decision.to <= existing);
            let gone = decision.release.len();
            prop_assert!(decision.to >= existing || gone == 1, "{decision:?}");
            prop_assert!(!decision.sentence().is_empty());
        }
    }

    #[test]
    fn a_cluster_that_does_as_it_is_told_settles_with_room_for_one_more(nodes in 1..6_usize, counts in prop::collection::vec(0..7_u32, 1..4)) {
        let mut case = Case::new(nodes, &counts);
        let mut next = nodes;
        for _ in 0..800 {
            let decision = case.tick();
            for name in &decision.release {
                case.world.inventory.nodes.remove(name);
                case.fleet.names.remove(name);
            }
            while case.world.inventory.nodes.len() < decision.to as usize {
                case.join(next);
                next += 1;
            }
            case.fleet.existing = u32::try_from(case.world.inventory.nodes.len()).unwrap();
        }
        let need = (counts.iter().sum::<u32>() + 1).div_ceil(4);
        prop_assert_eq!(case.fleet.existing, need.min(6));
    }
}
