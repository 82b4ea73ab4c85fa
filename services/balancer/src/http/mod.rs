//! The HTTP API for clients (default 127.0.0.1:8700).

mod auth;
mod body;
mod head;
mod idempotency;
mod invoke;
mod openapi;
mod pages;
mod problem;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::dev::{ServiceRequest, ServiceResponse, fn_service};
use actix_web::web;
use prometheus::Histogram;
use tidepool_core::Kind;
use tidepool_handler::{Fault, KindSpec, Payload};
use tidepool_store::Kv;
use tidepool_telemetry::{Sampler, Spans};

use crate::metrics::BalancerMetrics;
use crate::pool::Pool;
use body::{BodyBudget, BodyLimits};

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
    /// Where answers are kept for `Idempotency-Key`.
    pub idempotency: Option<Arc<dyn Kv>>,
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

/// The state of the client API, shared by its threads.
pub struct Api {
    kinds: HashMap<Kind, Arc<KindRoute>>,
    unconfigured: Vec<Kind>,
    body_limits: BodyLimits,
    body_budget: Arc<BodyBudget>,
    token: Option<String>,
    idempotency: Option<Arc<dyn Kv>>,
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
        let by_name = |route: KindRoute| (route.spec.kind.clone(), Arc::new(route));
        Self {
            openapi,
            kinds: config.kinds.into_iter().map(by_name).collect(),
            unconfigured: config.unconfigured,
            body_limits: BodyLimits {
                bytes_max: config.body_bytes_max,
                read_timeout: config.body_read_timeout,
            },
            body_budget: BodyBudget::new(config.body_bytes_total_max),
            token: config.token,
            idempotency: config.idempotency,
            sampler: config.sampler,
            spans: config.spans,
            slow: config.slow,
            invoked_ok: config.metrics.http("POST", invoke::ROUTE, "200"),
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

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Adds the routes of the API to an actix-web application.
pub fn configure(api: web::Data<Api>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        let openapi = api.openapi.clone();
        // The hot path: a plain prefix is compared where a pattern would be matched, and a
        // service has no extractors to poll.
        let hot = api.clone().into_inner();
        let invoke = fn_service(move |request: ServiceRequest| {
            let api = Arc::clone(&hot);
            async move {
                let (request, payload) = request.into_parts();
                let response = invoke::invoke(&request, payload, &api).await;
                Ok(ServiceResponse::new(request, response))
            }
        });
        config
            .app_data(api)
            .service(web::scope("/v1/invoke").default_service(invoke))
            .service(pages::scope(openapi));
    }
}
