//! One request through its pool: admitted, given a slot, run where its work belongs, ended once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tidepool_handler::{Call, CallContext, Failure, Payload, Reply, Work};
use tokio::sync::oneshot;

use crate::dispatch::{Ask, Refusal};
use crate::pool::{Admitted, Arrival, Outcome, Pool, Slot, Waiting, WorkerName};

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum Unserved {
    /// It was not let in.
    Refused(Refusal),
    /// Its deadline passed while it waited.
    DeadlineInQueue,
    /// Its handler panicked.
    Panicked,
    /// Its handler failed, or ran out of time.
    Failed(Failure),
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
    fn without_slot(unserved: Unserved, waited: Duration) -> Self {
        Self {
            result: Err(unserved),
            waited,
            times: None,
            worker: None,
        }
    }

    fn outcome(&self) -> Outcome {
        match &self.result {
            Ok(_) => Outcome::Answered,
            Err(Unserved::Refused(_)) => Outcome::Refused,
            Err(Unserved::DeadlineInQueue) => Outcome::DeadlineMissed,
            Err(Unserved::Panicked) => Outcome::Failed,
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
    match pool.admit(&ask, now) {
        Admitted::Slot(slot) => match begin(slot, kind_index, call, now, Duration::ZERO) {
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
                kind_index,
                call,
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
    kind_index: usize,
    call: Call,
    since: Instant,
}

impl Queued {
    async fn served(self) -> Served {
        let deadline = self.call.context.deadline;
        let pool = Arc::clone(self.waiting.pool());
        let slot = tokio::time::timeout_at(deadline.0.into(), self.waiting.slot()).await;
        let granted = Instant::now();
        let waited = granted.saturating_duration_since(self.since);
        match slot {
            Ok(Some(slot)) => match begin(slot, self.kind_index, self.call, granted, waited) {
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

/// A handler that has been called.
enum Begun {
    Ended(Served),
    Running(Running),
}

/// Work that does not end at once, and the slot that it is in.
struct Running {
    slot: Slot,
    work: Unfinished,
    context: CallContext,
    worker: WorkerName,
    begin: Instant,
    granted: Instant,
    waited: Duration,
}

enum Unfinished {
    Wait(LocalBoxFuture<'static, Reply>),
    Compute(Box<dyn FnOnce() -> Reply + Send>),
}

/// Calls the handler in a slot.
fn begin(
    mut slot: Slot,
    kind_index: usize,
    call: Call,
    granted: Instant,
    waited: Duration,
) -> Begun {
    slot.begin_use();
    // A slot that was free is held since a moment ago; only who waited needs the clock again.
    let begin = if waited.is_zero() {
        granted
    } else {
        Instant::now()
    };
    let worker = slot.place.name.clone();
    let context = call.context.clone();
    let running = |slot, work| {
        Begun::Running(Running {
            slot,
            work,
            context,
            worker: worker.clone(),
            begin,
            granted,
            waited,
        })
    };
    let instance = &slot.place.seat.instances[kind_index];
    let work = std::panic::catch_unwind(AssertUnwindSafe(|| instance.call(call)));
    let result = match work {
        Ok(Work::Ready(reply)) => reply.map_err(Unserved::Failed),
        Err(_panic) => {
            slot.panicked();
            Err(Unserved::Panicked)
        }
        Ok(Work::Wait(future)) => return running(slot, Unfinished::Wait(future)),
        Ok(Work::Compute(run)) => return running(slot, Unfinished::Compute(run)),
    };
    let end = slot.give_back();
    Begun::Ended(Served {
        result,
        waited,
        times: Some(WorkTimes {
            granted,
            begin,
            end,
        }),
        worker: Some(worker),
    })
}

impl Running {
    async fn ended(self) -> Served {
        let (granted, waited, worker) = (self.granted, self.waited, self.worker);
        let (result, times) = match self.work {
            Unfinished::Wait(future) => (wait(self.slot, future, &self.context).await, None),
            Unfinished::Compute(run) => compute(self.slot, run, &self.context).await,
        };
        let (begin, end) = times.unwrap_or_else(|| (self.begin, Instant::now()));
        Served {
            result,
            waited,
            times: Some(WorkTimes {
                granted,
                begin,
                end,
            }),
            worker: Some(worker),
        }
    }
}

/// Polls the work here; the slot is free when it has ended or is given up.
async fn wait(
    slot: Slot,
    future: LocalBoxFuture<'static, Reply>,
    context: &CallContext,
) -> Result<Payload, Unserved> {
    let guarded = AssertUnwindSafe(future).catch_unwind();
    match tokio::time::timeout_at(context.deadline.0.into(), guarded).await {
        Ok(Ok(reply)) => reply.map_err(Unserved::Failed),
        Ok(Err(_panic)) => {
            slot.panicked();
            Err(Unserved::Panicked)
        }
        Err(_elapsed) => Err(Unserved::Failed(Failure::DeadlineExceeded)),
    }
}

type Computed = (Result<Payload, Unserved>, Option<(Instant, Instant)>);

/// Runs the work on a thread of the worker. The slot goes with it: when the caller stops
/// waiting, the slot is in use until the work has noticed.
async fn compute(
    slot: Slot,
    run: Box<dyn FnOnce() -> Reply + Send>,
    context: &CallContext,
) -> Computed {
    let (tx, rx) = oneshot::channel();
    let place = Arc::clone(&slot.place);
    let job = Box::new(move || {
        let begin = Instant::now();
        let reply = std::panic::catch_unwind(AssertUnwindSafe(run));
        if reply.is_err() {
            slot.panicked();
        }
        let end = Instant::now();
        // Free before anybody hears of it, so that a caller's next request finds the slot.
        drop(slot);
        let _ = tx.send((reply.map_err(|_| ()), begin, end));
    });
    if place.seat.lane.submit(job).is_err() {
        let cause = "the worker has no thread to compute on".to_owned();
        return (Err(Unserved::Failed(Failure::Internal { cause })), None);
    }
    let _cancel = CancelOnDrop(context);
    match tokio::time::timeout_at(context.deadline.0.into(), rx).await {
        Ok(Ok((Ok(reply), begin, end))) => (reply.map_err(Unserved::Failed), Some((begin, end))),
        Ok(Ok((Err(()), begin, end))) => (Err(Unserved::Panicked), Some((begin, end))),
        Ok(Err(_closed)) => (Err(Unserved::Panicked), None),
        Err(_elapsed) => (Err(Unserved::Failed(Failure::DeadlineExceeded)), None),
    }
}

/// Tells the work that nobody waits any more; harmless once it has ended.
struct CancelOnDrop<'a>(&'a CallContext);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
