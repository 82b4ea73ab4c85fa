//! Controllers that are hurt while they scale: what is wanted runs all the same, and nothing else does.

use std::time::Duration;

use super::{LOAD, WITH_REDIS, at, demands};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Layout, Scaled, Who};
use crate::scenario::{Act, Length, Scenario, Step, Whom};

const POOL: Scaled = Scaled {
    min: 2,
    max: 24,
    node_max: 8,
    started_nodes: None,
};
/// Nodes are started where there is no room left, and given up when they are not needed.
const STARTED: Scaled = Scaled {
    started_nodes: Some((1, 3)),
    ..POOL
};
const LED: Layout = Layout {
    controllers: 2,
    slots: 1,
    scaled: Some(POOL),
    ..WITH_REDIS
};
const GROWING: Layout = Layout {
    nodes: 0,
    scaled: Some(STARTED),
    ..LED
};
/// Three requests at a time, and twelve of them in a surge.
const STEPS: Load = Load {
    rate_per_s: 60.0,
    work_ms: 50,
    ..LOAD
};
const SURGE: f64 = 4.0;
/// After the first decisions to grow, and before the last.
const MID_SCALE: Duration = Duration::from_millis(2_500);
/// Longer than the lease of a leader.
const AWAY: Duration = Duration::from_secs(8);
/// Redis is away for so long, and then empty.
const EMPTY_AFTER: Duration = Duration::from_secs(10);

pub(super) fn rows() -> Vec<Scenario> {
    let row = |name, fault, layout, plan| Scenario {
        name,
        fault,
        must_hold: "led again within 5 s, what is wanted runs within 5 s; epochs only grow; 90 % good while nobody makes the pool larger, and the rest refused",
        layout,
        load: STEPS,
        seconds: 90,
        demands: Demands {
            desired_min: Some(4),
            // Where nobody leads, a pool that is too small stays that for some seconds.
            good_share_min: Some(0.9),
            refused_only: true,
            converge_ms: Some(5_000),
            takeover_ms: Some(5_000),
            grows_by: Some(4),
            shrinks_by: Some(3),
            ..demands()
        },
        plan,
    };
    let orphans = |row: Scenario| Scenario {
        must_hold: "the same, and no node that a controller started is left that nobody wants",
        demands: Demands {
            // The load has fallen long before: of three nodes one is given up at least. That takes most
            // of a minute, so a run must be as long as the table says.
            started_max: Some(2),
            ..row.demands
        },
        ..row
    };
    let down = row(
        "scale-down",
        "load x 4, then as before: the controller orders workers to end under load",
        LED,
        |length, _| steps(length, Vec::new()),
    );
    vec![
        Scenario {
            must_hold: "what is wanted runs within 5 s; 0 failed requests",
            demands: Demands {
                takeover_ms: None,
                good_share_min: Some(1.0),
                failed_max: Some(0),
                ..down.demands
            },
            ..down
        },
        row(
            "scale-leader-kill",
            "load x 4, and the leading controller killed while it scales, back after 8 s",
            LED,
            |length, _| hurt(length, Act::Kill, Act::Start),
        ),
        row(
            "scale-leader-freeze",
            "load x 4, and the leading controller frozen while it scales, woken after 8 s",
            LED,
            |length, _| hurt(length, Act::Freeze, Act::Thaw),
        ),
        orphans(row(
            "scale-nodes-kill",
            "the same with nodes that controllers start: the leader killed while it scales",
            GROWING,
            |length, _| hurt(length, Act::Kill, Act::Start),
        )),
        orphans(row(
            "scale-nodes-freeze",
            "the same with nodes that controllers start: the leader frozen while it scales, then woken",
            GROWING,
            |length, _| hurt(length, Act::Freeze, Act::Thaw),
        )),
        empty(),
    ]
}

/// Redis comes back without what was decided, while all that was started is needed: whoever begins anew
/// begins with a pool that is too small.
fn empty() -> Scenario {
    Scenario {
        name: "redis-empty-scaled",
        fault: "load x 4, Redis killed when the pool has grown, restarted without its data 10 s later",
        must_hold: "7 of 10 workers stay, also for 10 s after; nothing moves while Redis is away; what is wanted runs within 5 s; 90 % good, and the rest refused",
        layout: LED,
        load: STEPS,
        seconds: 90,
        demands: Demands {
            desired_min: Some(4),
            good_share_min: Some(0.9),
            refused_only: true,
            grows_by: Some(4),
            freezes_scaling: true,
            keeps_workers_share: Some(0.7),
            keeps_workers_ms: Some(10_000),
            converge_ms: Some(5_000),
            ..demands()
        },
        plan: |length, _| {
            let (end, redis) = (length.calm + length.faults, Whom::The(Who::Redis));
            let killed = length.calm + length.faults / 3;
            let back = end.min(killed + EMPTY_AFTER);
            vec![
                at(length.calm, Act::Surge(SURGE)),
                at(killed, Act::Kill(redis)),
                at(back, Act::Wipe),
                at(back, Act::Start(redis)),
                at(end, Act::Surge(1.0)),
            ]
        },
    }
}

/// The load rises at the first fault and falls after a third of the time.
fn steps(length: Length, others: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![
        at(length.calm, Act::Surge(SURGE)),
        at(length.calm + length.faults / 3, Act::Surge(1.0)),
    ];
    steps.extend(others);
    steps.sort_by_key(|step| step.at);
    steps
}

fn hurt(length: Length, begins: fn(Whom) -> Act, ends: fn(Whom) -> Act) -> Vec<Step> {
    let hurt = length.calm + MID_SCALE.min(length.faults / 8);
    let healed = hurt + AWAY.min(length.faults / 2);
    let both = vec![
        at(hurt, begins(Whom::Leader)),
        at(healed, ends(Whom::Leader)),
    ];
    steps(length, both)
}
