use super::*;

#[test]
fn one_failed_request_of_all_is_found() {
    breaks("good share", |story| {
        fails(&mut story.requests[100], 503, "overloaded");
    });
    let mut story = Story::new();
    story.demands.good_share_min = Some(0.99);
    fails(&mut story.requests[100], 503, "overloaded");
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn a_failure_of_any_kind_is_found() {
    breaks("failures", |story| {
        story.demands.failed_max = Some(0);
        fails(&mut story.requests[405], 503, "overloaded");
        story.found[1].times = 0;
    });
    breaks("failures", |story| {
        (story.demands.failed_max, story.demands.good_share_min) = (Some(1), None);
        fails(&mut story.requests[100], 503, "overloaded");
        fails(&mut story.requests[101], 503, "overloaded");
    });
    let mut story = Story::new();
    (story.demands.failed_max, story.demands.good_share_min) = (Some(1), None);
    fails(&mut story.requests[100], 503, "overloaded");
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn an_end_that_is_no_refusal_is_found() {
    let demand = |story: &mut Story| {
        (story.demands.refused_only, story.demands.good_share_min) = (true, None);
    };
    for (status, code) in [(500, "worker_lost"), (504, "late"), (0, "connection_lost")] {
        breaks("refusals only", |story| {
            demand(story);
            fails(&mut story.requests[100], status, code);
        });
    }
    for status in [429, 503] {
        let mut story = Story::new();
        demand(&mut story);
        fails(&mut story.requests[100], status, "overloaded");
        assert!(judge(&story.lines()).is_pass(), "{status}");
    }
}

/// The first balancer is killed at 4 s, and requests of before it are lost there.
fn balancer_killed(story: &mut Story) {
    (story.fault.kind, story.fault.target) = (FaultKind::Killed, "b0".to_owned());
    story.demands.silent_after_ms = None;
    story.demands.failed_max = Some(0);
    story.demands.lost_with_balancer = true;
    for id in [398, 400, 404] {
        fails(&mut story.requests[id], 0, "connection_lost");
        story.requests[id].ended_us = story.requests[id].ended_us.max(story.fault.from_us);
    }
}

#[test]
fn what_a_dead_balancer_does_not_excuse_is_found() {
    let mut story = Story::new();
    balancer_killed(&mut story);
    let verdict = judge(&story.lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
    let plants: [fn(&mut Story); 5] = [
        // It was said to live on.
        |story| story.fault.kind = FaultKind::Frozen,
        // It is the other one that was killed.
        |story| story.fault.target = "b1".to_owned(),
        // Ended before it was killed.
        |story| story.requests[398].ended_us = story.fault.from_us - 1,
        // Sent long after.
        |story| fails(&mut story.requests[406], 0, "connection_lost"),
        // Not lost with a connection.
        |story| fails(&mut story.requests[402], 500, "worker_lost"),
    ];
    for (n, plant) in plants.into_iter().enumerate() {
        let mut story = Story::new();
        balancer_killed(&mut story);
        plant(&mut story);
        let verdict = judge(&story.lines());
        let broken: Vec<_> = verdict.findings.iter().map(|f| f.law).collect();
        assert!(broken.contains(&"failures"), "{n}: {broken:?}");
        assert!(broken.contains(&"good share"), "{n}: {broken:?}");
    }
}
