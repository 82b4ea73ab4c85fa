//! The choices: who gets a worker, who gives one up, who hands one over.
//!
//! Each step looks at the table as it will be once all moves have ended, so that what is on the way
//! is never decided a second time. A move is begun only when it brings the pool to its fair share of
//! a node, or the fill of two nodes strictly nearer to each other; the first never grows by the
//! second, so that moves come to an end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::desired::{Desired, Limits};
use crate::inventory::NodeState;
use crate::table::{Share, Shift, Table};

/// Ends moves whose worker runs on its new node, and those that lost one of their ends.
pub(crate) fn resolve_moves(table: &mut Table, previous: &Desired) {
    for shift in &previous.moves {
        let indices = (
            table.pools.binary_search(&shift.pool),
            table.nodes.binary_search(&shift.from),
            table.nodes.binary_search(&shift.to),
        );
        let (Ok(p), Ok(from), Ok(to)) = indices else {
            continue;
        };
        // Without its worker at either end it is no move any more, but one worker at the other.
        if table.settled(p, from) > 0 && table.unmoved(p, to) > 0 {
            table.begin_move((p, from, to));
        }
    }
    let mut at = 0;
    while at < table.moves.len() {
        let (p, _, to) = table.moves[at];
        if table.state[to] == NodeState::Draining {
            table.end_move(at);
            table.remove(p, to);
        } else if table.starting(p, to) < table.arriving(p, to) {
            let (_, from, _) = table.end_move(at);
            table.remove(p, from);
        } else {
            at += 1;
        }
    }
}

/// Gives up workers of pools that have more than their target.
pub(crate) fn shrink(table: &mut Table) {
    for p in 0..table.pools.len() {
        while table.steady(p) > table.target[p] {
            if let Some(n) = least_missed(table, p) {
                table.remove(p, n);
            } else if let Some(at) = table.moves.iter().rposition(|shift| shift.0 == p) {
                let (_, _, to) = table.end_move(at);
                table.remove(p, to);
            } else {
                break;
            }
        }
    }
}

/// The node whose worker of `p` is missed least: one that is leaving or silent, then one whose worker
/// does not run yet, then one above its fair share, then the fullest.
fn least_missed(table: &Table, p: usize) -> Option<usize> {
    (0..table.nodes.len())
        .filter(|n| table.unmoved(p, *n) > 0)
        .max_by_key(|n| {
            (
                table.state[*n] != NodeState::Ready,
                table.starting(p, *n) > table.arriving(p, *n),
                table.settled(p, *n) > table.fair(p, *n),
                fill(table, *n, 0),
                share(table, p, *n, 0),
            )
        })
}

/// Gives workers to pools that have fewer than their target, the pool with the fewest first, until
/// no ready node has room.
pub(crate) fn grow(table: &mut Table) {
    let mut room = table.room();
    let mut short: BinaryHeap<_> = (0..table.pools.len())
        .filter(|p| table.steady(*p) < table.target[*p])
        .map(|p| Reverse((table.steady(p), p)))
        .collect();
    while room > 0 {
        let Some(Reverse((_, p))) = short.pop() else {
            return;
        };
        let Some(n) = destination(table, p) else {
            return;
        };
        table.add(p, n, 1);
        room -= 1;
        if table.steady(p) < table.target[p] {
            short.push(Reverse((table.steady(p), p)));
        }
    }
}

/// Gives a pool that has nothing, while nobody has room, the place of a worker of the largest pool.
pub(crate) fn relieve_starved(table: &mut Table) {
    for p in 0..table.pools.len() {
        if table.target[p] == 0 || table.steady(p) > 0 {
            continue;
        }
        let Some((donor, n)) = largest(table) else {
            return;
        };
        table.remove(donor, n);
        table.add(p, n, 1);
    }
}

/// The pool with most workers, two at least, and the fullest ready node where it can give one up.
fn largest(table: &Table) -> Option<(usize, usize)> {
    let can_give =
        |p: usize, n: usize| table.state[n] == NodeState::Ready && table.unmoved(p, n) > 0;
    let mut pools: Vec<_> = (0..table.pools.len())
        .filter(|p| table.steady(*p) > 1)
        .collect();
    pools.sort_by_key(|p| Reverse(table.steady(*p)));
    pools.into_iter().find_map(|p| {
        (0..table.nodes.len())
            .filter(|n| can_give(p, *n))
            .max_by_key(|n| share(table, p, *n, 0))
            .map(|n| (p, n))
    })
}

/// Begins moves, as many as may be on the way: off draining nodes first, then towards fair shares,
/// then from full nodes to emptier ones.
pub(crate) fn start_moves(table: &mut Table, limits: &Limits) {
    let on_the_way = u32::try_from(table.moves.len()).unwrap_or(u32::MAX);
    let mut left = limits.moves_max.saturating_sub(on_the_way);
    for next in [next_drain, next_unfair] {
        for p in 0..table.pools.len() {
            while let Some(shift) = (left > 0).then(|| next(table, p)).flatten() {
                begin(table, shift);
                left -= 1;
            }
        }
    }
    while let Some(shift) = (left > 0).then(|| next_balance(table)).flatten() {
        begin(table, shift);
        left -= 1;
    }
}

fn begin(table: &mut Table, shift: Shift) {
    table.add(shift.0, shift.2, 1);
    table.begin_move(shift);
}

fn next_drain(table: &Table, p: usize) -> Option<Shift> {
    let from = (0..table.nodes.len())
        .find(|n| table.state[*n] == NodeState::Draining && table.unmoved(p, *n) > 0)?;
    Some((p, from, destination(table, p)?))
}

fn next_unfair(table: &Table, p: usize) -> Option<Shift> {
    let is_unfair = |n: usize| {
        // One worker is always fair; the division is spared for most cells.
        table.settled(p, n) > 1 && table.unmoved(p, n) > 0 && table.settled(p, n) > table.fair(p, n)
    };
    let from = (0..table.nodes.len())
        .filter(|n| table.state[*n] == NodeState::Ready && is_unfair(*n))
        .max_by_key(|n| share(table, p, *n, 0))?;
    let to = destination(table, p)?;
    (table.settled(p, to) < table.fair(p, to)).then_some((p, from, to))
}

/// A move from the fullest to the emptiest node that stays emptier than the other was.
fn next_balance(table: &Table) -> Option<Shift> {
    let ready = || (0..table.nodes.len()).filter(|n| table.state[*n] == NodeState::Ready);
    let mut full: Vec<_> = ready().filter(|n| table.settled_load(*n) > 0).collect();
    full.sort_by_key(|n| Reverse(fill(table, *n, 0)));
    let mut empty: Vec<_> = ready().filter(|n| table.has_room(*n)).collect();
    empty.sort_by_key(|n| fill(table, *n, 1));
    for from in &full {
        for to in &empty {
            if fill(table, *to, 1) >= fill(table, *from, 0) {
                break;
            }
            if let Some(p) = movable(table, *from, *to) {
                return Some((p, *from, *to));
            }
        }
    }
    None
}

/// The pool that gains most by a move, if any may move without leaving its fair share.
fn movable(table: &Table, from: usize, to: usize) -> Option<usize> {
    let gain = |p: usize| {
        i64::from(table.settled(p, from)) * i64::from(table.capacity[to])
            - i64::from(table.settled(p, to)) * i64::from(table.capacity[from])
    };
    (0..table.pools.len())
        .filter(|p| table.unmoved(*p, from) > 0 && table.settled(*p, to) < table.fair(*p, to))
        .max_by_key(|p| (gain(*p), Reverse(*p)))
}

/// The best ready node for one more worker of `p`: within its fair share, then the emptiest, then the
/// one with least of the pool, then the first by name.
fn destination(table: &Table, p: usize) -> Option<usize> {
    (0..table.nodes.len())
        .filter(|n| table.has_room(*n))
        .min_by_key(|n| {
            (
                table.settled(p, *n) >= table.fair(p, *n),
                fill(table, *n, 1),
                share(table, p, *n, 1),
            )
        })
}

/// How full a node is with `more` workers than will stay.
fn fill(table: &Table, n: usize, more: u32) -> Share {
    Share(table.settled_load(n) + more, table.capacity[n])
}

/// How much of a node a pool takes with `more` workers than will stay.
fn share(table: &Table, p: usize, n: usize, more: u32) -> Share {
    Share(table.settled(p, n) + more, table.capacity[n])
}
