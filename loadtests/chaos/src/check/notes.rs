//! The laws about notes: what was acknowledged is kept, what was kept is seen, and whoever is told no is
//! told at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::figures::is_unknown;
use super::laws::{cases, over};
use super::{Figures, History};
use crate::history::{FaultKind, Request, RequestKind};

fn of_kind(history: &History, kind: RequestKind) -> impl Iterator<Item = &Request> {
    let requests = history.requests.iter();
    requests.filter(move |request| request.kind == kind)
}

/// A note that was acknowledged is there once; one of which nobody knows, at most once; one that
/// was refused, not at all.
pub(super) fn kept_notes(history: &History, _: &Figures) -> Vec<String> {
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    for line in &history.found {
        *found.entry(line.id).or_default() += line.times;
    }
    let mut told = Vec::new();
    for note in of_kind(history, RequestKind::Note) {
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

pub(super) fn notes_fail_at_once(history: &History, _: &Figures) -> Vec<String> {
    let Some(most_ms) = history.header.demands.note_fails_within_ms else {
        return Vec::new();
    };
    let failed = of_kind(history, RequestKind::Note).filter(|r| !r.is_good());
    let late = failed.filter(|r| r.ended_us.saturating_sub(r.sent_us) > most_ms * 1_000);
    cases(late, "failed, and too late")
}

/// What is known of notes while they are read: what became of each, and when a read first had seen it.
struct Known<'a> {
    notes: HashMap<u64, &'a Request>,
    seen_us: HashMap<u64, u64>,
}

impl<'a> Known<'a> {
    fn of(history: &'a History) -> Self {
        let notes = of_kind(history, RequestKind::Note).map(|note| (note.id, note));
        let mut seen_us: HashMap<u64, u64> = HashMap::new();
        for (read, note, times) in good_reads(history) {
            if times > 0 {
                let first = seen_us.entry(note).or_insert(read.ended_us);
                *first = read.ended_us.min(*first);
            }
        }
        Self {
            notes: notes.collect(),
            seen_us,
        }
    }

    /// What is wrong with a read that found a note so often.
    fn wrong(&self, read: &Request, id: u64, times: u64) -> Option<&'static str> {
        let note = self.notes.get(&id);
        let is_refused = note.is_some_and(|note| !note.is_good() && !is_unknown(note));
        let is_kept = note.is_some_and(|note| note.is_good() && note.ended_us <= read.sent_us);
        let was_seen = self.seen_us.get(&id).is_some_and(|at| *at <= read.sent_us);
        match times {
            0 if is_kept => Some("it had been acknowledged before"),
            0 if was_seen => Some("another read had found it before"),
            0 => None,
            1 if note.is_none_or(|note| read.ended_us < note.sent_us) => {
                Some("nobody had sent it yet")
            }
            1 if is_refused => Some("it was refused"),
            1 => None,
            _ => Some("once is the most"),
        }
    }
}

/// Reads that were answered well: with the note that each looked for, and how often it was found.
fn good_reads(history: &History) -> impl Iterator<Item = (&Request, u64, u64)> {
    let good = of_kind(history, RequestKind::Read).filter(|r| r.is_good());
    good.filter_map(|read| Some((read, read.note?, read.times?)))
}

/// Who reads finds a note once it was acknowledged or found before, never one that was refused or not
/// yet sent, and none twice.
pub(super) fn reads_see(history: &History, _: &Figures) -> Vec<String> {
    let known = Known::of(history);
    let wrong = good_reads(history).filter_map(|(read, note, times)| {
        let why = known.wrong(read, note, times)?;
        Some(format!(
            "read {} (sent {:.3} s, balancer {}, {}) found note {note} {times} times: {why}",
            read.id,
            read.sent_us as f64 / 1e6,
            read.balancer,
            read.worker.as_deref().unwrap_or("nobody")
        ))
    });
    wrong.collect()
}

/// A node that was silent does not store, when it wakes, what its callers were told was lost: once a read
/// came after that and did not find a note, nobody finds it any more.
pub(super) fn nothing_comes_late(history: &History, _: &Figures) -> Vec<String> {
    if !history.header.demands.nothing_comes_late {
        return Vec::new();
    }
    let failed = of_kind(history, RequestKind::Note).filter(|note| !note.is_good());
    let failed: HashMap<u64, u64> = failed.map(|note| (note.id, note.ended_us)).collect();
    let mut missed_us: HashMap<u64, u64> = HashMap::new();
    for (read, note, times) in good_reads(history) {
        if times == 0
            && failed
                .get(&note)
                .is_some_and(|ended| read.sent_us >= *ended)
        {
            let first = missed_us.entry(note).or_insert(read.ended_us);
            *first = read.ended_us.min(*first);
        }
    }
    let read = good_reads(history).filter(|(read, note, times)| {
        let missed = missed_us.get(note);
        *times > 0 && missed.is_some_and(|missed| read.sent_us >= *missed)
    });
    let in_the_end = history.found.iter().filter(|found| found.times > 0);
    let in_the_end = in_the_end.map(|found| found.id);
    let late = read.map(|(_, note, _)| note).chain(in_the_end);
    let late: BTreeSet<u64> = late.filter(|note| missed_us.contains_key(note)).collect();
    let told = late.into_iter();
    told.map(|note| format!("note {note} failed, was not found, and is there now"))
        .collect()
}

/// Whoever only reads is served.
pub(super) fn reads_go_on(history: &History, figures: &Figures) -> Vec<String> {
    let Some(least) = history.header.demands.read_share_min else {
        return Vec::new();
    };
    let (sent, good) = figures.reads;
    if sent == 0 {
        return vec!["nothing was read, so nothing was shown".to_owned()];
    }
    let reads = of_kind(history, RequestKind::Read);
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
pub(super) fn full_disk_is_told(history: &History, _: &Figures) -> Vec<String> {
    let full = history
        .faults
        .iter()
        .filter(|f| f.kind == FaultKind::DiskFull);
    let silent = full.filter(|fault| {
        let span = fault.from_us..fault.until_us;
        !of_kind(history, RequestKind::Note)
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

/// Where the store cannot be reached, somebody is told so: else nothing was cut.
pub(super) fn lost_store_is_told(history: &History, _: &Figures) -> Vec<String> {
    if !history.header.demands.lost_store_is_told {
        return Vec::new();
    }
    let faults = history.faults.iter();
    let adrift: Vec<_> = faults.filter(|f| f.kind == FaultKind::Adrift).collect();
    let is_told = of_kind(history, RequestKind::Note).any(|r| {
        let is_refused = r.code.as_deref() == Some("dependency_unavailable");
        let mut lost = adrift.iter().map(|fault| fault.from_us..fault.until_us);
        is_refused && lost.any(|lost| lost.contains(&r.sent_us))
    });
    over(!is_told, || {
        "no note was refused by who could not reach the store, so nothing was shown".to_owned()
    })
}
