//! How long one answer takes with 1,000 pools on 100 nodes. Prints the fastest of each case, so that a busy
//! machine does not count.

#![allow(clippy::print_stdout, reason = "an example that measures")]
#![allow(clippy::unwrap_used, reason = "an example that measures")]

use std::time::{Duration, Instant};

use tidepool_core::{NodeId, PoolName};
use tidepool_placement::{Desired, Inventory, Limits, Node, NodeState, Targets, place};

const POOLS: u32 = 1_000;
const NODES: u32 = 100;
const WORKERS_PER_POOL: u32 = 10;
const REPEATS: usize = 21;

fn fastest(mut run: impl FnMut()) -> Duration {
    (0..REPEATS)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed()
        })
        .min()
        .unwrap()
}

fn main() {
    let limits = Limits::default();
    let pool = |p| PoolName::new(&format!("pool-{p:04}")).unwrap();
    let node = |n| NodeId::new(&format!("node-{n:03}")).unwrap();
    let targets: Targets = (0..POOLS).map(|p| (pool(p), WORKERS_PER_POOL)).collect();
    let mut inventory = Inventory::default();
    for n in 0..NODES {
        inventory
            .nodes
            .insert(node(n), Node::ready(2 * POOLS * WORKERS_PER_POOL / NODES));
    }
    let nothing = Desired::default();
    let first = place(&inventory, &targets, &nothing, &limits);
    for (name, workers) in &first.nodes {
        inventory.nodes.get_mut(name).unwrap().running = workers.clone();
    }
    let fresh = inventory
        .nodes
        .values()
        .map(|node| Node::ready(node.capacity));
    let empty = Inventory {
        nodes: inventory.nodes.keys().cloned().zip(fresh).collect(),
    };
    let mut drained = inventory.clone();
    drained.nodes.get_mut(&node(7)).unwrap().state = NodeState::Draining;
    let mut lost = inventory.clone();
    lost.nodes.remove(&node(7));
    let mut joined = inventory.clone();
    joined.nodes.insert(node(NODES), Node::ready(200));
    for (what, inventory, previous) in [
        ("from nothing", &empty, &nothing),
        ("nothing to do", &inventory, &first),
        ("a node drains", &drained, &first),
        ("a node is lost", &lost, &first),
        ("a node joins", &joined, &first),
    ] {
        let time = fastest(|| {
            drop(std::hint::black_box(place(
                inventory, &targets, previous, &limits,
            )))
        });
        println!("{what:<14} {:>8.2} ms", time.as_secs_f64() * 1e3);
    }
}
