//! Connects the supervisor with the balancer and the node of this process.

use std::sync::{Arc, OnceLock};

use actix::{Actor, Addr};
use tidepool_balancer::{Pool, ReportPorts};
use tidepool_core::NodeReport;
use tidepool_feed::Feed;
use tidepool_policy::Policy;
use tidepool_supervisor::{
    DecisionSpan, NodeReports, PoolPlan, PoolReports, Ports, Supervisor, SupervisorConfig,
    SupervisorView, steady_wall_clock,
};
use tidepool_telemetry::{Registry, SpanKind, SpanRecord, Spans};
use tidepool_worker::{Node, Target};

use crate::settings::{self, PolicyKind};

/// How each pool is sized.
pub(super) fn plans(configured: &[settings::Pool], pools: &[Arc<Pool>]) -> Vec<PoolPlan> {
    let plan = |(configured, pool): (&settings::Pool, &Arc<Pool>)| {
        let mut policy = match configured.policy {
            PolicyKind::Tidepool => Policy::tidepool(configured.min, configured.max),
            PolicyKind::Threshold => Policy::threshold(configured.min, configured.max),
        };
        policy.bounds.cooldown_s = configured.cooldown.as_secs_f64();
        policy.bounds.slo_ms = u64::try_from(configured.slo.as_millis()).unwrap_or(u64::MAX);
        PoolPlan {
            spec: pool.spec.clone(),
            policy,
        }
    };
    configured.iter().zip(pools).map(plan).collect()
}

/// What the supervisor reaches out to.
pub(super) fn ports(node: &Addr<Node>, feed: &Feed, spans: &Spans) -> Ports {
    let (node, feed, spans) = (node.clone(), feed.clone(), spans.clone());
    Ports {
        set_target: Box::new(move |target| node.try_send(Target(target)).is_ok()),
        publish: Box::new(move |event| feed.publish(event)),
        span: Box::new(move |span| spans.record(record(span))),
        now: Box::new(steady_wall_clock()),
    }
}

fn record(span: DecisionSpan) -> SpanRecord {
    let attributes = span
        .attributes
        .into_iter()
        .map(|(key, value)| (key, value.into()));
    SpanRecord {
        name: span.name.into(),
        context: span.context,
        parent: None,
        kind: SpanKind::Internal,
        begin: span.begin,
        end: span.end,
        attributes: attributes.collect(),
        error: None,
    }
}

/// Starts the supervisor.
pub(super) fn start(
    epoch: u64,
    pools: Vec<PoolPlan>,
    ports: Ports,
    registry: &Registry,
) -> anyhow::Result<(SupervisorView, Addr<Supervisor>)> {
    let supervisor = Supervisor::new(
        SupervisorConfig {
            epoch,
            pools,
            ports,
        },
        registry,
    )?;
    Ok((supervisor.view(), supervisor.start()))
}

/// Where reports go: to a supervisor that starts after those who report, because it orders them.
/// A report that does not fit into its mailbox is lost; the next second brings another.
#[derive(Clone, Default)]
pub(super) struct Mailbox(Arc<OnceLock<Addr<Supervisor>>>);

impl Mailbox {
    pub(super) fn connect(&self, supervisor: Addr<Supervisor>) {
        // Connected once, by the composition.
        let _ = self.0.set(supervisor);
    }

    pub(super) fn node_reports(&self) -> Arc<dyn Fn(NodeReport) + Send + Sync> {
        let mailbox = self.clone();
        Arc::new(move |report| {
            if let Some(supervisor) = mailbox.0.get() {
                let _ = supervisor.try_send(NodeReports(report));
            }
        })
    }

    pub(super) fn pool_reports(&self) -> ReportPorts {
        let mailbox = self.clone();
        Arc::new(move |reports| {
            if let Some(supervisor) = mailbox.0.get() {
                let _ = supervisor.try_send(PoolReports(reports));
            }
        })
    }
}
