//! Connects the supervisor with the balancer and the node of this process.

use std::sync::{Arc, OnceLock};

use actix::{Actor, Addr};
use anyhow::Context;
use tidepool_balancer::{Pool, ReportPorts};
use tidepool_core::{NodeReport, SetTarget};
use tidepool_feed::Feed;
use tidepool_policy::{Policy, Rule};
use tidepool_store::Kv;
use tidepool_supervisor::decision_log::{DecisionLog, DecisionLogConfig};
use tidepool_supervisor::{
    DecisionSpan, DeskPorts, Inheritance, Keeper, Learning, OrderDesk, Patterns, PoolPlan, Ports,
    Publish, Supervisor, SupervisorConfig, SupervisorView, steady_wall_clock,
};
use tidepool_telemetry::{Registry, SpanKind, SpanRecord, Spans};
use tidepool_worker::{Node, Target};

use super::succession::Seat;
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
        policy.bounds.spend_worker_h = configured.spend_worker_h.map(f64::from);
        let shadow = |rule: &Rule| Policy {
            rule: rule.clone(),
            ..policy.clone()
        };
        PoolPlan {
            spec: pool.spec.clone(),
            shadows: configured.shadows.iter().map(shadow).collect(),
            policy,
        }
    };
    configured.iter().zip(pools).map(plan).collect()
}

/// What the supervisor reaches out to.
pub(super) fn ports(
    set_target: impl Fn(SetTarget) -> bool + Send + 'static,
    feed: &Feed,
    spans: &Spans,
    estate: &Estate,
) -> Ports {
    let (feed, spans) = (feed.clone(), spans.clone());
    let (keeper, log) = (estate.keeper.clone(), estate.log.clone());
    Ports {
        log: log.map(|log| Box::new(move |record| log.take(record)) as _),
        keep: Box::new(move |save| keeper.keep(save)),
        set_target: Box::new(set_target),
        publish: Box::new(move |event| feed.publish(event)),
        span: Box::new(move |span| spans.record(record(span))),
        now: Box::new(steady_wall_clock()),
    }
}

/// Hands targets to the node of this process.
pub(super) fn to_node(node: &Addr<Node>) -> impl Fn(SetTarget) -> bool + Send + 'static {
    let node = node.clone();
    move |target| node.try_send(Target(target)).is_ok()
}

/// The same ports, through which nothing goes unless `may_act` says so at that moment.
pub(super) fn guarded(ports: Ports, may_act: &Arc<dyn Fn() -> bool + Send + Sync>) -> Ports {
    let Ports {
        set_target,
        publish,
        span,
        keep,
        log,
        now,
    } = ports;
    let [a, b, c, d, e] = std::array::from_fn(|_| Arc::clone(may_act));
    Ports {
        set_target: Box::new(move |target| a() && set_target(target)),
        publish: Box::new(move |event| {
            if b() {
                publish(event);
            }
        }),
        span: Box::new(move |decided| {
            if c() {
                span(decided);
            }
        }),
        keep: Box::new(move |save| d() && keep(save)),
        log: log.map(|log| Box::new(move |record| e() && log(record)) as _),
        now,
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

/// What earlier supervisors and operators left in the store.
pub(super) struct Estate {
    pub(super) plans: Vec<PoolPlan>,
    pub(super) orders: OrderDesk,
    pub(super) inherited: Inheritance,
    pub(super) patterns: Patterns,
    pub(super) history_h: u32,
    pub(super) keeper: Keeper,
    /// Absent when it is turned off or cannot be written.
    pub(super) log: Option<DecisionLog>,
}

impl Estate {
    /// Reads it. What cannot be understood is set aside and told on the feed.
    pub(super) async fn load(
        kv: &Arc<dyn Kv>,
        plans: Vec<PoolPlan>,
        settings: &settings::Controller,
        feed: &Feed,
    ) -> anyhow::Result<Self> {
        let events = feed.clone();
        let publish: Publish = Arc::new(move |event| events.publish(event));
        let inherited = Inheritance::load(kv, &plans, &*publish).await;
        let inherited = inherited.context("what the controller learned cannot be read")?;
        let learning = Learning {
            zone: &settings.time_zone,
            speed: f64::from(settings.pattern_speed),
        };
        let patterns = Patterns::load(Arc::clone(kv), &plans, learning, Arc::clone(&publish));
        let patterns = patterns.await?;
        let ports = DeskPorts {
            publish: Box::new(move |event| publish(event)),
            now: Box::new(steady_wall_clock()),
        };
        let orders = OrderDesk::open(Arc::clone(kv), &plans, ports).await;
        let orders = orders.context("the orders of operators cannot be read")?;
        let keeper = Keeper::start(Arc::clone(kv));
        Ok(Self {
            plans,
            orders,
            inherited,
            patterns,
            history_h: settings.history_h,
            keeper,
            log: open_log(&settings.decision_log),
        })
    }
}

/// The decision log. Without one everything else works, so that a full disk stops nothing.
fn open_log(config: &DecisionLogConfig) -> Option<DecisionLog> {
    if config.bytes_max == 0 {
        return None;
    }
    DecisionLog::open(config.clone())
        .inspect_err(|error| {
            let error = anyhow::anyhow!("{error}: {:?}", std::error::Error::source(error));
            tracing::warn!(%error, "decisions are not logged");
        })
        .ok()
}

/// Starts the supervisor.
pub(super) fn start(
    epoch: u64,
    estate: Estate,
    ports: Ports,
    registry: &Registry,
) -> anyhow::Result<(SupervisorView, Addr<Supervisor>)> {
    let supervisor = Supervisor::new(
        SupervisorConfig {
            epoch,
            pools: estate.plans,
            ports,
            orders: estate.orders,
            patterns: estate.patterns,
            history_h: estate.history_h,
            inherited: estate.inherited,
        },
        registry,
    )?;
    Ok((supervisor.view(), supervisor.start()))
}

/// Where reports go: to a supervisor that starts after those who report, because it orders them.
#[derive(Clone, Default)]
pub(super) struct Mailbox(Arc<OnceLock<Seat>>);

impl Mailbox {
    pub(super) fn connect(&self, seat: Seat) {
        // Connected once, by the composition.
        let _ = self.0.set(seat);
    }

    pub(super) fn node_reports(&self) -> Arc<dyn Fn(NodeReport) + Send + Sync> {
        let mailbox = self.clone();
        Arc::new(move |report| {
            if let Some(seat) = mailbox.0.get() {
                seat.take_node(report);
            }
        })
    }

    pub(super) fn pool_reports(&self) -> ReportPorts {
        let mailbox = self.clone();
        Arc::new(move |reports| {
            if let Some(seat) = mailbox.0.get() {
                seat.take_pools(reports);
            }
        })
    }
}
