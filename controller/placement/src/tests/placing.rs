use proptest::prelude::*;

use super::world::{World, node, pool, targets};
use crate::{Desired, Node, NodeState, place};

const STATES: [NodeState; 3] = [NodeState::Ready, NodeState::Draining, NodeState::Silent];

/// What happens to a cluster between two decisions.
#[derive(Clone, Debug)]
enum Change {
    Target(usize, u32),
    State(usize, usize),
    Join(usize, u32),
    Leave(usize),
    Obey(u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..6_usize, 0..12_u32).prop_map(|(p, n)| Change::Target(p, n)),
        2 => (0..6_usize, 0..3_usize).prop_map(|(n, state)| Change::State(n, state)),
        1 => (0..6_usize, 0..16_u32).prop_map(|(n, capacity)| Change::Join(n, capacity)),
        1 => (0..6_usize).prop_map(Change::Leave),
        4 => any::<u32>().prop_map(Change::Obey),
    ]
}

fn apply(world: &mut World, change: &Change) {
    match change {
        Change::Target(p, count) => {
            world.targets.insert(pool(*p), *count);
        }
        Change::State(n, state) => world.set_state(*n, STATES[*state]),
        Change::Join(n, capacity) => {
            world
                .inventory
                .nodes
                .entry(node(*n))
                .or_insert_with(|| Node::ready(*capacity));
        }
        Change::Leave(n) => {
            world.inventory.nodes.remove(&node(*n));
        }
        Change::Obey(mask) => world.obey(|n| mask >> n & 1 == 1),
    }
}

fn cluster() -> impl Strategy<Value = World> {
    (
        prop::collection::vec(0..16_u32, 1..6),
        prop::collection::vec(0..12_u32, 1..6),
    )
        .prop_map(|(capacities, counts)| World::new(&capacities, &counts))
}

/// What holds after every single decision, whatever happened before.
fn assert_laws(before: &Desired, world: &World) {
    let after = &world.desired;
    let moves = after.moves.len();
    assert!(moves <= world.limits.moves_max as usize, "{moves} moves");
    for (name, node) in &world.inventory.nodes {
        let is_new = |p| {
            let count = |desired: &Desired| desired.nodes.get(name).and_then(|n| n.get(p)).copied();
            let had = if before.nodes.contains_key(name) {
                count(before)
            } else {
                node.running.get(p).copied()
            };
            count(after).unwrap_or(0) > had.unwrap_or(0)
        };
        let load: u32 = after.nodes[name].values().sum();
        let gains = after.nodes[name].keys().any(is_new);
        assert!(
            !gains || node.state == NodeState::Ready,
            "{name} gains while {:?}",
            node.state
        );
        assert!(
            !gains || load <= node.capacity,
            "{name} is over its capacity"
        );
        let is_drained = node.state == NodeState::Draining && load == 0;
        assert_eq!(after.drained.contains(name), is_drained, "{name}");
    }
    let room: u32 = (0..6)
        .filter(|n| world.inventory.nodes.contains_key(&node(*n)))
        .map(|n| world.room(n))
        .sum();
    for (name, target) in &world.targets {
        let (total, moving) = (after.total(name), after.moving(name));
        assert!(
            total <= target + moving,
            "{name}: {total} of {target}, {moving} moving"
        );
        let unplaced = after.unplaced.get(name).copied().unwrap_or(0);
        assert!(
            total - moving + unplaced >= *target,
            "{name}: {unplaced} unplaced"
        );
        assert!(
            room == 0 || total - moving == *target,
            "{name} lacks workers though there is room"
        );
        let is_starved = *target > 0 && total == 0;
        let mut others = world
            .targets
            .keys()
            .map(|other| after.total(other) - after.moving(other));
        let is_rich = others.any(|steady| steady > 1);
        let all_ready = world
            .inventory
            .nodes
            .values()
            .all(|node| node.state == NodeState::Ready);
        assert!(
            !(is_starved && is_rich && all_ready && moves == 0),
            "{name} has nothing"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_keeps_the_laws(mut world in cluster(), changes in prop::collection::vec(change(), 0..40)) {
        for change in &changes {
            apply(&mut world, change);
            let before = world.desired.clone();
            world.decide();
            assert_laws(&before, &world);
        }
    }

    #[test]
    fn moves_end_and_leave_an_even_cluster(mut world in cluster(), changes in prop::collection::vec(change(), 0..20)) {
        for change in &changes {
            apply(&mut world, change);
            world.decide();
        }
        world.settle();
        let ready: Vec<_> = (0..6)
            .filter(|n| world.inventory.nodes.get(&node(*n)).is_some_and(|n| n.state == NodeState::Ready))
            .collect();
        let lasting = world.inventory.nodes.values().filter(|n| n.capacity > 0 && matches!(n.state, NodeState::Ready | NodeState::Silent)).count();
        for p in 0..6 {
            let on = |n: &usize| world.workers(p, *n);
            let total = world.desired.total(&pool(p));
            let apart = ready.iter().filter(|n| world.room(**n) > 0 && on(n) == 0).count();
            let is_alone = ready.iter().any(|n| on(n) == total && total > 1);
            prop_assert!(!is_alone || apart == 0 || lasting < 2, "p{p} is on one node");
        }
        for a in &ready {
            for b in &ready {
                let (ca, cb) = (world.inventory.nodes[&node(*a)].capacity, world.inventory.nodes[&node(*b)].capacity);
                if ca == cb && world.room(*b) > 0 && world.inventory.nodes.values().all(|n| n.capacity == ca && n.state == NodeState::Ready) {
                    prop_assert!(world.load(*a) <= world.load(*b) + 1, "{} and {}", world.load(*a), world.load(*b));
                }
            }
        }
        for (name, node) in &world.inventory.nodes {
            let is_over = node.state == NodeState::Draining && !world.desired.drained.contains(name);
            let is_room: u32 = ready.iter().map(|n| world.room(*n)).sum();
            // A move to a node that is silent ends when that node is back or lost.
            let is_silent = |to| world.inventory.nodes.get(to).is_some_and(|n| n.state == NodeState::Silent);
            let is_held_up = world.desired.moves.iter().any(|a_move| is_silent(&a_move.to));
            prop_assert!(!is_over || is_room == 0 || is_held_up, "{name} was not emptied");
        }
    }

    #[test]
    fn a_settled_cluster_stays_as_it_is(mut world in cluster()) {
        world.settle();
        let settled = world.desired.clone();
        world.decide();
        prop_assert_eq!(&settled, &world.desired);
        // Nor does a new leader without a record change anything.
        let adopted = place(&world.inventory, &world.targets, &Desired::default(), &world.limits);
        prop_assert_eq!(settled, adopted);
    }

    #[test]
    fn moves_never_leave_fewer_running_than_before(mut world in cluster(), drained in 0..6_usize, masks in prop::collection::vec(any::<u32>(), 60)) {
        world.settle();
        let served: Vec<_> = (0..6).map(|p| world.running(p)).collect();
        world.set_state(drained, NodeState::Draining);
        for mask in masks {
            world.decide();
            world.obey(|n| mask >> n & 1 == 1);
            for (p, before) in served.iter().enumerate() {
                prop_assert!(world.running(p) >= *before, "p{p} went from {before} to {}", world.running(p));
            }
        }
    }

    #[test]
    fn a_new_node_takes_its_share_and_little_else_moves(nodes in 2..6_usize, counts in prop::collection::vec(0..9_u32, 1..6)) {
        let mut world = World::new(&vec![16; nodes], &counts);
        world.settle();
        let before = world.clone();
        world.inventory.nodes.insert(node(nodes), Node::ready(16));
        world.settle();
        let total: u32 = counts.iter().sum();
        let given = |n: usize, p: usize| before.workers(p, n).saturating_sub(world.workers(p, n));
        let moved: u32 = (0..nodes).map(|n| (0..counts.len()).map(|p| given(n, p)).sum::<u32>()).sum();
        // Its share, and one more of a pool whose share is no whole number.
        let share = total.div_ceil(u32::try_from(nodes).unwrap() + 1);
        let pools = u32::try_from(counts.len()).unwrap();
        prop_assert!(moved <= share + pools, "{moved} of {total} moved");
        prop_assert!(world.load(nodes) + 1 >= total / (u32::try_from(nodes).unwrap() + 1));
    }
}

#[test]
fn workers_go_where_there_is_room_in_proportion() {
    let mut world = World::new(&[8, 16, 8], &[8, 8]);
    world.settle();
    assert_eq!((world.load(0), world.load(1), world.load(2)), (4, 8, 4));
    assert_eq!(
        (
            world.workers(0, 0),
            world.workers(0, 1),
            world.workers(0, 2)
        ),
        (2, 4, 2)
    );
}

#[test]
fn a_worker_is_given_up_only_after_the_new_one_runs() {
    let mut world = World::new(&[4, 4], &[2]);
    world.settle();
    world.set_state(0, NodeState::Draining);
    world.decide();
    assert_eq!((world.workers(0, 0), world.workers(0, 1)), (1, 2));
    world.decide();
    assert_eq!(
        (world.workers(0, 0), world.workers(0, 1)),
        (1, 2),
        "the new one does not run yet"
    );
    world.obey(|n| n == 1);
    world.decide();
    assert_eq!((world.workers(0, 0), world.workers(0, 1)), (0, 2));
    assert!(world.desired.drained.contains(&node(0)));
}

#[test]
fn a_silent_node_keeps_its_workers_and_a_lost_one_is_replaced_at_once() {
    let mut world = World::new(&[4, 4, 4], &[3]);
    world.settle();
    world.set_state(2, NodeState::Silent);
    let before = world.desired.clone();
    world.decide();
    assert_eq!(before, world.desired);
    world.inventory.nodes.remove(&node(2));
    world.decide();
    assert_eq!((world.load(0) + world.load(1), world.load(2)), (3, 0));
    assert!(
        world.desired.moves.is_empty(),
        "what is lost is replaced, not moved"
    );
}

#[test]
fn what_does_not_fit_is_told_and_a_pool_with_nothing_gets_one_place() {
    let mut world = World::new(&[2, 2], &[6]);
    world.settle();
    assert_eq!(world.desired.unplaced.get(&pool(0)), Some(&2));
    world.targets = targets(&[6, 2]);
    world.settle();
    assert_eq!(
        (world.desired.total(&pool(0)), world.desired.total(&pool(1))),
        (3, 1)
    );
    assert_eq!(world.desired.unplaced, targets(&[3, 1]));
}

#[test]
fn a_draining_node_without_successor_goes_on_working() {
    let mut world = World::new(&[2, 2], &[4]);
    world.settle();
    world.set_state(0, NodeState::Draining);
    world.decide();
    assert_eq!((world.load(0), world.load(1)), (2, 2));
    assert_eq!(world.desired.unplaced, targets(&[2]));
}

#[test]
fn a_pool_without_a_target_keeps_what_it_has() {
    let mut world = World::new(&[4, 4], &[3]);
    world.settle();
    world.targets.clear();
    world.decide();
    assert_eq!(world.desired.total(&pool(0)), 3);
    world.inventory.nodes.remove(&node(0));
    world.decide();
    assert_eq!(world.desired.total(&pool(0)), 3);
}

#[test]
fn a_desired_state_round_trips_through_json() {
    let mut world = World::new(&[4, 4], &[3]);
    world.settle();
    world.set_state(0, NodeState::Draining);
    world.decide();
    let text = serde_json::to_string(&world.desired).unwrap();
    assert_eq!(
        serde_json::from_str::<Desired>(&text).unwrap(),
        world.desired
    );
}
