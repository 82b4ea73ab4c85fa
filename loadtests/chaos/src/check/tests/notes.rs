use super::*;

#[test]
fn a_lost_note_is_found() {
    breaks("kept notes", |story| story.found[1].times = 0);
    breaks("kept notes", |story| {
        story.found.pop();
    });
}

#[test]
fn a_doubled_refused_or_strange_note_is_found() {
    breaks("kept notes", |story| story.found[1].times = 2);
    breaks("kept notes", |story| {
        fails(&mut story.requests[405], 503, "overloaded");
    });
    breaks("kept notes", |story| {
        story.found.push(Found { id: 6, times: 1 });
    });
    // Nobody knows: it may be there or not, but not twice.
    for (times, is_pass) in [(0, true), (1, true), (2, false)] {
        let mut story = Story::new();
        fails(&mut story.requests[405], 500, "worker_lost");
        story.found[1].times = times;
        assert_eq!(judge(&story.lines()).is_pass(), is_pass, "{times}");
    }
}

#[test]
fn a_note_that_fails_late_is_found() {
    breaks("notes fail at once", |story| {
        fails(&mut story.requests[405], 503, "dependency_unavailable");
        story.requests[405].ended_us += 1_500_000;
        story.found[1].times = 0;
    });
}

/// Every tenth echo becomes a read of the second note.
fn reads(story: &mut Story) {
    story.demands.read_share_min = Some(1.0);
    for request in story.requests.iter_mut().skip(7).step_by(10) {
        request.kind = RequestKind::Read;
        (request.note, request.times) = (Some(405), Some(u64::from(request.id > 405)));
    }
}

#[test]
fn a_read_that_fails_is_found_and_none_at_all_show_nothing() {
    let mut story = Story::new();
    reads(&mut story);
    assert!(judge(&story.lines()).is_pass());
    breaks("reads go on", |story| {
        reads(story);
        fails(&mut story.requests[417], 503, "dependency_unavailable");
    });
    breaks("reads go on", |story| {
        story.demands.read_share_min = Some(1.0)
    });
}

#[test]
fn a_full_disk_that_nobody_feels_shows_nothing() {
    breaks("a full disk is told", |story| {
        story.fault.kind = FaultKind::DiskFull
    });
    let mut story = Story::new();
    story.fault.kind = FaultKind::DiskFull;
    fails(&mut story.requests[405], 503, "dependency_unavailable");
    story.found[1].times = 0;
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn a_store_that_nobody_misses_was_not_lost() {
    let adrift = |story: &mut Story, sent: usize| {
        story.demands.lost_store_is_told = true;
        story.demands.silent_after_ms = None;
        (story.fault.kind, story.fault.target) = (FaultKind::Adrift, "n1".to_owned());
        fails(&mut story.requests[sent], 503, "dependency_unavailable");
        story.found.iter_mut().for_each(|found| found.times = 1);
    };
    let mut story = Story::new();
    adrift(&mut story, 405);
    assert!(judge(&story.lines()).is_pass());
    // Before it was lost; for another reason; while something else was wrong.
    breaks("a lost store is told", |story| adrift(story, 5));
    breaks("a lost store is told", |story| {
        adrift(story, 405);
        fails(&mut story.requests[405], 500, "worker_lost");
    });
    breaks("a lost store is told", |story| {
        adrift(story, 405);
        story.fault.kind = FaultKind::Slow;
    });
}

#[track_caller]
fn read_breaks(plant: impl FnOnce(&mut Story)) {
    breaks("reads see what was kept", |story| {
        reads(story);
        plant(story);
    });
}

#[test]
fn a_read_that_misses_what_was_acknowledged_is_found() {
    read_breaks(|story| story.requests[407].times = Some(0));
    read_breaks(|story| story.requests[997].times = Some(0));
    // Sent before the note was acknowledged: it may have seen it or not.
    for times in [0, 1] {
        let mut story = Story::new();
        reads(&mut story);
        story.requests[405].ended_us = story.requests[407].sent_us + 1;
        story.requests[407].times = Some(times);
        let verdict = judge(&story.lines());
        assert!(
            verdict
                .findings
                .iter()
                .all(|f| f.law != "reads see what was kept")
        );
    }
}

#[test]
fn a_read_that_finds_what_is_not_there_is_found() {
    // Not sent yet; refused; of no request; twice.
    read_breaks(|story| story.requests[397].times = Some(1));
    read_breaks(|story| {
        fails(&mut story.requests[405], 503, "overloaded");
        story.found[1].times = 0;
        story.requests[407].times = Some(1);
        // Whatever comes later would miss what was seen.
        let reads = story.requests.iter_mut();
        let later = reads.filter(|r| r.kind == RequestKind::Read && r.id > 407);
        later.for_each(|read| read.note = Some(5));
    });
    read_breaks(|story| {
        story.requests[407].note = Some(406);
    });
    read_breaks(|story| story.requests[407].times = Some(2));
}

#[test]
fn a_read_that_misses_what_another_had_seen_is_found() {
    let unknown = |story: &mut Story| {
        reads(story);
        fails(&mut story.requests[405], 500, "worker_lost");
    };
    breaks("reads see what was kept", |story| {
        unknown(story);
        story.requests[417].times = Some(0);
    });
    // Nobody had seen it before: it came late.
    let mut story = Story::new();
    unknown(&mut story);
    story.requests[407].times = Some(0);
    let verdict = judge(&story.lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
}

#[test]
fn a_read_that_says_nothing_is_no_answer() {
    breaks("own answers", |story| {
        reads(story);
        (story.requests[417].times, story.requests[417].is_own) = (None, false);
    });
}

/// The note was told as lost with its node, and a read that came after did not find it.
fn lost_and_not_seen(story: &mut Story) {
    reads(story);
    story.demands.nothing_comes_late = true;
    fails(&mut story.requests[405], 500, "worker_lost");
    let reads = story.requests.iter_mut();
    let reads = reads.filter(|r| r.kind == RequestKind::Read);
    reads.for_each(|read| read.times = Some(0));
    story.found[1].times = 0;
}

#[test]
fn a_note_that_comes_late_is_found() {
    let mut story = Story::new();
    lost_and_not_seen(&mut story);
    let verdict = judge(&story.lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
    breaks("nothing comes late", |story| {
        lost_and_not_seen(story);
        story.found[1].times = 1;
    });
    breaks("nothing comes late", |story| {
        lost_and_not_seen(story);
        story.requests[997].times = Some(1);
    });
    // Every read of it was sent before it had failed.
    let mut story = Story::new();
    lost_and_not_seen(&mut story);
    story.requests[405].ended_us = 20 * SECOND_US;
    story.found[1].times = 1;
    let verdict = judge(&story.lines());
    assert!(
        verdict
            .findings
            .iter()
            .all(|f| f.law != "nothing comes late")
    );
}
