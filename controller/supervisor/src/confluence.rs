//! Makes one stream of reports of what several balancers report about the same pools.
//!
//! A rate is only right when it holds the share of every balancer. So the counts of a pool flow on
//! when each balancer that is there has reported since they last did. Gauges do not wait for that:
//! a queue that builds up at one balancer is told at once, together with what the others said last,
//! in a report without a window.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidepool_core::{LatencyCounts, PoolName, PoolReport, Timestamp};

/// Balancers that are told apart; more than this many are not heard.
const BALANCERS_MAX: usize = 1_024;

/// What all balancers together report about a pool.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) report: PoolReport,
    /// When the oldest of its parts came: a balancer that falls silent makes the whole old.
    pub(crate) received: Timestamp,
}

/// What one balancer says of one pool.
#[derive(Debug)]
struct Share {
    /// Counts that have not flowed on, over their own window.
    pending: Option<PoolReport>,
    /// Gauges of its last report.
    newest: Gauges,
    received: Timestamp,
}

/// What a report tells of a moment, not of a time.
#[derive(Clone, Copy, Debug)]
struct Gauges {
    at: Timestamp,
    queued: u32,
    queued_bytes: u64,
    oldest_wait: Duration,
    busy_slots: u32,
    ready_slots: u32,
}

/// What each balancer says.
#[derive(Debug, Default)]
pub(crate) struct Confluence {
    pools: BTreeMap<PoolName, BTreeMap<String, Share>>,
    /// Pools with news.
    fresh: BTreeSet<PoolName>,
}

impl Confluence {
    /// Forgets the balancers that are gone, and what they held with them.
    pub(crate) fn keep_only(&mut self, present: &BTreeSet<String>) {
        for shares in self.pools.values_mut() {
            shares.retain(|balancer, _| present.contains(balancer));
        }
        self.pools.retain(|_, shares| !shares.is_empty());
    }

    /// Takes in what a balancer reports at `now`.
    pub(crate) fn add(&mut self, balancer: &str, report: PoolReport, now: Timestamp) {
        let shares = self.pools.entry(report.pool.clone()).or_default();
        if shares.len() >= BALANCERS_MAX && !shares.contains_key(balancer) {
            tracing::warn!(balancer, "too many balancers: its reports are ignored");
            return;
        }
        self.fresh.insert(report.pool.clone());
        let newest = Gauges::of(&report);
        if let Some(share) = shares.get_mut(balancer) {
            (share.newest, share.received) = (newest, now);
            match &mut share.pending {
                Some(pending) => {
                    pending.window = pending.window.saturating_add(report.window);
                    add_counts(pending, report);
                }
                None => share.pending = Some(report),
            }
            return;
        }
        let share = Share {
            pending: Some(report),
            newest,
            received: now,
        };
        shares.insert(balancer.to_owned(), share);
    }

    /// What can be told of the pools that somebody reported about since the last call.
    pub(crate) fn flow(&mut self) -> Vec<Joined> {
        let fresh = std::mem::take(&mut self.fresh);
        let joined = fresh.into_iter().filter_map(|pool| {
            let shares = self.pools.get_mut(&pool)?;
            let (gauges, received) = together(shares.values())?;
            let is_whole = shares.values().all(|share| share.pending.is_some());
            let counts = if is_whole {
                take_counts(shares.values_mut())?
            } else if gauges.queued == 0 {
                return None;
            } else {
                nothing_counted(pool)
            };
            let report = gauges.within(counts);
            Some(Joined { report, received })
        });
        joined.collect()
    }
}

impl Gauges {
    fn of(report: &PoolReport) -> Self {
        Self {
            at: report.at,
            queued: report.queued,
            queued_bytes: report.queued_bytes,
            oldest_wait: report.oldest_wait,
            busy_slots: report.busy_slots,
            ready_slots: report.ready_slots,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            queued: self.queued.saturating_add(other.queued),
            queued_bytes: self.queued_bytes.saturating_add(other.queued_bytes),
            oldest_wait: self.oldest_wait.max(other.oldest_wait),
            busy_slots: self.busy_slots.saturating_add(other.busy_slots),
            ready_slots: self.ready_slots.saturating_add(other.ready_slots),
        }
    }

    /// A report with these gauges, and the counts of another.
    fn within(self, counts: PoolReport) -> PoolReport {
        PoolReport {
            at: self.at,
            queued: self.queued,
            queued_bytes: self.queued_bytes,
            oldest_wait: self.oldest_wait,
            busy_slots: self.busy_slots,
            ready_slots: self.ready_slots,
            ..counts
        }
    }
}

/// The gauges of all, and when the oldest of them came.
fn together<'a>(shares: impl Iterator<Item = &'a Share>) -> Option<(Gauges, Timestamp)> {
    let each = shares.map(|share| (share.newest, share.received));
    each.reduce(|(sum, oldest), (gauges, received)| (sum.and(gauges), oldest.min(received)))
}

/// A report without a window.
fn nothing_counted(pool: PoolName) -> PoolReport {
    PoolReport {
        pool,
        at: Timestamp(0),
        window: Duration::ZERO,
        arrivals: 0,
        completed: 0,
        refused: 0,
        deadline_missed: 0,
        cancelled: 0,
        failed: 0,
        queued: 0,
        queued_bytes: 0,
        oldest_wait: Duration::ZERO,
        busy_slots: 0,
        ready_slots: 0,
        busy_slot_s: 0.0,
        wait: LatencyCounts::default(),
        work: LatencyCounts::default(),
    }
}

fn add_counts(sum: &mut PoolReport, report: PoolReport) {
    sum.arrivals += report.arrivals;
    sum.completed += report.completed;
    sum.refused += report.refused;
    sum.deadline_missed += report.deadline_missed;
    sum.cancelled += report.cancelled;
    sum.failed += report.failed;
    sum.busy_slot_s += report.busy_slot_s;
    sum.wait.absorb(report.wait);
    sum.work.absorb(report.work);
}

/// Takes what is pending of all, as one. Windows of balancers differ a little; the common one is such that
/// the rate of arrivals is the sum of theirs.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of some seconds are far below 2^52"
)]
fn take_counts<'a>(shares: impl Iterator<Item = &'a mut Share>) -> Option<PoolReport> {
    let mut rate = 0.0;
    let sum = shares
        .filter_map(|share| {
            let pending = share.pending.take()?;
            if !pending.window.is_zero() {
                rate += pending.arrivals as f64 / pending.window.as_secs_f64();
            }
            Some(pending)
        })
        .reduce(|mut sum, pending| {
            sum.window = sum.window.max(pending.window);
            add_counts(&mut sum, pending);
            sum
        });
    let mut sum = sum?;
    let (longest, common) = (sum.window, sum.arrivals as f64 / rate);
    sum.window = Duration::try_from_secs_f64(common).map_or(longest, |common| common.min(longest));
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::tests::pool_report;

    fn present(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn report(arrivals: u64, window_ms: u64, queued: u32) -> PoolReport {
        let mut report = pool_report(arrivals, 0.5);
        report.window = Duration::from_millis(window_ms);
        report.queued = queued;
        report
    }

    #[test]
    fn counts_wait_for_every_balancer_and_add_up() {
        let mut both = Confluence::default();
        both.add("a", report(30, 1_000, 0), Timestamp(1));
        assert_eq!(both.flow().len(), 1, "the only one there is");
        both.add("b", report(10, 1_000, 0), Timestamp(2));
        assert!(both.flow().is_empty(), "a share is not the load");
        both.add("a", report(30, 1_000, 0), Timestamp(3));
        let joined = both.flow().pop().unwrap();
        assert_eq!((joined.report.arrivals, joined.report.ready_slots), (40, 8));
        assert_eq!(joined.report.window, Duration::from_secs(1));
        assert_eq!(joined.received, Timestamp(2), "as old as its oldest part");
        assert!(both.flow().is_empty());
    }

    #[test]
    fn the_rate_is_the_sum_of_the_rates_whatever_the_windows() {
        let mut both = Confluence::default();
        both.add("a", report(100, 2_000, 0), Timestamp(1));
        both.add("b", report(10, 500, 0), Timestamp(1));
        let joined = both.flow().pop().unwrap().report;
        let rate = joined.arrivals as f64 / joined.window.as_secs_f64();
        assert!((rate - 70.0).abs() < 1e-6, "{rate}");
    }

    #[test]
    fn a_queue_is_told_at_once_and_without_a_window() {
        let mut both = Confluence::default();
        both.add("a", report(30, 1_000, 2), Timestamp(1));
        both.add("b", report(10, 1_000, 0), Timestamp(1));
        both.flow();
        both.add("b", report(10, 100, 7), Timestamp(9));
        let joined = both.flow().pop().unwrap();
        assert_eq!((joined.report.queued, joined.report.arrivals), (9, 0));
        assert!(joined.report.window.is_zero());
        assert_eq!(joined.received, Timestamp(1));
        both.add("a", report(5, 1_000, 0), Timestamp(10));
        let later = both.flow().pop().unwrap().report;
        assert_eq!(later.arrivals, 15, "what was told early is counted once");
    }

    #[test]
    fn who_is_gone_holds_up_nobody_and_its_gauges_go_with_it() {
        let mut both = Confluence::default();
        both.add("a", report(30, 1_000, 2), Timestamp(1));
        both.add("b", report(10, 1_000, 5), Timestamp(1));
        both.flow();
        both.keep_only(&present(&["a"]));
        both.add("a", report(30, 1_000, 2), Timestamp(2));
        let joined = both.flow().pop().unwrap();
        assert_eq!((joined.report.queued, joined.report.arrivals), (2, 30));
        both.keep_only(&present(&[]));
        assert!(both.flow().is_empty());
    }
}
