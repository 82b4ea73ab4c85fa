//! The actor: takes reports, and decides once a second.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult};
use prometheus::Registry;
use tidepool_core::{NodeId, NodeReport, PoolName, PoolReport};
use tidepool_policy::InvalidPolicy;

use crate::control::{Control, PoolPlan, Shared};
use crate::history::History;
use crate::keeper::{Inheritance, Save};
use crate::learned::Patterns;
use crate::metrics::Metrics;
use crate::orders::OrderDesk;
use crate::ports::Ports;
use crate::view::SupervisorView;

/// How often it decides.
const TICK: Duration = Duration::from_secs(1);
/// Reports that may wait; senders drop what does not fit, and the next second brings more.
const MAILBOX_LEN: usize = 1_024;

/// Reports of pools over the last second or so.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct PoolReports(pub Vec<PoolReport>);

/// The report of one node. The first one makes the supervisor decide at once.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct NodeReports(pub NodeReport);

/// Which balancers there are, and what is new of them. Pools are decided about by what all of them
/// report together.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct BalancerReports {
    /// Everybody whose share counts, also while nothing is heard of it; the others are forgotten.
    pub present: BTreeSet<String>,
    /// New reports, with who made them, oldest first.
    pub reports: Vec<(String, PoolReport)>,
}

/// Which nodes there are, and what is new of them. All of it is taken in before anything is decided:
/// some of the nodes are not the fleet.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct FleetReports {
    /// Every node; the others are gone, and their workers with them.
    pub present: BTreeSet<NodeId>,
    /// New reports.
    pub reports: Vec<NodeReport>,
}

/// Ends the supervisor: it decides nothing more, and its numbers leave the metrics.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Retire;

/// Asks for what is known of every pool, to be kept before the supervisor ends.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Vec<Save>")]
pub struct Checkpoint;

/// Decides now instead of at the next second.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Tick;

/// What a supervisor is.
#[derive(Debug)]
pub struct SupervisorConfig {
    /// Fencing epoch: larger than that of any supervisor before.
    pub epoch: u64,
    /// The pools and how they are sized.
    pub pools: Vec<PoolPlan>,
    /// What it reaches out to.
    pub ports: Ports,
    /// What operators ask.
    pub orders: OrderDesk,
    /// What was learned of the hours of the week.
    pub patterns: Patterns,
    /// Hours of history that are kept in memory.
    pub history_h: u32,
    /// What earlier supervisors left behind.
    pub inherited: Inheritance,
}

/// A supervisor cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A pool's policy cannot be run.
    #[error("pool '{pool}' cannot be sized")]
    Policy {
        /// The pool.
        pool: PoolName,
        /// What is wrong.
        source: InvalidPolicy,
    },
    /// Two pools have one name.
    #[error("there are two pools named '{0}'")]
    TwicePool(PoolName),
    /// Another part has registered a metric of the same name.
    #[error("the supervisor's metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
}

/// Observes, decides, and tells the nodes how many workers each pool should have.
pub struct Supervisor {
    control: Control,
    tick: Duration,
}

impl Supervisor {
    /// A supervisor that has yet to be started, with its metrics in `registry`.
    ///
    /// # Errors
    /// When a policy is impossible, a pool is named twice, or a metric is already registered.
    pub fn new(config: SupervisorConfig, registry: &Registry) -> Result<Self, SupervisorError> {
        let mut names = BTreeSet::new();
        for plan in &config.pools {
            let pool = &plan.spec.name;
            let policies = std::iter::once(&plan.policy).chain(&plan.shadows);
            for policy in policies {
                policy
                    .validate()
                    .map_err(|source| SupervisorError::Policy {
                        pool: pool.clone(),
                        source,
                    })?;
            }
            if !names.insert(pool) {
                return Err(SupervisorError::TwicePool(pool.clone()));
            }
        }
        let shared = Shared {
            orders: config.orders,
            patterns: config.patterns,
            history: History::new(config.history_h),
        };
        let view = SupervisorView::new(shared.clone());
        let metrics = Metrics::new(registry, view.clone()).map_err(SupervisorError::Metrics)?;
        Ok(Self {
            control: Control::new(
                config.epoch,
                config.pools,
                (config.ports, metrics),
                (view, shared),
                config.inherited,
            ),
            tick: TICK,
        })
    }

    /// The window through which operators look.
    #[must_use]
    pub fn view(&self) -> SupervisorView {
        self.control.view.clone()
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_LEN);
        ctx.run_interval(self.tick, |supervisor, _| supervisor.control.tick());
    }
}

impl Handler<PoolReports> for Supervisor {
    type Result = ();

    fn handle(&mut self, PoolReports(reports): PoolReports, _: &mut Self::Context) {
        for report in reports {
            self.control.take_pool(report);
        }
    }
}

impl Handler<NodeReports> for Supervisor {
    type Result = ();

    fn handle(&mut self, NodeReports(report): NodeReports, _: &mut Self::Context) {
        self.control.take_node(report);
    }
}

impl Handler<BalancerReports> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: BalancerReports, _: &mut Self::Context) {
        self.control
            .take_balancers(&message.present, message.reports);
    }
}

impl Handler<FleetReports> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: FleetReports, _: &mut Self::Context) {
        self.control.take_fleet(&message.present, message.reports);
    }
}

impl Handler<Retire> for Supervisor {
    type Result = ();

    fn handle(&mut self, Retire: Retire, ctx: &mut Self::Context) {
        self.control.withdraw_metrics();
        ctx.stop();
    }
}

impl Handler<Checkpoint> for Supervisor {
    type Result = MessageResult<Checkpoint>;

    fn handle(&mut self, Checkpoint: Checkpoint, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.control.save_all())
    }
}

impl Handler<Tick> for Supervisor {
    type Result = ();

    fn handle(&mut self, Tick: Tick, _: &mut Self::Context) {
        self.control.tick();
    }
}

#[cfg(test)]
pub(crate) mod tests;
