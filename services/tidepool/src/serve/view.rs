//! The running fleet as the operator API sees it: a join of what the supervisor, the node and the
//! back ends know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use actix::Addr;
use parking_lot::RwLock;
use tidepool_core::order::{ChangeFuture, ImportFuture, PoolChange};
use tidepool_core::series::{SeriesAnswer, SeriesError, SeriesQuery};
use tidepool_core::status::{
    ComponentHealth, DrainError, Explanation, FleetView, NodeStatus, PoolStatus, WorkerStatus,
};
use tidepool_core::{NodeId, PoolName, Timestamp, WorkerId, WorkerReport};
use tidepool_telemetry::Spans;
use tidepool_worker::{DrainWorker, Node};

use super::stores::Stores;
use super::succession::Seat;
use crate::version::VERSION;

/// Everything that is asked on behalf of operators.
pub(super) struct View {
    pub(super) name: NodeId,
    pub(super) seat: Seat,
    pub(super) node: Addr<Node>,
    pub(super) workers: Arc<RwLock<Vec<WorkerReport>>>,
    pub(super) stores: Stores,
    pub(super) spans: Spans,
}

impl FleetView for View {
    fn pools(&self) -> Vec<PoolStatus> {
        self.seat.view().pools()
    }

    fn explain(&self, pool: &PoolName) -> Option<Explanation> {
        self.seat.view().explain(pool)
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        self.workers.read().iter().map(status).collect()
    }

    fn drain(&self, worker: &WorkerId) -> Result<(), DrainError> {
        if self
            .workers
            .read()
            .iter()
            .all(|report| report.id != *worker)
        {
            return Err(DrainError::Unknown(worker.clone()));
        }
        self.node
            .try_send(DrainWorker(worker.clone()))
            .map_err(|_| DrainError::Busy)
    }

    fn change(&self, pool: &PoolName, change: PoolChange) -> ChangeFuture {
        self.seat.view().change(pool, change)
    }

    fn pattern(&self, pool: &PoolName) -> Option<serde_json::Value> {
        self.seat.view().patterns().pattern(pool)
    }

    fn forecast(&self, pool: &PoolName) -> Option<serde_json::Value> {
        self.seat.view().patterns().forecast(pool, now())
    }

    fn import_pattern(
        &self,
        pool: &PoolName,
        document: serde_json::Value,
        by: String,
    ) -> ImportFuture {
        let patterns = self.seat.view().patterns().clone();
        Box::pin(patterns.import(pool.clone(), document, by))
    }

    fn series(&self, query: &SeriesQuery) -> Result<SeriesAnswer, SeriesError> {
        self.seat.view().series(query, now())
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let workers = self.workers.read();
        let mut pools = BTreeMap::new();
        for worker in workers.iter() {
            *pools.entry(worker.pool.clone()).or_default() += 1;
        }
        vec![NodeStatus {
            node: self.name.clone(),
            state: "ready".to_owned(),
            is_drain_ordered: false,
            version: VERSION.to_owned(),
            link_addr: None,
            operator_addr: None,
            workers: pools.values().sum(),
            workers_max: None,
            pools,
            process_cpu_cores: None,
            machine_cpu_cores: None,
            cores: None,
            memory_bytes: None,
            memory_limit_bytes: None,
            age_s: None,
        }]
    }

    fn health(&self) -> Vec<ComponentHealth> {
        // The console adds the feed, which it serves itself.
        vec![self.stores.health(), otlp(&self.spans), self.seat.health()]
    }
}

/// How the export of spans does.
pub(super) fn otlp(spans: &Spans) -> ComponentHealth {
    let export = spans.health();
    let (state, detail) = if !spans.is_on() {
        ("off", "no telemetry.otlp_endpoint is set".to_owned())
    } else if let Some(error) = export.last_error {
        (
            "degraded",
            format!("{} spans lost; last error: {error}", export.failed),
        )
    } else {
        (
            "ok",
            format!("{} spans exported, {} lost", export.exported, export.failed),
        )
    };
    ComponentHealth {
        component: "otlp".to_owned(),
        state: state.to_owned(),
        detail,
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// A worker as operators see it.
pub(super) fn status(report: &WorkerReport) -> WorkerStatus {
    WorkerStatus {
        id: report.id.clone(),
        pool: report.pool.clone(),
        node: report.node.to_string(),
        state: report.state,
        slots: report.slots,
        busy: report.busy,
        started_at: report.started_at.rfc3339(),
        startup_s: report.startup.map(|s| s.as_secs_f64()),
        completed: report.completed,
        panics: report.panics,
        cpu_cores: report.cpu_cores,
    }
}
