//! The laws about who runs what: what nodes run follows what is wanted, somebody always leads, nothing
//! moves while nobody can know, and no process is left that nobody wants.

use std::collections::{BTreeMap, BTreeSet};

use super::laws::over;
use super::{Figures, History};
use crate::history::{Desired, Fault, FaultKind};

/// What was begun before the store went away may still come to its end.
const UNDER_WAY_US: u64 = 1_500_000;

type Workers = BTreeMap<String, u32>;

/// The stream in its order.
fn stream(history: &History) -> Vec<&Desired> {
    let mut records: Vec<_> = history.desired.iter().collect();
    records.sort_by_key(|record| record.position);
    records
}

fn total(workers: &Workers) -> u32 {
    workers.values().sum()
}

/// Whether two say the same; a node that has none need not be there.
fn is_same(one: &Workers, other: &Workers) -> bool {
    let some = |workers: &Workers| {
        let some = workers.iter().filter(|(_, n)| **n > 0);
        some.map(|(node, n)| (node.clone(), *n))
            .collect::<Workers>()
    };
    some(one) == some(other)
}

/// Fewest, most and last wanted workers.
pub(super) fn wanted(history: &History) -> Option<(u32, u32, u32)> {
    let totals: Vec<_> = stream(history).iter().map(|d| total(&d.workers)).collect();
    Some((
        *totals.iter().min()?,
        *totals.iter().max()?,
        *totals.last()?,
    ))
}

/// The longest time in which nodes ran something else than was wanted last.
pub(super) fn unsettled(history: &History) -> Option<(u64, u64)> {
    let mut coming = stream(history).into_iter().peekable();
    let mut newest: Option<&Workers> = None;
    let mut since = None;
    let mut longest = None;
    for seen in &history.fleet {
        while let Some(next) = coming.next_if(|next| next.at_us <= seen.at_us) {
            if newest.is_none_or(|newest| !is_same(newest, &next.workers)) {
                // Whoever is told anew has the whole time anew.
                since = None;
            }
            newest = Some(&next.workers);
        }
        let Some(newest) = newest else { continue };
        let is_settled = is_same(newest, &seen.running);
        let from = match is_settled {
            true => since.take().unwrap_or(seen.at_us),
            false => *since.get_or_insert(seen.at_us),
        };
        // It may have settled right after the look before.
        if longest.is_none_or(|(a, b)| b - a <= seen.at_us - from) {
            longest = Some((from, seen.at_us));
        }
    }
    longest
}

/// How long it took, after each fault of a controller, until there was a newer epoch.
pub(super) fn takeovers(history: &History) -> Vec<(String, Option<u64>)> {
    let is_loss = |f: &&Fault| {
        matches!(
            f.kind,
            FaultKind::Killed | FaultKind::Frozen | FaultKind::Adrift
        )
    };
    let faults = history.faults.iter().filter(is_loss);
    let faults = faults.filter(|f| f.target.starts_with('c'));
    let taken = faults.map(|fault| {
        let before = history.desired.iter().filter(|d| d.at_us <= fault.from_us);
        let before = before.map(|d| d.epoch).max().unwrap_or(0);
        let after = history
            .desired
            .iter()
            .filter(|d| d.at_us > fault.from_us && d.epoch > before);
        let first = after.map(|d| d.at_us).min();
        (
            fault.target.clone(),
            first.map(|at| (at - fault.from_us) / 1_000),
        )
    });
    taken.collect()
}

/// What nodes run is what was wanted, a moment later.
pub(super) fn converges(history: &History, _: &Figures) -> Vec<String> {
    let Some(within_ms) = history.header.demands.converge_ms else {
        return Vec::new();
    };
    match unsettled(history) {
        None => vec!["nodes were not looked at, so nothing was shown".to_owned()],
        Some((from, until)) => over(until - from > within_ms * 1_000, || {
            format!(
                "from {:.1} s to {:.1} s nodes ran something else than was wanted; {within_ms} ms are the most",
                from as f64 / 1e6,
                until as f64 / 1e6
            )
        }),
    }
}

/// Somebody leads in place of a controller that cannot.
pub(super) fn takeover(history: &History, _: &Figures) -> Vec<String> {
    let Some(within_ms) = history.header.demands.takeover_ms else {
        return Vec::new();
    };
    let taken = takeovers(history);
    if taken.is_empty() {
        return vec!["no controller was hurt, so nothing was shown".to_owned()];
    }
    let late = taken
        .into_iter()
        .filter(|(_, ms)| ms.is_none_or(|ms| ms > within_ms));
    let told = late.map(|(who, ms)| match ms {
        None => format!("nobody led in place of {who}"),
        Some(ms) => {
            format!("somebody led in place of {who} after {ms} ms; {within_ms} are the most")
        }
    });
    told.collect()
}

/// There were decisions to be carried out.
pub(super) fn scales(history: &History, figures: &Figures) -> Vec<String> {
    let demands = &history.header.demands;
    let (least, most, last) = figures.wanted.unwrap_or_default();
    let mut told = Vec::new();
    for (name, by, seen) in [
        ("grew", demands.grows_by, most - least),
        ("shrank", demands.shrinks_by, most - last),
    ] {
        told.extend(over(by.is_some_and(|by| seen < by), || {
            format!("the wanted number {name} by {seen} ({least} to {most}, in the end {last}), so nothing was shown")
        }));
    }
    told
}

/// While Redis is away nobody knows anything new, so everybody keeps what there is.
pub(super) fn freezes(history: &History, _: &Figures) -> Vec<String> {
    if !history.header.demands.freezes_scaling {
        return Vec::new();
    }
    let faults = history.faults.iter().filter(|f| f.target == "redis");
    let moved = faults.map(|fault| {
        let span = fault.from_us + UNDER_WAY_US..fault.until_us;
        let inside = history
            .fleet
            .iter()
            .filter(|seen| span.contains(&seen.at_us));
        let mut totals = inside.map(|seen| (seen.at_us, total(&seen.running)));
        let (_, first) = totals.next()?;
        let moved = totals.find(|(_, total)| *total != first);
        Some(moved.map(|(at_us, total)| (at_us, first, total)))
    });
    let moved: Vec<_> = moved.collect();
    if !moved.iter().any(Option::is_some) {
        return vec!["nobody looked while Redis was away, so nothing was shown".to_owned()];
    }
    let told = moved
        .into_iter()
        .flatten()
        .flatten()
        .map(|(at_us, first, total)| {
            let at_s = at_us as f64 / 1e6;
            format!("{first} workers became {total} at {at_s:.1} s, while Redis was away")
        });
    told.collect()
}

/// Every node that controllers have started is one that they want, and there once.
pub(super) fn no_orphans(history: &History, _: &Figures) -> Vec<String> {
    let Some(most) = history.header.demands.started_max else {
        return Vec::new();
    };
    if history.fleet.iter().all(|seen| seen.started.is_empty()) {
        return vec!["no controller started a node, so nothing was shown".to_owned()];
    }
    let mut twins = BTreeSet::new();
    for seen in &history.fleet {
        let mut names = BTreeSet::new();
        twins.extend(seen.started.iter().filter(|name| !names.insert(*name)));
    }
    let twins = twins
        .into_iter()
        .map(|name| format!("{name} ran twice at a time"));
    twins.chain(left(history, most)).collect()
}

/// What is wrong with the started nodes that are there in the end.
fn left(history: &History, most: usize) -> Vec<String> {
    let (Some(seen), Some(newest)) = (history.fleet.last(), stream(history).last().copied()) else {
        return vec!["nobody looked in the end, so nothing was shown".to_owned()];
    };
    let unwanted = seen
        .started
        .iter()
        .filter(|name| !newest.workers.contains_key(*name));
    let mut told: Vec<_> = unwanted
        .map(|name| format!("{name} is left, and nobody wants it"))
        .collect();
    let there = seen.started.len();
    told.extend(over(there > most, || {
        format!("{there} started nodes are left; {most} are the most")
    }));
    told
}
