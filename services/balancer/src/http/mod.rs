//! The HTTP API for clients (default 127.0.0.1:8700).

mod accepted;
mod auth;
mod body;
mod front;
mod head;
mod idempotency;
mod invoke;
mod kept;
mod openapi;
mod pages;
mod problem;
mod quota;
mod respond;
mod timing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::Histogram;
use tidepool_core::Kind;
use tidepool_handler::{Fault, KindSpec, Payload};
use tidepool_store::{Kv, Log};
use tidepool_telemetry::{Sampler, Spans};

use crate::metrics::BalancerMetrics;
use crate::pool::Pool;
use accepted::Accepted;
use body::{BodyBudget, BodyLimits};
pub use front::front;
use kept::Ledger;
pub use quota::Quota;
use quota::Quotas;

/// Most faults that are told of one input.
const FAULTS_MAX: usize = 32;
/// Longest message of a fault, in characters.
const FAULT_LEN_MAX: usize = 200;
/// Largest input that is searched for more faults than its handler found: as a tree it takes many
/// times its bytes, and the search runs on a thread that serves others.
const FAULTS_INPUT_BYTES_MAX: usize = 256 * 1024;

/// A kind and the pool that answers it.
pub struct KindRoute {
    /// What is known of it.
    pub spec: KindSpec,
    /// Its pool.
    pub pool: Arc<Pool>,
    /// Its place among the kinds of the pool.
    pub kind_index: usize,
    validator: OnceLock<Option<jsonschema::Validator>>,
}

impl KindRoute {
    /// A kind served by the `kind_index`-th handler of a pool.
    #[must_use]
    pub fn new(spec: KindSpec, pool: Arc<Pool>, kind_index: usize) -> Self {
        Self {
            spec,
            pool,
            kind_index,
            validator: OnceLock::new(),
        }
    }

    /// Every fault that the schema finds, for an input that the handler has refused already.
    fn faults(&self, input: &Payload) -> Vec<Fault> {
        if input.bytes.len() > FAULTS_INPUT_BYTES_MAX {
            return Vec::new();
        }
        let validator = self.validator.get_or_init(|| {
            jsonschema::validator_for(&self.spec.input_schema)
                .inspect_err(|error| tracing::error!(%error, "the schema of a kind is broken"))
                .ok()
        });
        let (Some(validator), Ok(value)) = (validator, input.decode::<serde_json::Value>()) else {
            return Vec::new();
        };
        let fault = |error: jsonschema::ValidationError<'_>| {
            let message: String = error
                .masked()
                .to_string()
                .chars()
                .take(FAULT_LEN_MAX)
                .collect();
            Fault::at(error.instance_path().to_string(), message)
        };
        validator
            .iter_errors(&value)
            .take(FAULTS_MAX)
            .map(fault)
            .collect()
    }
}

/// What the API is made of.
pub struct ApiConfig {
    /// The kinds that are served.
    pub kinds: Vec<KindRoute>,
    /// Kinds that exist and are in no pool: they get 501.
    pub unconfigured: Vec<Kind>,
    /// Most bytes of one body.
    pub body_bytes_max: usize,
    /// Most bytes of all bodies together.
    pub body_bytes_total_max: usize,
    /// Longest time that a body may take to arrive.
    pub body_read_timeout: Duration,
    /// Token that callers must send, if any.
    pub token: Option<String>,
    /// Where answers are kept, for `Idempotency-Key` and `Prefer: respond-async`; without it
    /// both wishes are passed over.
    pub keep: Option<Keep>,
    /// What one caller may ask for, if that is bounded.
    pub quota: Option<Quota>,
    /// Which traces to keep.
    pub sampler: Sampler,
    /// Where spans go.
    pub spans: Spans,
    /// From this duration on, a trace is kept whatever the sampler says.
    pub slow: Duration,
    /// The series.
    pub metrics: BalancerMetrics,
    /// Version of the program.
    pub version: &'static str,
    /// Commit that it was built from.
    pub commit: &'static str,
}

/// Where answers are kept.
pub struct Keep {
    /// The answers.
    pub kv: Arc<dyn Kv>,
    /// In which order they came.
    pub log: Arc<dyn Log>,
    /// Whether no other process uses this store.
    pub is_only: bool,
}

/// The state of the client API, shared by its threads.
pub struct Api {
    /// By name; a handful, so that halving beats hashing.
    kinds: Vec<Arc<KindRoute>>,
    unconfigured: Vec<Kind>,
    body_limits: BodyLimits,
    body_budget: Arc<BodyBudget>,
    token: Option<String>,
    idempotency: Option<Arc<Ledger>>,
    accepted: Option<Arc<Accepted>>,
    quotas: Option<Quotas>,
    sampler: Sampler,
    spans: Spans,
    slow: Duration,
    metrics: BalancerMetrics,
    invoked_ok: Histogram,
    version: &'static str,
    commit: &'static str,
    openapi: serde_json::Value,
    draining: AtomicBool,
}

impl Api {
    /// The API over these kinds.
    #[must_use]
    pub fn new(config: ApiConfig) -> Self {
        let specs: Vec<&KindSpec> = config.kinds.iter().map(|route| &route.spec).collect();
        let openapi = openapi::document(&specs, config.version, config.token.is_some());
        let mut kinds: Vec<_> = config.kinds.into_iter().map(Arc::new).collect();
        kinds.sort_by(|a, b| a.spec.kind.cmp(&b.spec.kind));
        Self {
            openapi,
            kinds,
            unconfigured: config.unconfigured,
            body_limits: BodyLimits {
                bytes_max: config.body_bytes_max,
                read_timeout: config.body_read_timeout,
            },
            body_budget: BodyBudget::new(config.body_bytes_total_max),
            token: config.token,
            idempotency: config.keep.as_ref().map(|keep| {
                let (kv, log) = (Arc::clone(&keep.kv), Arc::clone(&keep.log));
                Ledger::new(kv, log, "kept/idempotency", idempotency::LIMITS)
            }),
            accepted: config
                .keep
                .map(|keep| Accepted::new(keep, config.metrics.accepted_running.clone())),
            quotas: config.quota.map(Quotas::new),
            sampler: config.sampler,
            spans: config.spans,
            slow: config.slow,
            invoked_ok: config.metrics.http("POST", respond::ROUTE, "200"),
            metrics: config.metrics,
            version: config.version,
            commit: config.commit,
            draining: AtomicBool::new(false),
        }
    }

    /// From now on `/readyz` says 503, so that others stop sending requests here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until no request that was accepted with `Prefer: respond-async` is under way.
    pub async fn finish_accepted(&self) {
        if let Some(accepted) = &self.accepted {
            accepted.finished().await;
        }
    }

    fn kind(&self, name: &str) -> Option<&Arc<KindRoute>> {
        let at = |route: &Arc<KindRoute>| route.spec.kind.as_str().cmp(name);
        self.kinds.get(self.kinds.binary_search_by(at).ok()?)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
