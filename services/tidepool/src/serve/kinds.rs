//! Which handler answers which kind, and the pools that are made of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tidepool_balancer::{BalancerMetrics, KindRoute, Pool, PoolTable};
use tidepool_core::{Kind, PoolSpec};
use tidepool_handler::Handler;
use tidepool_handlers::MemoryConfig;
use tidepool_store::Log;
use tidepool_worker::PoolHosting;

use crate::settings;

/// Kinds that are known and need configuration that is not there.
const UNCONFIGURED: [&str; 1] = ["conversation"];

/// The pools of this process, as each part needs them.
pub(super) struct Pools {
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) routes: Vec<KindRoute>,
    pub(super) hostings: Vec<PoolHosting>,
    pub(super) unconfigured: Vec<Kind>,
}

fn built_in(log: Arc<dyn Log>) -> BTreeMap<Kind, Arc<dyn Handler>> {
    let handlers = [
        tidepool_handlers::echo(),
        tidepool_handlers::grammar(),
        tidepool_handlers::memory(MemoryConfig::new(log)),
        tidepool_handlers::reasoning(),
    ];
    handlers
        .into_iter()
        .map(|handler| (handler.spec().kind.clone(), handler))
        .collect()
}

impl Pools {
    /// Makes the configured pools; workers join them later.
    pub(super) fn build(
        configured: &[settings::Pool],
        log: Arc<dyn Log>,
        metrics: &BalancerMetrics,
    ) -> anyhow::Result<Self> {
        let handlers = built_in(log);
        let mut built = Self {
            pools: Vec::new(),
            routes: Vec::new(),
            hostings: Vec::new(),
            unconfigured: unconfigured(&handlers, configured)?,
        };
        for pool in configured {
            built.add(pool, &handlers, metrics)?;
        }
        Ok(built)
    }

    fn add(
        &mut self,
        configured: &settings::Pool,
        handlers: &BTreeMap<Kind, Arc<dyn Handler>>,
        metrics: &BalancerMetrics,
    ) -> anyhow::Result<()> {
        let find = |kind: &Kind| {
            let known = || {
                handlers
                    .keys()
                    .map(Kind::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            handlers.get(kind).cloned().with_context(|| {
                format!(
                    "pool {}: no handler answers '{kind}'; there are {}",
                    configured.name,
                    known()
                )
            })
        };
        let own: Vec<Arc<dyn Handler>> = configured
            .kinds
            .iter()
            .map(find)
            .collect::<anyhow::Result<_>>()?;
        // The kind that computes most decides, because all of them share the worker's threads.
        let suits = own
            .iter()
            .map(|handler| handler.spec().slots_default)
            .min()
            .unwrap_or(1);
        let spec = PoolSpec {
            name: configured.name.clone(),
            kinds: configured.kinds.clone(),
            slots: configured.slots.unwrap_or(suits),
            queue_len_max: configured.queue_len_max,
            queue_bytes_max: configured.queue_bytes_max,
            slo_ms: u64::try_from(configured.slo.as_millis()).unwrap_or(u64::MAX),
            deadline_ms: u64::try_from(configured.deadline.as_millis()).unwrap_or(u64::MAX),
        };
        let pool = Pool::new(spec.clone(), metrics.of_pool(&spec), Instant::now());
        for (index, handler) in own.iter().enumerate() {
            self.routes.push(KindRoute::new(
                handler.spec().clone(),
                Arc::clone(&pool),
                index,
            ));
        }
        self.hostings.push(PoolHosting {
            spec,
            handlers: own,
            membership: Arc::new(PoolTable(Arc::clone(&pool))),
        });
        self.pools.push(pool);
        Ok(())
    }
}

/// Kinds that exist and that no pool lists.
fn unconfigured(
    handlers: &BTreeMap<Kind, Arc<dyn Handler>>,
    configured: &[settings::Pool],
) -> anyhow::Result<Vec<Kind>> {
    let mut kinds: Vec<Kind> = handlers.keys().cloned().collect();
    for name in UNCONFIGURED {
        kinds.push(Kind::new(name)?);
    }
    kinds.retain(|kind| configured.iter().all(|pool| !pool.kinds.contains(kind)));
    Ok(kinds)
}
