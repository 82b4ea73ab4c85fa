//! Several faults in one run: what a bad day has.

use std::time::Duration;

use super::{LAYOUT, LOAD, at, demands};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Layout, Who};
use crate::scenario::{Act, Length, Scenario, Step, Whom};

/// Between two deaths of nodes.
const KILL_EVERY: Duration = Duration::from_secs(5);
/// How long a dead node stays away.
const AWAY: Duration = Duration::from_secs(1);
/// Longer than the lease of a leader.
const FREEZE: Duration = Duration::from_secs(12);
/// Redis goes and comes back between the return of one node and the death of the next.
const REDIS_AWAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(4_500));

const NODES: usize = 3;

/// Nodes die, the leader freezes, Redis restarts, all under load.
pub(super) fn storm() -> Scenario {
    Scenario {
        name: "storm",
        fault: "one of 3 nodes killed every 5 s, the leader frozen for 12 s, Redis killed and back every 20 s",
        must_hold: "0 failed idempotent requests; acknowledged notes there exactly once; notes fail clearly within 1 s; led again within 5 s, epochs only grow",
        layout: Layout {
            nodes: NODES,
            controllers: 2,
            has_redis: true,
            ..LAYOUT
        },
        load: Load {
            note_every: 10,
            read_every: 10,
            ..LOAD
        },
        seconds: 120,
        demands: Demands {
            desired_min: Some(2),
            note_fails_within_ms: Some(1_000),
            takeover_ms: Some(5_000),
            ..demands()
        },
        plan: steps,
    }
}

fn steps(length: Length, rng: &mut fastrand::Rng) -> Vec<Step> {
    let turns = (length.faults.as_secs() / KILL_EVERY.as_secs()).max(1) as u32;
    let mut steps: Vec<Step> = (0..turns)
        .flat_map(|n| turn(n, length.calm + KILL_EVERY * n, rng.usize(0..NODES)))
        .collect();
    let frozen = length.calm + Duration::from_millis(2_500);
    let thawed = frozen + FREEZE.min(length.faults / 2);
    steps.push(at(frozen, Act::Freeze(Whom::Leader)));
    steps.push(at(thawed, Act::Thaw(Whom::Leader)));
    steps.sort_by_key(|step| step.at);
    steps
}

/// Five seconds: a node dies and comes back; in every fourth Redis does too.
fn turn(n: u32, begin: Duration, node: usize) -> Vec<Step> {
    let node = Whom::The(Who::Node(node));
    let mut steps = vec![
        at(begin, Act::Kill(node)),
        at(begin + AWAY, Act::Start(node)),
    ];
    if n % 4 == 1 {
        let redis = Whom::The(Who::Redis);
        steps.push(at(begin + REDIS_AWAY.0, Act::Kill(redis)));
        steps.push(at(begin + REDIS_AWAY.1, Act::Start(redis)));
    }
    steps
}
