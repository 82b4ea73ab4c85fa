//! What nodes report: the newest of each, and what they say together, by pool. That is reckoned once
//! for all pools when a report is news, so that a second costs as much as there are pools and workers,
//! not pools times workers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tidepool_core::{NodeId, NodeReport, PoolName, Timestamp, WorkerReport, WorkerState};

/// A node that was silent for so long is gone and its workers with it.
const NODE_SILENT: Duration = Duration::from_secs(60);
/// Nodes that are kept apart; more than this many are not known.
const NODES_MAX: usize = 1_024;

/// The newest report of each node.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    newest: BTreeMap<NodeId, Received>,
    /// What they say together, until one of them is another.
    fleet: Option<Fleet>,
    /// How long workers took to start that were not known to have started.
    startups: Vec<(PoolName, Duration)>,
}

/// A report, and when it came.
type Received = (Timestamp, NodeReport);

impl Nodes {
    /// Takes in a report that came at `now`.
    pub(crate) fn add(&mut self, report: NodeReport, now: Timestamp) {
        if self.newest.len() >= NODES_MAX && !self.newest.contains_key(&report.node) {
            tracing::warn!(node = %report.node, "too many nodes: its report is ignored");
            return;
        }
        let before = self.newest.get(&report.node);
        let before = before.map_or(&[][..], |(_, before)| &before.workers);
        self.startups.extend(started(before, &report.workers));
        let node = report.node.clone();
        self.newest.insert(node, (now, report));
        self.fleet = None;
    }

    /// How long workers took to start that were first told of since the last call, each once.
    pub(crate) fn take_startups(&mut self) -> Vec<(PoolName, Duration)> {
        std::mem::take(&mut self.startups)
    }

    /// Forgets all others.
    pub(crate) fn keep_only(&mut self, present: &BTreeSet<NodeId>) {
        self.retain(|node, _| present.contains(node));
    }

    /// Forgets nodes that have been silent for a minute.
    pub(crate) fn forget_silent(&mut self, now: Timestamp) {
        self.retain(|_, received| now.since(received) < NODE_SILENT);
    }

    fn retain(&mut self, stays: impl Fn(&NodeId, Timestamp) -> bool) {
        let before = self.newest.len();
        self.newest
            .retain(|node, (received, _)| stays(node, *received));
        if self.newest.len() < before {
            self.fleet = None;
        }
    }

    /// What they say together.
    pub(crate) fn fleet(&mut self) -> &Fleet {
        let newest = &self.newest;
        self.fleet.get_or_insert_with(|| Fleet::of(newest.values()))
    }
}

/// Start-up times of those who had not started before. Nearly always nobody has, and every worker is
/// where it was.
fn started(before: &[WorkerReport], now: &[WorkerReport]) -> Vec<(PoolName, Duration)> {
    let has_started = |worker: &&WorkerReport| worker.startup.is_some();
    let mut new: Vec<&WorkerReport> = Vec::new();
    for (place, worker) in now
        .iter()
        .enumerate()
        .filter(|(_, worker)| has_started(worker))
    {
        let there = before.get(place).filter(has_started);
        if there.is_none_or(|there| there.id != worker.id) {
            new.push(worker);
        }
    }
    if !new.is_empty() {
        let known = before.iter().filter(has_started).map(|worker| &worker.id);
        let known: HashSet<_> = known.collect();
        new.retain(|worker| !known.contains(&worker.id));
    }
    let each = new.into_iter();
    each.filter_map(|worker| Some((worker.pool.clone(), worker.startup?)))
        .collect()
}

/// What all nodes say together.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// When the oldest of the newest reports came; nothing before the first.
    oldest: Option<Timestamp>,
    /// Cores of the largest machine.
    cores_max: Option<u32>,
    /// Memory of the fullest node, of what it may have.
    memory_share_max: Option<f64>,
    pools: HashMap<PoolName, PoolWorkers>,
    /// Those of a pool that has none.
    none: PoolWorkers,
}

impl Fleet {
    fn of<'a>(reports: impl Iterator<Item = &'a Received>) -> Self {
        let mut fleet = Self::default();
        for (received, report) in reports {
            let oldest = fleet.oldest.get_or_insert(*received);
            *oldest = (*oldest).min(*received);
            fleet.cores_max = fleet.cores_max.max(Some(report.cores));
            let share = [fleet.memory_share_max, memory_share(report)];
            fleet.memory_share_max = share.into_iter().flatten().reduce(f64::max);
            for worker in &report.workers {
                if let Some(pool) = fleet.pools.get_mut(&worker.pool) {
                    pool.add(worker);
                } else {
                    let mut pool = PoolWorkers::default();
                    pool.add(worker);
                    fleet.pools.insert(worker.pool.clone(), pool);
                }
            }
        }
        fleet
    }

    /// Seconds since the oldest of the newest reports; nothing before the first. One silent node is
    /// enough to doubt the count of workers.
    pub(crate) fn age_s(&self, now: Timestamp) -> Option<f64> {
        Some(now.seconds_since(self.oldest?))
    }

    /// Cores of the largest machine.
    pub(crate) fn cores_max(&self) -> Option<u32> {
        self.cores_max
    }

    /// Memory of the fullest node, of what it may have, where a node tells both.
    pub(crate) fn memory_share_max(&self) -> Option<f64> {
        self.memory_share_max
    }

    /// Workers of one pool.
    pub(crate) fn workers_of(&self, pool: &PoolName) -> &PoolWorkers {
        self.pools.get(pool).unwrap_or(&self.none)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no last digits")]
fn memory_share(node: &NodeReport) -> Option<f64> {
    let used = node.memory_used_bytes.or(node.memory_bytes)?;
    let limit = node.memory_limit_bytes.filter(|limit| *limit > 0)?;
    Some(used as f64 / limit as f64)
}

/// Workers of one pool on all nodes.
#[derive(Debug, Default)]
pub(crate) struct PoolWorkers {
    /// How many are in each state, in the order of [`WorkerState::ALL`].
    counts: [u32; WorkerState::ALL.len()],
    used_cores: Option<f64>,
}

impl PoolWorkers {
    fn add(&mut self, worker: &WorkerReport) {
        let states = WorkerState::ALL.iter().zip(&mut self.counts);
        for (_, count) in states.filter(|(state, _)| **state == worker.state) {
            *count += 1;
        }
        if worker.state == WorkerState::Ready
            && let Some(cores) = worker.cpu_cores
        {
            *self.used_cores.get_or_insert(0.0) += cores;
        }
    }

    /// How many are in each state, in the order of [`WorkerState::ALL`].
    pub(crate) fn by_state(&self) -> [u32; WorkerState::ALL.len()] {
        self.counts
    }

    /// How many are in `state`.
    pub(crate) fn count(&self, state: WorkerState) -> u32 {
        let mut states = WorkerState::ALL.into_iter().zip(self.counts);
        states
            .find(|(other, _)| *other == state)
            .map_or(0, |(_, count)| count)
    }

    /// Cores that the threads of ready workers use, where any of them tells.
    pub(crate) fn used_cores(&self) -> Option<f64> {
        self.used_cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::tests::{node_report, pool_name, worker};

    fn on(node: &str, mut report: NodeReport) -> NodeReport {
        report.node = NodeId::new(node).unwrap();
        report
    }

    #[test]
    fn a_silent_node_makes_the_count_old_and_is_then_forgotten() {
        let mut nodes = Nodes::default();
        assert_eq!(nodes.fleet().age_s(Timestamp(0)), None);
        nodes.add(node_report(vec![]), Timestamp(1_000));
        assert_eq!(nodes.fleet().age_s(Timestamp(6_000)), Some(5.0));
        nodes.add(on("other", node_report(vec![])), Timestamp(5_000));
        assert_eq!(nodes.fleet().age_s(Timestamp(6_000)), Some(5.0));
        nodes.forget_silent(Timestamp(61_000));
        assert_eq!(nodes.fleet().age_s(Timestamp(61_000)), Some(56.0));
        nodes.forget_silent(Timestamp(65_000));
        assert_eq!(nodes.fleet().age_s(Timestamp(65_000)), None);
    }

    #[test]
    fn each_start_is_told_once_wherever_the_worker_stands() {
        let ready = |n, ms| worker(n, WorkerState::Ready, Some(ms));
        let starting = |n| worker(n, WorkerState::Starting, None);
        let mut nodes = Nodes::default();
        let told = |nodes: &mut Nodes, workers| {
            nodes.add(on("a", node_report(workers)), Timestamp(1_000));
            let told = nodes.take_startups();
            assert!(nodes.take_startups().is_empty());
            let ms = told.into_iter().map(|(pool, startup)| {
                assert_eq!(pool, pool_name());
                startup.as_millis()
            });
            ms.collect::<Vec<_>>()
        };
        assert_eq!(told(&mut nodes, vec![ready(0, 10), starting(1)]), [10]);
        assert!(told(&mut nodes, vec![ready(0, 10), starting(1)]).is_empty());
        assert_eq!(told(&mut nodes, vec![ready(0, 10), ready(1, 20)]), [20]);
        // The first is gone, another came, and who stayed stands elsewhere.
        assert_eq!(told(&mut nodes, vec![ready(1, 20), ready(2, 30)]), [30]);
        assert!(told(&mut nodes, vec![ready(2, 30), ready(1, 20)]).is_empty());
    }

    #[test]
    fn workers_of_all_nodes_are_told_apart_by_pool_and_are_as_last_heard_of() {
        let other = PoolName::new("other").unwrap();
        let of_other = |n| WorkerReport {
            pool: other.clone(),
            ..worker(n, WorkerState::Ready, None)
        };
        let using = |n, state, cores| WorkerReport {
            cpu_cores: Some(cores),
            ..worker(n, state, None)
        };
        let mut nodes = Nodes::default();
        let first = vec![
            using(0, WorkerState::Ready, 0.25),
            of_other(1),
            using(2, WorkerState::Draining, 4.0),
        ];
        nodes.add(on("a", node_report(first)), Timestamp(1_000));
        let second = vec![using(3, WorkerState::Ready, 0.5), of_other(4)];
        nodes.add(on("b", node_report(second)), Timestamp(1_000));
        let seen = |nodes: &mut Nodes, pool: &PoolName| {
            let workers = nodes.fleet().workers_of(pool);
            let counts = [WorkerState::Ready, WorkerState::Draining].map(|s| workers.count(s));
            (counts, workers.used_cores())
        };
        let echo = pool_name();
        assert_eq!(seen(&mut nodes, &echo), ([2, 1], Some(0.75)));
        assert_eq!(seen(&mut nodes, &other), ([2, 0], None));
        nodes.add(on("a", node_report(vec![of_other(1)])), Timestamp(2_000));
        assert_eq!(seen(&mut nodes, &echo), ([1, 0], Some(0.5)));
        nodes.keep_only(&BTreeSet::from([NodeId::new("a").unwrap()]));
        assert_eq!(seen(&mut nodes, &echo), ([0, 0], None));
        assert_eq!(seen(&mut nodes, &other).0, [1, 0]);
    }
}
