//! What operators do, and what callers do to them: restarts, upgrades, too many requests, strangers, a
//! node without a processor.

use super::{LAYOUT, LOAD, WITH_NOTES, WITH_REDIS, at, demands};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Build, Layout, Who};
use crate::scenario::{Act, Length, Scenario, Step, Whom};

/// Places of the small cluster that is overloaded, and what each does in a second.
const SCARCE: Layout = Layout {
    workers: 1,
    slots: 1,
    ..LAYOUT
};
const SCARCE_WORK_MS: u64 = 50;
const SCARCE_CAPACITY_PER_S: f64 = 4.0 * 1_000.0 / SCARCE_WORK_MS as f64;

pub(super) fn rows() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "rolling-restart",
            fault: "every node and balancer stopped (SIGTERM) and started anew, one after the other",
            must_hold: "0 failed requests of any kind; notes as acknowledged",
            layout: WITH_REDIS,
            load: WITH_NOTES,
            seconds: 60,
            demands: Demands {
                failed_max: Some(0),
                ..demands()
            },
            plan: rolling,
        },
        Scenario {
            name: "node-drain",
            fault: "two of 4 nodes stopped (SIGTERM) under load, for good",
            must_hold: "0 failed requests",
            layout: LAYOUT,
            load: LOAD,
            seconds: 30,
            demands: Demands {
                // The faults end with the run: nothing is left to recover from.
                recovery_ms: None,
                failed_max: Some(0),
                ..demands()
            },
            plan: |length, _| {
                let second = length.calm + length.faults / 2;
                vec![
                    at(length.calm, Act::Stop(Whom::The(Who::Node(0)))),
                    at(second, Act::Stop(Whom::The(Who::Node(2)))),
                ]
            },
        },
        overload(),
        starved(),
        upgrade(),
        Scenario {
            name: "strangers",
            fault: "malformed, endless, half-open and silent connections at a node's port for links",
            must_hold: "0 failed; p99 <= 1.2 x; memory bounded",
            layout: LAYOUT,
            load: LOAD,
            seconds: 40,
            demands: Demands {
                p99_ratio_max: Some(1.2),
                ..demands()
            },
            plan: |length, _| {
                let pelt = |begins| Act::Pelt { node: 0, begins };
                let end = length.calm + length.faults;
                vec![at(length.calm, pelt(true)), at(end, pelt(false))]
            },
        },
    ]
}

fn starved() -> Scenario {
    Scenario {
        name: "node-starved",
        fault: "one of 4 nodes has 2 % of a processor (control group), each request needs 2 ms of one",
        must_hold: "p99 <= 1.5 x healthy; its share <= 15 %; 0 failed",
        layout: LAYOUT,
        load: Load {
            rate_per_s: 100.0,
            spin_ms: 2,
            ..LOAD
        },
        seconds: 60,
        demands: Demands {
            p99_ratio_max: Some(1.5),
            slow_share_max: Some(0.15),
            ..demands()
        },
        plan: |length, _| {
            let starve = |percent| Act::Starve { node: 1, percent };
            let end = length.calm + length.faults;
            vec![at(length.calm, starve(Some(2))), at(end, starve(None))]
        },
    }
}

fn upgrade() -> Scenario {
    Scenario {
        name: "upgrade",
        fault: "all begin as the program of --from; each is stopped and started as this one, then one node goes back",
        must_hold: "0 failed requests of any kind; notes as acknowledged; epochs only grow",
        layout: Layout {
            controllers: 2,
            begins_old: true,
            ..WITH_REDIS
        },
        load: WITH_NOTES,
        seconds: 90,
        demands: Demands {
            desired_min: Some(2),
            failed_max: Some(0),
            ..demands()
        },
        plan: |length, _| {
            let parts = Layout {
                controllers: 2,
                ..LAYOUT
            }
            .parts();
            let back = [(Who::Node(0), Build::Older)];
            let turns = parts
                .into_iter()
                .map(|who| (who, Build::Current))
                .chain(back);
            let turns: Vec<_> = turns.collect();
            let every = length.faults / turns.len() as u32;
            let steps = turns
                .into_iter()
                .zip(0_u32..)
                .flat_map(|((who, build), n)| {
                    let (begin, whom) = (length.calm + every * n, Whom::The(who));
                    [Act::Stop(whom), Act::Become(whom, build), Act::Start(whom)]
                        .map(|act| at(begin, act))
                });
            steps.collect()
        },
    }
}

fn overload() -> Scenario {
    Scenario {
        name: "overload",
        fault: "10 times the capacity of 80/s (4 places, 50 ms of work), open loop",
        must_hold: "goodput >= 95 % of capacity; refusals p99 <= 5 ms; memory bounded; normal within 2 s",
        layout: SCARCE,
        load: Load {
            rate_per_s: SCARCE_CAPACITY_PER_S * 0.5,
            work_ms: SCARCE_WORK_MS,
            ..LOAD
        },
        seconds: 90,
        demands: Demands {
            good_share_min: None,
            recovery_ms: Some(2_000),
            normal_ratio_max: Some(2.0),
            refusals_p99_ms: Some(5.0),
            goodput_min_per_s: Some(SCARCE_CAPACITY_PER_S * 0.95),
            ..demands()
        },
        plan: |length, _| {
            let end = length.calm + length.faults;
            // 20 times half of the capacity.
            vec![at(length.calm, Act::Surge(20.0)), at(end, Act::Surge(1.0))]
        },
    }
}

fn rolling(length: Length, _: &mut fastrand::Rng) -> Vec<Step> {
    let nodes = (0..LAYOUT.nodes).map(Who::Node);
    let all: Vec<_> = nodes
        .chain((0..LAYOUT.balancers).map(Who::Balancer))
        .collect();
    let every = length.faults / all.len() as u32;
    let steps = all.into_iter().zip(0_u32..).flat_map(|(who, n)| {
        let begin = length.calm + every * n;
        let whom = Whom::The(who);
        [at(begin, Act::Stop(whom)), at(begin, Act::Start(whom))]
    });
    steps.collect()
}
