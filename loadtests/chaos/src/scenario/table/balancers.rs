//! Balancers that die or are frozen: the other ones serve on.

use std::time::Duration;

use super::{LAYOUT, LOAD, WITH_NOTES, WITH_REDIS, at, demands, freeze, kills};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Layout, Who};
use crate::scenario::{Act, Length, Scenario, Step, Whom};

const FIRST: Whom = Whom::The(Who::Balancer(0));
/// Longer than the deadline of a request, and shorter than its caller waits.
const NAP: Duration = Duration::from_millis(6_500);
/// From the beginning of a nap to that of the next one.
const NAP_EVERY: Duration = Duration::from_secs(11);
/// Longer than callers wait: who is there when it wakes was sent since.
const GIVEN_UP: Duration = Duration::from_secs(8);
/// Callers need so long to find that a balancer does not answer.
const FOUND: Duration = Duration::from_secs(2);
/// What has lain at a balancer while it was frozen is done by then.
const CAUGHT_UP: Duration = Duration::from_secs(3);

pub(super) fn rows() -> Vec<Scenario> {
    let frozen = |name, fault, plan| Scenario {
        name,
        fault,
        must_hold: "the others answer all, p99 <= 1.5 x healthy; who still waits when it wakes is answered within 3 s, late or with 504; serves again within 3 s; notes as acknowledged",
        layout: WITH_REDIS,
        load: WITH_NOTES,
        seconds: 60,
        demands: Demands {
            failed_max: Some(0),
            held_answered_ms: Some(3_000),
            elsewhere_p99_ratio_max: Some(1.5),
            ..demands()
        },
        plan,
    };
    vec![
        kill_in_turn(),
        frozen(
            "balancer-freeze",
            "SIGSTOP of one of 2 balancers for up to 30 s, then SIGCONT",
            |length, _| freeze(length, FIRST, 30),
        ),
        frozen(
            "balancer-naps",
            "SIGSTOP of each of 2 balancers in turn for 6.5 s: deadlines (5 s) pass, callers (8 s) wait",
            |length, _| naps(length),
        ),
        busy(),
    ]
}

fn kill_in_turn() -> Scenario {
    Scenario {
        name: "balancer-kills",
        fault: "SIGKILL of one of 2 balancers in turn every 5 s, back after 1 s",
        must_hold: "only what was under way at the balancer that died is lost, and its callers are told by the lost connection; notes as acknowledged",
        layout: WITH_REDIS,
        load: WITH_NOTES,
        seconds: 60,
        demands: Demands {
            lost_with_balancer: true,
            failed_max: Some(0),
            ..demands()
        },
        plan: |length, _| kills(length, |n| Who::Balancer(n % LAYOUT.balancers)),
    }
}

/// Two balancers have 80 % of the slots in use when one is frozen, and the other needs as many alone:
/// slots that were kept for who cannot use them would be missing.
fn busy() -> Scenario {
    Scenario {
        name: "balancer-freeze-busy",
        fault: "one of 2 balancers, that use 80 % of the slots together, frozen for up to 30 s; 2 s later the other one has as many requests as both had",
        must_hold: "the nodes give it the slots of the other: >= 95 % of what it is sent is answered well; who still waits when that one wakes is answered within 3 s; serves again within 3 s",
        layout: Layout {
            workers: 1,
            ..WITH_REDIS
        },
        load: Load {
            rate_per_s: 256.0,
            work_ms: 100,
            ..LOAD
        },
        seconds: 45,
        demands: Demands {
            goodput_min_per_s: Some(0.95 * 256.0),
            failed_max: Some(0),
            held_answered_ms: Some(3_000),
            ..demands()
        },
        plan: |length, _| {
            let back = CAUGHT_UP.min(length.faults / 4);
            let frozen = (length.faults - back).min(Duration::from_secs(30));
            let thawed = length.calm + frozen;
            let surge = length.calm + FOUND.min(frozen / 8);
            // Of those who are there when it wakes few have given up, and they are few.
            let quiet = thawed - GIVEN_UP.min(frozen / 2);
            vec![
                at(length.calm, Act::Freeze(FIRST)),
                at(surge, Act::Surge(2.0)),
                at(quiet, Act::Surge(0.25)),
                at(thawed, Act::Thaw(FIRST)),
                at(thawed + back, Act::Surge(1.0)),
            ]
        },
    }
}

fn naps(length: Length) -> Vec<Step> {
    let turns = (length.faults.as_secs() / NAP_EVERY.as_secs()).max(1) as u32;
    let steps = (0..turns).flat_map(|n| {
        let whom = Whom::The(Who::Balancer(n as usize % LAYOUT.balancers));
        let begin = length.calm + NAP_EVERY * n;
        let end = begin + NAP.min(length.faults);
        [at(begin, Act::Freeze(whom)), at(end, Act::Thaw(whom))]
    });
    steps.collect()
}
