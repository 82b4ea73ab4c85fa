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
/// A pool that can grow.
const SCALED: Layout = Layout {
    scaled: Some(Scaled {
        min: 2,
        max: 24,
        node_max: 8,
        started_nodes: None,
    }),
    slots: 1,
    ..LED
};
/// Three requests at a time.
const STEPS: Load = Load {
    rate_per_s: 60.0,
    work_ms: 50,
    ..LOAD
};
const NODE: Whom = Whom::The(Who::Node(1));
const BALANCER: Whom = Whom::The(Who::Balancer(0));
const REDIS: Whom = Whom::The(Who::Redis);

pub(super) fn rows() -> Vec<Scenario> {
    let alone = vec![flapping_leader(), frozen_scaling()];
    [
        from_balancers(),
        nodes_from_redis(),
        balancers_from_redis(),
        leaders_from_redis(),
        alone,
    ]
    .concat()
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

fn adrift(
    name: &'static str,
    fault: &'static str,
    note_fails_within_ms: Option<u64>,
    plan: fn(Length, &mut fastrand::Rng) -> Vec<Step>,
) -> Scenario {
    Scenario {
        name,
        fault,
        must_hold: "0 failed idempotent requests; notes fail clearly within 1 s, and are as acknowledged; epochs only grow",
        layout: APART,
        load: WITH_NOTES,
        seconds: 45,
        demands: Demands {
            note_fails_within_ms,
            ..demands()
        },
        plan,
    }
}

fn nodes_from_redis() -> Vec<Scenario> {
    let row = |name, fault, plan| {
        let row = adrift(name, fault, Some(1_000), plan);
        Scenario {
            demands: Demands {
                lost_store_is_told: true,
                ..row.demands
            },
            ..row
        }
    };
    vec![
        row(
            "net-node-adrift",
            "all packets between one node and Redis lost",
            |length, _| spell(length, NODE, Side::Redis, Lost::Both),
        ),
        row(
            "net-node-unheard",
            "packets of one node to Redis lost: what it wrote comes late",
            |length, _| spell(length, NODE, Side::Redis, Lost::FromIt),
        ),
        row(
            "net-node-deaf",
            "packets of Redis to one node lost: what it wrote is there, and it is not told",
            |length, _| spell(length, NODE, Side::Redis, Lost::ToIt),
        ),
        row(
            "net-node-flapping-store",
            "all packets between one node and Redis lost, every other second",
            |length, _| flapping(length, NODE, Side::Redis),
        ),
    ]
}

fn balancers_from_redis() -> Vec<Scenario> {
    // Notes are stored by nodes, so that none fails.
    let row = |name, fault, plan| {
        let row = adrift(name, fault, None, plan);
        Scenario {
            must_hold: "0 failed requests of any kind; notes as acknowledged; epochs only grow",
            demands: Demands {
                failed_max: Some(0),
                ..row.demands
            },
            ..row
        }
    };
    vec![
        row(
            "net-balancer-adrift",
            "all packets between one balancer and Redis lost",
            |length, _| spell(length, BALANCER, Side::Redis, Lost::Both),
        ),
        row(
            "net-balancer-unheard",
            "packets of one balancer to Redis lost: it goes on hearing who is there, and is not seen",
            |length, _| spell(length, BALANCER, Side::Redis, Lost::FromIt),
        ),
        row(
            "net-balancer-deaf",
            "packets of Redis to one balancer lost: it hears nothing of who comes and goes",
            |length, _| spell(length, BALANCER, Side::Redis, Lost::ToIt),
        ),
        row(
            "net-balancer-flapping-store",
            "all packets between one balancer and Redis lost, every other second",
            |length, _| flapping(length, BALANCER, Side::Redis),
        ),
    ]
}

fn leaders_from_redis() -> Vec<Scenario> {
    let row = |name, fault, plan| {
        let row = adrift(name, fault, Some(1_000), plan);
        Scenario {
            must_hold: "another one leads within 5 s; epochs only grow, one writer each; 0 failed idempotent requests",
            layout: LED,
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
            "net-leader-adrift",
            "all packets between the leading controller and Redis lost for 12 s, then no more",
            |length, _| leader(length, Lost::Both),
        ),
        row(
            "net-leader-unheard",
            "packets of the leading controller to Redis lost for 12 s: what it wrote comes late",
            |length, _| leader(length, Lost::FromIt),
        ),
        row(
            "net-leader-deaf",
            "packets of Redis to the leading controller lost for 12 s: what it wrote is there, and it is not told",
            |length, _| leader(length, Lost::ToIt),
        ),
    ]
}

/// The leader comes and goes while there is something to decide: it or the other one does.
fn flapping_leader() -> Scenario {
    Scenario {
        name: "net-leader-flapping",
        fault: "load x 4, and all packets between the leading controller and Redis lost, every other second",
        must_hold: "somebody leads: the pool grows, what is wanted runs within 5 s, and not what comes late; epochs only grow, one writer each; 90 % good while nobody makes the pool larger, and the rest refused",
        layout: SCALED,
        load: STEPS,
        seconds: 60,
        demands: Demands {
            desired_min: Some(3),
            good_share_min: Some(0.9),
            refused_only: true,
            grows_by: Some(4),
            converge_ms: Some(5_000),
            // What it wrote on a connection that is cut comes after what it writes on the next one.
            orders_come_late: true,
            ..demands()
        },
        plan: |length, _| {
            let mut steps = flapping(length, Whom::Leader, Side::Redis);
            // After the first cut: there is nothing to be decided before.
            steps.insert(1, at(length.calm, Act::Surge(4.0)));
            steps.push(at(length.calm + length.faults, Act::Surge(1.0)));
            steps
        },
    }
}

/// The load falls while Redis cannot be reached by anybody: whoever decided now would shrink the pool.
fn frozen_scaling() -> Scenario {
    Scenario {
        name: "net-redis-gone",
        fault: "load x 4, then all packets between Redis and everybody lost, and the load falls meanwhile",
        must_hold: "the number of workers stays while it lasts; what is wanted runs within 5 s; 0 failed requests",
        layout: SCALED,
        load: STEPS,
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
