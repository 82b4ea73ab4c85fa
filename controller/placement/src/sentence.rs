//! A decision about nodes in one sentence that an operator can read aloud.

use std::fmt::Write as _;

use crate::nodes::{NodeBlock, NodeDecision, NodeReason};

/// The decision in one sentence: what, why, and the numbers with their units.
pub(crate) fn sentence(decision: &NodeDecision) -> String {
    let mut text = opening(decision);
    text.push_str(&cause(decision));
    if decision.unplaced > 0 {
        let _ = write!(
            text,
            "; {} without a lasting place",
            workers(decision.unplaced)
        );
    }
    text
}

fn opening(decision: &NodeDecision) -> String {
    let NodeDecision { from, to, .. } = decision;
    if from == to {
        format!("staying at {}: ", nodes(*to))
    } else {
        format!("{from} -> {}: ", nodes(*to))
    }
}

fn cause(decision: &NodeDecision) -> String {
    let NodeDecision {
        workers: need,
        capacity,
        wanted,
        ..
    } = decision;
    let load = format!("{} and room for {capacity}", workers(*need));
    match decision.reason {
        NodeReason::Need if decision.blocked_by == Some(NodeBlock::Max) => {
            format!("{load}; {wanted} would be needed, and this is the most there may be")
        }
        NodeReason::Need => load,
        NodeReason::Idle => format!(
            "{load}; one fewer has been enough for long, so {} is emptied",
            names(decision)
        ),
        NodeReason::Released => format!("{} is empty and is given up", names(decision)),
        NodeReason::Recalled => format!("{load}; the node that was being emptied is kept"),
        NodeReason::Minimum => "this is the least there may be".to_owned(),
        NodeReason::Maximum if decision.wanted > decision.to => {
            format!("{load}; {wanted} would be needed, and this is the most there may be")
        }
        NodeReason::Maximum => format!(
            "there are more than there may be, so {} is emptied",
            names(decision)
        ),
        NodeReason::Starting => format!("{load}, and nodes are starting"),
        NodeReason::Steady => load,
        NodeReason::Blocked => format!("{load}; {wanted} would do, but {}", block(decision)),
    }
}

fn block(decision: &NodeDecision) -> &'static str {
    match decision.blocked_by {
        Some(NodeBlock::Stale) => "what nodes report is too old to act on",
        Some(NodeBlock::Backoff) => "the last start failed and the next has to wait",
        Some(NodeBlock::Max) => "this is the most there may be",
        Some(NodeBlock::Cooldown) => "not for long enough yet",
        Some(NodeBlock::Silence) => "a node is silent, and that is no reason to shrink",
        None => "something holds it",
    }
}

fn names(decision: &NodeDecision) -> String {
    let names: Vec<_> = decision.drain.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "one".to_owned()
    } else {
        names.join(", ")
    }
}

fn nodes(count: u32) -> String {
    format!("{count} {}", if count == 1 { "node" } else { "nodes" })
}

fn workers(count: u32) -> String {
    format!("{count} {}", if count == 1 { "worker" } else { "workers" })
}
