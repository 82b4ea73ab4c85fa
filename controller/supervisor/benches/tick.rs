//! One second of the supervisor over a large fleet: reports in, every pool decided about, told,
//! shown and logged.
#![expect(clippy::unwrap_used, reason = "what fails here ends the bench")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Context, Handler};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use prometheus::Registry;
use tidepool_core::{
    LatencyHistogram, NodeId, NodeReport, PoolName, PoolReport, PoolSpec, Timestamp, WorkerId,
    WorkerReport, WorkerState,
};
use tidepool_policy::Policy;
use tidepool_store::{EmbeddedStore, Kv};
use tidepool_supervisor::{
    BalancerReports, DeskPorts, FleetReports, Inheritance, Learning, OrderDesk, Patterns, PoolPlan,
    Ports, Supervisor, SupervisorConfig, Tick,
};

const POOLS: u64 = 1_000;
const NODES: u64 = 100;
/// Workers of a pool, each on another node.
const WORKERS: u64 = 10;
const BEGIN_MS: u64 = 1_700_000_000_000;

struct Fleet {
    now_ms: Arc<AtomicU64>,
    pools: Vec<PoolName>,
    nodes: Vec<NodeId>,
    supervisor: Supervisor,
}

/// What comes in within a second.
struct Second {
    balancers: BalancerReports,
    fleet: FleetReports,
}

impl Fleet {
    async fn of(pools: Vec<PoolName>) -> Self {
        let now_ms = Arc::new(AtomicU64::new(BEGIN_MS));
        let clock = Arc::clone(&now_ms);
        let desk_clock = Arc::clone(&now_ms);
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let plans: Vec<PoolPlan> = pools.iter().map(plan).collect();
        let learning = Learning {
            zone: "UTC",
            speed: 1.0,
        };
        let patterns = Patterns::load(Arc::clone(&kv), &plans, learning, Arc::new(|_| {})).await;
        let desk = DeskPorts {
            publish: Box::new(|_| {}),
            now: Box::new(move || Timestamp(desk_clock.load(Ordering::Relaxed))),
        };
        let config = SupervisorConfig {
            epoch: 1,
            orders: OrderDesk::open(kv, &plans, desk).await.unwrap(),
            patterns: patterns.unwrap(),
            history_h: 24,
            inherited: Inheritance::default(),
            pools: plans,
            ports: Ports {
                set_target: Box::new(|target| black_box(target).n < u32::MAX),
                publish: Box::new(|event| drop(black_box(event))),
                span: Box::new(|span| drop(black_box(span))),
                keep: Box::new(|save| {
                    drop(black_box(save));
                    true
                }),
                log: Some(Box::new(|record| {
                    drop(black_box(record));
                    true
                })),
                now: Box::new(move || Timestamp(clock.load(Ordering::Relaxed))),
            },
        };
        Self {
            now_ms,
            pools,
            nodes: (0..NODES)
                .map(|n| NodeId::new(&format!("node-{n}")).unwrap())
                .collect(),
            supervisor: Supervisor::new(config, &Registry::new()).unwrap(),
        }
    }

    /// The next second, in which nobody has looked at anything yet.
    fn next(&self) -> Second {
        let now_ms = self.now_ms.fetch_add(1_000, Ordering::Relaxed) + 1_000;
        let second = now_ms / 1_000;
        let pools = self.pools.iter();
        let reports = pools.map(|pool| ("balancer".to_owned(), pool_report(pool, second)));
        let nodes = (0..).zip(&self.nodes);
        Second {
            balancers: BalancerReports {
                present: BTreeSet::from(["balancer".to_owned()]),
                reports: reports.collect(),
            },
            fleet: FleetReports {
                present: self.nodes.iter().cloned().collect(),
                reports: nodes
                    .map(|(n, node)| node_report(n, node, &self.pools))
                    .collect(),
            },
        }
    }

    /// Takes everything in and decides about every pool.
    fn pass(&mut self, Second { balancers, fleet }: Second) {
        let ctx = &mut Context::new();
        self.supervisor.handle(fleet, ctx);
        self.supervisor.handle(balancers, ctx);
        self.supervisor.handle(Tick, ctx);
    }
}

fn plan(pool: &PoolName) -> PoolPlan {
    PoolPlan {
        spec: PoolSpec {
            name: pool.clone(),
            kinds: vec![],
            slots: 4,
            queue_len_max: 1_000,
            queue_bytes_max: 1_000_000,
            slo_ms: 1_000,
            deadline_ms: 30_000,
        },
        policy: Policy::tidepool(1, 100),
        shadows: vec![],
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds and rates are small")]
fn pool_report(pool: &PoolName, second: u64) -> PoolReport {
    let arrivals = 140 + second % 7;
    let mut work = LatencyHistogram::new();
    let mut wait = LatencyHistogram::new();
    for request in 0..arrivals {
        work.record(Duration::from_millis(120 + request));
        wait.record(Duration::from_millis(request % 5));
    }
    PoolReport {
        pool: pool.clone(),
        at: Timestamp(second * 1_000),
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
        busy_slots: 28,
        ready_slots: 40,
        busy_slot_s: arrivals as f64 * 0.19,
        wait: wait.counts(),
        work: work.counts(),
    }
}

/// The workers of this node: of each pool as many as there are workers for one node.
fn node_report(n: u64, node: &NodeId, pools: &[PoolName]) -> NodeReport {
    let here = (0..).zip(pools).flat_map(|(i, pool)| {
        let places = (0..WORKERS).filter(move |worker| (i + worker * 7) % NODES == n);
        places.map(move |worker| (pool, worker))
    });
    NodeReport {
        node: node.clone(),
        at: Timestamp(BEGIN_MS),
        process_cpu_cores: Some(2.0),
        machine_cpu_cores: Some(3.0),
        cores: 4,
        memory_bytes: Some(1 << 30),
        memory_limit_bytes: Some(4 << 30),
        memory_used_bytes: Some(1 << 30),
        workers: here
            .map(|(pool, worker)| WorkerReport {
                id: WorkerId::on_node(pool, worker, node),
                pool: pool.clone(),
                node: node.clone(),
                state: WorkerState::Ready,
                slots: 4,
                busy: 2,
                started_at: Timestamp(BEGIN_MS),
                startup: Some(Duration::from_secs(20)),
                completed: 7,
                panics: 0,
                cpu_cores: Some(0.5),
            })
            .collect(),
    }
}

fn a_large_fleet(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pools = (0..POOLS).map(|n| PoolName::new(&format!("pool-{n}")).unwrap());
    let mut fleet = runtime.block_on(Fleet::of(pools.collect()));
    for _ in 0..90 {
        let second = fleet.next();
        fleet.pass(second);
    }
    // Both what makes a second and what passes it need the fleet, never at once.
    let fleet = RefCell::new(fleet);
    let name = "a second of 1,000 pools with 10,000 workers on 100 nodes";
    c.bench_function(name, |b| {
        b.iter_batched(
            || fleet.borrow().next(),
            |second| fleet.borrow_mut().pass(second),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, a_large_fleet);
criterion_main!(benches);
