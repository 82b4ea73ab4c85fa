//! A balancer with a node of test workers, on a free port of the loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor as _, Addr};
use actix_web::dev::ServerHandle;
use actix_web::{HttpServer, web};
use parking_lot::Mutex;
use prometheus::Registry;
use serde_json::Value;
use tidepool_balancer::{
    Api, ApiConfig, BalancerMetrics, Keep, KindRoute, Pool, PoolTable, Quota, front,
};
use tidepool_core::{EventDraft, Kind, NodeId, PoolName, PoolSpec, SetTarget};
use tidepool_store::EmbeddedStore;
use tidepool_telemetry::{Sampler, Spans};
use tidepool_worker::{Naming, Node, NodeConfig, NodePorts, PoolHosting, RestartPolicy, Target};

use crate::handlers::{Actor, Stage};

/// Largest body that the test server takes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Harness {
    pub(crate) url: String,
    pub(crate) addr: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) pool: Arc<Pool>,
    pub(crate) node: Addr<Node>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) events: Arc<Mutex<Vec<EventDraft>>>,
    pub(crate) registry: Registry,
    pub(crate) api: web::Data<Api>,
    server: ServerHandle,
    targets: u64,
}

pub(crate) fn spec() -> PoolSpec {
    PoolSpec {
        name: PoolName::new("act").expect("valid"),
        kinds: vec![Kind::new("act").expect("valid")],
        slots: 1,
        queue_len_max: 8,
        queue_bytes_max: 1 << 20,
        slo_ms: 1_000,
        deadline_ms: 10_000,
    }
}

impl Harness {
    /// One worker with one slot, ready.
    pub(crate) async fn start() -> Self {
        let mut harness = Self::with(spec(), Arc::default());
        harness.target(1).await;
        harness
    }

    /// A pool that has no worker yet.
    pub(crate) fn with(spec: PoolSpec, stage: Arc<Stage>) -> Self {
        Self::made_of(spec, stage, None, None)
    }

    /// The same, with a token that callers need and a quota that they have.
    pub(crate) fn made_of(
        spec: PoolSpec,
        stage: Arc<Stage>,
        token: Option<&str>,
        quota: Option<Quota>,
    ) -> Self {
        let registry = Registry::new();
        let metrics = BalancerMetrics::register(&registry).expect("fresh registry");
        let handler = Actor::on(&stage);
        let pool = Pool::new(spec.clone(), metrics.of_pool(&spec), Instant::now());
        let store = Arc::new(EmbeddedStore::ephemeral().expect("a store"));
        let api = web::Data::new(Api::new(ApiConfig {
            kinds: vec![KindRoute::new(handler.spec().clone(), Arc::clone(&pool), 0)],
            unconfigured: vec![Kind::new("conversation").expect("valid")],
            body_bytes_max: BODY_BYTES_MAX,
            body_bytes_total_max: 1 << 20,
            body_read_timeout: Duration::from_millis(300),
            token: token.map(str::to_owned),
            keep: Some(Keep {
                kv: store.clone(),
                log: store,
                is_only: true,
            }),
            quota,
            sampler: Sampler::new(0.0),
            spans: Spans::off(),
            slow: Duration::from_secs(1),
            metrics,
            version: "test",
            commit: "test",
        }));
        let events: Arc<Mutex<Vec<EventDraft>>> = Arc::default();
        let told = Arc::clone(&events);
        let node = Node::new(NodeConfig {
            node: NodeId::new("local").expect("valid"),
            naming: Naming::Alone,
            pools: vec![PoolHosting {
                spec,
                handlers: vec![handler],
                membership: Arc::new(PoolTable(Arc::clone(&pool))),
            }],
            restart: RestartPolicy {
                backoff_min: Duration::from_millis(1),
                ..Default::default()
            },
            ports: NodePorts {
                reports: Arc::new(|_| {}),
                events: Arc::new(move |event| told.lock().push(event)),
            },
        })
        .start();
        let served = api.clone();
        let app = move || front(served.clone());
        let server = HttpServer::new(app)
            .workers(1)
            .h1_allow_half_closed(false)
            .disable_signals()
            .bind("127.0.0.1:0")
            .expect("a free port");
        let addr = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            url: format!("http://{addr}"),
            addr,
            client: reqwest::Client::new(),
            pool,
            node,
            stage,
            events,
            registry,
            api,
            server: handle,
            targets: 0,
        }
    }

    /// Sets the number of workers and waits until they are ready.
    pub(crate) async fn target(&mut self, n: u32) {
        self.order(n);
        let slots = n * self.pool.spec.slots;
        eventually(|| self.pool.ready_slots() == slots).await;
    }

    /// Sets the number of workers.
    pub(crate) fn order(&mut self, n: u32) {
        self.targets += 1;
        let pool = self.pool.name().clone();
        let target = Target(SetTarget {
            pool,
            epoch: 1,
            seq: self.targets,
            n,
        });
        self.node.try_send(target).expect("the node takes orders");
    }

    pub(crate) fn post(&self, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}/v1/invoke/act", self.url))
            .header("content-type", "application/json")
            .body(body.into())
    }

    pub(crate) async fn act(&self, act: &str) -> reqwest::Response {
        self.post(format!(r#"{{"act":"{act}"}}"#))
            .send()
            .await
            .expect("an answer")
    }

    /// Sends a request in the background.
    pub(crate) fn spawn(&self, act: &str) -> tokio::task::JoinHandle<u16> {
        let request = self.post(format!(r#"{{"act":"{act}"}}"#));
        tokio::spawn(async move { request.send().await.map_or(0, |r| r.status().as_u16()) })
    }

    pub(crate) fn running(&self) -> u32 {
        self.stage.running.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// The value of a series, by its full text up to the value.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Whether an event of this kind has been told.
    pub(crate) fn told(&self, kind: &str) -> bool {
        self.events.lock().iter().any(|event| event.kind == kind)
    }

    /// Checks that nothing is left behind, and stops.
    pub(crate) async fn stop(self) {
        eventually(|| self.pool.in_flight() == 0 && self.pool.busy_slots() == 0).await;
        self.server.stop(false).await;
    }
}

/// Waits for a condition; a minute without it is a failure.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "the condition never held"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asserts the shape of a problem and gives it.
pub(crate) async fn problem(response: reqwest::Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let request_id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], request_id);
    for field in [
        "type",
        "title",
        "detail",
        "instance",
        "retryable",
        "trace_id",
    ] {
        assert!(!body[field].is_null(), "{field} in {body}");
    }
    body
}
