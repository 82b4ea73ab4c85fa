//! Builds the observation of a pool from what came in. Pure: what was not reported stays `None`.

use std::time::Duration;

use tidepool_core::{PoolSpec, Timestamp, WorkerState};
use tidepool_policy::{Backlog, Bounds, CpuSample, Observation, WorkSample, WorkerCounts};

use crate::intake::PoolIntake;
use crate::nodes::{Fleet, PoolWorkers};
use crate::slot_use::{SlotUse, busy_max};

/// What is known of a pool at `now`.
pub(crate) fn observe(
    spec: &PoolSpec,
    intake: &PoolIntake,
    fleet: &Fleet,
    startup_p95_s: Option<f64>,
    (bounds, now): (&Bounds, Timestamp),
) -> Observation {
    let workers_age_s = fleet.age_s(now);
    let workers = fleet.workers_of(&spec.name);
    let counts = workers_age_s.map(|_| count(spec, workers));
    Observation {
        work: (!intake.window.is_zero()).then(|| work(intake, bounds, busy_max(counts))),
        backlog: intake.newest.map(|newest| {
            let slots = SlotUse::of(newest, counts);
            Backlog {
                queued: f64::from(slots.queued),
                oldest_wait_s: newest.oldest_wait.as_secs_f64(),
                busy_slots: f64::from(slots.busy),
            }
        }),
        work_age_s: intake
            .newest
            .map(|newest| now.seconds_since(newest.received)),
        workers: counts,
        workers_age_s,
        startup_p95_s,
        cpu: cpu(spec, workers, fleet),
        // Workers of one process share its memory; it cannot be told apart by pool.
        memory: None,
        node_memory_share: fleet.memory_share_max(),
        // The learned pattern and the operator have their say after this.
        forecast: None,
        operator: None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a second are far below 2^52"
)]
fn work(intake: &PoolIntake, bounds: &Bounds, busy_max: u32) -> WorkSample {
    let window_s = intake.window.as_secs_f64();
    let seconds = |d: Option<Duration>| d.map(|d| d.as_secs_f64());
    let service_p95_s = seconds(intake.work.quantile(0.95));
    let allowed_s = bounds.wait_for_slot_s(service_p95_s.unwrap_or(0.0));
    let allowed = Duration::try_from_secs_f64(allowed_s).unwrap_or(Duration::MAX);
    WorkSample {
        window_s,
        arrivals: intake.arrivals as f64,
        completed: intake.completed as f64,
        refused: intake.refused as f64,
        deadline_missed: intake.deadline_missed as f64,
        failed: intake.failed as f64,
        cancelled: intake.cancelled as f64,
        released: intake.work.count() as f64,
        // What is on its way to workers that have no slot for it does not keep one busy.
        busy_slot_s: intake.busy_slot_s.min(window_s * f64::from(busy_max)),
        late: Some(intake.wait.count_above(allowed) as f64),
        wait_p95_s: seconds(intake.wait.quantile(0.95)),
        service_mean_s: seconds(intake.work.mean()),
        service_p95_s,
    }
}

fn count(spec: &PoolSpec, workers: &PoolWorkers) -> WorkerCounts {
    WorkerCounts {
        ready: workers.count(WorkerState::Ready),
        starting: workers.count(WorkerState::Starting),
        draining: workers.count(WorkerState::Draining),
        slots_per_worker: spec.slots,
    }
}

/// CPU of ready workers' own threads; a worker has at most one thread a slot, and a machine its
/// cores.
fn cpu(spec: &PoolSpec, workers: &PoolWorkers, fleet: &Fleet) -> Option<CpuSample> {
    let cores = fleet.cores_max().unwrap_or(1);
    Some(CpuSample {
        used_cores: workers.used_cores()?,
        quota_cores_per_worker: f64::from(spec.slots.min(cores).max(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::tests::{node_report, pool_name, pool_report, worker};
    use crate::nodes::Nodes;

    fn spec() -> PoolSpec {
        PoolSpec {
            name: pool_name(),
            kinds: vec![],
            slots: 4,
            queue_len_max: 10,
            queue_bytes_max: 1_000,
            slo_ms: 1_000,
            deadline_ms: 1_000,
        }
    }

    #[test]
    fn what_was_not_reported_stays_missing() {
        let nothing = observe(
            &spec(),
            &PoolIntake::default(),
            &Fleet::default(),
            None,
            (&Bounds::default(), Timestamp(5)),
        );
        assert_eq!(nothing, Observation::default());
    }

    #[test]
    fn requests_on_their_way_to_full_workers_are_no_load_beyond_their_slots() {
        let mut intake = PoolIntake::default();
        let mut report = pool_report(20, 40.0);
        (report.busy_slots, report.queued) = (40, 0);
        intake.add(report, Timestamp(1_000));
        let mut nodes = Nodes::default();
        let at = |nodes: &mut Nodes| {
            let bounds = (&Bounds::default(), Timestamp(3_000));
            observe(&spec(), &intake, nodes.fleet(), None, bounds)
        };
        let load = |seen: &Observation| {
            let backlog = seen.backlog.unwrap();
            (
                seen.work.as_ref().unwrap().busy_slot_s,
                backlog.busy_slots,
                backlog.queued,
            )
        };
        assert_eq!(
            load(&at(&mut nodes)),
            (40.0, 40.0, 0.0),
            "nobody knows better"
        );
        let one = node_report(vec![worker(0, WorkerState::Ready, None)]);
        nodes.add(one, Timestamp(1_500));
        let window_s = intake.window.as_secs_f64();
        assert_eq!(load(&at(&mut nodes)), (4.0 * window_s, 4.0, 36.0));
    }

    #[test]
    fn reports_become_numbers_with_ages() {
        let mut intake = PoolIntake::default();
        let mut report = pool_report(20, 2.0);
        report.work = [Duration::from_millis(100)].into_iter().collect();
        report.wait = [5, 850, 2_000]
            .map(Duration::from_millis)
            .into_iter()
            .collect();
        report.queued = 3;
        intake.add(report, Timestamp(1_000));
        let mut nodes = Nodes::default();
        let mut busy = worker(0, WorkerState::Ready, None);
        busy.cpu_cores = Some(0.75);
        let mut node = node_report(vec![
            busy,
            worker(1, WorkerState::Starting, None),
            worker(2, WorkerState::Draining, None),
            worker(3, WorkerState::Crashed, None),
        ]);
        node.memory_bytes = Some(50);
        node.memory_limit_bytes = Some(100);
        nodes.add(node, Timestamp(1_500));
        let at = (&Bounds::default(), Timestamp(3_000));
        let seen = observe(&spec(), &intake, nodes.fleet(), Some(0.3), at);
        let work = seen.work.unwrap();
        // A second for the whole, of which the work takes a tenth.
        assert_eq!(work.late, Some(1.0));
        assert_eq!(
            (work.arrivals, work.released, work.busy_slot_s),
            (20.0, 1.0, 2.0)
        );
        assert!((work.service_p95_s.unwrap() - 0.1).abs() < 0.002);
        assert_eq!(seen.backlog.map(|b| b.queued), Some(3.0));
        assert_eq!(
            (seen.work_age_s, seen.workers_age_s),
            (Some(2.0), Some(1.5))
        );
        let counts = seen.workers.unwrap();
        assert_eq!((counts.ready, counts.starting, counts.draining), (1, 1, 1));
        let cpu = seen.cpu.unwrap();
        assert_eq!((cpu.used_cores, cpu.quota_cores_per_worker), (0.75, 2.0));
        assert_eq!(seen.node_memory_share, Some(0.5));
    }
}
