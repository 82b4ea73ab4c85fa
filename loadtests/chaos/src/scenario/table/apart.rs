//! Partitions: every part has a network of its own, and the network loses what it is told to lose.

use std::time::Duration;

use super::{LOAD, WITH_NOTES, WITH_REDIS, at, demands};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Layout, Scaled, Who};
use crate::scenario::{Act, Length, Lost, Scenario, Side, Step, Whom};

const APART: Layout = Layout {
    is_apart: true,
    ..WITH_REDIS
};
const LED: Layout = Layout {
    controllers: 2,
    ..APART
};
const NODE: Whom = Whom::The(Who::Node(1));
const BALANCER: Whom = Whom::The(Who::Balancer(0));
const REDIS: Whom = Whom::The(Who::Redis);

pub(super) fn rows() -> Vec<Scenario> {
    [from_balancers(), from_redis()].concat()
}

fn from_balancers() -> Vec<Scenario> {
    let row = |name, fault, plan| Scenario {
        name,
        fault,
        must_hold: "nothing handed over after 750 ms; heals within 3 s; 0 failed idempotent requests; notes as acknowledged",
        layout: APART,
        load: WITH_NOTES,
        seconds: 45,
        demands: Demands {
            silent_after_ms: Some(750),
            heals_ms: Some(3_000),
            ..demands()
        },
        plan,
    };
    vec![
        row(
            "net-cut",
            "all packets between one node and all balancers lost",
            |length, _| spell(length, NODE, Side::Balancers, Lost::Both),
        ),
        row(
            "net-cut-requests",
            "packets of all balancers to one node lost: it hears nothing of them",
            |length, _| spell(length, NODE, Side::Balancers, Lost::ToIt),
        ),
        row(
            "net-cut-answers",
            "packets of one node to all balancers lost: they hear nothing of it",
            |length, _| spell(length, NODE, Side::Balancers, Lost::FromIt),
        ),
        row(
            "net-flapping",
            "all packets between one node and all balancers lost, every other second",
            |length, _| flapping(length, NODE, Side::Balancers),
        ),
        row(
            "net-node-gone",
            "all packets between one node and everybody else lost",
            |length, _| spell(length, NODE, Side::Everybody, Lost::Both),
        ),
    ]
}

fn from_redis() -> Vec<Scenario> {
    let row = |name, fault, layout, note_fails_within_ms, plan| Scenario {
        name,
        fault,
        must_hold: "0 failed idempotent requests; notes fail clearly within 1 s, and are as acknowledged; epochs only grow",
        layout,
        load: WITH_NOTES,
        seconds: 45,
        demands: Demands {
            note_fails_within_ms,
            ..demands()
        },
        plan,
    };
    let led = |name, fault, plan| {
        let row = row(name, fault, LED, Some(1_000), plan);
        Scenario {
            must_hold: "another one leads within 5 s; epochs only grow, one writer each; 0 failed idempotent requests",
            demands: Demands {
                desired_min: Some(2),
                takeover_ms: Some(5_000),
                ..row.demands
            },
            ..row
        }
    };
    vec![
        row(
            "net-node-adrift",
            "all packets between one node and Redis lost",
            APART,
            Some(1_000),
            |length, _| spell(length, NODE, Side::Redis, Lost::Both),
        ),
        row(
            "net-balancer-adrift",
            "all packets between one balancer and Redis lost",
            APART,
            None,
            |length, _| spell(length, BALANCER, Side::Redis, Lost::Both),
        ),
        led(
            "net-leader-adrift",
            "all packets between the leading controller and Redis lost for 12 s, then no more",
            |length, _| leader(length, Lost::Both),
        ),
        led(
            "net-leader-unheard",
            "packets of the leading controller to Redis lost for 12 s: what it wrote comes late",
            |length, _| leader(length, Lost::FromIt),
        ),
        led(
            "net-leader-deaf",
            "packets of Redis to the leading controller lost for 12 s: what it wrote is there, and it is not told",
            |length, _| leader(length, Lost::ToIt),
        ),
        frozen_scaling(),
    ]
}

/// The load falls while Redis cannot be reached by anybody: whoever decided now would shrink the pool.
fn frozen_scaling() -> Scenario {
    Scenario {
        name: "net-redis-gone",
        fault: "load x 4, then all packets between Redis and everybody lost, and the load falls meanwhile",
        must_hold: "the number of workers stays while it lasts; what is wanted runs within 5 s; 0 failed requests",
        layout: Layout {
            scaled: Some(Scaled {
                min: 2,
                max: 24,
                node_max: 8,
                started_nodes: None,
            }),
            slots: 1,
            ..LED
        },
        load: Load {
            rate_per_s: 60.0,
            work_ms: 50,
            ..LOAD
        },
        seconds: 90,
        demands: Demands {
            desired_min: Some(3),
            grows_by: Some(4),
            freezes_scaling: true,
            // While it lasts only: the load has fallen by its end, and who knows that shrinks the pool.
            keeps_workers_share: Some(0.7),
            converge_ms: Some(5_000),
            ..demands()
        },
        plan: |length, _| {
            let part = length.faults / 4;
            vec![
                at(length.calm, Act::Surge(4.0)),
                at(length.calm + part, cut(REDIS, Side::Everybody, Lost::Both)),
                at(length.calm + part * 3 / 2, Act::Surge(1.0)),
                at(length.calm + part * 3, Act::Heal(REDIS)),
            ]
        },
    }
}

fn cut(whom: Whom, from: Side, lost: Lost) -> Act {
    Act::Cut { whom, from, lost }
}

fn spell(length: Length, whom: Whom, from: Side, lost: Lost) -> Vec<Step> {
    vec![
        at(length.calm, cut(whom, from, lost)),
        at(length.calm + length.faults, Act::Heal(whom)),
    ]
}

fn leader(length: Length, lost: Lost) -> Vec<Step> {
    let faults = length.faults.min(Duration::from_secs(12));
    spell(Length { faults, ..length }, Whom::Leader, Side::Redis, lost)
}

fn flapping(length: Length, whom: Whom, from: Side) -> Vec<Step> {
    let second = Duration::from_secs(1);
    let turns = (length.faults.as_secs() / 2).max(1) as u32;
    let steps = (0..turns).flat_map(|n| {
        let begin = length.calm + second * (2 * n);
        [
            at(begin, cut(whom, from, Lost::Both)),
            at(begin + second, Act::Heal(whom)),
        ]
    });
    steps.collect()
}
