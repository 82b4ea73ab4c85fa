//! One request through its pool: admitted, given a slot, run where its work belongs, ended once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tidepool_core::WorkerId;
use tidepool_handler::{Call, CallContext, Failure, Payload, Reply, Work};
use tokio::sync::oneshot;

use crate::dispatch::{Ask, Refusal};
use crate::pool::{Admitted, Outcome, Pool, Slot};

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
    pub(crate) worker: Option<WorkerId>,
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

/// Serves one request of the kind at `kind_index`. Dropping the future cancels it, queued or
/// running.
pub(crate) async fn serve(pool: &Arc<Pool>, kind_index: usize, ask: Ask, call: Call) -> Served {
    let arrival = pool.arrive(kind_index);
    let now = Instant::now();
    // Its body may have taken all the time there was: nobody wants that work done.
    let served = if ask.deadline.has_passed(now) {
        Served::without_slot(Unserved::DeadlineInQueue, Duration::ZERO)
    } else {
        serve_in_turn(pool, kind_index, &ask, call, now).await
    };
    let work = served
        .times
        .map(|t| t.end.saturating_duration_since(t.begin));
    if !matches!(served.result, Err(Unserved::Refused(_))) {
        pool.metrics.observe(kind_index, served.waited, work);
    }
    arrival.end(served.outcome());
    served
}

async fn serve_in_turn(
    pool: &Arc<Pool>,
    kind_index: usize,
    ask: &Ask,
    call: Call,
    now: Instant,
) -> Served {
    match pool.admit(ask, now) {
        Admitted::Slot(slot) => run(slot, kind_index, call, now, Duration::ZERO).await,
        Admitted::Refused(refusal) => {
            Served::without_slot(Unserved::Refused(refusal), Duration::ZERO)
        }
        Admitted::Queued(waiting) => {
            let slot = tokio::time::timeout_at(ask.deadline.0.into(), waiting.slot()).await;
            let granted = Instant::now();
            let waited = granted.saturating_duration_since(now);
            match slot {
                Ok(Some(slot)) => run(slot, kind_index, call, granted, waited).await,
                Ok(None) if !ask.deadline.has_passed(granted) => {
                    Served::without_slot(Unserved::Refused(pool.dismissal()), waited)
                }
                Ok(None) | Err(_) => Served::without_slot(Unserved::DeadlineInQueue, waited),
            }
        }
    }
}

async fn run(
    mut slot: Slot,
    kind_index: usize,
    call: Call,
    granted: Instant,
    waited: Duration,
) -> Served {
    slot.begin_use();
    let worker = Some(slot.seat.worker.clone());
    let context = call.context.clone();
    // A slot that was free is held since a moment ago; only who waited needs the clock again.
    let begin = if waited.is_zero() {
        granted
    } else {
        Instant::now()
    };
    let instance = &slot.seat.instances[kind_index];
    let work = std::panic::catch_unwind(AssertUnwindSafe(|| instance.call(call)));
    let (result, times) = match work {
        Err(_panic) => {
            slot.panicked();
            (Err(Unserved::Panicked), None)
        }
        Ok(Work::Ready(reply)) => (reply.map_err(Unserved::Failed), None),
        Ok(Work::Wait(future)) => (wait(slot, future, &context).await, None),
        Ok(Work::Compute(run)) => compute(slot, run, &context).await,
    };
    let (begin, end) = times.unwrap_or_else(|| (begin, Instant::now()));
    Served {
        result,
        waited,
        times: Some(WorkTimes {
            granted,
            begin,
            end,
        }),
        worker,
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
    let seat = Arc::clone(&slot.seat);
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
    if seat.lane.submit(job).is_err() {
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
