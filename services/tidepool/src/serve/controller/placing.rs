//! From what nodes announce and pools want to what every node is to run. Pure, around
//! [`tidepool_placement::place`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidepool_cluster::{DesiredState, NodeStanding};
use tidepool_core::{NodeId, NodeReport, PoolName, WorkerState};
use tidepool_placement::{Desired, Inventory, Limits, Node, NodeState, Targets, place};

use super::news::Known;

/// How often what is wanted is said again, so that it outlives a store that loses its data.
const REPEAT_EVERY: Duration = Duration::from_secs(5);

/// The nodes as they are announced; those of `drained` are to be emptied.
pub(super) fn inventory(
    known: &BTreeMap<NodeId, Known>,
    drained: &BTreeSet<NodeId>,
    now: Instant,
) -> Inventory {
    let node = |(name, known): (&NodeId, &Known)| {
        let document = known.document.as_ref();
        let is_leaving = document.is_some_and(|d| d.standing == NodeStanding::Draining);
        let state = if known.is_silent(now) {
            NodeState::Silent
        } else if is_leaving || drained.contains(name) {
            NodeState::Draining
        } else {
            NodeState::Ready
        };
        let report = document.and_then(|document| document.report.as_ref());
        let node = Node {
            state,
            capacity: document.map_or(0, |document| document.workers_max),
            running: report.map(running).unwrap_or_default(),
            present: report.map_or(0, present),
        };
        (name.clone(), node)
    };
    Inventory {
        nodes: known.iter().map(node).collect(),
    }
}

/// Workers that serve, by pool.
pub(super) fn running(report: &NodeReport) -> BTreeMap<PoolName, u32> {
    let mut running = BTreeMap::new();
    for worker in &report.workers {
        if worker.state == WorkerState::Ready {
            *running.entry(worker.pool.clone()).or_default() += 1;
        }
    }
    running
}

/// Workers that have not ended, whatever they do.
fn present(report: &NodeReport) -> u32 {
    let workers = report.workers.iter();
    let present = workers.filter(|worker| worker.state != WorkerState::Stopped);
    u32::try_from(present.count()).unwrap_or(u32::MAX)
}

/// What the nodes are to run, under one epoch.
#[derive(Debug)]
pub(super) struct Placing {
    epoch: u64,
    seq: u64,
    desired: Desired,
    said: Option<(DesiredState, Instant)>,
}

impl Placing {
    /// Goes on from what an earlier leader said last.
    pub(super) fn from(record: Option<&DesiredState>, epoch: u64) -> Self {
        let nodes = record.map(|record| record.nodes.clone());
        Self {
            epoch,
            seq: 0,
            desired: Desired {
                nodes: nodes.unwrap_or_default(),
                ..Desired::default()
            },
            said: None,
        }
    }

    /// What was placed last.
    pub(super) fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Places `targets`; gives what has to be said, if it is news or has not been said for long. No two
    /// answers have the same number, whether what was given got into the store or not: nobody can
    /// know that of a try that failed, and nodes take nothing that is not newer than what they have.
    pub(super) fn place(
        &mut self,
        inventory: &Inventory,
        targets: &Targets,
        drained: &BTreeSet<NodeId>,
        now: Instant,
    ) -> Option<DesiredState> {
        self.desired = place(inventory, targets, &self.desired, &Limits::default());
        let there = |node: &&NodeId| inventory.nodes.contains_key(*node);
        let state = DesiredState {
            epoch: self.epoch,
            seq: self.seq + 1,
            nodes: self.desired.nodes.clone(),
            drained: drained.iter().filter(there).cloned().collect(),
        };
        let is_news = self.said.as_ref().is_none_or(|(said, at)| {
            said.nodes != state.nodes
                || said.drained != state.drained
                || now.saturating_duration_since(*at) >= REPEAT_EVERY
        });
        if !is_news {
            return None;
        }
        self.seq = state.seq;
        Some(state)
    }

    /// Takes note of what the store has.
    pub(super) fn said(&mut self, state: DesiredState, now: Instant) {
        self.said = Some((state, now));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidepool_core::{Timestamp, WorkerId, WorkerReport};

    use super::super::news::{Nodes, tests::node};
    use super::*;

    fn echo() -> PoolName {
        PoolName::new("echo").unwrap()
    }

    fn name(node: &str) -> NodeId {
        NodeId::new(node).unwrap()
    }

    fn two_nodes(now: Instant) -> Nodes {
        let documents = ["a", "b"].map(|name| node(name, NodeStanding::Ready, 1));
        let members = documents.map(|d| (d.name.clone(), Arc::new(d)));
        let mut nodes = Nodes::default();
        nodes.look(&BTreeMap::from(members), now);
        nodes
    }

    #[test]
    fn what_does_not_change_is_said_once_and_again_after_a_while() {
        let now = Instant::now();
        let (nodes, none) = (two_nodes(now), BTreeSet::new());
        let inventory = inventory(nodes.known(), &none, now);
        let targets = Targets::from([(echo(), 4)]);
        let mut placing = Placing::from(None, 9);
        let state = placing.place(&inventory, &targets, &none, now).unwrap();
        assert_eq!((state.epoch, state.seq), (9, 1));
        assert_eq!(state.nodes[&name("a")][&echo()], 2, "spread");
        placing.said(state, now);
        assert_eq!(placing.place(&inventory, &targets, &none, now), None);
        let again = placing.place(&inventory, &targets, &none, now + REPEAT_EVERY);
        assert_eq!(again.unwrap().seq, 2);
    }

    #[test]
    fn what_may_have_been_said_is_not_said_otherwise_under_its_number() {
        let now = Instant::now();
        let (nodes, none) = (two_nodes(now), BTreeSet::new());
        let inventory = inventory(nodes.known(), &none, now);
        let mut placing = Placing::from(None, 9);
        let mut place = |n| {
            let targets = Targets::from([(echo(), n)]);
            placing.place(&inventory, &targets, &none, now).unwrap()
        };
        // The store took the first and could not say so.
        let (first, second) = (place(4), place(2));
        assert_ne!(first.nodes, second.nodes);
        assert!(second.seq > first.seq, "{} and {}", first.seq, second.seq);
    }

    #[test]
    fn a_new_leader_leaves_workers_where_they_are() {
        let now = Instant::now();
        let (nodes, none) = (two_nodes(now), BTreeSet::new());
        let orders = BTreeMap::from([(echo(), 3)]);
        let record = DesiredState {
            epoch: 3,
            nodes: BTreeMap::from([(name("a"), orders), (name("b"), BTreeMap::new())]),
            ..DesiredState::default()
        };
        let mut placing = Placing::from(Some(&record), 9);
        let inventory = inventory(nodes.known(), &none, now);
        let state = placing.place(&inventory, &Targets::new(), &none, now);
        assert_eq!(state.unwrap().nodes[&name("a")][&echo()], 3);
    }

    #[test]
    fn a_node_is_empty_when_no_worker_is_left_whatever_it_does() {
        let (now, drained) = (Instant::now(), BTreeSet::from([name("a")]));
        for (state, is_left) in [
            (WorkerState::Starting, true),
            (WorkerState::Draining, true),
            (WorkerState::Crashed, true),
            (WorkerState::Stopped, false),
        ] {
            let mut document = node("a", NodeStanding::Ready, 1);
            let worker = WorkerReport {
                id: WorkerId::new(&echo(), 1),
                pool: echo(),
                node: name("a"),
                state,
                slots: 1,
                busy: 1,
                started_at: Timestamp(0),
                startup: None,
                completed: 0,
                panics: 0,
                cpu_cores: None,
            };
            document.report.as_mut().unwrap().workers.push(worker);
            let mut nodes = Nodes::default();
            nodes.look(&BTreeMap::from([("a".to_owned(), Arc::new(document))]), now);
            let mut placing = Placing::from(None, 1);
            let seen = inventory(nodes.known(), &drained, now);
            placing.place(&seen, &Targets::from([(echo(), 0)]), &drained, now);
            let is_drained = placing.desired().drained.contains(&name("a"));
            assert_eq!(is_drained, !is_left, "{state:?}");
        }
    }

    #[test]
    fn a_drained_node_gets_nothing_and_a_silent_one_keeps_what_it_has() {
        let now = Instant::now();
        let mut nodes = two_nodes(now);
        let drained = BTreeSet::from([name("a"), name("elsewhere")]);
        let mut placing = Placing::from(None, 1);
        let targets = Targets::from([(echo(), 4)]);
        let seen = inventory(nodes.known(), &drained, now);
        let state = placing.place(&seen, &targets, &drained, now).unwrap();
        assert_eq!(state.nodes[&name("b")][&echo()], 4);
        assert_eq!(state.drained, BTreeSet::from([name("a")]));
        let later = now + Duration::from_secs(1);
        nodes.look(&BTreeMap::new(), later);
        let silent = inventory(nodes.known(), &drained, later);
        assert!(silent.nodes.values().all(|n| n.state == NodeState::Silent));
        let state = placing.place(&silent, &targets, &drained, later).unwrap();
        assert_eq!(state.nodes[&name("b")][&echo()], 4);
    }
}
