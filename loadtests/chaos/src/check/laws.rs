//! The laws, one function each: the cases in a history that break it.

use std::collections::{BTreeMap, HashMap};

use super::figures::{echo, faulty_span, healed};
use super::{Figures, History, fleet, held, notes, scaling};
use crate::history::{Fault, FaultKind, Request, RequestKind};

/// A balancer that is killed is not gone at once.
const DYING_US: u64 = 50_000;
/// Longest wait for an answer while a node is silent that all know of; an answer takes 20 ms.
const WAIT_MAX_US: u64 = 500_000;

/// Lists the cases that break a law.
type Law = fn(&History, &Figures) -> Vec<String>;

/// All laws, by name.
pub(super) const LAWS: [(&str, Law); 34] = [
    ("ended once", ended_once),
    ("time goes on", time_goes_on),
    ("own answers", own_answers),
    ("clear ends", clear_ends),
    ("good share", good_share),
    ("failures", failures),
    ("refusals only", refusals_only),
    ("silent nodes get nothing", silent_nodes),
    ("nobody waits for a silent node", nobody_waits),
    ("healing", healing),
    ("a woken balancer answers", held::woken_answers),
    ("others are unmoved", held::others_are_unmoved),
    ("p99 under fault", p99_under_fault),
    ("share of slow nodes", slow_share),
    ("recovery", recovery),
    ("normal again", normal_again),
    ("cheap refusals", cheap_refusals),
    ("goodput", goodput),
    ("bounded memory", bounded_memory),
    ("kept notes", notes::kept_notes),
    ("reads see what was kept", notes::reads_see),
    ("nothing comes late", notes::nothing_comes_late),
    ("notes fail at once", notes::notes_fail_at_once),
    ("epochs grow", epochs_grow),
    ("one writer an epoch", one_writer),
    ("reads go on", notes::reads_go_on),
    ("a full disk is told", notes::full_disk_is_told),
    ("a lost store is told", notes::lost_store_is_told),
    ("convergence", scaling::converges),
    ("takeover", fleet::takeover),
    ("scaling", scaling::scales),
    ("scaling is frozen", scaling::freezes),
    ("scaling is not reset", scaling::keeps_workers),
    ("no orphans", fleet::no_orphans),
];

/// Every request that was planned has ended, and no more than once.
fn ended_once(history: &History, _: &Figures) -> Vec<String> {
    let Some(planned) = history.planned else {
        return vec!["the history breaks off before its end".to_owned()];
    };
    let mut ends: HashMap<u64, u32> = HashMap::new();
    for request in &history.requests {
        *ends.entry(request.id).or_default() += 1;
    }
    let unended = (0..planned).filter(|id| !ends.contains_key(id));
    let mut cases: Vec<_> = unended
        .map(|id| format!("request {id} never ended"))
        .collect();
    let odd = ends.iter().filter(|(id, n)| **n > 1 || **id >= planned);
    cases.extend(odd.map(|(id, n)| format!("request {id} of {planned} ended {n} times")));
    if planned == 0 {
        cases.push("nothing was sent, so nothing was shown".to_owned());
    }
    cases
}

/// Nothing is sent before its time or ends before it is sent.
fn time_goes_on(history: &History, _: &Figures) -> Vec<String> {
    let odd = |r: &&Request| r.sent_us < r.intended_us || r.ended_us < r.sent_us;
    cases(
        history.requests.iter().filter(odd),
        "was answered before it was sent",
    )
}

/// A good answer is the answer to that very request.
fn own_answers(history: &History, _: &Figures) -> Vec<String> {
    let foreign = history.requests.iter().filter(|r| r.is_good() && !r.is_own);
    cases(foreign, "got another answer than its own")
}

/// Whoever gets no answer is told why.
fn clear_ends(history: &History, _: &Figures) -> Vec<String> {
    let silent = history.requests.iter();
    let silent = silent.filter(|r| !r.is_good() && (r.code.is_none() || is_vague(r)));
    let silent = silent.filter(|r| !held::is_excused(history, r));
    cases(silent, "ended without a clear reason")
}

/// The client waited until it gave up, although a deadline was set.
fn is_vague(request: &Request) -> bool {
    request.status == 0 && request.code.as_deref() == Some("timeout")
}

/// Idempotent requests are answered well.
fn good_share(history: &History, figures: &Figures) -> Vec<String> {
    let Some(least) = history.header.demands.good_share_min else {
        return Vec::new();
    };
    let failed: Vec<_> = failed(history)
        .filter(|r| r.kind == RequestKind::Echo)
        .collect();
    let share = 1.0 - failed.len() as f64 / (figures.echo.max(1)) as f64;
    if share >= least && figures.echo > 0 {
        return Vec::new();
    }
    let mut told = vec![format!(
        "{} of {} echo requests failed: {share:.5} are good, {least} must be",
        failed.len(),
        figures.echo
    )];
    told.extend(cases(failed.into_iter(), "failed"));
    told
}

/// Requests that were not answered well, but for those that could not be.
fn failed(history: &History) -> impl Iterator<Item = &Request> {
    let is_excused = history.header.demands.lost_with_balancer;
    let failed = history.requests.iter().filter(|r| !r.is_good());
    let failed = failed.filter(|r| !held::is_excused(history, r));
    failed.filter(move |r| !is_excused || !was_lost(history, r))
}

/// Whether it was at a balancer that was killed: its caller was told so by the connection that ended.
fn was_lost(history: &History, request: &Request) -> bool {
    let target = format!("b{}", request.balancer);
    let is_its = |fault: &&Fault| fault.kind == FaultKind::Killed && fault.target == target;
    let mut killed = history.faults.iter().filter(is_its);
    request.code.as_deref() == Some("connection_lost")
        && killed.any(|fault| {
            request.sent_us <= fault.from_us + DYING_US && request.ended_us >= fault.from_us
        })
}

/// Whatever is asked for, few fail.
fn failures(history: &History, _: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.failed_max else {
        return Vec::new();
    };
    let failed: Vec<_> = failed(history).collect();
    if failed.len() <= most {
        return Vec::new();
    }
    let mut told = vec![format!(
        "{} requests failed; {most} are the most",
        failed.len()
    )];
    told.extend(cases(failed.into_iter(), "failed"));
    told
}

/// Who is not served is refused, and not left with something half done.
fn refusals_only(history: &History, _: &Figures) -> Vec<String> {
    if !history.header.demands.refused_only {
        return Vec::new();
    }
    let other = echo(history).filter(|r| !r.is_good() && !matches!(r.status, 429 | 503));
    cases(other, "failed, and was not refused")
}

/// A node that cannot answer is handed nothing once that can be known.
fn silent_nodes(history: &History, _: &Figures) -> Vec<String> {
    let Some(after_ms) = history.header.demands.silent_after_ms else {
        return Vec::new();
    };
    let silent = silences(history, after_ms).flat_map(|(fault, sent)| {
        let handed = sent.filter(move |r| r.node() == Some(fault.target.as_str()));
        handed.map(move |r| {
            format!(
                "request {} was sent {} ms after {} fell silent, and was handed to it",
                r.id,
                (r.sent_us - fault.from_us) / 1_000,
                fault.target
            )
        })
    });
    silent.collect()
}

/// Times in which a node is silent and that can be known: with what was sent meanwhile, to balancers that
/// hear nothing of it.
fn silences(
    history: &History,
    after_ms: u64,
) -> impl Iterator<Item = (&Fault, impl Iterator<Item = &Request>)> {
    let faults = history.faults.iter();
    let silent = faults.filter(|f| matches!(f.kind, FaultKind::Frozen | FaultKind::Cut));
    silent.map(move |fault| {
        let span = fault.from_us + after_ms * 1_000..fault.until_us;
        let sent = history.requests.iter().filter(move |r| {
            span.contains(&r.sent_us) && fault.balancer.is_none_or(|b| b == r.balancer)
        });
        (fault, sent)
    })
}

/// Once a silent node can be known, whoever asks does not feel it: the others answer as ever.
fn nobody_waits(history: &History, _: &Figures) -> Vec<String> {
    let Some(after_ms) = history.header.demands.silent_after_ms else {
        return Vec::new();
    };
    let of_nodes = silences(history, after_ms).filter(|(f, _)| f.target.starts_with('n'));
    let waited = of_nodes.flat_map(|(_, sent)| {
        sent.filter(|r| {
            let took_us = r.ended_us.saturating_sub(r.sent_us);
            r.kind == RequestKind::Echo && (!r.is_good() || took_us >= WAIT_MAX_US)
        })
    });
    cases(waited, "waited for a node that was silent for long")
}

/// A node that was silent is handed work again.
fn healing(history: &History, _: &Figures) -> Vec<String> {
    let Some(within_ms) = history.header.demands.heals_ms else {
        return Vec::new();
    };
    let healed = healed(history);
    if healed.is_empty() {
        return vec!["no node was silent, so nothing was shown".to_owned()];
    }
    let late = healed
        .into_iter()
        .filter(|(_, ms)| ms.is_none_or(|ms| ms > within_ms));
    let told = late.map(|(node, ms)| match ms {
        None => format!("{node} never answered again"),
        Some(ms) => format!("{node} answered again after {ms} ms; {within_ms} are the most"),
    });
    told.collect()
}

fn p99_under_fault(history: &History, figures: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.p99_ratio_max else {
        return Vec::new();
    };
    let (healthy, faulty) = (figures.healthy, figures.faulty);
    if healthy.count == 0 || faulty.count == 0 {
        return vec!["there is nothing to compare, so nothing was shown".to_owned()];
    }
    let ratio = faulty.p99_ms / healthy.p99_ms;
    over(ratio > most, || {
        format!(
            "p99 was {:.1} ms, {ratio:.2} times that before ({:.1} ms); {most} is the most",
            faulty.p99_ms, healthy.p99_ms
        )
    })
}

fn slow_share(history: &History, figures: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.slow_share_max else {
        return Vec::new();
    };
    match figures.slow_share {
        None => vec!["no node was slow, so nothing was shown".to_owned()],
        Some(share) => over(share > most, || {
            format!("the slow node had {share:.3} of the answers; {most} is the most")
        }),
    }
}

/// When all faults are over, all is as before.
fn recovery(history: &History, _: &Figures) -> Vec<String> {
    let Some(within_ms) = history.header.demands.recovery_ms else {
        return Vec::new();
    };
    let (_, until) = faulty_span(history);
    let since = until.saturating_add(within_ms * 1_000);
    let mut after = history
        .requests
        .iter()
        .filter(|r| r.intended_us >= since)
        .peekable();
    if after.peek().is_none() {
        return vec!["nothing was sent after the last fault, so nothing was shown".to_owned()];
    }
    cases(
        after.filter(|r| !r.is_good()),
        "failed after the time to recover",
    )
}

/// When there was time to recover, nobody waits longer than before.
fn normal_again(history: &History, figures: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.normal_ratio_max else {
        return Vec::new();
    };
    let (healthy, recovered) = (figures.healthy, figures.recovered);
    if healthy.count == 0 || recovered.count == 0 {
        return vec!["there is nothing to compare, so nothing was shown".to_owned()];
    }
    let ratio = recovered.p99_ms / healthy.p99_ms;
    over(ratio > most, || {
        format!(
            "p99 was {:.1} ms after the time to recover, {ratio:.2} times that before ({:.1} ms)",
            recovered.p99_ms, healthy.p99_ms
        )
    })
}

fn cheap_refusals(history: &History, figures: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.refusals_p99_ms else {
        return Vec::new();
    };
    if figures.refusals.count == 0 {
        return vec!["nothing was refused, so nothing was shown".to_owned()];
    }
    let p99 = figures.refusals.p99_ms;
    over(p99 > most, || {
        format!("p99 of refusals was {p99:.1} ms; {most} is the most")
    })
}

fn goodput(history: &History, figures: &Figures) -> Vec<String> {
    let Some(least) = history.header.demands.goodput_min_per_s else {
        return Vec::new();
    };
    match figures.goodput_per_s {
        None => vec!["there was no overload, so nothing was shown".to_owned()],
        Some(per_s) => over(per_s < least, || {
            format!("{per_s:.0} good answers a second under overload; {least:.0} are the least")
        }),
    }
}

fn bounded_memory(history: &History, figures: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.rss_max_mib else {
        return Vec::new();
    };
    match &figures.rss_max_mib {
        None => vec!["memory was not looked at, so nothing was shown".to_owned()],
        Some((mib, process)) => over(*mib > most, || {
            format!("{process} took {mib} MiB; {most} is the most")
        }),
    }
}

/// The stream of desired states goes on: epochs never fall, and order within one never does, unless what
/// its writer had sent may have lain on the way. Whoever follows goes by the order.
fn epochs_grow(history: &History, _: &Figures) -> Vec<String> {
    let least = history.header.demands.desired_min.unwrap_or(0);
    let mut told = over(history.desired.len() < least, || {
        let seen = history.desired.len();
        format!("{seen} desired states were seen; {least} are the least to show anything")
    });
    let mut records: Vec<_> = history.desired.iter().collect();
    records.sort_by_key(|record| record.position);
    let may_be_late = history.header.demands.orders_come_late;
    for pair in records.windows(2) {
        let is_newer = (pair[1].epoch, pair[1].seq) > (pair[0].epoch, pair[0].seq);
        let is_late = may_be_late && pair[1].epoch == pair[0].epoch;
        if !is_newer && !is_late {
            told.push(format!(
                "epoch {}, order {} follows epoch {}, order {}",
                pair[1].epoch, pair[1].seq, pair[0].epoch, pair[0].seq
            ));
        }
    }
    told
}

/// Two writers never share an epoch.
fn one_writer(history: &History, _: &Figures) -> Vec<String> {
    let mut writers: BTreeMap<u64, &str> = BTreeMap::new();
    let mut told = Vec::new();
    for record in &history.desired {
        let Some(writer) = record.writer.as_deref() else {
            continue;
        };
        let first = *writers.entry(record.epoch).or_insert(writer);
        if first != writer {
            told.push(format!("epoch {} has {first} and {writer}", record.epoch));
        }
    }
    told
}

pub(super) fn over(is_broken: bool, what: impl FnOnce() -> String) -> Vec<String> {
    is_broken.then(what).into_iter().collect()
}

pub(super) fn cases<'a>(requests: impl Iterator<Item = &'a Request>, what: &str) -> Vec<String> {
    let told = requests.map(|r| {
        format!(
            "request {} ({:?}, due {:.3} s, took {:.0} ms, {} {}, balancer {}) {what}",
            r.id,
            r.kind,
            r.intended_us as f64 / 1e6,
            r.latency_us() as f64 / 1e3,
            r.status,
            r.code.as_deref().unwrap_or(""),
            r.balancer
        )
    });
    told.collect()
}
