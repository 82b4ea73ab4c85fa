//! Where workers run and how many nodes that takes, as pure functions.
//!
//! ```text
//! place(inventory, targets, previous, limits)              -> desired workers of every node
//! nodes_wanted(policy, memory, demand, now)                -> (how many nodes, and which to drain)
//! ```
//!
//! Both answer with a desired state and never with a step such as "add one", so that repeating an
//! answer, or losing one, is harmless. Nothing here reads a clock, does IO or draws a random number:
//! the same inputs give the same answer, live, in a test and when a log is replayed.
//!
//! | file | question it answers |
//! |---|---|
//! | [`inventory`] | which nodes there are and what they run |
//! | [`desired`] | what they should run |
//! | `table` | the same as a dense table of pools and nodes, with who may take one more |
//! | `steps` | which workers are added, given up and moved |
//! | [`nodes`], `sizing` | how many nodes that takes |
//! | `sentence` | and why, for people |

pub mod desired;
pub mod inventory;
pub mod nodes;
mod sentence;
mod sizing;
mod steps;
mod table;

#[cfg(test)]
mod tests;

pub use desired::{Desired, Limits, Move};
pub use inventory::{Inventory, Node, NodeState, Targets};
pub use nodes::{
    Demand, Fleet, NodeBlock, NodeDecision, NodeMemory, NodePolicy, NodeReason, Removal,
};
pub use sizing::nodes_wanted;

/// Says what every node should run.
///
/// - Workers of a pool are spread over nodes in proportion to their capacity, and a pool of two or
///   more is on at least two nodes where there are two.
/// - Nothing moves without need. A worker is moved by wanting it on the new node first; the old one
///   is given up once the new node reports that it runs. At most `limits.moves_max` moves are on the
///   way at any time, so one call starts no more than that. Growth, and the replacement of workers
///   whose node is lost, are not moves and are not held back.
/// - A draining node gets nothing new and is emptied by moves. A silent node keeps what it has. What a lost
///   one had, which is not in the inventory any more, is placed elsewhere.
/// - What has no lasting place is `unplaced`; workers of a draining node that nobody can take over
///   count among it and go on working where they are.
/// - While room is short, a pool without any worker takes the place of one of the largest pool's.
/// - A pool that `targets` does not name keeps what it has: missing data never lowers anything.
///
/// `previous` is the last answer. Without one (a new leader without a record) nodes keep what they
/// report to run.
#[must_use]
pub fn place(
    inventory: &Inventory,
    targets: &Targets,
    previous: &Desired,
    limits: &Limits,
) -> Desired {
    let mut table = table::Table::new(inventory, targets, previous);
    steps::resolve_moves(&mut table, previous);
    steps::shrink(&mut table);
    steps::grow(&mut table);
    steps::relieve_starved(&mut table);
    steps::start_moves(&mut table, limits);
    table.into_desired()
}
