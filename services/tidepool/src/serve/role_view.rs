//! What one process of a cluster shows operators. How pools are sized is known to the controller that
//! leads: this process shows what it has heard from there, and what it is itself.

use std::sync::Arc;
use std::time::Instant;

use actix::Addr;
use parking_lot::RwLock;
use tidepool_balancer::{LinkedNodes, Pool};
use tidepool_core::order::{ChangeError, ChangeFuture, ImportFuture, PoolChange};
use tidepool_core::series::{SeriesAnswer, SeriesError, SeriesQuery};
use tidepool_core::status::{
    ComponentHealth, DrainError, Explanation, FleetView, Hearsay, PoolStatus, Referral,
    SharedFleetView, WorkerStatus,
};
use tidepool_core::{PoolName, WorkerId, WorkerReport};
use tidepool_telemetry::Spans;
use tidepool_worker::{DrainWorker, Node};

use super::ground::Ground;
use super::heard::Heard;
use super::reach::Reach;
use super::readiness::Readiness;
use super::stores::Stores;
use super::view;

/// One process.
pub(super) struct RoleView {
    own: Own,
    heard: Arc<Heard>,
    stores: Stores,
    spans: Spans,
}

enum Own {
    Balancer {
        pools: Vec<Arc<Pool>>,
        linked: LinkedNodes,
        reach: Arc<Reach>,
    },
    Node {
        node: Addr<Node>,
        workers: Arc<RwLock<Vec<WorkerReport>>>,
        readiness: Arc<Readiness>,
    },
}

impl RoleView {
    pub(super) fn balancer(
        ground: &Ground,
        pools: Vec<Arc<Pool>>,
        (linked, reach): (LinkedNodes, Arc<Reach>),
    ) -> SharedFleetView {
        let own = Own::Balancer {
            pools,
            linked,
            reach,
        };
        Self::of(ground, own)
    }

    pub(super) fn node(
        ground: &Ground,
        node: Addr<Node>,
        workers: Arc<RwLock<Vec<WorkerReport>>>,
        readiness: Arc<Readiness>,
    ) -> SharedFleetView {
        let own = Own::Node {
            node,
            workers,
            readiness,
        };
        Self::of(ground, own)
    }

    fn of(ground: &Ground, own: Own) -> SharedFleetView {
        Arc::new(Self {
            own,
            heard: Arc::clone(&ground.heard),
            stores: ground.stores.clone(),
            spans: ground.spans.clone(),
        })
    }

    /// Whether the nodes of a balancer can be reached.
    fn links(&self) -> Option<ComponentHealth> {
        let Own::Balancer { pools, linked, .. } = &self.own else {
            return None;
        };
        let (nodes, slots) = (
            linked.count(),
            pools.iter().map(|p| p.ready_slots()).sum::<u32>(),
        );
        Some(ComponentHealth {
            component: "nodes".to_owned(),
            state: match (nodes, slots) {
                (0, _) => "down",
                (_, 0) => "degraded",
                _ => "ok",
            }
            .to_owned(),
            detail: format!("{nodes} nodes are linked and offer {slots} slots"),
        })
    }
}

impl FleetView for RoleView {
    fn pools(&self) -> Vec<PoolStatus> {
        self.heard.pools()
    }

    fn explain(&self, _pool: &PoolName) -> Option<Explanation> {
        None
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        match &self.own {
            Own::Balancer { .. } => Vec::new(),
            Own::Node { workers, .. } => workers.read().iter().map(view::status).collect(),
        }
    }

    fn drain(&self, worker: &WorkerId) -> Result<(), DrainError> {
        match &self.own {
            Own::Node { node, workers, .. } if workers.read().iter().any(|w| w.id == *worker) => {
                node.try_send(DrainWorker(worker.clone()))
                    .map_err(|_| DrainError::Busy)
            }
            _ => Err(self.heard.elsewhere(worker)),
        }
    }

    fn change(&self, pool: &PoolName, _change: PoolChange) -> ChangeFuture {
        let unknown = ChangeError::UnknownPool(pool.clone());
        Box::pin(std::future::ready(Err(unknown)))
    }

    fn pattern(&self, _pool: &PoolName) -> Option<serde_json::Value> {
        None
    }

    fn forecast(&self, _pool: &PoolName) -> Option<serde_json::Value> {
        None
    }

    fn import_pattern(
        &self,
        pool: &PoolName,
        _document: serde_json::Value,
        _by: String,
    ) -> ImportFuture {
        let unknown = ChangeError::UnknownPool(pool.clone());
        Box::pin(std::future::ready(Err(unknown)))
    }

    fn series(&self, query: &SeriesQuery) -> Result<SeriesAnswer, SeriesError> {
        Err(SeriesError::Unknown(query.name.clone()))
    }

    fn leader(&self) -> Option<String> {
        self.heard.told_by().map(|told| told.leader)
    }

    fn not_leading(&self) -> Option<Referral> {
        Some(self.heard.who_leads())
    }

    fn knows_only_its_own(&self) -> Option<Referral> {
        Some(self.heard.who_leads())
    }

    fn told_by(&self) -> Option<Hearsay> {
        self.heard.told_by()
    }

    fn unready(&self) -> Option<String> {
        match &self.own {
            Own::Balancer { linked, reach, .. } => {
                let now = Instant::now();
                reach.see(linked.count(), now);
                reach.missing(now)
            }
            Own::Node {
                workers, readiness, ..
            } => readiness.missing(&workers.read()),
        }
    }

    fn health(&self) -> Vec<ComponentHealth> {
        let own = [self.stores.health(), view::otlp(&self.spans)];
        self.links().into_iter().chain(own).collect()
    }
}
