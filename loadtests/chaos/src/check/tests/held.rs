use super::*;

/// The first balancer is frozen from 4 s to 6 s. Its callers are even numbers: the first of them gives up
/// half a second after it wakes, one is told that its deadline has passed, and the others are answered
/// within a second.
fn frozen(story: &mut Story) {
    story.fault.target = "b0".to_owned();
    story.demands = Demands {
        silent_after_ms: None,
        p99_ratio_max: None,
        failed_max: Some(0),
        held_answered_ms: Some(1_000),
        elsewhere_p99_ratio_max: Some(1.5),
        ..story.demands.clone()
    };
    for id in (400..600).step_by(2) {
        story.requests[id].ended_us = 6 * SECOND_US + id as u64;
    }
    for (id, status, code) in [(400, 0, "timeout"), (402, 504, "deadline_exceeded")] {
        let request = &mut story.requests[id];
        fails(request, status, code);
        // They were sent long ago, and nobody else is hurt.
        (request.intended_us, request.sent_us) = (SECOND_US, SECOND_US);
        request.ended_us = 6 * SECOND_US + SECOND_US / 2;
    }
}

#[track_caller]
fn held_breaks(law: &str, plant: impl FnOnce(&mut Story)) {
    breaks(law, |story| {
        frozen(story);
        plant(story);
    });
}

#[test]
fn who_is_answered_late_by_a_woken_balancer_is_no_failure_and_is_counted() {
    let mut story = Story::new();
    frozen(&mut story);
    let verdict = judge(&story.lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
    let held = Held {
        all: 100,
        given_up: 1,
        told_late: 1,
        answered_after_ms: Some(0),
    };
    assert_eq!(verdict.figures.held, Some(held));
    // Every other request from 4 s to a second after 6 s; one of them is a note.
    assert_eq!(verdict.figures.elsewhere.count, 149);
    assert_eq!(verdict.figures.elsewhere.max_ms, 2.05);
}

#[test]
fn who_waits_for_a_balancer_that_is_awake_again_is_found() {
    held_breaks("a woken balancer answers", |story| {
        story.requests[500].ended_us = 7 * SECOND_US + 1;
    });
    held_breaks("a woken balancer answers", |story| {
        story.requests[402].ended_us = 7 * SECOND_US + 1;
    });
    // It never slept.
    held_breaks("a woken balancer answers", |story| {
        story.requests[500].ended_us = story.requests[500].sent_us + 2_000;
    });
    // Nobody was there when it woke; it was no balancer.
    held_breaks("a woken balancer answers", |story| {
        story.demands.elsewhere_p99_ratio_max = None;
        story.requests.iter_mut().for_each(|r| r.balancer = 1);
        (400..404).for_each(|id| story.requests[id] = echo(id as u64));
    });
    held_breaks("a woken balancer answers", |story| {
        story.demands.elsewhere_p99_ratio_max = None;
        story.fault.target = "n9".to_owned();
        (400..404).for_each(|id| story.requests[id] = echo(id as u64));
    });
}

#[test]
fn what_a_frozen_balancer_does_not_excuse_is_found() {
    let plants: [fn(&mut Story); 6] = [
        // There was time to answer it.
        |story| story.requests[400].ended_us = 7 * SECOND_US,
        // It gave up before its deadline had passed; so did the balancer.
        |story| story.requests[400].sent_us = 2 * SECOND_US,
        |story| story.requests[402].sent_us = 2 * SECOND_US,
        // It was at the other balancer.
        |story| story.requests[400].balancer = 1,
        // It ended otherwise.
        |story| fails(&mut story.requests[400], 0, "connection_lost"),
        |story| fails(&mut story.requests[500], 503, "overloaded"),
    ];
    for (n, plant) in plants.into_iter().enumerate() {
        let mut story = Story::new();
        frozen(&mut story);
        plant(&mut story);
        let verdict = judge(&story.lines());
        let broken: Vec<_> = verdict.findings.iter().map(|f| f.law).collect();
        assert!(broken.contains(&"failures"), "{n}: {broken:?}");
        assert!(broken.contains(&"good share"), "{n}: {broken:?}");
    }
    // Where nobody was to be frozen, whoever gives up is told of as ever.
    let mut story = Story::new();
    frozen(&mut story);
    story.demands.held_answered_ms = None;
    let verdict = judge(&story.lines());
    let broken: Vec<_> = verdict.findings.iter().map(|f| f.law).collect();
    assert!(broken.contains(&"clear ends"), "{broken:?}");
}

#[test]
fn who_feels_a_balancer_that_is_frozen_elsewhere_is_found() {
    let late = |story: &mut Story, ids: &[usize]| {
        for id in ids {
            story.requests[*id].ended_us += 10_000;
        }
    };
    held_breaks("others are unmoved", |story| late(story, &[501, 503]));
    // When it wakes.
    held_breaks("others are unmoved", |story| late(story, &[601, 603]));
    held_breaks("others are unmoved", |story| {
        story.requests.iter_mut().for_each(|r| r.balancer = 0);
        story.requests[401..600].iter_mut().for_each(|r| {
            r.ended_us = r.ended_us.max(6 * SECOND_US + 1);
        });
    });
    // Before, long after, and there.
    for fine in [[301, 303], [701, 703], [601, 602]] {
        let mut story = Story::new();
        frozen(&mut story);
        late(&mut story, &fine[..]);
        let verdict = judge(&story.lines());
        let law = "others are unmoved";
        assert!(verdict.findings.iter().all(|f| f.law != law), "{fine:?}");
    }
}
