//! What a history says in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::held::{self, Held};
use super::{History, fleet, scaling};
use crate::history::{Fault, FaultKind, Request, RequestKind};

/// How long requests took, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// Of latencies in microseconds. Percentiles are of the nearest rank.
    #[must_use]
    pub fn of(latencies_us: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = latencies_us.collect();
        sorted.sort_unstable();
        let at = |q: f64| {
            let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
            sorted
                .get(rank.min(sorted.len()).wrapping_sub(1))
                .map_or(0.0, |us| *us as f64 / 1e3)
        };
        Self {
            count: sorted.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}

/// What was measured in a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Echo requests.
    pub echo: usize,
    /// Those that were not answered well.
    pub echo_failed: usize,
    /// Notes that were sent.
    pub notes: usize,
    /// Notes that were acknowledged.
    pub notes_kept: usize,
    /// Notes of which the client does not know whether they were stored.
    pub notes_unknown: usize,
    /// Good echo answers that came before the first fault.
    pub healthy: Spread,
    /// Good echo answers that came later, to what was due before the last fault was over.
    pub faulty: Spread,
    /// Good echo answers after the last fault and the time to recover from it.
    pub recovered: Spread,
    /// Good echo answers of other balancers than the one that was frozen, until that had had the time to
    /// recover.
    pub elsewhere: Spread,
    /// Those who were at a balancer while it was frozen.
    pub held: Option<Held>,
    /// Refusals, from when they were sent.
    pub refusals: Spread,
    /// Other ends than good ones, by status and code.
    pub ends: BTreeMap<String, u64>,
    /// Share of echo answers that came from slow nodes while they were.
    pub slow_share: Option<f64>,
    /// Good echo answers a second while there was overload.
    pub goodput_per_s: Option<f64>,
    /// Highest resident memory of any process, in MiB, and which.
    pub rss_max_mib: Option<(u64, String)>,
    /// Faults that were made.
    pub faults: usize,
    /// Desired states that were seen, and epochs among them.
    pub desired: (usize, usize),
    /// How long it took, after each time that a node was frozen or cut off, until it answered again;
    /// nothing: it did not.
    pub healed_ms: Vec<Option<u64>>,
    /// Reads that were sent, and those that were answered well.
    pub reads: (usize, usize),
    /// Reads that found what they looked for.
    pub reads_found: usize,
    /// Fewest, most and last wanted workers.
    pub wanted: Option<(u32, u32, u32)>,
    /// Longest time in which nodes ran something else than was wanted.
    pub unsettled_ms: Option<u64>,
    /// How long it took until somebody led in place of a controller that was hurt; nothing: nobody did.
    pub takeovers_ms: Vec<Option<u64>>,
}

impl Figures {
    pub(super) fn of(history: &History) -> Self {
        let warmup_us = history.header.warmup_us;
        let (from_us, until_us) = faulty_span(history);
        let recovery_us = history.header.demands.recovery_ms.unwrap_or(0) * 1_000;
        let good = || echo(history).filter(|r| r.is_good());
        let latency = |is_inside: &dyn Fn(&Request) -> bool| {
            Spread::of(good().filter(|r| is_inside(r)).map(Request::latency_us))
        };
        // What the first fault still caught belongs to it, although it was due before.
        let is_timed = |r: &Request| (warmup_us..until_us).contains(&r.intended_us);
        let recovered_us = until_us.saturating_add(recovery_us);
        let notes = || {
            history
                .requests
                .iter()
                .filter(|r| r.kind == RequestKind::Note)
        };
        let reads = || {
            let requests = history.requests.iter();
            requests.filter(|r| r.kind == RequestKind::Read)
        };
        let epochs: std::collections::BTreeSet<_> =
            history.desired.iter().map(|d| d.epoch).collect();
        let biggest = history.samples.iter().max_by_key(|sample| sample.rss_kib);
        Self {
            echo: echo(history).count(),
            echo_failed: echo(history).filter(|r| !r.is_good()).count(),
            notes: notes().count(),
            notes_kept: notes().filter(|r| r.is_good()).count(),
            notes_unknown: notes().filter(|r| is_unknown(r)).count(),
            healthy: latency(&|r| is_timed(r) && r.ended_us < from_us),
            faulty: latency(&|r| is_timed(r) && r.ended_us >= from_us),
            recovered: latency(&|r| r.intended_us >= recovered_us),
            elsewhere: held::elsewhere(history),
            held: held::figures(history),
            refusals: Spread::of(refusals(history).map(|r| r.ended_us.saturating_sub(r.sent_us))),
            ends: ends(history),
            slow_share: slow_share(history),
            goodput_per_s: goodput(history),
            rss_max_mib: biggest.map(|sample| (sample.rss_kib / 1024, sample.process.clone())),
            faults: history.faults.len(),
            desired: (history.desired.len(), epochs.len()),
            healed_ms: healed(history).into_iter().map(|(_, ms)| ms).collect(),
            reads: (reads().count(), reads().filter(|r| r.is_good()).count()),
            reads_found: reads().filter(|r| r.times.is_some_and(|n| n > 0)).count(),
            wanted: scaling::wanted(history),
            unsettled_ms: scaling::unsettled(history).map(|(from, until)| (until - from) / 1_000),
            takeovers_ms: takeovers_ms(history),
        }
    }
}

/// Told where somebody had to lead in place of another.
fn takeovers_ms(history: &History) -> Vec<Option<u64>> {
    if history.header.demands.takeover_ms.is_none() {
        return Vec::new();
    }
    let taken = fleet::takeovers(history).into_iter();
    taken.map(|(_, ms)| ms).collect()
}

pub(super) fn echo(history: &History) -> impl Iterator<Item = &Request> {
    let requests = history.requests.iter();
    requests.filter(|request| request.kind == RequestKind::Echo)
}

fn refusals(history: &History) -> impl Iterator<Item = &Request> {
    history
        .requests
        .iter()
        .filter(|r| matches!(r.status, 429 | 503))
}

/// Whether nobody has said that it was not done. A store that does not answer in time may still
/// have done what it was asked for.
pub(super) fn is_unknown(request: &Request) -> bool {
    let is_of_store = request.code.as_deref() == Some("dependency_unavailable");
    request.status == 0 || matches!(request.status, 500 | 502 | 504) || is_of_store
}

/// From the beginning of the first fault to the end of the last.
pub(super) fn faulty_span(history: &History) -> (u64, u64) {
    let from = history.faults.iter().map(|fault| fault.from_us).min();
    let until = history.faults.iter().map(|fault| fault.until_us).max();
    (from.unwrap_or(u64::MAX), until.unwrap_or(u64::MAX))
}

/// How long it took until each node that was frozen or cut off answered again. One that fell silent again
/// within the time that it is given is not counted.
pub(super) fn healed(history: &History) -> Vec<(&str, Option<u64>)> {
    let within_us = history.header.demands.heals_ms.unwrap_or(0) * 1_000;
    let silent = |fault: &&Fault| {
        let is_silent = matches!(fault.kind, FaultKind::Frozen | FaultKind::Cut);
        is_silent && fault.target.starts_with('n')
    };
    let faults = || history.faults.iter().filter(silent);
    let lasting = faults().filter(|fault| {
        let span = fault.until_us..fault.until_us + within_us;
        !faults().any(|next| next.target == fault.target && span.contains(&next.from_us))
    });
    let healed = lasting.map(|fault| {
        let node = fault.target.as_str();
        let answers = history.requests.iter().filter(|r| r.is_good());
        // Balancers that were not cut off have heard it all the time.
        let answers = answers.filter(|r| fault.balancer.is_none_or(|b| b == r.balancer));
        let answers = answers.filter(|r| r.node() == Some(node) && r.sent_us >= fault.until_us);
        let first = answers.map(|r| r.ended_us).min();
        (node, first.map(|at_us| (at_us - fault.until_us) / 1_000))
    });
    healed.collect()
}

fn ends(history: &History) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for request in history.requests.iter().filter(|r| !r.is_good()) {
        let code = request.code.as_deref().unwrap_or("no code");
        let name = format!("{:?} {} {code}", request.kind, request.status).to_lowercase();
        *ends.entry(name).or_default() += 1;
    }
    ends
}

fn during(history: &History, kind: FaultKind) -> impl Iterator<Item = (&str, &Request)> {
    let faults = history.faults.iter().filter(move |f| f.kind == kind);
    faults.flat_map(|fault| {
        let inside =
            echo(history).filter(|r| (fault.from_us..fault.until_us).contains(&r.intended_us));
        inside.map(|request| (fault.target.as_str(), request))
    })
}

fn slow_share(history: &History) -> Option<f64> {
    let good = || during(history, FaultKind::Slow).filter(|(_, request)| request.is_good());
    let all = good().count();
    let slow = good().filter(|(node, r)| r.node() == Some(node)).count();
    (all > 0).then(|| slow as f64 / all as f64)
}

fn goodput(history: &History) -> Option<f64> {
    let spans = history
        .faults
        .iter()
        .filter(|f| f.kind == FaultKind::Overloaded);
    let spans: Vec<_> = spans.map(|f| f.from_us..f.until_us).collect();
    let length_us: u64 = spans.iter().map(|span| span.end - span.start).sum();
    let good = echo(history).filter(|r| r.is_good());
    // By when they were answered: what was let in before the end may be answered after it.
    let good = good.filter(|r| spans.iter().any(|span| span.contains(&r.ended_us)));
    (length_us > 0).then(|| good.count() as f64 * 1e6 / length_us as f64)
}
