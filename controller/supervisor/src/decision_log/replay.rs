//! Decides everything in a log again and compares. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use tidepool_core::{PoolName, Timestamp};
use tidepool_policy::{Decision, Memory, Policy, decide};

use super::{Decided, Entry, Record, Snapshot};

/// Most differences that are told one by one.
const DIFFERENCES_MAX: usize = 100;

/// A decision, or what was remembered, came out differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The pool.
    pub pool: PoolName,
    /// Number of the record in the pool's log.
    pub seq: u64,
    /// RFC 3339 time of the record.
    pub at: String,
    /// Release that wrote the log.
    pub version: String,
    /// What the log says.
    pub logged: String,
    /// What came out now.
    pub replayed: String,
}

/// What was replayed of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolReplay {
    /// Decisions that were made again.
    pub decisions: u64,
    /// Of these, those that changed the target.
    pub changes: u64,
    /// Snapshots that were compared or begun from.
    pub snapshots: u64,
    /// Decisions that could not be made again, because records before them are missing.
    pub skipped: u64,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReplayReport {
    /// Each pool.
    pub pools: BTreeMap<PoolName, PoolReplay>,
    /// How many differences there are.
    pub different: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// A replay under way.
#[derive(Debug, Default)]
pub struct Replay {
    pool: Option<PoolName>,
    since: Timestamp,
    states: BTreeMap<PoolName, State>,
    report: ReplayReport,
}

#[derive(Debug)]
struct State {
    version: String,
    policy: Policy,
    memory: Memory,
    seq: u64,
}

impl Replay {
    /// A replay of one pool or all, that counts from a time on.
    #[must_use]
    pub fn new(pool: Option<PoolName>, since: Timestamp) -> Self {
        Self {
            pool,
            since,
            ..Self::default()
        }
    }

    /// Takes the next record of the log.
    pub fn see(&mut self, record: Record) {
        if self.pool.as_ref().is_some_and(|pool| *pool != record.pool) {
            return;
        }
        let Record {
            pool,
            seq,
            at,
            entry,
        } = record;
        // Another supervisor counts anew; what is missing cannot be bridged.
        let state = self.states.remove(&pool);
        let state = state.filter(|state| state.seq.checked_add(1) == Some(seq));
        let place = (&pool, seq, at);
        let next = match entry {
            Entry::Snapshot(snapshot) => Some(self.compare_memory(place, state, *snapshot)),
            Entry::Decided(decided) => self.decide_again(place, state, *decided),
        };
        self.states.extend(next.map(|next| (pool, next)));
    }

    /// What was found.
    #[must_use]
    pub fn report(self) -> ReplayReport {
        self.report
    }

    fn compare_memory(
        &mut self,
        place: (&PoolName, u64, Timestamp),
        state: Option<State>,
        snapshot: Snapshot,
    ) -> State {
        let (pool, seq, at) = place;
        if at >= self.since {
            self.report.pools.entry(pool.clone()).or_default().snapshots += 1;
        }
        if let Some(state) = state
            && bytes(&state.memory) != bytes(&snapshot.memory)
        {
            let [logged, replayed] = ["the memory of the log", "another memory"];
            self.differ(place, &state.version, (logged.into(), replayed.into()));
        }
        State {
            version: snapshot.version,
            policy: snapshot.policy,
            memory: snapshot.memory,
            seq,
        }
    }

    fn decide_again(
        &mut self,
        place: (&PoolName, u64, Timestamp),
        state: Option<State>,
        decided: Decided,
    ) -> Option<State> {
        let (pool, seq, at) = place;
        let counts = at >= self.since;
        let counted = self.report.pools.entry(pool.clone()).or_default();
        let Some(state) = state else {
            counted.skipped += u64::from(counts);
            return None;
        };
        let (decision, memory) = decide(&state.policy, state.memory, &decided.observation, at.0);
        counted.decisions += u64::from(counts);
        counted.changes += u64::from(counts && decision.is_change());
        if bytes(&decision) != bytes(&decided.decision) {
            let told = (told(&decided.decision), told(&decision));
            self.differ(place, &state.version, told);
            // What follows would differ for the same reason.
            return None;
        }
        Some(State {
            memory,
            seq,
            ..state
        })
    }

    fn differ(
        &mut self,
        (pool, seq, at): (&PoolName, u64, Timestamp),
        version: &str,
        (logged, replayed): (String, String),
    ) {
        if at < self.since {
            return;
        }
        self.report.different += 1;
        if self.report.differences.len() < DIFFERENCES_MAX {
            self.report.differences.push(Difference {
                pool: pool.clone(),
                seq,
                at: at.rfc3339(),
                version: version.to_owned(),
                logged,
                replayed,
            });
        }
    }
}

/// To the last bit, also what is no number.
fn bytes(value: &impl Serialize) -> Option<Vec<u8>> {
    rmp_serde::to_vec(value).ok()
}

fn told(decision: &Decision) -> String {
    format!("{} ({decision:?})", decision.sentence())
}
