//! All scenarios.

mod apart;
mod balancers;
mod disk;
mod operations;
mod scaling;
mod storm;

use std::time::Duration;

use super::{Act, Length, Scenario, Step, Whom};
use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Layout, Proxied, Who};
use crate::history::FaultKind;
use crate::proxy::{Way, Weather};

const LAYOUT: Layout = Layout::PLAIN;
const LOAD: Load = Load {
    rate_per_s: 200.0,
    note_every: 0,
    read_every: 0,
    work_ms: 20,
    spin_ms: 0,
};
const WITH_NOTES: Load = Load {
    note_every: 10,
    read_every: 10,
    ..LOAD
};
const WITH_REDIS: Layout = Layout {
    has_redis: true,
    ..LAYOUT
};
fn demands() -> Demands {
    Demands {
        good_share_min: Some(1.0),
        recovery_ms: Some(3_000),
        rss_max_mib: Some(512),
        ..Demands::default()
    }
}

/// The scenario of a name.
#[must_use]
pub fn find(name: &str) -> Option<Scenario> {
    table().into_iter().find(|scenario| scenario.name == name)
}

/// All of them.
#[must_use]
pub fn table() -> Vec<Scenario> {
    let together = vec![storm::storm()];
    [
        nodes(),
        balancers::rows(),
        ways(),
        redis(),
        controllers(),
        operations::rows(),
        apart::rows(),
        disk::rows(),
        scaling::rows(),
        together,
    ]
    .concat()
}

fn nodes() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "node-kills",
            fault: "SIGKILL of one of 4 nodes every 5 s, back after 1 s",
            must_hold: "0 failed idempotent requests",
            layout: LAYOUT,
            load: LOAD,
            seconds: 120,
            demands: demands(),
            plan: node_kills,
        },
        Scenario {
            name: "node-kills-notes",
            fault: "the same, with a Redis, nodes found in it, and notes among the requests",
            must_hold: "0 failed idempotent requests, reads too; acknowledged notes there exactly once, others at most once",
            layout: WITH_REDIS,
            load: WITH_NOTES,
            seconds: 120,
            demands: Demands {
                read_share_min: Some(1.0),
                ..demands()
            },
            plan: node_kills,
        },
        Scenario {
            name: "node-freeze",
            fault: "SIGSTOP of one of 4 nodes for up to 30 s, then SIGCONT",
            must_hold: "nothing handed to it after 750 ms; 0 failed idempotent requests",
            layout: LAYOUT,
            load: LOAD,
            seconds: 60,
            demands: Demands {
                silent_after_ms: Some(750),
                ..demands()
            },
            plan: |length, _| freeze(length, Whom::The(Who::Node(1)), 30),
        },
        Scenario {
            name: "node-freeze-notes",
            fault: "the same, with a Redis and notes: what it had begun would come late",
            must_hold: "nothing handed to it after 750 ms; 0 failed idempotent requests; notes as acknowledged, and none that was told as lost and not seen since comes late",
            layout: WITH_REDIS,
            load: WITH_NOTES,
            seconds: 60,
            demands: Demands {
                silent_after_ms: Some(750),
                nothing_comes_late: true,
                ..demands()
            },
            plan: |length, _| freeze(length, Whom::The(Who::Node(1)), 30),
        },
        slow_node(),
    ]
}

fn slow_node() -> Scenario {
    Scenario {
        name: "node-slow",
        fault: "one of 4 nodes 10 times slower: its answers take 180 ms longer than the 20 ms of work (proxy)",
        must_hold: "p99 <= 1.5 x healthy; its share <= 15 %; 0 failed",
        layout: Layout {
            proxied: Proxied::Everybody,
            ..LAYOUT
        },
        load: LOAD,
        seconds: 60,
        demands: Demands {
            p99_ratio_max: Some(1.5),
            slow_share_max: Some(0.15),
            ..demands()
        },
        plan: |length, _| {
            let back = Way::late(Duration::from_millis(180), Duration::ZERO);
            let weather = Weather {
                back,
                ..Weather::default()
            };
            spell(length, weather, FaultKind::Slow)
        },
    }
}

fn ways() -> Vec<Scenario> {
    let cut = |name, fault, plan| Scenario {
        name,
        fault,
        must_hold: "nothing handed over after 750 ms; heals within 3 s; 0 failed idempotent requests",
        layout: Layout {
            proxied: Proxied::First,
            ..LAYOUT
        },
        load: LOAD,
        seconds: 45,
        demands: Demands {
            silent_after_ms: Some(750),
            heals_ms: Some(3_000),
            ..demands()
        },
        plan,
    };
    vec![
        cut(
            "cut-full",
            "partition between one balancer and one node, both ways (proxy)",
            |length, _| {
                let shut = Weather {
                    there: Way::shut(),
                    back: Way::shut(),
                };
                spell(length, shut, FaultKind::Cut)
            },
        ),
        cut(
            "cut-requests",
            "partition one way: the node hears nothing of the balancer (proxy)",
            |length, _| {
                let shut = Weather {
                    there: Way::shut(),
                    back: Way::default(),
                };
                spell(length, shut, FaultKind::Cut)
            },
        ),
        cut(
            "cut-answers",
            "partition the other way: the balancer hears nothing of the node (proxy)",
            |length, _| {
                let shut = Weather {
                    there: Way::default(),
                    back: Way::shut(),
                };
                spell(length, shut, FaultKind::Cut)
            },
        ),
        cut(
            "cut-flapping",
            "partition that comes and goes every second (proxy)",
            flapping,
        ),
    ]
}

fn redis() -> Vec<Scenario> {
    let row = |name, fault, load, note_fails_within_ms, plan| Scenario {
        name,
        fault,
        must_hold: "echo >= 99.99 % good, p99 <= 1.1 x; notes fail clearly within 1 s; recovery <= 2 s; notes as acknowledged",
        layout: WITH_REDIS,
        load,
        seconds: 90,
        demands: Demands {
            good_share_min: Some(0.9999),
            p99_ratio_max: Some(1.1),
            recovery_ms: Some(2_000),
            note_fails_within_ms,
            ..demands()
        },
        plan,
    };
    const REDIS: Whom = Whom::The(Who::Redis);
    vec![
        row(
            "redis-kill",
            "Redis killed for up to 60 s",
            WITH_NOTES,
            Some(1_000),
            |length, _| {
                let end = length.calm + length.faults.min(Duration::from_secs(60));
                vec![
                    at(length.calm, Act::Kill(REDIS)),
                    at(end, Act::Start(REDIS)),
                ]
            },
        ),
        row(
            "redis-freeze",
            "Redis frozen for up to 60 s",
            WITH_NOTES,
            Some(1_000),
            |length, _| freeze(length, REDIS, 60),
        ),
        row(
            "redis-empty",
            "Redis killed for 10 s, restarted without its data (no notes: they are gone by intent)",
            LOAD,
            None,
            |length, _| {
                let end = length.calm + length.faults.min(Duration::from_secs(10));
                vec![
                    at(length.calm, Act::Kill(REDIS)),
                    at(end, Act::Wipe),
                    at(end, Act::Start(REDIS)),
                ]
            },
        ),
    ]
}

fn controllers() -> Vec<Scenario> {
    let row = |name, fault, plan| Scenario {
        name,
        fault,
        must_hold: "led again within 5 s; epochs only grow, one writer each; 0 failed idempotent requests",
        layout: Layout {
            controllers: 2,
            ..WITH_REDIS
        },
        load: WITH_NOTES,
        seconds: 60,
        demands: Demands {
            desired_min: Some(2),
            takeover_ms: Some(5_000),
            ..demands()
        },
        plan,
    };
    vec![
        row(
            "leader-kills",
            "the leading controller killed, back after 6 s",
            |length, _| {
                let back = length.calm + Duration::from_secs(6);
                vec![
                    at(length.calm, Act::Kill(Whom::Leader)),
                    at(back, Act::Start(Whom::Leader)),
                ]
            },
        ),
        row(
            "leader-freeze",
            "the leading controller frozen past its lease, then woken",
            |length, _| freeze(length, Whom::Leader, 12),
        ),
    ]
}

fn at(at: Duration, act: Act) -> Step {
    Step { at, act }
}

fn node_kills(length: Length, rng: &mut fastrand::Rng) -> Vec<Step> {
    kills(length, |_| Who::Node(rng.usize(0..LAYOUT.nodes)))
}

/// One dies every five seconds, and is back a second later.
fn kills(length: Length, mut who: impl FnMut(usize) -> Who) -> Vec<Step> {
    let every = Duration::from_secs(5);
    // Whole turns only: who died is back, with its workers, before the faults are over.
    let kills = (length.faults.as_secs() / every.as_secs()).max(1) as u32;
    let steps = (0..kills).flat_map(|n| {
        let whom = Whom::The(who(n as usize));
        let kill = length.calm + every * n;
        [
            at(kill, Act::Kill(whom)),
            at(kill + Duration::from_secs(1), Act::Start(whom)),
        ]
    });
    steps.collect()
}

fn freeze(length: Length, whom: Whom, seconds_max: u64) -> Vec<Step> {
    let end = length.calm + length.faults.min(Duration::from_secs(seconds_max));
    vec![at(length.calm, Act::Freeze(whom)), at(end, Act::Thaw(whom))]
}

/// Bad weather before the second node, from the first fault to the last.
fn spell(length: Length, weather: Weather, fault: FaultKind) -> Vec<Step> {
    vec![
        at(
            length.calm,
            Act::Weather {
                node: 1,
                weather,
                fault: Some(fault),
            },
        ),
        at(length.calm + length.faults, clear()),
    ]
}

fn clear() -> Act {
    Act::Weather {
        node: 1,
        weather: Weather::default(),
        fault: None,
    }
}

fn flapping(length: Length, _: &mut fastrand::Rng) -> Vec<Step> {
    let shut = Act::Weather {
        node: 1,
        weather: Weather {
            there: Way::shut(),
            back: Way::shut(),
        },
        fault: Some(FaultKind::Cut),
    };
    let second = Duration::from_secs(1);
    let turns = (length.faults.as_secs() / 2).max(1) as u32;
    let steps = (0..turns).flat_map(|n| {
        let begin = length.calm + second * (2 * n);
        [at(begin, shut), at(begin + second, clear())]
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plans_stay_within_their_runs() {
        let all = table();
        for scenario in &all {
            let same = all.iter().filter(|other| other.name == scenario.name);
            assert_eq!(same.count(), 1, "{}", scenario.name);
            for seconds in [12, scenario.seconds] {
                let length = Length::of(seconds);
                let steps = (scenario.plan)(length, &mut fastrand::Rng::with_seed(1));
                assert!(!steps.is_empty(), "{}", scenario.name);
                assert!(steps.is_sorted_by_key(|step| step.at), "{}", scenario.name);
                let all = length.all();
                assert!(steps.iter().all(|step| step.at < all), "{}", scenario.name);
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_plan() {
        let length = Length::of(120);
        let plan = |seed| node_kills(length, &mut fastrand::Rng::with_seed(seed));
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }
}
