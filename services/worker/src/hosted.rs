//! One pool as a node hosts it: its workers and what is known of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, Addr, AsyncContext, Context};
use serde_json::json;
use tidepool_core::{NodeId, PoolSpec, SetTarget, Timestamp, WorkerId, WorkerReport, WorkerState};

use crate::membership::{Membership, Seat};
use crate::node::{Naming, Node, PoolHosting};
use crate::restart::RestartPolicy;
use crate::worker::{Change, Drain, Worker, WorkerConfig};

pub(crate) struct Entry {
    pub(crate) addr: Addr<Worker>,
    pub(crate) launch: u64,
    pub(crate) state: WorkerState,
    pub(crate) started_at: Timestamp,
    pub(crate) ready_since: Option<Instant>,
    pub(crate) startup: Option<Duration>,
    pub(crate) seat: Option<Arc<Seat>>,
    /// What earlier seats of this worker had counted when it restarted.
    pub(crate) completed_before: u64,
    pub(crate) panics_before: u64,
    pub(crate) cpu: CpuMeter,
}

/// CPU cores in use, from readings of a growing number of CPU seconds.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    last: Option<(Instant, f64)>,
    /// Between the last two readings; absent until there are two.
    pub(crate) cores: Option<f64>,
}

impl CpuMeter {
    /// Takes a reading. The kernel counts in steps of milliseconds, so readings that are not
    /// much further apart than that say nothing.
    fn read(&mut self, seconds: Option<f64>, now: Instant) {
        let before = std::mem::replace(&mut self.last, seconds.map(|s| (now, s)));
        self.cores = before.zip(seconds).and_then(|((then, earlier), seconds)| {
            let elapsed = now.saturating_duration_since(then).as_secs_f64();
            (elapsed > 0.0).then_some(((seconds - earlier) / elapsed).max(0.0))
        });
    }
}

impl Entry {
    fn completed(&self) -> u64 {
        self.completed_before + self.seat.as_ref().map_or(0, |seat| seat.completed())
    }

    fn panics(&self) -> u64 {
        self.panics_before + self.seat.as_ref().map_or(0, |seat| seat.panics())
    }

    fn measure_cpu(&mut self, now: Instant) {
        let seconds = self.seat.as_ref().and_then(|seat| seat.lane.cpu_seconds());
        self.cpu.read(seconds, now);
    }
}

pub(crate) struct Pool {
    pub(crate) spec: Arc<PoolSpec>,
    pub(crate) handlers: Vec<Arc<dyn tidepool_handler::Handler>>,
    pub(crate) membership: Arc<dyn Membership>,
    pub(crate) target: Option<SetTarget>,
    pub(crate) naming: Naming,
    pub(crate) workers: BTreeMap<WorkerId, Entry>,
    pub(crate) launches: u64,
    pub(crate) hold_until: Option<Instant>,
    pub(crate) crash_loop: bool,
}

impl Pool {
    pub(crate) fn new(hosting: PoolHosting, naming: Naming) -> Self {
        Self {
            spec: Arc::new(hosting.spec),
            handlers: hosting.handlers,
            membership: hosting.membership,
            target: None,
            naming,
            workers: BTreeMap::new(),
            launches: 0,
            hold_until: None,
            crash_loop: false,
        }
    }

    pub(crate) fn spawn(&mut self, restart: RestartPolicy, ctx: &mut Context<Node>) {
        self.launches += 1;
        let id = self.naming.name(&self.spec.name, self.launches);
        let addr = Worker::new(WorkerConfig {
            id: id.clone(),
            pool: Arc::clone(&self.spec),
            handlers: self.handlers.clone(),
            membership: Arc::clone(&self.membership),
            restart,
            node: ctx.address().recipient(),
        })
        .start();
        let entry = Entry {
            addr,
            launch: self.launches,
            state: WorkerState::Starting,
            started_at: SystemTime::now().into(),
            ready_since: None,
            startup: None,
            seat: None,
            completed_before: 0,
            panics_before: 0,
            cpu: CpuMeter::default(),
        };
        self.workers.insert(id, entry);
    }

    pub(crate) fn drain(&mut self, id: &WorkerId) -> bool {
        let Some(entry) = self.workers.get_mut(id) else {
            return false;
        };
        let sent = entry.addr.try_send(Drain).is_ok();
        if sent {
            entry.state = WorkerState::Draining;
        }
        sent
    }

    /// Reads the CPU time of the workers' threads; what is reported is the use between two calls.
    pub(crate) fn measure_cpu(&mut self, now: Instant) {
        self.workers
            .values_mut()
            .for_each(|entry| entry.measure_cpu(now));
    }

    pub(crate) fn reports(&self, node: &NodeId) -> Vec<WorkerReport> {
        let (spec, membership) = (&self.spec, &self.membership);
        let report = |(id, entry): (&WorkerId, &Entry)| WorkerReport {
            id: id.clone(),
            pool: spec.name.clone(),
            node: node.clone(),
            state: entry.state,
            slots: spec.slots,
            busy: membership.busy(id),
            started_at: entry.started_at,
            startup: entry.startup,
            completed: entry.completed(),
            panics: entry.panics(),
            cpu_cores: entry.cpu.cores,
        };
        self.workers.iter().map(report).collect()
    }

    /// Takes note of a change and says how to tell of it.
    pub(crate) fn changed(
        &mut self,
        id: &WorkerId,
        change: &Change,
    ) -> Option<(&'static str, serde_json::Value)> {
        let entry = self.workers.get_mut(id)?;
        let told = match change {
            Change::Starting => {
                entry.become_state(WorkerState::Starting);
                ("worker.starting", json!({"worker": id}))
            }
            Change::Ready { seat, startup } => {
                entry.seat_at(Arc::clone(seat), *startup);
                let startup_ms = u64::try_from(startup.as_millis()).unwrap_or(u64::MAX);
                (
                    "worker.ready",
                    json!({"worker": id, "startup_ms": startup_ms}),
                )
            }
            Change::Crashed { cause, restart_in } => {
                entry.become_state(WorkerState::Crashed);
                let restart_in_ms = u64::try_from(restart_in.as_millis()).unwrap_or(u64::MAX);
                let data = json!({"worker": id, "cause": cause, "restart_in_ms": restart_in_ms});
                ("worker.crashed", data)
            }
            Change::Draining => {
                entry.become_state(WorkerState::Draining);
                (
                    "worker.draining",
                    json!({"worker": id, "busy": self.membership.busy(id)}),
                )
            }
            Change::Stopped { gave_up } => {
                let data = json!({
                    "worker": id, "gave_up": gave_up,
                    "completed": entry.completed(), "panics": entry.panics(),
                });
                self.workers.remove(id);
                ("worker.stopped", data)
            }
        };
        Some(told)
    }
}

impl Entry {
    fn become_state(&mut self, state: WorkerState) {
        // An order to drain is final, whatever was on its way to us when it was given.
        if self.state != WorkerState::Draining {
            self.state = state;
        }
        if state != WorkerState::Ready {
            self.ready_since = None;
        }
    }

    fn seat_at(&mut self, seat: Arc<Seat>, startup: Duration) {
        self.become_state(WorkerState::Ready);
        self.ready_since = Some(Instant::now());
        self.startup = Some(startup);
        self.completed_before = self.completed();
        self.panics_before = self.panics();
        self.seat = Some(seat);
        self.cpu = CpuMeter::default();
    }
}
