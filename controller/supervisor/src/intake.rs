//! Collects what came in between two decisions: counts add up, histograms merge, gauges are the
//! newest.

use std::collections::VecDeque;
use std::time::Duration;

use tidepool_core::{LatencyCounts, PoolReport, Timestamp};

/// Start-up times that the percentile is taken over.
const STARTUPS_KEPT: usize = 64;

/// Reports of one pool since the last decision.
#[derive(Debug, Default)]
pub(crate) struct PoolIntake {
    pub(crate) window: Duration,
    pub(crate) arrivals: u64,
    pub(crate) completed: u64,
    pub(crate) refused: u64,
    pub(crate) deadline_missed: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed: u64,
    pub(crate) busy_slot_s: f64,
    pub(crate) wait: LatencyCounts,
    pub(crate) work: LatencyCounts,
    pub(crate) newest: Option<Newest>,
}

/// Gauges of a pool's newest report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Newest {
    /// When it came, by the supervisor's clock: other clocks may differ.
    pub(crate) received: Timestamp,
    pub(crate) queued: u32,
    pub(crate) oldest_wait: Duration,
    pub(crate) busy_slots: u32,
    pub(crate) ready_slots: u32,
}

impl PoolIntake {
    /// Adds a report that came at `now`.
    pub(crate) fn add(&mut self, report: PoolReport, now: Timestamp) {
        self.window = self.window.saturating_add(report.window);
        self.arrivals += report.arrivals;
        self.completed += report.completed;
        self.refused += report.refused;
        self.deadline_missed += report.deadline_missed;
        self.cancelled += report.cancelled;
        self.failed += report.failed;
        self.busy_slot_s += report.busy_slot_s;
        self.newest = Some(Newest {
            received: now,
            queued: report.queued,
            oldest_wait: report.oldest_wait,
            busy_slots: report.busy_slots,
            ready_slots: report.ready_slots,
        });
        self.wait.absorb(report.wait);
        self.work.absorb(report.work);
    }

    /// Forgets the counts; the gauges stay until newer ones come.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            newest: self.newest,
            ..Self::default()
        };
    }
}

/// Start-up times of a pool's workers, the newest of them.
#[derive(Debug, Default)]
pub(crate) struct Startups {
    newest: VecDeque<f64>,
    p95_s: Option<f64>,
}

impl Startups {
    /// Those that were measured by an earlier supervisor; what is no time is left out.
    pub(crate) fn of(seconds: Vec<f64>) -> Self {
        let is_time = |s: &f64| s.is_finite() && *s >= 0.0;
        let times = seconds.into_iter().filter(is_time);
        let newest: VecDeque<f64> = times.take(STARTUPS_KEPT).collect();
        Self {
            p95_s: p95(&newest),
            newest,
        }
    }

    /// Each, in seconds, the oldest first.
    pub(crate) fn seconds(&self) -> Vec<f64> {
        self.newest.iter().copied().collect()
    }

    /// Takes in how long a worker took to start.
    pub(crate) fn add(&mut self, startup: Duration) {
        self.newest.push_back(startup.as_secs_f64());
        while self.newest.len() > STARTUPS_KEPT {
            self.newest.pop_front();
        }
        self.p95_s = p95(&self.newest);
    }

    /// 95th percentile in seconds (the nearest rank); nothing before the first.
    pub(crate) fn p95_s(&self) -> Option<f64> {
        self.p95_s
    }
}

fn p95(seconds: &VecDeque<f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = seconds.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * 95).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tidepool_core::{NodeId, NodeReport, PoolName, WorkerId, WorkerReport, WorkerState};

    pub(crate) fn pool_name() -> PoolName {
        PoolName::new("echo").unwrap()
    }

    pub(crate) fn pool_report(arrivals: u64, busy_slot_s: f64) -> PoolReport {
        PoolReport {
            pool: pool_name(),
            at: Timestamp(0),
            window: Duration::from_secs(1),
            arrivals,
            completed: arrivals,
            refused: 0,
            deadline_missed: 0,
            cancelled: 0,
            failed: 0,
            queued: 0,
            queued_bytes: 0,
            oldest_wait: Duration::ZERO,
            busy_slots: 0,
            ready_slots: 4,
            busy_slot_s,
            wait: LatencyCounts::default(),
            work: LatencyCounts::default(),
        }
    }

    pub(crate) fn worker(n: u64, state: WorkerState, startup_ms: Option<u64>) -> WorkerReport {
        WorkerReport {
            id: WorkerId::new(&pool_name(), n),
            pool: pool_name(),
            node: NodeId::new("local").unwrap(),
            state,
            slots: 4,
            busy: 0,
            started_at: Timestamp(0),
            startup: startup_ms.map(Duration::from_millis),
            completed: 0,
            panics: 0,
            cpu_cores: None,
        }
    }

    pub(crate) fn node_report(workers: Vec<WorkerReport>) -> NodeReport {
        NodeReport {
            node: NodeId::new("local").unwrap(),
            at: Timestamp(0),
            process_cpu_cores: None,
            machine_cpu_cores: None,
            cores: 2,
            memory_bytes: None,
            memory_limit_bytes: None,
            memory_used_bytes: None,
            workers,
        }
    }

    #[test]
    fn counts_add_up_and_gauges_are_the_newest() {
        let mut intake = PoolIntake::default();
        let mut second = pool_report(5, 0.5);
        second.queued = 9;
        second.work = [Duration::from_millis(100)].into_iter().collect();
        intake.add(pool_report(3, 0.25), Timestamp(1_000));
        intake.add(second, Timestamp(2_000));
        assert_eq!((intake.arrivals, intake.window.as_secs()), (8, 2));
        assert_eq!(intake.work.count(), 1);
        assert_eq!(intake.newest.map(|n| n.queued), Some(9));
        intake.clear();
        assert_eq!((intake.arrivals, intake.work.count()), (0, 0));
        assert_eq!(intake.newest.map(|n| n.queued), Some(9));
    }

    #[test]
    fn old_starts_are_forgotten() {
        let mut startups = Startups::of(vec![f64::NAN, -1.0, 9.0]);
        assert_eq!(startups.p95_s(), Some(9.0));
        for _ in 0..STARTUPS_KEPT {
            startups.add(Duration::from_millis(100));
        }
        assert_eq!(startups.p95_s(), Some(0.1));
        assert_eq!(startups.seconds().len(), STARTUPS_KEPT);
        assert_eq!(Startups::default().p95_s(), None);
    }
}
