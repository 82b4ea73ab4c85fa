//! The laws, one function each: the cases in a history that break it.

use std::collections::{BTreeMap, HashMap};

use super::figures::{echo, faulty_span, healed, is_unknown};
use super::{Figures, History, fleet};
use crate::history::{FaultKind, Request, RequestKind};

/// Lists the cases that break a law.
type Law = fn(&History, &Figures) -> Vec<String>;

/// All laws, by name.
pub(super) const LAWS: [(&str, Law); 25] = [
    ("ended once", ended_once),
    ("time goes on", time_goes_on),
    ("own answers", own_answers),
    ("clear ends", clear_ends),
    ("good share", good_share),
    ("silent nodes get nothing", silent_nodes),
    ("healing", healing),
    ("p99 under fault", p99_under_fault),
    ("share of slow nodes", slow_share),
    ("recovery", recovery),
    ("normal again", normal_again),
    ("cheap refusals", cheap_refusals),
    ("goodput", goodput),
    ("bounded memory", bounded_memory),
    ("kept notes", kept_notes),
    ("notes fail at once", notes_fail_at_once),
    ("epochs grow", epochs_grow),
    ("one writer an epoch", one_writer),
    ("reads go on", reads_go_on),
    ("a full disk is told", full_disk_is_told),
    ("convergence", fleet::converges),
    ("takeover", fleet::takeover),
    ("scaling", fleet::scales),
    ("scaling is frozen", fleet::freezes),
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
    let share = 1.0 - figures.echo_failed as f64 / (figures.echo.max(1)) as f64;
    if share >= least && figures.echo > 0 {
        return Vec::new();
    }
    let failed = echo(history).filter(|r| !r.is_good());
    let mut told = vec![format!(
        "{} of {} echo requests failed: {share:.5} are good, {least} must be",
        figures.echo_failed, figures.echo
    )];
    told.extend(cases(failed, "failed"));
    told
}

/// A node that cannot answer is handed nothing once that can be known.
fn silent_nodes(history: &History, _: &Figures) -> Vec<String> {
    let Some(after_ms) = history.header.demands.silent_after_ms else {
        return Vec::new();
    };
    let silent = history
        .faults
        .iter()
        .filter(|f| matches!(f.kind, FaultKind::Frozen | FaultKind::Cut));
    let silent = silent.flat_map(|fault| {
        let span = fault.from_us + after_ms * 1_000..fault.until_us;
        let sent = history.requests.iter().filter(move |r| {
            span.contains(&r.sent_us)
                && r.node() == Some(fault.target.as_str())
                && fault.balancer.is_none_or(|b| b == r.balancer)
        });
        sent.map(move |r| {
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

/// A note that was acknowledged is there once; one of which nobody knows, at most once; one that
/// was refused, not at all.
fn kept_notes(history: &History, _: &Figures) -> Vec<String> {
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    for line in &history.found {
        *found.entry(line.id).or_default() += line.times;
    }
    let notes = history
        .requests
        .iter()
        .filter(|r| r.kind == RequestKind::Note);
    let mut told = Vec::new();
    for note in notes {
        let times = found.remove(&note.id);
        let most = u64::from(note.is_good() || is_unknown(note));
        match times {
            None => told.push(format!("note {} was not looked for", note.id)),
            Some(0) if note.is_good() => {
                told.push(format!("note {} was acknowledged and is lost", note.id));
            }
            Some(times) if times > most => told.push(format!(
                "note {} ({} {}) is there {times} times; {most} is the most",
                note.id,
                note.status,
                note.code.as_deref().unwrap_or("")
            )),
            Some(_) => {}
        }
    }
    let strange = found.iter().filter(|(_, times)| **times > 0);
    told.extend(strange.map(|(id, _)| format!("note {id} was never sent and is there")));
    told
}

fn notes_fail_at_once(history: &History, _: &Figures) -> Vec<String> {
    let Some(most_ms) = history.header.demands.note_fails_within_ms else {
        return Vec::new();
    };
    let notes = history.requests.iter();
    let failed = notes.filter(|r| r.kind == RequestKind::Note && !r.is_good());
    let late = failed.filter(|r| r.ended_us.saturating_sub(r.sent_us) > most_ms * 1_000);
    cases(late, "failed, and too late")
}

/// Whoever only reads is served.
fn reads_go_on(history: &History, figures: &Figures) -> Vec<String> {
    let Some(least) = history.header.demands.read_share_min else {
        return Vec::new();
    };
    let (sent, good) = figures.reads;
    if sent == 0 {
        return vec!["nothing was read, so nothing was shown".to_owned()];
    }
    let reads = history
        .requests
        .iter()
        .filter(|r| r.kind == RequestKind::Read);
    let share = good as f64 / sent as f64;
    let mut told = over(share < least, || {
        format!("{good} of {sent} reads were answered")
    });
    if !told.is_empty() {
        told.extend(cases(reads.filter(|r| !r.is_good()), "failed"));
    }
    told
}

/// Where no byte is left, somebody is told so.
fn full_disk_is_told(history: &History, _: &Figures) -> Vec<String> {
    let full = history
        .faults
        .iter()
        .filter(|f| f.kind == FaultKind::DiskFull);
    let silent = full.filter(|fault| {
        let span = fault.from_us..fault.until_us;
        let notes = history
            .requests
            .iter()
            .filter(|r| r.kind == RequestKind::Note);
        !notes
            .filter(|r| !r.is_good())
            .any(|r| span.contains(&r.ended_us))
    });
    let told = silent.map(|fault| {
        format!(
            "the {} was full and no note was refused, so nothing was shown",
            fault.target
        )
    });
    told.collect()
}

/// The stream of desired states goes on: epochs never fall, and order within one never does.
fn epochs_grow(history: &History, _: &Figures) -> Vec<String> {
    let least = history.header.demands.desired_min.unwrap_or(0);
    let mut told = over(history.desired.len() < least, || {
        let seen = history.desired.len();
        format!("{seen} desired states were seen; {least} are the least to show anything")
    });
    let mut records: Vec<_> = history.desired.iter().collect();
    records.sort_by_key(|record| record.position);
    for pair in records.windows(2) {
        if (pair[1].epoch, pair[1].seq) <= (pair[0].epoch, pair[0].seq) {
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

fn cases<'a>(requests: impl Iterator<Item = &'a Request>, what: &str) -> Vec<String> {
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
