//! The LoadBalancer actor: reports on the pools once a second and closes them when asked.
//! Requests do not pass through it; they take slots in place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use tidepool_core::PoolReport;

use crate::pool::Pool;

/// How often pools report.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Takes the reports of each second; must not block.
pub type ReportPorts = Arc<dyn Fn(Vec<PoolReport>) + Send + Sync>;

/// Lets nothing new into any pool; what is there is still served.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Close;

/// Owns the pools of this process.
pub struct LoadBalancer {
    pools: Vec<Arc<Pool>>,
    reports: ReportPorts,
}

impl LoadBalancer {
    /// A balancer over these pools.
    #[must_use]
    pub fn new(pools: Vec<Arc<Pool>>, reports: ReportPorts) -> Self {
        Self { pools, reports }
    }

    fn report(&mut self, _ctx: &mut Context<Self>) {
        let now = Instant::now();
        (self.reports)(self.pools.iter().map(|pool| pool.report(now)).collect());
    }
}

impl Actor for LoadBalancer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(REPORT_INTERVAL, Self::report);
    }
}

impl Handler<Close> for LoadBalancer {
    type Result = ();

    fn handle(&mut self, _close: Close, _ctx: &mut Self::Context) {
        self.pools.iter().for_each(|pool| pool.close());
    }
}
