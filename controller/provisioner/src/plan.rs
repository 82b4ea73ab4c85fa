//! What to start and what to stop, as a pure function of what there is and what there should be.

use std::collections::VecDeque;

use tidepool_core::NodeId;

use crate::port::{Desired, ObservedState, Sighting};

/// Starts that are remembered to count those of the last minute.
const STARTS_KEPT: usize = 1_000;
const MINUTE_MS: u64 = 60_000;

/// Bounds of what a provisioner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most nodes that exist at any time, whatever is asked for.
    pub nodes_max: u32,
    /// Nodes that are started within a minute at most.
    pub starts_per_minute: u32,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes_max: 8,
            starts_per_minute: 10,
            dry_run: false,
        }
    }
}

/// What a call does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nodes that exist afterwards, those that end not among them.
    pub count: u32,
    /// Nodes that were asked for; more than `count` when a limit held some back.
    pub wanted: u32,
    /// Nodes that are started, where the provisioner names them.
    pub start: Vec<NodeId>,
    /// Nodes that are told to end, where the provisioner chooses them.
    pub stop: Vec<NodeId>,
}

/// Starts of the last minute, and the wait after those that failed. Time is an argument.
#[derive(Clone, Debug, Default)]
pub struct StartLimit {
    starts: VecDeque<u64>,
    failures: u32,
    retry_at_ms: u64,
}

impl StartLimit {
    /// How many nodes may be started at `now_ms`.
    #[must_use]
    pub fn allowed(&self, per_minute: u32, now_ms: u64) -> u32 {
        if now_ms < self.retry_at_ms {
            return 0;
        }
        let recent = self
            .starts
            .iter()
            .filter(|at_ms| **at_ms + MINUTE_MS > now_ms)
            .count();
        per_minute.saturating_sub(u32::try_from(recent).unwrap_or(u32::MAX))
    }

    /// Notes `count` starts.
    pub fn started(&mut self, count: u32, now_ms: u64) {
        for _ in 0..count.min(1_000) {
            self.starts.push_back(now_ms);
        }
        while self.starts.len() > STARTS_KEPT {
            self.starts.pop_front();
        }
    }

    /// Notes a start that failed: the next waits a second, and twice as long each time up to a minute.
    pub fn failed(&mut self, now_ms: u64) {
        let wait_ms = (1_000_u64 << self.failures.min(6)).min(MINUTE_MS);
        self.failures = self.failures.saturating_add(1);
        self.retry_at_ms = now_ms + wait_ms;
    }

    /// Notes that nodes stay up.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at_ms = 0;
    }
}

/// The nodes to start and to stop; `allowed` may be started now.
///
/// New nodes take the lowest free numbers after `prefix`. Nodes to end are those of `desired.drain`, and
/// beyond the wanted number the last by name.
#[must_use]
pub fn plan(
    sighting: &Sighting,
    desired: &Desired,
    limits: &Limits,
    prefix: &str,
    allowed: u32,
) -> Plan {
    let mut up: Vec<_> = sighting
        .nodes
        .iter()
        .filter(|node| node.state == ObservedState::Up)
        .map(|node| &node.name)
        .collect();
    up.sort_by_key(|name| ordinal(name, prefix));
    let is_drained = |name: &&NodeId| desired.drain.contains(*name);
    let (mut stop, stay): (Vec<_>, Vec<_>) = up.into_iter().partition(is_drained);
    let keep = usize::try_from(desired.count)
        .unwrap_or(usize::MAX)
        .min(stay.len());
    stop.extend(&stay[keep..]);
    let held = u32::try_from(sighting.nodes.len()).unwrap_or(u32::MAX);
    let kept = u32::try_from(keep).unwrap_or(u32::MAX);
    let missing = desired.count.min(limits.nodes_max).saturating_sub(kept);
    let more = missing
        .min(allowed)
        .min(limits.nodes_max.saturating_sub(held));
    let start = free_names(sighting, prefix).take(more as usize).collect();
    Plan {
        count: kept + more,
        wanted: desired.count,
        start,
        stop: stop.into_iter().cloned().collect(),
    }
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_empty() && self.stop.is_empty()
    }
}

fn ordinal(name: &NodeId, prefix: &str) -> (u64, NodeId) {
    let number = name
        .as_str()
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'));
    (
        number.and_then(|n| n.parse().ok()).unwrap_or(u64::MAX),
        name.clone(),
    )
}

fn free_names<'a>(sighting: &'a Sighting, prefix: &'a str) -> impl Iterator<Item = NodeId> + 'a {
    (0..u32::MAX)
        .map_while(move |n| NodeId::new(&format!("{prefix}-{n}")).ok())
        .filter(|name| !sighting.holds(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::ObservedNode;
    use proptest::prelude::*;

    fn name(n: u32) -> NodeId {
        NodeId::new(&format!("node-{n}")).unwrap()
    }

    fn sighting(up: &[u32], stopping: &[u32]) -> Sighting {
        let seen = |state| {
            move |n: &u32| ObservedNode {
                name: name(*n),
                state,
            }
        };
        let nodes = up.iter().map(seen(ObservedState::Up));
        Sighting {
            existing: u32::try_from(up.len()).unwrap(),
            nodes: nodes
                .chain(stopping.iter().map(seen(ObservedState::Stopping)))
                .collect(),
            ..Sighting::default()
        }
    }

    fn desired(count: u32, drain: &[u32]) -> Desired {
        Desired {
            count,
            drain: drain.iter().map(|n| name(*n)).collect(),
        }
    }

    #[test]
    fn the_lowest_free_names_are_started_and_the_drained_end() {
        let limits = Limits::default();
        let plan = |seen: &Sighting, wish: &Desired| plan(seen, wish, &limits, "node", 9);
        let done = plan(&sighting(&[0, 2], &[3]), &desired(4, &[]));
        assert_eq!((done.start, done.stop), (vec![name(1), name(4)], vec![]));
        let done = plan(&sighting(&[0, 1, 2], &[]), &desired(2, &[0]));
        assert_eq!((done.start, done.stop), (vec![], vec![name(0)]));
        let done = plan(&sighting(&[2, 9, 10], &[]), &desired(1, &[]));
        assert_eq!((done.start, done.stop), (vec![], vec![name(9), name(10)]));
    }

    #[test]
    fn failed_starts_wait_and_a_minute_has_a_limit() {
        let mut limit = StartLimit::default();
        limit.started(3, 0);
        assert_eq!((limit.allowed(4, 59_999), limit.allowed(4, 60_000)), (1, 4));
        limit.failed(60_000);
        assert_eq!((limit.allowed(4, 60_999), limit.allowed(4, 61_000)), (0, 4));
        limit.failed(61_000);
        assert_eq!(limit.allowed(4, 62_999), 0);
        limit.succeeded();
        assert_eq!(limit.allowed(4, 62_999), 4);
    }

    proptest! {
        #[test]
        fn a_plan_keeps_every_limit_and_is_not_repeated(
            up in prop::collection::btree_set(0..12_u32, 0..9), drain in prop::collection::vec(0..12_u32, 0..3),
            count in 0..14_u32, nodes_max in 0..12_u32, allowed in 0..5_u32,
        ) {
            let up: Vec<_> = up.into_iter().collect();
            let seen = sighting(&up, &[]);
            let limits = Limits { nodes_max, ..Limits::default() };
            let wish = desired(count, &drain);
            let first = plan(&seen, &wish, &limits, "node", allowed);
            prop_assert!(first.start.len() as u32 <= allowed);
            prop_assert!(first.count <= count);
            prop_assert!(first.start.is_empty() || up.len() + first.start.len() <= nodes_max as usize);
            for drained in up.iter().filter(|n| drain.contains(n)) {
                prop_assert!(first.stop.contains(&name(*drained)));
            }
            let mut after = seen.clone();
            for node in &mut after.nodes {
                if first.stop.contains(&node.name) {
                    node.state = ObservedState::Stopping;
                }
            }
            after.nodes.extend(first.start.iter().map(|name| ObservedNode { name: name.clone(), state: ObservedState::Up }));
            let wish = Desired { drain: wish.drain.iter().filter(|n| !first.start.contains(n)).cloned().collect(), ..wish };
            let second = plan(&after, &wish, &limits, "node", 0);
            prop_assert!(second.is_empty(), "{second:?}");
        }
    }
}
