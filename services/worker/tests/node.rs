//! A node with real workers: what it reports of them, and what is left of those that are gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use parking_lot::Mutex;
use serde_json::json;
use tidepool_core::{Kind, NodeId, NodeReport, PoolName, PoolSpec, SetTarget, WorkerId};
use tidepool_handler::{Call, Handler, Idempotent, Instance, KindSpec, StartError, Work};
use tidepool_worker::{
    Membership, Naming, Node, NodeConfig, NodePorts, PoolHosting, RestartPolicy, Seat, Shutdown,
    Target,
};

struct Plain(KindSpec);

impl Plain {
    fn new() -> Self {
        Self(KindSpec {
            kind: Kind::new("plain").expect("valid"),
            summary: "Does nothing.",
            input_schema: json!({}),
            output_schema: json!({}),
            limits: json!({}),
            example: json!({}),
            idempotent: Idempotent::Always,
            slots_default: 1,
            affinity: None,
        })
    }
}

impl Handler for Plain {
    fn spec(&self) -> &KindSpec {
        &self.0
    }

    fn start(&self) -> Result<Arc<dyn Instance>, StartError> {
        Ok(Arc::new(Idle))
    }
}

struct Idle;

impl Instance for Idle {
    fn call(&self, call: Call) -> Work {
        Work::Ready(Ok(call.input))
    }
}

/// A slot table that nobody takes slots from.
#[derive(Default)]
struct Seats(Mutex<Vec<Arc<Seat>>>);

impl Membership for Seats {
    fn join(&self, seat: Arc<Seat>) {
        self.0.lock().push(seat);
    }

    fn leave(&self, worker: &WorkerId) {
        self.0.lock().retain(|seat| seat.worker != *worker);
    }

    fn busy(&self, _worker: &WorkerId) -> u32 {
        0
    }
}

struct Hosted {
    node: Addr<Node>,
    seats: Arc<Seats>,
    reports: Arc<Mutex<Vec<NodeReport>>>,
    orders: u64,
}

impl Hosted {
    /// One pool that takes orders, and others beside it.
    fn start(pools: &[&str]) -> Self {
        let seats: Arc<Seats> = Arc::default();
        let reports: Arc<Mutex<Vec<NodeReport>>> = Arc::default();
        let told = Arc::clone(&reports);
        let hosting = |name: &&str| PoolHosting {
            spec: PoolSpec {
                name: PoolName::new(name).expect("valid"),
                kinds: vec![Kind::new("plain").expect("valid")],
                slots: 1,
                queue_len_max: 1,
                queue_bytes_max: 1,
                slo_ms: 1_000,
                deadline_ms: 1_000,
            },
            handlers: vec![Arc::new(Plain::new())],
            membership: Arc::<Seats>::clone(&seats),
        };
        let node = Node::new(NodeConfig {
            node: NodeId::new("local").expect("valid"),
            naming: Naming::Alone,
            pools: pools.iter().map(hosting).collect(),
            restart: RestartPolicy::default(),
            ports: NodePorts {
                reports: Arc::new(move |report| told.lock().push(report)),
                events: Arc::new(|_| {}),
            },
        });
        Self {
            node: node.start(),
            seats,
            reports,
            orders: 0,
        }
    }

    async fn target(&mut self, n: u32) {
        self.orders += 1;
        let target = SetTarget {
            pool: PoolName::new("plain").expect("valid"),
            epoch: 1,
            seq: self.orders,
            n,
        };
        self.node.send(Target(target)).await.expect("a node");
        eventually(|| self.seats.0.lock().len() == n as usize).await;
    }
}

async fn eventually(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never held");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[actix::test]
async fn nothing_is_left_of_a_worker_that_stopped() {
    let mut hosted = Hosted::start(&["plain"]);
    hosted.target(0).await;
    let without_workers = Arc::strong_count(&hosted.seats);
    for _ in 0..3 {
        hosted.target(4).await;
        assert!(Arc::strong_count(&hosted.seats) >= without_workers + 4);
        hosted.target(0).await;
    }
    // Each worker holds the table for as long as it exists.
    eventually(|| Arc::strong_count(&hosted.seats) == without_workers).await;
    hosted.node.send(Shutdown).await.expect("a node");
}

#[actix::test]
async fn cpu_is_measured_from_report_to_report_however_many_pools_there_are() {
    let mut hosted = Hosted::start(&["plain", "second", "third"]);
    hosted.target(1).await;
    let lane = hosted.seats.0.lock()[0].lane.clone();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let spin = move || {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    };
    assert!(lane.submit(Box::new(spin)).is_ok());
    let cores = || -> Vec<f64> {
        let reports = hosted.reports.lock();
        let workers = reports.iter().flat_map(|report| &report.workers);
        workers.filter_map(|worker| worker.cpu_cores).collect()
    };
    eventually(|| cores().len() >= 2).await;
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    // The thread spins all the time, so it has a fair share of a core and never more than one.
    for cores in &cores()[1..] {
        assert!((0.1..1.2).contains(cores), "{cores}");
    }
    hosted.node.send(Shutdown).await.expect("a node");
}
