mod ends;
mod fleet;
mod held;
mod notes;
mod silence;

use super::*;
use crate::history::{FaultKind, RequestKind};

const SECOND_US: u64 = 1_000_000;

fn echo(id: u64) -> Request {
    let intended_us = id * 10_000;
    Request {
        id,
        kind: RequestKind::Echo,
        intended_us,
        sent_us: intended_us + 50,
        ended_us: intended_us + 2_050,
        status: 200,
        code: None,
        worker: Some(format!("echo-1@n{}", id % 4)),
        balancer: (id % 2) as usize,
        attempts: 1,
        is_own: true,
        note: None,
        times: None,
    }
}

fn note(id: u64) -> Request {
    Request {
        kind: RequestKind::Note,
        ..echo(id)
    }
}

/// A healthy run of ten seconds: a fault from 4 s to 6 s that touches node n9, notes that are
/// kept, two leaders one after the other.
struct Story {
    demands: Demands,
    requests: Vec<Request>,
    fault: Fault,
    found: Vec<Found>,
    desired: Vec<Desired>,
    fleet: Vec<Fleet>,
    rss_kib: u64,
    planned: u64,
}

impl Story {
    fn new() -> Self {
        let mut requests: Vec<_> = (0..1_000).map(echo).collect();
        let notes = [5, 405, 905];
        notes.iter().for_each(|id| requests[*id] = note(*id as u64));
        let found = notes.map(|id| Found {
            id: id as u64,
            times: 1,
        });
        Self {
            demands: Demands {
                good_share_min: Some(1.0),
                silent_after_ms: Some(750),
                p99_ratio_max: Some(1.5),
                recovery_ms: Some(1_000),
                rss_max_mib: Some(512),
                note_fails_within_ms: Some(1_000),
                desired_min: Some(2),
                ..Demands::default()
            },
            requests,
            fault: Fault {
                kind: FaultKind::Frozen,
                target: "n9".to_owned(),
                balancer: None,
                from_us: 4 * SECOND_US,
                until_us: 6 * SECOND_US,
            },
            found: found.to_vec(),
            desired: [(1, 7, 1, "c0"), (2, 7, 2, "c0"), (3, 8, 1, "c1")]
                .map(|(position, epoch, seq, writer)| Desired {
                    at_us: position * SECOND_US,
                    position,
                    epoch,
                    seq,
                    writer: Some(writer.to_owned()),
                    workers: [("n0".to_owned(), 2)].into(),
                })
                .to_vec(),
            fleet: Vec::new(),
            rss_kib: 100 * 1_024,
            planned: 1_000,
        }
    }

    fn lines(self) -> Vec<Line> {
        let header = Header {
            scenario: "story".to_owned(),
            seed: 1,
            begun: String::new(),
            warmup_us: 0,
            demands: self.demands,
        };
        let mut lines = vec![Line::Header(Box::new(header))];
        lines.extend(self.requests.into_iter().map(Line::Request));
        lines.push(Line::Fault(self.fault));
        lines.extend(self.desired.into_iter().map(Line::Desired));
        lines.extend(self.fleet.into_iter().map(Line::Fleet));
        lines.extend(self.found.into_iter().map(Line::Found));
        lines.push(Line::Sample(Sample {
            at_us: 0,
            process: "b0".to_owned(),
            rss_kib: self.rss_kib,
        }));
        lines.push(Line::End {
            planned: self.planned,
        });
        lines
    }
}

#[track_caller]
fn breaks(law: &str, plant: impl FnOnce(&mut Story)) {
    let mut story = Story::new();
    plant(&mut story);
    let verdict = judge(&story.lines());
    let broken: Vec<_> = verdict.findings.iter().map(|f| f.law).collect();
    assert!(broken.contains(&law), "{law}: {:?}", verdict.findings);
    assert!(
        broken.iter().all(|other| *other == law),
        "also others: {:?}",
        verdict.findings
    );
}

fn fails(request: &mut Request, status: u16, code: &str) {
    request.status = status;
    request.code = Some(code.to_owned());
    request.worker = None;
}

#[test]
fn a_good_history_breaks_no_law() {
    let verdict = judge(&Story::new().lines());
    assert!(verdict.is_pass(), "{:?}", verdict.findings);
    let figures = verdict.figures;
    assert_eq!((figures.echo, figures.echo_failed), (997, 0));
    assert_eq!((figures.notes, figures.notes_kept), (3, 3));
    assert_eq!(figures.desired, (3, 2));
    assert_eq!(figures.faulty.p99_ms, 2.05);
}

#[test]
fn a_request_that_never_ends_is_found() {
    breaks("ended once", |story| {
        story.requests.remove(100);
    });
    breaks("ended once", |story| story.planned = 1_001);
}

#[test]
fn a_request_that_ends_twice_is_found() {
    breaks("ended once", |story| story.requests.push(echo(100)));
    breaks("ended once", |story| story.planned = 999);
}

#[test]
fn a_history_that_breaks_off_is_no_pass() {
    let mut lines = Story::new().lines();
    lines.pop();
    assert!(!judge(&lines).is_pass());
    assert!(!judge(&[]).is_pass());
    assert!(!judge(&lines[1..]).is_pass());
}

#[test]
fn an_answer_from_before_the_question_is_found() {
    breaks("time goes on", |story| {
        story.requests[100].ended_us = story.requests[100].sent_us - 1;
    });
}

#[test]
fn the_answer_to_somebody_else_is_found() {
    breaks("own answers", |story| story.requests[100].is_own = false);
}

#[test]
fn an_end_without_a_reason_is_found() {
    let plant = |code: Option<&str>| {
        let code = code.map(str::to_owned);
        move |story: &mut Story| {
            story.demands.good_share_min = None;
            story.requests[100].status = 0;
            story.requests[100].code = code;
        }
    };
    breaks("clear ends", plant(None));
    breaks("clear ends", plant(Some("timeout")));
}

#[test]
fn slow_answers_under_fault_are_found_from_when_they_were_due() {
    breaks("p99 under fault", |story| {
        for request in &mut story.requests[410..420] {
            // The client was late, so the answer was: that does not excuse it.
            (request.sent_us, request.ended_us) =
                (request.sent_us + 5_000, request.ended_us + 5_000);
        }
    });
    breaks("p99 under fault", |story| {
        story.fault.from_us = 0;
        story.demands.silent_after_ms = None;
    });
}

#[test]
fn what_the_first_fault_still_caught_is_not_healthy() {
    let mut story = Story::new();
    // Due 10 ms before it, and answered under it.
    story.requests[399].ended_us += 300_000;
    let figures = judge(&story.lines()).figures;
    assert_eq!(figures.healthy.max_ms, 2.05);
    assert_eq!(figures.faulty.max_ms, 302.05);
    assert_eq!(figures.healthy.count + figures.faulty.count, 598);
}

#[test]
fn a_slow_node_with_too_large_a_share_is_found() {
    breaks("share of slow nodes", |story| {
        (story.fault.kind, story.fault.target) = (FaultKind::Slow, "n1".to_owned());
        story.demands.slow_share_max = Some(0.15);
    });
    breaks("share of slow nodes", |story| {
        story.demands.slow_share_max = Some(0.15);
    });
}

#[test]
fn a_failure_after_the_time_to_recover_is_found() {
    breaks("recovery", |story| {
        story.demands.good_share_min = None;
        fails(&mut story.requests[701], 503, "overloaded");
    });
    breaks("recovery", |story| story.fault.until_us = 60 * SECOND_US);
}

#[test]
fn slow_answers_after_the_time_to_recover_are_found() {
    breaks("normal again", |story| {
        story.demands.normal_ratio_max = Some(2.0);
        for request in &mut story.requests[701..] {
            request.ended_us += 50_000;
        }
    });
}

#[test]
fn dear_refusals_are_found_and_none_at_all_show_nothing() {
    let demand = |story: &mut Story| {
        story.demands.good_share_min = None;
        story.demands.refusals_p99_ms = Some(5.0);
    };
    breaks("cheap refusals", demand);
    breaks("cheap refusals", |story| {
        demand(story);
        fails(&mut story.requests[450], 503, "overloaded");
        story.requests[450].ended_us += 10_000;
    });
}

#[test]
fn little_goodput_is_found() {
    let overload = |story: &mut Story, least| {
        story.fault.kind = FaultKind::Overloaded;
        story.demands.goodput_min_per_s = Some(least);
    };
    breaks("goodput", |story| overload(story, 101.0));
    let mut story = Story::new();
    overload(&mut story, 99.0);
    assert!(judge(&story.lines()).is_pass());
    breaks("goodput", |story| {
        story.demands.goodput_min_per_s = Some(1.0);
    });
}

#[test]
fn memory_beyond_its_bound_is_found() {
    breaks("bounded memory", |story| story.rss_kib = 513 * 1_024);
}

#[test]
fn an_epoch_that_falls_is_found() {
    breaks("epochs grow", |story| {
        let mut late = story.desired[1].clone();
        (late.position, late.seq) = (4, 3);
        story.desired.push(late);
    });
    breaks("epochs grow", |story| story.desired.truncate(1));
    // An older order within one epoch: what was on its way may come late, what is of an old epoch may not.
    let late = |story: &mut Story, epoch: u64| {
        story.desired[2].seq = 5;
        let mut late = story.desired[2].clone();
        (late.position, late.epoch, late.seq) = (4, epoch, 4);
        story.desired.push(late);
    };
    breaks("epochs grow", |story| late(story, 8));
    breaks("epochs grow", |story| {
        story.demands.orders_come_late = true;
        late(story, 7);
        story.desired[3].writer = Some("c0".to_owned());
    });
    let mut story = Story::new();
    story.demands.orders_come_late = true;
    late(&mut story, 8);
    assert!(judge(&story.lines()).is_pass());
}

#[test]
fn two_writers_of_one_epoch_are_found() {
    breaks("one writer an epoch", |story| {
        story.desired[1].writer = Some("c1".to_owned());
    });
}
