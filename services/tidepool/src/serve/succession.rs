//! The supervisor of a single process and, when it panics, the one after it. In a cluster another
//! controller takes over; here nobody else is there. It goes on from what the store has, under a
//! larger epoch. One that panics again and again is left alone in the end: every pool keeps its size,
//! and that is told. A store that does not answer is no panic: it is waited for.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use parking_lot::RwLock;
use prometheus::IntCounter;
use serde_json::json;
use tidepool_core::status::ComponentHealth;
use tidepool_core::{EventDraft, NodeReport, PoolReport};
use tidepool_feed::Feed;
use tidepool_store::Kv;
use tidepool_supervisor::decision_log::DecisionLog;
use tidepool_supervisor::{
    Checkpoint, Keeper, NodeReports, PoolPlan, PoolReports, Ports, Supervisor, SupervisorView,
};
use tidepool_telemetry::Registry;
use tidepool_worker::{Restart, RestartPolicy, RestartState};
use tokio::task::JoinHandle;

use super::supervision::{self, Estate};
use super::{NODE, epoch};
use crate::settings;

/// How often it is looked whether somebody decides.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest wait for what one that panicked had handed over to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two tries to begin with what does not answer.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// Most turns that actors get before a process listens.
const FIRST_TURNS_MAX: usize = 1_000;

/// When another one begins.
pub(super) const RESTARTS: RestartPolicy = RestartPolicy {
    restarts_max: 10,
    window: Duration::from_secs(600),
    backoff_min: Duration::from_secs(1),
    backoff_max: Duration::from_secs(60),
};

/// What every supervisor of this process begins with.
pub(super) struct Ground {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) plans: Vec<PoolPlan>,
    pub(super) settings: settings::Controller,
    pub(super) feed: Feed,
    pub(super) registry: Registry,
    pub(super) restarts: RestartPolicy,
    pub(super) retry: Duration,
    /// What one reaches out to.
    pub(super) ports: Box<dyn Fn(&Estate) -> Ports + Send + Sync>,
}

/// Who decides at the moment. Cheap to clone.
#[derive(Clone)]
pub(super) struct Seat(Arc<RwLock<Sitting>>);

struct Sitting {
    epoch: u64,
    view: SupervisorView,
    supervisor: Addr<Supervisor>,
    keeper: Keeper,
    log: Option<DecisionLog>,
    /// Whether nobody follows this one, which panicked.
    has_given_up: bool,
    /// Times that nobody could follow yet.
    tries: u32,
}

impl Seat {
    /// What is seen of the pools.
    pub(super) fn view(&self) -> SupervisorView {
        self.0.read().view.clone()
    }

    /// Gives the actors turns until every pool is decided about, so that whoever asks as soon as this
    /// process listens is told of it. No longer than that takes, and not for ever.
    pub(super) async fn first_decisions(&self, pools: usize) {
        for _ in 0..FIRST_TURNS_MAX {
            if self.view().pools().len() >= pools {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes the report of the node. One that does not fit into the mailbox is lost; the next second
    /// brings another.
    pub(super) fn take_node(&self, report: NodeReport) {
        let _ = self.0.read().supervisor.try_send(NodeReports(report));
    }

    /// Takes the reports of the pools, likewise.
    pub(super) fn take_pools(&self, reports: Vec<PoolReport>) {
        let _ = self.0.read().supervisor.try_send(PoolReports(reports));
    }

    /// Writes down what is known, for the next process to go on with.
    pub(super) async fn keep_state(&self) {
        let (supervisor, keeper) = {
            let sitting = self.0.read();
            (sitting.supervisor.clone(), sitting.keeper.clone())
        };
        if let Ok(saves) = supervisor.send(Checkpoint).await {
            keeper.finish(saves).await;
        }
    }

    /// The decisions that wait to be written. Waits with its thread blocked.
    pub(super) fn flush_log(&self) {
        let log = self.0.read().log.clone();
        if let Some(log) = log {
            log.flush();
        }
    }

    /// Whether anybody decides how many workers there are.
    pub(super) fn health(&self) -> ComponentHealth {
        let sitting = self.0.read();
        let (state, detail) = if sitting.supervisor.connected() {
            ("ok", "decides every second")
        } else if sitting.has_given_up {
            (
                "down",
                "it panicked too often: every pool keeps its size until this process is restarted",
            )
        } else if sitting.tries > 0 {
            (
                "down",
                "it panicked, and no other one can begin with what the store answers: every pool keeps its \
                 size; the log says why",
            )
        } else {
            ("down", "it panicked: another one begins in a moment")
        };
        ComponentHealth {
            component: "supervisor".to_owned(),
            state: state.to_owned(),
            detail: detail.to_owned(),
        }
    }
}

impl Ground {
    async fn begin(&self) -> anyhow::Result<Sitting> {
        let epoch = epoch::next(&self.kv).await?;
        let plans = self.plans.clone();
        let estate = Estate::load(&self.kv, plans, &self.settings, &self.feed).await?;
        let (keeper, log) = (estate.keeper.clone(), estate.log.clone());
        let ports = (self.ports)(&estate);
        let (view, supervisor) = supervision::start(epoch, estate, ports, &self.registry)?;
        Ok(Sitting {
            epoch,
            view,
            supervisor,
            keeper,
            log,
            has_given_up: false,
            tries: 0,
        })
    }
}

/// Watches over the seat until it is dropped.
pub(super) struct Succession(JoinHandle<()>);

impl Drop for Succession {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the first supervisor, and sees to it that there is one.
pub(super) async fn start(ground: Ground) -> anyhow::Result<(Seat, Succession)> {
    let restarts = IntCounter::new(
        "tidepool_supervisor_restarts_total",
        "Supervisors that began because the one before panicked.",
    )?;
    ground.registry.register(Box::new(restarts.clone()))?;
    let seat = Seat(Arc::new(RwLock::new(ground.begin().await?)));
    let watch = watch(ground, seat.clone(), restarts);
    Ok((seat, Succession(actix_web::rt::spawn(watch))))
}

async fn watch(ground: Ground, seat: Seat, restarts: IntCounter) {
    let ground = Rc::new(ground);
    let mut state = RestartState::default();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if seat.0.read().supervisor.connected() {
            continue;
        }
        let pause = match state.crashed(&ground.restarts, Instant::now()) {
            Restart::After(pause) => pause,
            Restart::GiveUp => break,
        };
        tracing::error!(
            ?pause,
            "the supervisor panicked; another one begins after the pause"
        );
        tokio::time::sleep(pause).await;
        if succeed_in_the_end(&ground, &seat).await {
            restarts.inc();
        }
    }
    seat.0.write().has_given_up = true;
    tracing::error!("the supervisor panicked too often: every pool keeps its size");
}

/// Puts another supervisor in the place of one that is gone, however long what it begins with is out
/// of reach. False when it panicked before it began.
async fn succeed_in_the_end(ground: &Rc<Ground>, seat: &Seat) -> bool {
    let mut told = String::new();
    loop {
        // As a task of its own, so that a panic ends nothing but this try.
        let (of, to) = (Rc::clone(ground), seat.clone());
        match actix_web::rt::spawn(async move { succeed(&of, &to).await }).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => {
                let cause = format!("{error:#}");
                if cause != told {
                    tracing::error!(error = cause, "no supervisor can begin; it is tried again");
                    told = cause;
                }
            }
            Err(error) => {
                tracing::error!(%error, "the next supervisor panicked before it began");
                return false;
            }
        }
        seat.0.write().tries += 1;
        tokio::time::sleep(ground.retry).await;
    }
}

/// Puts another supervisor in the place of one that is gone, once what that one had handed over is
/// written.
async fn succeed(ground: &Ground, seat: &Seat) -> anyhow::Result<()> {
    let keeper = seat.0.read().keeper.clone();
    if tokio::time::timeout(WRITE_TIMEOUT, keeper.finish(Vec::new()))
        .await
        .is_err()
    {
        tracing::warn!("what the supervisor before had learned last was not written in time");
    }
    let flushed = seat.clone();
    tokio::task::spawn_blocking(move || flushed.flush_log()).await?;
    // What an operator asks of the one that is gone must not be acknowledged and then overlooked.
    let view = seat.view();
    view.close_orders().await;
    let next = ground.begin().await?;
    ground.feed.publish(succeeded(next.epoch));
    *seat.0.write() = next;
    Ok(())
}

fn succeeded(epoch: u64) -> EventDraft {
    let sentence = format!("{NODE} leads, under epoch {epoch}: the supervisor before panicked");
    let data = json!({
        "leader": NODE, "previous": NODE, "epoch": epoch, "sentence": sentence,
    });
    EventDraft::new("leader.changed", data)
}

#[cfg(test)]
mod tests;
