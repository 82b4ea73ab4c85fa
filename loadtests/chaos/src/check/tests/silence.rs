use super::*;

#[test]
fn a_request_for_a_node_that_fell_silent_is_found() {
    let from_n9 = |story: &mut Story, at: usize| {
        story.requests[at].worker = Some("echo-1@n9".to_owned());
    };
    // Sent 760 ms after it froze.
    breaks("silent nodes get nothing", |story| from_n9(story, 476));
    // The node was cut off from the first balancer only: number 477 went to the other one.
    let mut story = Story::new();
    (story.fault.kind, story.fault.balancer) = (FaultKind::Cut, Some(0));
    from_n9(&mut story, 477);
    assert!(judge(&story.lines()).is_pass());
    for fine in [474, 300, 601] {
        let mut story = Story::new();
        from_n9(&mut story, fine);
        assert!(judge(&story.lines()).is_pass(), "{fine}");
    }
}

#[test]
fn a_node_that_never_comes_back_is_found() {
    let healing = |story: &mut Story, back_at: Option<usize>| {
        story.demands.heals_ms = Some(3_000);
        if let Some(id) = back_at {
            story.requests[id].worker = Some("echo-1@n9".to_owned());
        }
    };
    breaks("healing", |story| healing(story, None));
    // Sent 3 s after it was over.
    breaks("healing", |story| healing(story, Some(901)));
    breaks("healing", |story| {
        healing(story, Some(601));
        story.fault.kind = FaultKind::Stopped;
    });
    let mut story = Story::new();
    healing(&mut story, Some(601));
    let verdict = judge(&story.lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
    assert_eq!(verdict.figures.healed_ms, [Some(12)]);
}

#[test]
fn a_node_that_is_heard_again_elsewhere_has_not_healed() {
    let healing = |story: &mut Story, id: usize| {
        (story.fault.kind, story.fault.balancer) = (FaultKind::Cut, Some(0));
        story.demands.heals_ms = Some(3_000);
        story.requests[id].worker = Some("echo-1@n9".to_owned());
    };
    // Number 601 went to the balancer that was never cut off.
    breaks("healing", |story| healing(story, 601));
    let mut story = Story::new();
    healing(&mut story, 602);
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn who_waits_for_a_node_that_is_silent_for_long_is_found() {
    let late = |story: &mut Story, id: usize| {
        story.demands.p99_ratio_max = None;
        story.requests[id].ended_us = story.requests[id].sent_us + 500_000;
    };
    breaks("nobody waits for a silent node", |story| late(story, 476));
    breaks("nobody waits for a silent node", |story| {
        story.demands.good_share_min = None;
        fails(&mut story.requests[476], 503, "overloaded");
    });
    // Before it can be known, and after it is over.
    for fine in [474, 601] {
        let mut story = Story::new();
        late(&mut story, fine);
        assert!(judge(&story.lines()).is_pass(), "{fine}");
    }
    // Of another balancer; a part that is no node.
    let elsewhere: [fn(&mut Story); 2] = [
        |story| (story.fault.kind, story.fault.balancer) = (FaultKind::Cut, Some(1)),
        |story| story.fault.target = "c0".to_owned(),
    ];
    for plant in elsewhere {
        let mut story = Story::new();
        late(&mut story, 476);
        plant(&mut story);
        assert!(judge(&story.lines()).is_pass());
    }
}
