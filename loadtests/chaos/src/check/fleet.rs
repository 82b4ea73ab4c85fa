//! The laws about who leads and which processes are there: somebody always leads, and no process is left
//! that nobody wants.

use std::collections::BTreeSet;

use super::laws::over;
use super::scaling::stream;
use super::{Figures, History};
use crate::history::{Fault, FaultKind};

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
