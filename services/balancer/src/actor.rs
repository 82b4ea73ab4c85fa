//! The LoadBalancer actor: reports on the pools, sooner when requests queue up, and closes them.
//! Requests do not pass through it; they take slots in place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use tidepool_core::PoolReport;
use tidepool_worker::turn;

use crate::pool::Pool;

/// How often every pool reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the balancer looks whether requests queue up somewhere.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A pool where they do reports this often.
const EARLY_INTERVAL: Duration = Duration::from_millis(250);

/// Takes the reports of each second; must not block.
pub type ReportPorts = Arc<dyn Fn(Vec<PoolReport>) + Send + Sync>;

/// Lets nothing new into any pool; what is there is still served.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Close;

/// Refuses those who still wait, in every pool; what runs goes on.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct DismissWaiting;

/// Owns the pools of this process.
pub struct LoadBalancer {
    pools: Vec<Reporting>,
    reports: ReportPorts,
}

/// A pool and when it last reported.
struct Reporting {
    pool: Arc<Pool>,
    reported: Instant,
}

impl Reporting {
    /// Due every second, and sooner while requests queue up: who decides should not hear of a
    /// burst when the queue is full already.
    fn is_due(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.reported);
        age >= REPORT_INTERVAL || (age >= EARLY_INTERVAL && self.pool.has_backlog())
    }
}

impl LoadBalancer {
    /// A balancer over these pools.
    #[must_use]
    pub fn new(pools: Vec<Arc<Pool>>, reports: ReportPorts) -> Self {
        let reported = Instant::now();
        let pools = pools
            .into_iter()
            .map(|pool| Reporting { pool, reported })
            .collect();
        Self { pools, reports }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.pools
            .iter()
            .for_each(|reporting| reporting.pool.look(now));
        let due = self
            .pools
            .iter_mut()
            .filter(|reporting| reporting.is_due(now));
        let reports: Vec<PoolReport> = due
            .map(|reporting| {
                reporting.reported = now;
                reporting.pool.report(now)
            })
            .collect();
        if !reports.is_empty() {
            (self.reports)(reports);
        }
    }
}

impl Actor for LoadBalancer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_INTERVAL, |balancer, _ctx| {
            turn("load balancer", || balancer.look());
        });
    }
}

impl Handler<Close> for LoadBalancer {
    type Result = ();

    fn handle(&mut self, _close: Close, _ctx: &mut Self::Context) {
        self.pools
            .iter()
            .for_each(|reporting| reporting.pool.close());
    }
}

impl Handler<DismissWaiting> for LoadBalancer {
    type Result = ();

    fn handle(&mut self, _dismiss: DismissWaiting, _ctx: &mut Self::Context) {
        self.pools
            .iter()
            .for_each(|reporting| reporting.pool.dismiss_waiting());
    }
}
