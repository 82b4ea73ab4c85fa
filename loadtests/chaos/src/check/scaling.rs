//! The laws about how many workers there are: nodes run what is wanted, and nothing moves while nobody can
//! know.

use std::collections::{BTreeMap, BTreeSet};

use super::laws::over;
use super::{Figures, History};
use crate::history::{Desired, Fault, FaultKind, Fleet};

/// What was begun before the store went away may still come to its end.
const UNDER_WAY_US: u64 = 1_500_000;

/// A look takes so long, and a desired state is seen so much later than by those whom it concerns.
const LATE_US: u64 = 500_000;
/// After Redis is back, what was written meanwhile is seen by then.
const SEEN_AGAIN_US: u64 = 1_000_000;

type Workers = BTreeMap<String, u32>;

/// The stream in its order. What comes after something newer is nobody's to follow.
pub(super) fn stream(history: &History) -> Vec<&Desired> {
    let mut records: Vec<_> = history.desired.iter().collect();
    records.sort_by_key(|record| record.position);
    let mut newest = None;
    records.retain(|record| {
        let order = Some((record.epoch, record.seq));
        let is_newer = order > newest;
        newest = newest.max(order);
        is_newer
    });
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

/// A node, and whether it ran too few.
type Stray = (String, bool);

/// Nodes that ran more or fewer than any state wanted of them that was current in the time that they are
/// given. Decisions that keep coming do not excuse a node that follows none. It takes two looks in a
/// row: a node that answers one of them too late is taken for one that runs nothing.
fn astray(history: &History, within_us: u64) -> Vec<String> {
    let mut states = stream(history);
    states.sort_by_key(|state| state.at_us);
    let mut before = BTreeMap::new();
    let mut told = Vec::new();
    for seen in &history.fleet {
        let strays = strays(history, &states, seen, within_us);
        let again = strays
            .iter()
            .filter(|(stray, _)| before.contains_key(*stray));
        told.extend(again.map(|((node, _), (ran, least, most))| {
            let at_s = seen.at_us as f64 / 1e6;
            format!(
                "at {at_s:.1} s {node} ran {ran} workers, and {least} to {most} were wanted of it"
            )
        }));
        before = strays;
    }
    told
}

/// Who ran what nobody wanted at a look: how many, and the least and the most that were wanted.
fn strays(
    history: &History,
    states: &[&Desired],
    seen: &Fleet,
    within_us: u64,
) -> BTreeMap<Stray, (u32, u32, u32)> {
    let current = current(states, seen.at_us, within_us);
    if current.is_empty() || is_hidden(history, seen.at_us) {
        return BTreeMap::new();
    }
    let named = current.iter().flat_map(|state| state.workers.keys());
    let nodes: BTreeSet<_> = named.chain(seen.running.keys()).collect();
    let strays = nodes.into_iter().filter_map(|node| {
        let of = |workers: &Workers| workers.get(node).copied().unwrap_or(0);
        let wanted = || current.iter().map(|state| of(&state.workers));
        let (least, most) = (wanted().min()?, wanted().max()?);
        let ran = of(&seen.running);
        let is_astray = !(least..=most).contains(&ran) && !is_hurt(history, node, seen, within_us);
        is_astray.then(|| ((node.clone(), ran < least), (ran, least, most)))
    });
    strays.collect()
}

/// States that nodes may follow at a time: those that came within the time that they are given, and the
/// one before. None before the first is so old: what nodes ran until then nobody had told them.
fn current<'a>(states: &'a [&'a Desired], at_us: u64, within_us: u64) -> &'a [&'a Desired] {
    let old = states.partition_point(|state| state.at_us + within_us <= at_us);
    let seen = states.partition_point(|state| state.at_us <= at_us + LATE_US);
    match old {
        0 => &[],
        old => &states[old - 1..seen],
    }
}

/// Whether what is wanted could not be seen: Redis tells it.
fn is_hidden(history: &History, at_us: u64) -> bool {
    let mut faults = history.faults.iter().filter(|f| f.target == "redis");
    faults.any(|f| (f.from_us..f.until_us + SEEN_AGAIN_US).contains(&at_us))
}

/// Whether a node could do nothing, or could not for long enough.
fn is_hurt(history: &History, node: &str, seen: &Fleet, within_us: u64) -> bool {
    let is_loss = |fault: &&Fault| {
        use FaultKind::{Frozen, Killed, Stopped};
        fault.target == node && matches!(fault.kind, Frozen | Killed | Stopped)
    };
    let mut losses = history.faults.iter().filter(is_loss);
    losses.any(|f| {
        let from_us = f.from_us.saturating_sub(LATE_US);
        (from_us..f.until_us + within_us).contains(&seen.at_us)
    })
}

/// What nodes run is what was wanted, a moment later.
pub(super) fn converges(history: &History, _: &Figures) -> Vec<String> {
    let Some(within_ms) = history.header.demands.converge_ms else {
        return Vec::new();
    };
    let Some((from, until)) = unsettled(history) else {
        return vec!["nodes were not looked at, so nothing was shown".to_owned()];
    };
    let mut told = over(until - from > within_ms * 1_000, || {
        format!(
            "from {:.1} s to {:.1} s nodes ran something else than was wanted; {within_ms} ms are the most",
            from as f64 / 1e6,
            until as f64 / 1e6
        )
    });
    told.extend(astray(history, within_ms * 1_000));
    told
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
    let moved: Vec<_> = faults.filter_map(|fault| moved(history, fault)).collect();
    if moved.is_empty() {
        return vec!["nobody looked while Redis was away, so nothing was shown".to_owned()];
    }
    let told = moved.into_iter().flatten().map(|(at_us, before, now)| {
        let at_s = at_us as f64 / 1e6;
        format!("{before} workers became {now} at {at_s:.1} s, while Redis was away")
    });
    told.collect()
}

/// When the number of workers became another one under a fault, from what to what. It takes two looks in
/// a row to say how many there were, and two to say that they are more, or fewer: a node that answers one
/// of them too late is taken for one that runs nothing. Nothing: there were too few looks.
fn moved(history: &History, fault: &Fault) -> Option<Option<(u64, u32, u32)>> {
    let looks = history
        .fleet
        .iter()
        .take_while(|s| s.at_us < fault.until_us);
    let totals: Vec<_> = looks.map(|s| (s.at_us, total(&s.running))).collect();
    let since = totals.partition_point(|(at_us, _)| *at_us < fault.from_us + UNDER_WAY_US);
    // The look before counts as a witness of what there was.
    let first = totals.get(since)?.1;
    let mut pairs = totals[since.saturating_sub(1)..].windows(2);
    let first = pairs
        .find(|pair| pair[0].1 == pair[1].1)
        .map_or(first, |pair| pair[0].1);
    let mut later = totals[since..].windows(2);
    let is_other = |pair: &&[(u64, u32)]| {
        pair.iter().all(|(_, n)| *n > first) || pair.iter().all(|(_, n)| *n < first)
    };
    let other = later.find(is_other);
    Some(other.map(|pair| (pair[1].0, first, pair[1].1)))
}

/// Who lost what Redis knew goes on from what there is, and does not begin anew.
pub(super) fn keeps_workers(history: &History, _: &Figures) -> Vec<String> {
    let demands = &history.header.demands;
    let Some(share) = demands.keeps_workers_share else {
        return Vec::new();
    };
    let after_us = demands.keeps_workers_ms.unwrap_or(0) * 1_000;
    let faults = history.faults.iter().filter(|f| f.target == "redis");
    let lost: Vec<_> = faults
        .filter_map(|fault| lost(history, fault, after_us, share))
        .collect();
    if lost.is_empty() {
        return vec!["nobody looked before and after Redis went, so nothing was shown".to_owned()];
    }
    let told = lost.into_iter().flatten().map(|(at_us, before, now)| {
        let at_s = at_us as f64 / 1e6;
        format!("{before} workers were {now} at {at_s:.1} s; a share of {share} is the least")
    });
    told.collect()
}

/// When fewer than a share of the workers before a fault were there, in two looks in a row: from how many
/// to how many they fell. Nothing: nobody looked.
fn lost(
    history: &History,
    fault: &Fault,
    after_us: u64,
    share: f64,
) -> Option<Option<(u64, u32, u32)>> {
    let before = history.fleet.iter().rfind(|s| s.at_us <= fault.from_us)?;
    let before = Some(total(&before.running)).filter(|n| *n > 0)?;
    let span = fault.from_us..=fault.until_us + after_us;
    let looks = history.fleet.iter().filter(|s| span.contains(&s.at_us));
    let totals: Vec<_> = looks.map(|s| (s.at_us, total(&s.running))).collect();
    let mut pairs = totals.windows(2).peekable();
    pairs.peek()?;
    let is_less = |n: u32| f64::from(n) < share * f64::from(before);
    let fallen = pairs.find(|pair| pair.iter().all(|(_, n)| is_less(*n)));
    Some(fallen.map(|pair| (pair[1].0, before, pair[1].1)))
}
