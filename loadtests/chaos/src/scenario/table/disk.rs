//! A disk without a byte left: that of a single process, and that of Redis.

use std::time::Duration;

use super::{WITH_NOTES, WITH_REDIS, at, demands};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Layout, Who};
use crate::scenario::{Act, Scenario, Step, Whom};

const DISK_MIB: u32 = 24;
const WHOLE: Layout = Layout {
    nodes: 0,
    balancers: 0,
    is_whole: true,
    disk_mib: Some(DISK_MIB),
    ..Layout::PLAIN
};
const LOAD: Load = Load {
    rate_per_s: 100.0,
    read_every: 10,
    ..WITH_NOTES
};

pub(super) fn rows() -> Vec<Scenario> {
    let row = |name, fault, must_hold, layout, demands, plan| Scenario {
        name,
        fault,
        must_hold,
        layout,
        load: LOAD,
        seconds: 45,
        demands,
        plan,
    };
    let kept = "notes as acknowledged, after SIGKILL too; those that cannot be kept fail clearly within 1 s; reads and echo go on; recovery <= 3 s";
    let felt = Demands {
        note_fails_within_ms: Some(1_000),
        ..demands()
    };
    let killed = Demands {
        // There is nobody else while it is away, and notes wait for it.
        good_share_min: None,
        note_fails_within_ms: None,
        ..felt.clone()
    };
    vec![
        row(
            "disk-full",
            "the disk of a single process full, then free again",
            kept,
            WHOLE,
            Demands {
                read_share_min: Some(1.0),
                ..felt.clone()
            },
            |length, _| {
                let end = length.calm + length.faults;
                vec![at(length.calm, Act::Fill), at(end, Act::Free)]
            },
        ),
        row(
            "disk-full-kill",
            "the same, and the process is killed while it is full",
            "notes as acknowledged; recovery <= 3 s",
            WHOLE,
            killed,
            |length, _| killed_when_full(length.calm, length.faults, Who::Whole),
        ),
        row(
            "disk-full-redis",
            "the disk of Redis full (appendfsync always: it ends by itself), then free again and Redis started",
            "notes as acknowledged; those that cannot be kept fail clearly within 1 s; echo goes on; recovery <= 3 s",
            Layout {
                disk_mib: Some(DISK_MIB),
                ..WITH_REDIS
            },
            felt,
            |length, _| killed_when_full(length.calm, length.faults, Who::Redis),
        ),
    ]
}

fn killed_when_full(calm: Duration, faults: Duration, who: Who) -> Vec<Step> {
    let (end, whom) = (calm + faults, Whom::The(who));
    vec![
        at(calm, Act::Fill),
        at(end, Act::Kill(whom)),
        at(end, Act::Free),
        at(end, Act::Start(whom)),
    ]
}
