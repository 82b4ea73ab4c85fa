//! From a target and the workers there are to what must be done: a pure function, run whenever
//! either changes.

use tidepool_core::{WorkerId, WorkerState};

/// A worker as the decision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: WorkerId,
    pub(crate) state: WorkerState,
    pub(crate) busy: u32,
    /// Order of launch; larger is younger.
    pub(crate) launch: u64,
}

/// What to do to reach the target.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) spawn: u32,
    pub(crate) drain: Vec<WorkerId>,
}

/// Workers that count towards the target: a crashed one is about to come back.
fn counts(state: WorkerState) -> bool {
    matches!(
        state,
        WorkerState::Starting | WorkerState::Ready | WorkerState::Crashed
    )
}

/// Plans the way to `target` workers. Retires those that do least: crashed first, then those
/// still starting, then the idlest, and the youngest among equals.
pub(crate) fn reconcile(target: u32, workers: &[Candidate]) -> Plan {
    let mut live: Vec<&Candidate> = workers.iter().filter(|w| counts(w.state)).collect();
    let have = u32::try_from(live.len()).unwrap_or(u32::MAX);
    if have <= target {
        return Plan {
            spawn: target - have,
            drain: Vec::new(),
        };
    }
    let rank = |state| match state {
        WorkerState::Crashed => 0_u8,
        WorkerState::Starting => 1,
        _ => 2,
    };
    live.sort_by_key(|w| (rank(w.state), w.busy, std::cmp::Reverse(w.launch)));
    let surplus = live.len() - target as usize;
    Plan {
        spawn: 0,
        drain: live.iter().take(surplus).map(|w| w.id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidepool_core::PoolName;

    use super::*;

    fn worker(launch: u64, state: WorkerState, busy: u32) -> Candidate {
        let id = WorkerId::new(&PoolName::new("echo").unwrap(), launch);
        Candidate {
            id,
            state,
            busy,
            launch,
        }
    }

    #[test]
    fn retires_those_that_do_least() {
        use WorkerState::{Crashed, Draining, Ready, Starting};
        let workers = [
            worker(1, Ready, 0),
            worker(2, Ready, 3),
            worker(3, Draining, 1),
            worker(4, Ready, 0),
            worker(5, Starting, 0),
            worker(6, Crashed, 0),
        ];
        let drained: Vec<u64> = reconcile(1, &workers)
            .drain
            .iter()
            .map(|id| workers.iter().find(|w| w.id == *id).unwrap().launch)
            .collect();
        assert_eq!(drained, [6, 5, 4, 1]);
    }

    proptest! {
        #[test]
        fn ends_at_the_target_and_then_rests(
            target in 0_u32..20,
            states in prop::collection::vec((0_usize..5, 0_u32..4), 0..20),
        ) {
            let mut workers: Vec<Candidate> = states
                .iter()
                .zip(1..)
                .map(|((state, busy), n)| worker(n, WorkerState::ALL[*state], *busy))
                .collect();
            let plan = reconcile(target, &workers);
            prop_assert!(plan.spawn == 0 || plan.drain.is_empty());
            for worker in &mut workers {
                if plan.drain.contains(&worker.id) {
                    worker.state = WorkerState::Draining;
                }
            }
            workers.extend((0..plan.spawn).map(|n| worker(100 + u64::from(n), WorkerState::Starting, 0)));
            prop_assert_eq!(workers.iter().filter(|w| counts(w.state)).count(), target as usize);
            prop_assert_eq!(reconcile(target, &workers), Plan::default());
        }
    }
}
