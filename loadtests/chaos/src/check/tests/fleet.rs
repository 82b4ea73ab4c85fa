use std::collections::BTreeMap;

use super::*;

/// A look at nodes that run so many.
fn seen(at_ms: u64, running: &[(&str, u32)], started: &[&str]) -> Fleet {
    let named = running.iter().map(|(node, n)| ((*node).to_owned(), *n));
    Fleet {
        at_us: at_ms * 1_000,
        running: named.collect(),
        started: started.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn wants(position: u64, at_ms: u64, epoch: u64, workers: &[(&str, u32)]) -> Desired {
    let named = workers.iter().map(|(node, n)| ((*node).to_owned(), *n));
    Desired {
        at_us: at_ms * 1_000,
        position,
        epoch,
        seq: position,
        writer: None,
        workers: named.collect(),
    }
}

/// A pool that grows at 3 s and shrinks at 7 s, and is followed within half a second; the leader c0 was
/// killed at 4 s, and c1 leads at 6 s.
fn scaled() -> Story {
    let mut story = Story::new();
    (story.fault.kind, story.fault.target) = (FaultKind::Killed, "c0".to_owned());
    story.desired = vec![
        wants(1, 1_000, 7, &[("n0", 2), ("n1", 0)]),
        wants(2, 3_000, 7, &[("n0", 4), ("n1", 4)]),
        wants(3, 6_000, 8, &[("n0", 4), ("n1", 4)]),
        wants(4, 7_000, 8, &[("n0", 1), ("n1", 1)]),
    ];
    story.fleet = vec![
        seen(1_500, &[("n0", 2)], &["n0", "n1"]),
        seen(3_100, &[("n0", 2)], &["n0", "n1"]),
        seen(3_500, &[("n0", 4), ("n1", 4)], &["n0", "n1"]),
        seen(6_500, &[("n0", 4), ("n1", 4)], &["n0", "n1"]),
        seen(7_100, &[("n0", 4), ("n1", 4)], &["n0", "n1"]),
        seen(7_600, &[("n0", 1), ("n1", 1)], &["n0", "n1"]),
        seen(7_800, &[("n0", 1), ("n1", 1)], &["n0", "n1"]),
    ];
    story.demands = Demands {
        silent_after_ms: None,
        converge_ms: Some(1_000),
        takeover_ms: Some(5_000),
        grows_by: Some(6),
        shrinks_by: Some(6),
        started_max: Some(2),
        ..story.demands
    };
    story
}

#[track_caller]
fn scaled_breaks(law: &str, plant: impl FnOnce(&mut Story)) {
    breaks(law, |story| {
        *story = scaled();
        plant(story);
    });
}

#[test]
fn a_pool_that_follows_passes_and_its_times_are_told() {
    let verdict = judge(&scaled().lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
    let figures = verdict.figures;
    assert_eq!(figures.wanted, Some((2, 8, 2)));
    assert_eq!(figures.takeovers_ms, [Some(2_000)]);
    assert_eq!(figures.unsettled_ms, Some(500));
}

#[test]
fn workers_that_are_not_what_was_wanted_for_long_are_found() {
    scaled_breaks("convergence", |story| {
        story.fleet.push(seen(8_700, &[("n0", 2)], &[]));
        story.fleet.push(seen(9_800, &[("n0", 2)], &[]));
    });
    // As many, and elsewhere.
    scaled_breaks("convergence", |story| {
        story.fleet[2].running = BTreeMap::from([("n9".to_owned(), 8)]);
        story.fleet[3].running = BTreeMap::from([("n9".to_owned(), 8)]);
    });
    scaled_breaks("convergence", |story| {
        story.demands.started_max = None;
        story.fleet.clear();
    });
    // Whoever is told something else meanwhile has the whole time again.
    let mut story = scaled();
    story.desired.push(wants(5, 8_500, 8, &[("n0", 2)]));
    story.fleet.push(seen(7_900, &[("n0", 3)], &["n0"]));
    story.fleet.push(seen(8_600, &[("n0", 3)], &["n0"]));
    story.fleet.push(seen(9_500, &[("n0", 2)], &["n0"]));
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn a_node_that_follows_what_came_late_is_found() {
    let late = |story: &mut Story, ran: u32| {
        story.demands.orders_come_late = true;
        let mut late = wants(5, 7_200, 8, &[("n0", 4), ("n1", 4)]);
        late.seq = 3;
        story.desired.push(late);
        let nodes = [("n0", ran), ("n1", ran)];
        for at_ms in [8_500, 9_000, 9_900] {
            story.fleet.push(seen(at_ms, &nodes, &["n0", "n1"]));
        }
    };
    scaled_breaks("convergence", |story| late(story, 4));
    let mut story = scaled();
    late(&mut story, 1);
    let verdict = judge(&story.lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
}

/// A pool that is told something else every half second from 7 s on, and what n0 and n1 run meanwhile.
fn restless(story: &mut Story, running: impl Fn(u64) -> [u32; 2]) {
    story.demands.started_max = None;
    story.demands.shrinks_by = None;
    story.fleet.truncate(4);
    for n in 0..6 {
        let (at_ms, wanted) = (7_000 + n * 500, 1 + (n % 2) as u32);
        let workers = [("n0", wanted), ("n1", wanted)];
        story.desired.push(wants(5 + n, at_ms, 9, &workers));
        let [one, other] = running(n);
        let nodes = [("n0", one), ("n1", other)];
        story.fleet.push(seen(at_ms + 100, &nodes, &[]));
        story.fleet.push(seen(at_ms + 350, &nodes, &[]));
    }
}

#[test]
fn a_node_that_follows_none_of_many_decisions_is_found() {
    scaled_breaks("convergence", |story| restless(story, |_| [1, 4]));
    scaled_breaks("convergence", |story| {
        restless(story, |n| [1, u32::from(n < 2)])
    });
    let passes = |plant: &dyn Fn(&mut Story)| {
        let mut story = scaled();
        plant(&mut story);
        let verdict = judge(&story.lines());
        assert!(verdict.is_pass(), "{:?}", verdict.findings);
    };
    passes(&|story| restless(story, |n| [1 + (n % 2) as u32, 2]));
    // One answer came too late.
    passes(&|story| {
        restless(story, |_| [1, 2]);
        story.fleet[10].running.remove("n1");
    });
    // It was killed, and is back for less than the time that it is given; Redis cannot tell.
    for (target, kind) in [("n1", FaultKind::Killed), ("redis", FaultKind::Adrift)] {
        passes(&|story| {
            restless(story, |_| [1, 4]);
            story.demands.takeover_ms = None;
            (story.fault.target, story.fault.kind) = (target.to_owned(), kind);
            story.fault.until_us = 9 * SECOND_US;
            story.demands.recovery_ms = Some(500);
        });
    }
}

#[test]
fn a_cluster_without_a_leader_is_found() {
    scaled_breaks("takeover", |story| story.demands.takeover_ms = Some(1_900));
    scaled_breaks("takeover", |story| {
        story.desired.iter_mut().for_each(|record| record.epoch = 7);
    });
    scaled_breaks("takeover", |story| story.fault.kind = FaultKind::Stopped);
}

#[test]
fn a_pool_that_stays_as_it_is_shows_nothing() {
    scaled_breaks("scaling", |story| story.demands.grows_by = Some(7));
    scaled_breaks("scaling", |story| story.demands.shrinks_by = Some(7));
}

#[test]
fn a_pool_that_moves_while_redis_is_away_is_found() {
    let away = |story: &mut Story| {
        story.demands.freezes_scaling = true;
        story.demands.takeover_ms = None;
        (story.fault.kind, story.fault.target) = (FaultKind::Adrift, "redis".to_owned());
    };
    scaled_breaks("scaling is frozen", |story| {
        away(story);
        story.fault.until_us = 8 * SECOND_US;
    });
    scaled_breaks("scaling is frozen", |story| {
        away(story);
        story.fault.until_us = story.fault.from_us + 1;
    });
    let mut story = scaled();
    away(&mut story);
    story.fault.until_us = 7 * SECOND_US;
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn one_answer_that_came_too_late_is_no_move() {
    let passes = |missing: usize| {
        let mut story = scaled();
        story.demands.freezes_scaling = true;
        (story.demands.takeover_ms, story.demands.converge_ms) = (None, None);
        (story.fault.kind, story.fault.target) = (FaultKind::Adrift, "redis".to_owned());
        story.fault.until_us = 7 * SECOND_US;
        let all = &[("n0", 4), ("n1", 4)];
        let looks = [5_600, 5_900, 6_200, 6_500].map(|at_ms| seen(at_ms, all, &["n0", "n1"]));
        drop(story.fleet.splice(3..4, looks));
        story.fleet[missing].running.remove("n1");
        judge(&story.lines()).is_pass()
    };
    // The first that counts, one in the middle, the last.
    for missing in [3, 4, 6] {
        assert!(passes(missing), "{missing}");
    }
}

/// Redis is away from 4 s to 5 s; the pool shrinks at 7 s.
fn forgotten(story: &mut Story) {
    story.demands.keeps_workers_share = Some(0.7);
    story.demands.takeover_ms = None;
    (story.fault.kind, story.fault.target) = (FaultKind::Killed, "redis".to_owned());
    story.fault.until_us = 5 * SECOND_US;
    story
        .fleet
        .insert(3, seen(4_500, &[("n0", 4), ("n1", 4)], &["n0", "n1"]));
    story
        .fleet
        .insert(4, seen(4_800, &[("n0", 4), ("n1", 4)], &["n0", "n1"]));
}

#[test]
fn a_pool_that_begins_anew_is_found() {
    scaled_breaks("scaling is not reset", |story| {
        forgotten(story);
        story.demands.keeps_workers_ms = Some(3_000);
    });
    scaled_breaks("scaling is not reset", |story| {
        forgotten(story);
        story.demands.converge_ms = None;
        story.fleet[3].running.remove("n1");
        story.fleet[4].running.remove("n1");
    });
    // Nobody looked: before, meanwhile, at all.
    scaled_breaks("scaling is not reset", |story| {
        story.demands.keeps_workers_share = Some(0.7);
    });
    scaled_breaks("scaling is not reset", |story| {
        forgotten(story);
        drop(story.fleet.drain(3..5));
    });
    let fine: [fn(&mut Story); 3] = [
        forgotten,
        |story| {
            forgotten(story);
            story.demands.converge_ms = None;
            story.fleet[4].running.remove("n1");
        },
        |story| {
            forgotten(story);
            story.demands.keeps_workers_ms = Some(3_000);
            story.demands.keeps_workers_share = Some(0.2);
        },
    ];
    for plant in fine {
        let mut story = scaled();
        plant(&mut story);
        let verdict = judge(&story.lines());
        assert!(verdict.is_pass(), "{:?}", verdict.findings);
    }
}
