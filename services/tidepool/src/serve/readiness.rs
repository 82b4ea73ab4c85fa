//! Whether a node has done what it starts with. Pure, around one flag: a node that has been ready
//! stays so; what fails later is told by its parts, and its balancers see it at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tidepool_core::{PoolName, SetTarget, WorkerReport, WorkerState};

/// Most pools that an answer names.
const POOLS_SHOWN: usize = 5;

/// What a node has to reach.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Workers of each pool; nothing before anybody has said.
    wanted: RwLock<Option<BTreeMap<PoolName, u32>>>,
    reached: AtomicBool,
}

impl Readiness {
    /// Takes in what the node is to run from now on.
    pub(super) fn want(&self, targets: &[SetTarget]) {
        let wanted = targets.iter().map(|target| (target.pool.clone(), target.n));
        *self.wanted.write() = Some(wanted.collect());
    }

    /// What is missing, if anything, where these workers are.
    pub(super) fn missing(&self, workers: &[WorkerReport]) -> Option<String> {
        if self.reached.load(Ordering::Relaxed) {
            return None;
        }
        let missing = match &*self.wanted.read() {
            None => Some("nobody has said yet what this node is to run".to_owned()),
            Some(wanted) => few(wanted, workers),
        };
        self.reached.store(missing.is_none(), Ordering::Relaxed);
        missing
    }
}

/// The pools that have fewer ready workers than they should.
fn few(wanted: &BTreeMap<PoolName, u32>, workers: &[WorkerReport]) -> Option<String> {
    let lacks = wanted.iter().filter_map(|(pool, n)| {
        let is_ready =
            |worker: &&WorkerReport| worker.pool == *pool && worker.state == WorkerState::Ready;
        let ready = u32::try_from(workers.iter().filter(is_ready).count()).unwrap_or(u32::MAX);
        (ready < *n).then(|| format!("{pool} has {ready} of {n} workers ready"))
    });
    let mut lacks: Vec<String> = lacks.collect();
    let more = lacks.len().saturating_sub(POOLS_SHOWN);
    lacks.truncate(POOLS_SHOWN);
    if more > 0 {
        lacks.push(format!("so have {more} more pools too few"));
    }
    (!lacks.is_empty()).then(|| lacks.join("; "))
}

#[cfg(test)]
mod tests {
    use tidepool_core::{NodeId, Timestamp, WorkerId};

    use super::*;

    fn target(pool: &str, n: u32) -> SetTarget {
        SetTarget {
            pool: PoolName::new(pool).unwrap(),
            epoch: 1,
            seq: 1,
            n,
        }
    }

    fn worker(pool: &str, n: u64, state: WorkerState) -> WorkerReport {
        let pool = PoolName::new(pool).unwrap();
        WorkerReport {
            id: WorkerId::new(&pool, n),
            pool,
            node: NodeId::new("a").unwrap(),
            state,
            slots: 1,
            busy: 0,
            started_at: Timestamp(1),
            startup: None,
            completed: 0,
            panics: 0,
            cpu_cores: None,
        }
    }

    #[test]
    fn is_ready_once_every_pool_has_its_workers_and_stays_so() {
        use WorkerState::{Crashed, Draining, Ready, Starting};
        let readiness = Readiness::default();
        let missing = readiness.missing(&[]).unwrap();
        assert!(missing.starts_with("nobody has said"), "{missing}");
        readiness.want(&[target("echo", 2), target("grammar", 1), target("memory", 0)]);
        let mut workers = vec![
            worker("echo", 1, Ready),
            worker("echo", 2, Starting),
            worker("echo", 3, Draining),
            worker("echo", 4, Crashed),
            worker("grammar", 1, Ready),
        ];
        let missing = readiness.missing(&workers).unwrap();
        assert_eq!(missing, "echo has 1 of 2 workers ready");
        workers[1].state = Ready;
        assert_eq!(readiness.missing(&workers), None);
        readiness.want(&[target("echo", 9)]);
        assert_eq!(readiness.missing(&[]), None, "it only grows");
    }

    #[test]
    fn a_node_that_is_to_run_nothing_is_ready() {
        let readiness = Readiness::default();
        readiness.want(&[target("echo", 0)]);
        assert_eq!(readiness.missing(&[]), None);
    }

    #[test]
    fn an_answer_names_few_pools() {
        let readiness = Readiness::default();
        let targets: Vec<_> = (0..40).map(|n| target(&format!("p{n}"), 1)).collect();
        readiness.want(&targets);
        let missing = readiness.missing(&[]).unwrap();
        assert!(
            missing.contains("35 more pools") && missing.len() < 300,
            "{missing}"
        );
    }
}
