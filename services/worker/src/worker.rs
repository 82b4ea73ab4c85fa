//! The Worker actor: owns the life of one worker, from starting its handlers to draining them.
//! It never runs a request, so it stays responsive while its handlers compute.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Message, Recipient, WrapFuture,
    dev::SendError,
};
use tidepool_core::{PoolSpec, WorkerId};
use tidepool_handler::{Handler, Instance, StartError};
use tokio::sync::oneshot;

use crate::lane::Lane;
use crate::membership::{Membership, Seat, SeatNotice};
use crate::restart::{Restart, RestartPolicy, RestartState};
use crate::turn::turn;

/// How often a worker looks at the facts, should a notice have been lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Wait before telling the node again when its mailbox was full.
const RETELL_INTERVAL: Duration = Duration::from_millis(50);

/// What a worker is made of.
pub(crate) struct WorkerConfig {
    pub(crate) id: WorkerId,
    pub(crate) pool: Arc<PoolSpec>,
    pub(crate) handlers: Vec<Arc<dyn Handler>>,
    pub(crate) membership: Arc<dyn Membership>,
    pub(crate) restart: RestartPolicy,
    pub(crate) node: Recipient<WorkerChanged>,
}

/// A worker tells its node what became of it.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct WorkerChanged {
    pub(crate) id: WorkerId,
    pub(crate) change: Change,
}

#[derive(Clone)]
pub(crate) enum Change {
    Starting,
    Ready { seat: Arc<Seat>, startup: Duration },
    Crashed { cause: String, restart_in: Duration },
    Draining,
    Stopped { gave_up: bool },
}

/// Gets no new work from now on, finishes what it has, and stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

enum Phase {
    Starting,
    Ready(Arc<Seat>),
    Crashed,
    Draining,
    Stopped,
}

/// One worker of a pool.
pub(crate) struct Worker {
    config: WorkerConfig,
    phase: Phase,
    restarts: RestartState,
}

type Started = Result<Vec<Arc<dyn Instance>>, StartError>;

impl Worker {
    pub(crate) fn new(config: WorkerConfig) -> Self {
        Self {
            config,
            phase: Phase::Starting,
            restarts: RestartState::default(),
        }
    }

    /// Tells the node; when it has heard that the worker stopped, the actor ends.
    fn tell(&self, change: Change, ctx: &mut Context<Self>) {
        let stopped = matches!(change, Change::Stopped { .. });
        let message = WorkerChanged {
            id: self.config.id.clone(),
            change,
        };
        if let Err(SendError::Full(message)) = self.config.node.try_send(message) {
            ctx.run_later(RETELL_INTERVAL, move |worker, ctx| {
                worker.tell(message.change, ctx)
            });
        } else if stopped {
            // The interval of looks would keep the actor alive without anybody who knows it.
            ctx.stop();
        }
    }

    /// Starts the handlers on a thread of the worker.
    fn launch(&mut self, ctx: &mut Context<Self>) {
        self.phase = Phase::Starting;
        self.tell(Change::Starting, ctx);
        let begin = Instant::now();
        let lane = Lane::new(self.config.id.as_str(), self.config.pool.slots);
        let handlers = self.config.handlers.clone();
        let (tx, rx) = oneshot::channel();
        let job = Box::new(move || {
            // The receiver is gone when the worker was stopped meanwhile.
            let _ = tx.send(start_all(&handlers));
        });
        if lane.submit(job).is_err() {
            self.crash("the system gave no thread".to_owned(), ctx);
            return;
        }
        let wait = rx.into_actor(self).map(move |result, worker, ctx| {
            let gone = || Err(StartError("the starting thread ended early".to_owned()));
            worker.launched(
                result.unwrap_or_else(|_| gone()),
                lane,
                begin.elapsed(),
                ctx,
            );
        });
        ctx.spawn(wait);
    }

    fn launched(
        &mut self,
        result: Started,
        lane: Lane,
        startup: Duration,
        ctx: &mut Context<Self>,
    ) {
        match (&self.phase, result) {
            (Phase::Starting, Ok(instances)) => {
                let notices = ctx.address().recipient();
                let slots = self.config.pool.slots;
                let id = self.config.id.clone();
                let seat = Arc::new(Seat::new(id, slots, instances, lane, notices));
                self.phase = Phase::Ready(Arc::clone(&seat));
                self.config.membership.join(Arc::clone(&seat));
                self.tell(Change::Ready { seat, startup }, ctx);
            }
            (Phase::Starting, Err(error)) => {
                self.crash(format!("the handler did not start: {error}"), ctx);
            }
            // Drained while it was starting.
            _ => {}
        }
    }

    fn crash(&mut self, cause: String, ctx: &mut Context<Self>) {
        self.leave();
        match self.restarts.crashed(&self.config.restart, Instant::now()) {
            Restart::After(restart_in) => {
                tracing::error!(
                    worker = %self.config.id,
                    cause,
                    restart_in_ms = restart_in.as_millis(),
                    "worker crashed"
                );
                self.phase = Phase::Crashed;
                self.tell(Change::Crashed { cause, restart_in }, ctx);
                ctx.run_later(restart_in, |worker, ctx| {
                    if matches!(worker.phase, Phase::Crashed) {
                        worker.launch(ctx);
                    }
                });
            }
            Restart::GiveUp => {
                tracing::error!(worker = %self.config.id, cause, "worker crashes too often; gone");
                self.finish(true, ctx);
            }
        }
    }

    /// Takes the slots out of the table; requests that run go on, on the threads of their seat.
    fn leave(&mut self) {
        if matches!(self.phase, Phase::Ready(_)) {
            self.config.membership.leave(&self.config.id);
        }
    }

    fn finish(&mut self, gave_up: bool, ctx: &mut Context<Self>) {
        self.phase = Phase::Stopped;
        self.tell(Change::Stopped { gave_up }, ctx);
    }

    fn stop_when_idle(&mut self, ctx: &mut Context<Self>) {
        if self.config.membership.busy(&self.config.id) == 0 {
            self.finish(false, ctx);
        }
    }

    /// Acts on the facts, whether or not a notice about them arrived.
    fn look(&mut self, ctx: &mut Context<Self>) {
        match &self.phase {
            Phase::Ready(seat) if seat.panics() > 0 => {
                self.crash("the handler panicked".to_owned(), ctx);
            }
            Phase::Draining => self.stop_when_idle(ctx),
            _ => {}
        }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_INTERVAL, |worker, ctx| {
            turn("worker", || worker.look(ctx));
        });
        self.launch(ctx);
    }
}

impl actix::Handler<SeatNotice> for Worker {
    type Result = ();

    fn handle(&mut self, _notice: SeatNotice, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl actix::Handler<Drain> for Worker {
    type Result = ();

    fn handle(&mut self, _drain: Drain, ctx: &mut Self::Context) {
        if matches!(self.phase, Phase::Draining | Phase::Stopped) {
            return;
        }
        self.leave();
        self.phase = Phase::Draining;
        self.tell(Change::Draining, ctx);
        self.stop_when_idle(ctx);
    }
}

fn start_all(handlers: &[Arc<dyn Handler>]) -> Started {
    let start = || handlers.iter().map(|handler| handler.start()).collect();
    catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| {
        Err(StartError(
            "the handler panicked while it started".to_owned(),
        ))
    })
}
