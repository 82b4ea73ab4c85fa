//! The balancer's series. Handles are resolved once, when a pool is made, so that a request
//! only adds to atomics.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use tidepool_core::PoolSpec;

use crate::pool::Outcome;

/// Upper bounds of request durations, as OpenTelemetry's HTTP conventions have them, with finer
/// ones below for work that takes microseconds.
const BUCKETS_S: [f64; 17] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

/// All series of the client API.
#[derive(Clone)]
pub struct BalancerMetrics {
    requests: IntCounterVec,
    queue_wait: HistogramVec,
    work: HistogramVec,
    queue_depth: IntGaugeVec,
    http_duration: HistogramVec,
    ejections: IntCounterVec,
    repeats: IntCounterVec,
    set_aside: IntCounterVec,
    accepted: IntCounterVec,
    pub(crate) accepted_running: IntGauge,
}

impl BalancerMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: counters(
                "tidepool_requests_total",
                "Requests that ended, by outcome",
                &["kind", "outcome"],
            )?,
            queue_wait: histograms(
                "tidepool_queue_wait_seconds",
                "Time that requests waited for a slot",
                &["pool"],
            )?,
            work: histograms(
                "tidepool_work_seconds",
                "Time that handlers worked on requests",
                &["pool", "kind"],
            )?,
            queue_depth: IntGaugeVec::new(
                Opts::new("tidepool_queue_depth", "Requests that wait for a slot"),
                &["pool"],
            )?,
            http_duration: histograms(
                "http_server_request_duration_seconds",
                "Time from head to answer",
                &[
                    "http_request_method",
                    "http_route",
                    "http_response_status_code",
                ],
            )?,
            ejections: counters(
                "tidepool_ejections_total",
                "Times that a seat got no work for a while because it did worse than its peers",
                &["pool"],
            )?,
            repeats: counters(
                "tidepool_repeats_total",
                "Requests that were given to another node, by what became of them on the first",
                &["pool", "cause"],
            )?,
            set_aside: counters(
                "tidepool_requests_set_aside_total",
                "Requests that were not tried again because two nodes were lost with each: one of \
                 them may be what stops nodes",
                &["pool"],
            )?,
            accepted: counters(
                "tidepool_accepted_requests_total",
                "Requests that were accepted to be answered later and have ended",
                &["end"],
            )?,
            accepted_running: IntGauge::new(
                "tidepool_accepted_requests_running",
                "Requests that were accepted to be answered later and have not ended",
            )?,
        };
        let all: [Box<dyn Collector>; 10] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.queue_wait.clone()),
            Box::new(metrics.work.clone()),
            Box::new(metrics.queue_depth.clone()),
            Box::new(metrics.http_duration.clone()),
            Box::new(metrics.ejections.clone()),
            Box::new(metrics.repeats.clone()),
            Box::new(metrics.set_aside.clone()),
            Box::new(metrics.accepted.clone()),
            Box::new(metrics.accepted_running.clone()),
        ];
        all.into_iter().try_for_each(|one| registry.register(one))?;
        Ok(metrics)
    }

    /// The handles of one pool.
    #[must_use]
    pub fn of_pool(&self, spec: &PoolSpec) -> PoolMetrics {
        let pool = spec.name.as_str();
        let of_kind = |kind: &tidepool_core::Kind| {
            let kind = kind.as_str();
            KindMetrics {
                requests: Outcome::ALL
                    .map(|o| self.requests.with_label_values(&[kind, o.as_str()])),
                work: self.work.with_label_values(&[pool, kind]),
            }
        };
        PoolMetrics {
            queue_wait: self.queue_wait.with_label_values(&[pool]),
            queue_depth: self.queue_depth.with_label_values(&[pool]),
            ejections: self.ejections.with_label_values(&[pool]),
            rejected: self.repeats.with_label_values(&[pool, "rejected"]),
            lost: self.repeats.with_label_values(&[pool, "lost"]),
            set_aside: self.set_aside.with_label_values(&[pool]),
            kinds: spec.kinds.iter().map(of_kind).collect(),
        }
    }

    /// Counts the end of a request that was accepted.
    pub(crate) fn accepted_ended(&self, has_answer: bool) {
        let end = if has_answer { "answered" } else { "failed" };
        self.accepted.with_label_values(&[end]).inc();
    }

    /// The histogram of one route and status; the route is a pattern, never a path.
    #[must_use]
    pub fn http(&self, method: &str, route: &str, status: &str) -> Histogram {
        self.http_duration
            .with_label_values(&[method_label(method), route, status])
    }
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(BUCKETS_S.to_vec());
    HistogramVec::new(opts, labels)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

/// A method as a label: any token can be one, and callers choose it.
pub(crate) fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| *known == method);
    known.unwrap_or("_OTHER")
}

struct KindMetrics {
    requests: [IntCounter; Outcome::COUNT],
    work: Histogram,
}

/// The resolved series of one pool.
pub struct PoolMetrics {
    pub(crate) queue_wait: Histogram,
    pub(crate) queue_depth: IntGauge,
    pub(crate) ejections: IntCounter,
    /// Requests that went to another node because the first did not begin them.
    pub(crate) rejected: IntCounter,
    /// Requests that went to another node because the first was lost with them.
    pub(crate) lost: IntCounter,
    /// Requests that two nodes were lost with.
    pub(crate) set_aside: IntCounter,
    kinds: Vec<KindMetrics>,
}

impl PoolMetrics {
    pub(crate) fn count(&self, kind_index: usize, outcome: Outcome) {
        if let Some(kind) = self.kinds.get(kind_index) {
            kind.requests[outcome as usize].inc();
        }
    }

    pub(crate) fn observe(&self, kind_index: usize, wait: Duration, work: Option<Duration>) {
        self.queue_wait.observe(wait.as_secs_f64());
        if let (Some(kind), Some(work)) = (self.kinds.get(kind_index), work) {
            kind.work.observe(work.as_secs_f64());
        }
    }
}
