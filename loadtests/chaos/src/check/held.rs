//! The laws about a balancer that is frozen and wakes: whoever still waits there is answered, and nobody
//! elsewhere feels it.

use super::figures::echo;
use super::laws::{cases, over};
use super::{Figures, History, Spread};
use crate::history::{Fault, FaultKind, Request};

/// What callers allow the service: from then on it may say that it was too late.
const DEADLINE_US: u64 = 5_000_000;
/// A balancer that is stopped is not still at once, and what it had said is on its way.
const STOPPING_US: u64 = 50_000;

/// What became of those who were at a balancer while it was frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Held {
    /// How many there were.
    pub all: usize,
    /// Who gave up, as nobody answers who is frozen.
    pub given_up: usize,
    /// Who was told that the deadline had passed.
    pub told_late: usize,
    /// How long after it woke the last one was answered well.
    pub answered_after_ms: Option<u64>,
}

fn freezes(history: &History) -> impl Iterator<Item = &Fault> {
    let faults = history.faults.iter();
    faults.filter(|fault| fault.kind == FaultKind::Frozen && fault.target.starts_with('b'))
}

fn is_at(fault: &Fault, request: &Request) -> bool {
    let place = fault.target.strip_prefix('b');
    place.and_then(|place| place.parse().ok()) == Some(request.balancer)
}

/// Whether a request was at a balancer while that was frozen.
fn is_held(fault: &Fault, request: &Request) -> bool {
    let is_then = request.sent_us < fault.until_us && request.ended_us >= fault.from_us;
    is_then && is_at(fault, request)
}

/// All such requests, with the freeze.
fn held(history: &History) -> impl Iterator<Item = (&Fault, &Request)> {
    freezes(history).flat_map(|fault| {
        let requests = history.requests.iter();
        let held = requests.filter(move |request| is_held(fault, request));
        held.map(move |request| (fault, request))
    })
}

fn has_passed_its_deadline(request: &Request) -> bool {
    request.ended_us >= request.sent_us + DEADLINE_US
}

fn has_given_up(request: &Request) -> bool {
    let is_timeout = request.status == 0 && request.code.as_deref() == Some("timeout");
    is_timeout && has_passed_its_deadline(request)
}

fn is_told_late(request: &Request) -> bool {
    request.status == 504 && has_passed_its_deadline(request)
}

/// Whether it failed for no other reason than that its balancer was frozen: the caller had to give up
/// before there was time to answer, or was told that the deadline had passed.
pub(super) fn is_excused(history: &History, request: &Request) -> bool {
    let Some(within_ms) = history.header.demands.held_answered_ms else {
        return false;
    };
    let could_not = |fault: &Fault| request.ended_us < fault.until_us + within_ms * 1_000;
    let mut freezes = freezes(history).filter(|fault| is_held(fault, request));
    freezes.any(|fault| is_told_late(request) || has_given_up(request) && could_not(fault))
}

pub(super) fn figures(history: &History) -> Option<Held> {
    history.header.demands.held_answered_ms?;
    let count = |is: fn(&Request) -> bool| held(history).filter(|(_, r)| is(r)).count();
    let good = held(history).filter(|(fault, r)| r.is_good() && r.ended_us >= fault.until_us);
    let answered_us = good.map(|(fault, r)| r.ended_us - fault.until_us);
    Some(Held {
        all: held(history).count(),
        given_up: count(has_given_up),
        told_late: count(is_told_late),
        answered_after_ms: answered_us.max().map(|us| us / 1_000),
    })
}

/// Good echo answers of balancers that were awake while another was frozen, or had time to recover.
pub(super) fn elsewhere(history: &History) -> Spread {
    let recovery_us = history.header.demands.recovery_ms.unwrap_or(0) * 1_000;
    let is_elsewhere = |r: &Request| {
        let is_then = |f: &&Fault| (f.from_us..f.until_us + recovery_us).contains(&r.intended_us);
        let mut then = freezes(history).filter(is_then).peekable();
        then.peek().is_some() && then.all(|fault| !is_at(fault, r))
    };
    let good = echo(history).filter(|r| r.is_good() && is_elsewhere(r));
    Spread::of(good.map(Request::latency_us))
}

/// A balancer that wakes answers whoever still waits there; one that sleeps answers nobody.
pub(super) fn woken_answers(history: &History, _: &Figures) -> Vec<String> {
    let Some(within_ms) = history.header.demands.held_answered_ms else {
        return Vec::new();
    };
    if !held(history).any(|(fault, r)| r.ended_us >= fault.until_us) {
        return vec!["nobody waited for a balancer when it woke, so nothing was shown".to_owned()];
    }
    let answered = || held(history).filter(|(_, r)| r.status != 0);
    let asleep = answered()
        .filter(|(fault, r)| (fault.from_us + STOPPING_US..fault.until_us).contains(&r.ended_us));
    let late = answered().filter(|(fault, r)| r.ended_us > fault.until_us + within_ms * 1_000);
    let mut told = cases(asleep.map(|(_, r)| r), "was answered by who was frozen");
    told.extend(cases(
        late.map(|(_, r)| r),
        "waited for a balancer that was awake again",
    ));
    told
}

/// Whoever asks another balancer does not feel that one is frozen, nor that it wakes.
pub(super) fn others_are_unmoved(history: &History, figures: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.elsewhere_p99_ratio_max else {
        return Vec::new();
    };
    let (healthy, elsewhere) = (figures.healthy, figures.elsewhere);
    if healthy.count == 0 || elsewhere.count == 0 {
        return vec!["there is nothing to compare, so nothing was shown".to_owned()];
    }
    let ratio = elsewhere.p99_ms / healthy.p99_ms;
    over(ratio > most, || {
        format!(
            "p99 at the others was {:.1} ms, {ratio:.2} times that before ({:.1} ms); {most} is the most",
            elsewhere.p99_ms, healthy.p99_ms
        )
    })
}
