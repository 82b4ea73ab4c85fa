//! One request through its pool: admitted, given a slot, run where its work belongs, ended once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tidepool_handler::{Call, CallContext, Failure, Payload, Reply, Work};
use tokio::sync::oneshot;

use crate::dispatch::{Ask, Refusal};
use crate::health::Verdict;
use crate::pool::{Admitted, Arrival, Outcome, Place, Pool, Slot, Waiting, WorkerName};
use crate::remote::{self, Errand, Order};

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum Unserved {
    /// It was not let in.
    Refused(Refusal),
    /// Its deadline passed while it waited.
    DeadlineInQueue,
    /// A node does not take an input of its size.
    TooLarge,
    /// Its handler panicked.
    Panicked,
    /// Its handler failed, or ran out of time.
    Failed(Failure),
    /// The node that may have begun it was lost, and it must not run twice.
    Lost,
    /// Two nodes were lost with it: it may be what kills them.
    SetAside,
}

impl Unserved {
    /// Its deadline passed while it ran.
    pub(crate) fn late() -> Self {
        Self::Failed(Failure::DeadlineExceeded)
    }
}

/// What the end of a request tells about the seat that it ran on.
pub(crate) fn verdict(result: &Result<Payload, Unserved>) -> Verdict {
    match result {
        Err(Unserved::Panicked | Unserved::Lost | Unserved::SetAside) => Verdict::Bad,
        Err(Unserved::Refused(_) | Unserved::DeadlineInQueue | Unserved::TooLarge) => {
            Verdict::Nothing
        }
        Ok(_) => Verdict::Good,
        Err(Unserved::Failed(failure)) => match failure {
            Failure::Internal { .. } => Verdict::Bad,
            Failure::DeadlineExceeded => Verdict::Late,
            Failure::Dependency { .. } | Failure::Cancelled => Verdict::Nothing,
            Failure::Malformed { .. } | Failure::Invalid { .. } | Failure::LimitExceeded { .. } => {
                Verdict::Good
            }
        },
    }
}

/// When things happened to a request that got a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkTimes {
    /// It got its slot.
    pub(crate) granted: Instant,
    /// Its handler began.
    pub(crate) begin: Instant,
    /// Its handler ended, or was given up.
    pub(crate) end: Instant,
    /// Whether its handler ran on another node.
    pub(crate) is_remote: bool,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) result: Result<Payload, Unserved>,
    pub(crate) waited: Duration,
    pub(crate) times: Option<WorkTimes>,
    pub(crate) worker: Option<WorkerName>,
}

impl Served {
    pub(crate) fn without_slot(unserved: Unserved, waited: Duration) -> Self {
        Self {
            result: Err(unserved),
            waited,
            times: None,
            worker: None,
        }
    }

    fn in_slot(
        result: Result<Payload, Unserved>,
        waited: Duration,
        times: WorkTimes,
        worker: WorkerName,
    ) -> Self {
        Self {
            result,
            waited,
            times: Some(times),
            worker: Some(worker),
        }
    }

    /// Whether the service failed, not the caller.
    pub(crate) fn is_failure(&self) -> bool {
        self.outcome() == Outcome::Failed
    }

    fn outcome(&self) -> Outcome {
        match &self.result {
            Ok(_) => Outcome::Answered,
            Err(Unserved::Refused(_)) => Outcome::Refused,
            Err(Unserved::DeadlineInQueue) => Outcome::DeadlineMissed,
            // The caller's doing, as what a handler says of its input.
            Err(Unserved::TooLarge) => Outcome::Answered,
            Err(Unserved::Panicked | Unserved::Lost | Unserved::SetAside) => Outcome::Failed,
            Err(Unserved::Failed(failure)) => match failure {
                Failure::DeadlineExceeded => Outcome::DeadlineMissed,
                Failure::Cancelled => Outcome::Cancelled,
                Failure::Dependency { .. } | Failure::Internal { .. } => Outcome::Failed,
                Failure::Malformed { .. }
                | Failure::Invalid { .. }
                | Failure::LimitExceeded { .. } => Outcome::Answered,
            },
        }
    }
}

/// A request on its way: many are answered before anybody has to wait.
pub(crate) enum Serving {
    /// It has ended.
    Done(Served),
    /// It waits, for a slot or for its work. Dropping the future cancels it, queued or running.
    Going(LocalBoxFuture<'static, Served>),
}

/// Serves one request of the kind at `kind_index`, which has been read at `now`.
pub(crate) fn serve(
    pool: &Arc<Pool>,
    kind_index: usize,
    ask: Ask,
    call: Call,
    now: Instant,
) -> Serving {
    let arrival = pool.arrive(kind_index);
    // Its body may have taken all the time there was: nobody wants that work done.
    if ask.deadline.has_passed(now) {
        return Serving::Done(end(
            arrival,
            Served::without_slot(Unserved::DeadlineInQueue, Duration::ZERO),
        ));
    }
    let order = Order {
        kind_index,
        ask,
        call,
    };
    match pool.admit(&ask, now) {
        Admitted::Slot(slot) => match begin(slot, order, now, Duration::ZERO) {
            Begun::Ended(served) => Serving::Done(end(arrival, served)),
            Begun::Running(running) => {
                Serving::Going(Box::pin(async move { end(arrival, running.ended().await) }))
            }
        },
        Admitted::Refused(refusal) => {
            let unserved = Unserved::Refused(refusal);
            Serving::Done(end(arrival, Served::without_slot(unserved, Duration::ZERO)))
        }
        Admitted::Queued(waiting) => {
            let queued = Queued {
                waiting,
                order,
                since: now,
            };
            Serving::Going(Box::pin(async move { end(arrival, queued.served().await) }))
        }
    }
}

/// Counts the request, once.
fn end(arrival: Arrival, served: Served) -> Served {
    let work = served
        .times
        .map(|t| t.end.saturating_duration_since(t.begin));
    arrival.end(served.outcome(), served.waited, work);
    served
}

/// A request that waits for its turn.
struct Queued {
    waiting: Waiting,
    order: Order,
    since: Instant,
}

impl Queued {
    async fn served(self) -> Served {
        let deadline = self.order.ask.deadline;
        let pool = Arc::clone(self.waiting.pool());
        let slot = tokio::time::timeout_at(deadline.0.into(), self.waiting.slot()).await;
        let granted = Instant::now();
        let waited = granted.saturating_duration_since(self.since);
        match slot {
            Ok(Some(slot)) => match begin(slot, self.order, granted, waited) {
                Begun::Ended(served) => served,
                Begun::Running(running) => running.ended().await,
            },
            Ok(None) if !deadline.has_passed(granted) => {
                Served::without_slot(Unserved::Refused(pool.dismissal()), waited)
            }
            Ok(None) | Err(_) => Served::without_slot(Unserved::DeadlineInQueue, waited),
        }
    }
}

/// A request that has been given to its worker or node.
pub(crate) enum Begun {
    Ended(Served),
    Running(Running),
}

/// Work that does not end at once.
pub(crate) enum Running {
    /// In a slot of this process.
    Here(Box<Unfinished>),
    /// On a node.
    There(Box<Errand>),
}

/// Work that does not end at once, and the slot that it is in.
pub(crate) struct Unfinished {
    slot: Slot,
    work: Pending,
    context: CallContext,
    worker: WorkerName,
    begin: Instant,
    granted: Instant,
    waited: Duration,
}

enum Pending {
    Wait(LocalBoxFuture<'static, Reply>),
    Compute(Box<dyn FnOnce() -> Reply + Send>),
}

/// Calls the handler in a slot of this process, or gives the request to the slot's node.
pub(crate) fn begin(mut slot: Slot, order: Order, granted: Instant, waited: Duration) -> Begun {
    slot.begin_use();
    let Place::Here { seat, name } = &*slot.place else {
        return Begun::Running(Running::There(Box::new(Errand {
            slot,
            order,
            granted,
            waited,
        })));
    };
    // A slot that was free is held since a moment ago; only who waited needs the clock again.
    let begin = if waited.is_zero() {
        granted
    } else {
        Instant::now()
    };
    let worker = name.clone();
    let context = order.call.context.clone();
    let instance = &seat.instances[order.kind_index];
    let work = std::panic::catch_unwind(AssertUnwindSafe(|| instance.call(order.call)));
    let result = match work {
        Ok(Work::Ready(reply)) => reply.map_err(Unserved::Failed),
        Err(_panic) => {
            slot.panicked();
            Err(Unserved::Panicked)
        }
        Ok(work @ (Work::Wait(_) | Work::Compute(_))) => {
            let work = match work {
                Work::Wait(future) => Pending::Wait(future),
                Work::Compute(run) => Pending::Compute(run),
                Work::Ready(_) => unreachable!("taken by the arm above"),
            };
            return Begun::Running(Running::Here(Box::new(Unfinished {
                slot,
                work,
                context,
                worker,
                begin,
                granted,
                waited,
            })));
        }
    };
    slot.judge(verdict(&result));
    let times = WorkTimes {
        granted,
        begin,
        end: slot.give_back(),
        is_remote: false,
    };
    Begun::Ended(Served::in_slot(result, waited, times, worker))
}

impl Running {
    pub(crate) async fn ended(self) -> Served {
        match self {
            Self::Here(unfinished) => unfinished.ended().await,
            Self::There(errand) => remote::run(*errand).await,
        }
    }
}

impl Unfinished {
    async fn ended(self) -> Served {
        let (granted, waited, worker) = (self.granted, self.waited, self.worker);
        let (result, times) = match self.work {
            Pending::Wait(future) => (wait(self.slot, future, &self.context).await, None),
            Pending::Compute(run) => compute(self.slot, run, &self.context).await,
        };
        let (begin, end) = times.unwrap_or_else(|| (self.begin, Instant::now()));
        let times = WorkTimes {
            granted,
            begin,
            end,
            is_remote: false,
        };
        Served::in_slot(result, waited, times, worker)
    }
}

/// Polls the work here; the slot is free when it has ended or is given up.
async fn wait(
    mut slot: Slot,
    future: LocalBoxFuture<'static, Reply>,
    context: &CallContext,
) -> Result<Payload, Unserved> {
    let guarded = AssertUnwindSafe(future).catch_unwind();
    let result = match tokio::time::timeout_at(context.deadline.0.into(), guarded).await {
        Ok(Ok(reply)) => reply.map_err(Unserved::Failed),
        Ok(Err(_panic)) => {
            slot.panicked();
            Err(Unserved::Panicked)
        }
        Err(_elapsed) => Err(Unserved::late()),
    };
    slot.judge(verdict(&result));
    result
}

type Computed = (Result<Payload, Unserved>, Option<(Instant, Instant)>);

/// Runs the work on a thread of the worker. The slot goes with it: when the caller stops
/// waiting, the slot is in use until the work has noticed.
async fn compute(
    mut slot: Slot,
    run: Box<dyn FnOnce() -> Reply + Send>,
    context: &CallContext,
) -> Computed {
    let Place::Here { seat, .. } = &*slot.place else {
        let cause = "work of this process in a slot of another".to_owned();
        return (Err(Unserved::Failed(Failure::Internal { cause })), None);
    };
    let lane = seat.lane.clone();
    let (tx, rx) = oneshot::channel();
    let job = Box::new(move || {
        let begin = Instant::now();
        let result = match std::panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok(reply) => reply.map_err(Unserved::Failed),
            Err(_panic) => {
                slot.panicked();
                Err(Unserved::Panicked)
            }
        };
        slot.judge(verdict(&result));
        let end = Instant::now();
        // Free before anybody hears of it, so that a caller's next request finds the slot.
        drop(slot);
        let _ = tx.send((result, begin, end));
    });
    if lane.submit(job).is_err() {
        let cause = "the worker has no thread to compute on".to_owned();
        return (Err(Unserved::Failed(Failure::Internal { cause })), None);
    }
    let _cancel = CancelOnDrop(context);
    match tokio::time::timeout_at(context.deadline.0.into(), rx).await {
        Ok(Ok((result, begin, end))) => (result, Some((begin, end))),
        Ok(Err(_closed)) => (Err(Unserved::Panicked), None),
        Err(_elapsed) => (Err(Unserved::late()), None),
    }
}

/// Tells the work that nobody waits any more; harmless once it has ended.
struct CancelOnDrop<'a>(&'a CallContext);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
