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
    story.fleet.push(seen(7_700, &[("n0", 3)], &["n0"]));
    story.fleet.push(seen(8_600, &[("n0", 3)], &["n0"]));
    story.fleet.push(seen(9_500, &[("n0", 2)], &["n0"]));
    assert!(judge(&story.lines()).is_pass());
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
fn a_started_node_that_nobody_wants_is_found() {
    let last = |story: &mut Story, started: &[&str]| {
        story
            .fleet
            .push(seen(9_000, &[("n0", 1), ("n1", 1)], started));
    };
    scaled_breaks("no orphans", |story| last(story, &["n0", "n9"]));
    scaled_breaks("no orphans", |story| {
        story.demands.started_max = Some(1);
    });
    scaled_breaks("no orphans", |story| {
        story.fleet.iter_mut().for_each(|seen| seen.started.clear());
    });
    // Two processes of one name at a time, whatever becomes of them.
    scaled_breaks("no orphans", |story| {
        story.fleet[3].started = vec!["n0".to_owned(), "n0".to_owned()];
    });
}
