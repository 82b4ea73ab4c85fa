//! One request that a node does, from its slot to its end, with a second node if the first
//! cannot or is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::health::Verdict;
use crate::pool::{Admitted, Place, Pool, Slot};
use crate::remote::{CallEnd, CallFailure, Order};
use crate::serve::{Begun, Served, Unserved, WorkTimes, begin, verdict};

/// Nodes that may say no to one request.
const REJECTIONS_MAX: u32 = 3;
/// Nodes that may be lost with one request: it may be the request that kills them.
const LOSSES_MAX: u32 = 2;

/// A request on its way to a node.
pub(crate) struct Errand {
    pub(crate) slot: Slot,
    pub(crate) order: Order,
    /// When it got its first slot.
    pub(crate) granted: Instant,
    /// How long it waited for that.
    pub(crate) waited: Duration,
}

/// What a request has met on its way.
#[derive(Default)]
struct Mishaps {
    rejections: u32,
    losses: u32,
}

/// What follows from a mishap.
enum Next {
    Again,
    Ends(Unserved),
}

impl Mishaps {
    /// After a call that was not answered; `has_begun` if the node may have begun it.
    fn after(&mut self, has_begun: bool, mut slot: Slot, pool: &Pool, may_run_twice: bool) -> Next {
        // Else the same seat, free again, would be the next one.
        slot.doubt();
        if !has_begun {
            slot.unused();
            return self.rejected(pool);
        }
        slot.judge(Verdict::Bad);
        slot.give_back();
        self.lost(pool, may_run_twice, Instant::now())
    }

    /// After a call that the node did not begin.
    fn rejected(&mut self, pool: &Pool) -> Next {
        self.rejections += 1;
        if self.rejections >= REJECTIONS_MAX {
            return Next::Ends(Unserved::Refused(pool.no_node()));
        }
        pool.count_rejected();
        Next::Again
    }

    /// After a call whose node was lost while it may have run.
    fn lost(&mut self, pool: &Pool, is_idempotent: bool, now: Instant) -> Next {
        self.losses += 1;
        if self.losses >= LOSSES_MAX {
            pool.count_set_aside();
            return Next::Ends(Unserved::SetAside);
        }
        if !is_idempotent || !pool.may_repeat(now) {
            return Next::Ends(Unserved::Lost);
        }
        Next::Again
    }
}

/// Does the request. Dropping the future cancels it.
pub(crate) async fn run(errand: Errand) -> Served {
    let Errand {
        mut slot,
        order,
        granted,
        waited,
    } = errand;
    let mut mishaps = Mishaps::default();
    let (mut granted, mut waited) = (granted, waited);
    loop {
        let Place::There(remote) = &*slot.place else {
            return here(slot, order, granted, waited).await;
        };
        let pool = Arc::clone(slot.pool());
        let call = remote.call(&pool.spec, order.clone());
        let begin = Instant::now();
        let times = |end| {
            Some(WorkTimes {
                granted,
                begin,
                end,
                is_remote: true,
            })
        };
        // Its link looks after the deadline, with one timer for all calls.
        let has_begun = match call.await {
            CallEnd::Answered(answered) => {
                let result = answered.result.map_err(Unserved::from);
                slot.judge(verdict(&result));
                return Served {
                    result,
                    waited: waited + answered.queued,
                    times: times(slot.give_back()),
                    worker: answered.worker,
                };
            }
            CallEnd::Rejected => false,
            CallEnd::Lost { is_sent } => is_sent,
        };
        let next = mishaps.after(has_begun, slot, &pool, order.ask.is_idempotent);
        if let Next::Ends(unserved) = next {
            return Served {
                result: Err(unserved),
                waited,
                times: times(Instant::now()),
                worker: None,
            };
        }
        let since = Instant::now();
        let found = another(&pool, &order, since).await;
        granted = Instant::now();
        waited += granted.saturating_duration_since(since);
        slot = match found {
            Ok(slot) => slot,
            Err(unserved) => return Served::without_slot(unserved, waited),
        };
    }
}

/// Another slot, as soon as one is free.
async fn another(pool: &Arc<Pool>, order: &Order, now: Instant) -> Result<Slot, Unserved> {
    let deadline = order.ask.deadline;
    match pool.admit_again(&order.ask, now) {
        Admitted::Slot(mut slot) => {
            slot.begin_use();
            Ok(slot)
        }
        Admitted::Refused(refusal) => Err(Unserved::Refused(refusal)),
        Admitted::Queued(waiting) => {
            match tokio::time::timeout_at(deadline.0.into(), waiting.slot()).await {
                Ok(Some(mut slot)) => {
                    slot.begin_use();
                    Ok(slot)
                }
                Ok(None) if !deadline.has_passed(Instant::now()) => {
                    Err(Unserved::Refused(pool.dismissal()))
                }
                Ok(None) | Err(_) => Err(Unserved::DeadlineInQueue),
            }
        }
    }
}

/// Does it in this process, where a worker came free first.
async fn here(slot: Slot, order: Order, granted: Instant, waited: Duration) -> Served {
    match begin(slot, order, granted, waited) {
        Begun::Ended(served) => served,
        Begun::Running(running) => Box::pin(running.ended()).await,
    }
}

impl From<CallFailure> for Unserved {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Failed(failure) => Self::Failed(failure),
            CallFailure::Panicked => Self::Panicked,
            CallFailure::DeadlineInQueue => Self::DeadlineInQueue,
            CallFailure::TooLarge => Self::TooLarge,
        }
    }
}
