//! Tells every process what this controller knows of the pools, while it leads. A task of its own, so
//! that a slow store delays nothing that is decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_cluster::{Board, post};
use tidepool_store::StoreError;
use tidepool_supervisor::{SupervisorView, steady_wall_clock};

use super::Base;
use super::leadership::Mandate;
use super::view::pools_of;

/// How often it is told; decisions come as often.
const EVERY: Duration = Duration::from_secs(1);

/// Tells until the task is ended.
pub(super) async fn run(base: Arc<Base>, mandate: Arc<Mandate>, view: SupervisorView) {
    let clock = steady_wall_clock();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for seq in 1.. {
        ticks.tick().await;
        if !mandate.holds(Instant::now()) {
            continue;
        }
        let nodes = base.nodes.seen();
        let addresses = nodes
            .members
            .iter()
            .map(|(name, node)| (name.clone(), node.operator_addr.clone()));
        let board = Board {
            leader: base.ground.name.to_string(),
            operator_addr: base.operator_addr.get().cloned().unwrap_or_default(),
            epoch: mandate.epoch.0,
            seq,
            at: clock(),
            pools: pools_of(&base, &view),
            left_off: 0,
            nodes: addresses.collect(),
        };
        match post(&*base.ground.stores.kv, board).await {
            Ok(()) => {}
            Err(StoreError::Fenced { current, .. }) => {
                tracing::warn!(epoch = %mandate.epoch, %current, "another controller leads");
                mandate.end();
            }
            Err(error) => tracing::debug!(%error, "what is known of the pools cannot be told"),
        }
    }
}
