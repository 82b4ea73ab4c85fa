//! Work on other nodes: the calls, and what follows when one of them does not come back.
//!
//! A node lets this process have so many requests in flight in each pool (its credits). In the
//! pool's slot table these are the slots of one seat, so that a request is bound to a node as late
//! as to a worker of this process. Work that never began may begin anywhere; work that may have
//! begun begins again only if that does no harm, and within a budget.

mod budget;
mod linked;
mod nodes;
mod repeat;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tidepool_core::PoolSpec;
use tidepool_handler::{Call, Failure, Payload};

use crate::dispatch::Ask;
use crate::pool::WorkerName;

pub(crate) use budget::RepeatBudget;
pub use linked::Dialing;
pub use nodes::{LinkedNodes, Nodes};
pub(crate) use repeat::{Errand, run};

/// A request for another node.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Its place among the kinds of the pool.
    pub(crate) kind_index: usize,
    pub(crate) ask: Ask,
    pub(crate) call: Call,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum CallEnd {
    /// The node answered.
    Answered(Answered),
    /// The node did not begin it.
    Rejected,
    /// The node was lost. If nothing of the call had been sent, it did not begin.
    Lost { is_sent: bool },
}

/// An answer from a node.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) result: Result<Payload, CallFailure>,
    /// The worker that it ran on.
    pub(crate) worker: Option<WorkerName>,
    /// How long it waited on the node.
    pub(crate) queued: Duration,
}

/// Why a node answered without a result.
#[derive(Debug)]
pub(crate) enum CallFailure {
    Failed(Failure),
    Panicked,
    DeadlineInQueue,
    /// It is larger than the node takes.
    TooLarge,
}

/// A node that takes calls.
pub(crate) trait Reach: Send + Sync + 'static {
    /// Its name.
    fn node(&self) -> &str;

    /// Sends a call, from whatever thread. Dropping the future cancels the call.
    fn call(&self, pool: &PoolSpec, order: Order) -> LocalBoxFuture<'static, CallEnd>;
}

/// A node in the slot table of a pool.
#[derive(Clone)]
pub(crate) struct RemoteSeat(Arc<dyn Reach>);

impl RemoteSeat {
    pub(crate) fn new(reach: Arc<dyn Reach>) -> Self {
        Self(reach)
    }

    pub(crate) fn node(&self) -> &str {
        self.0.node()
    }

    /// Whether both are the same life of the same node.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn call(&self, pool: &PoolSpec, order: Order) -> LocalBoxFuture<'static, CallEnd> {
        self.0.call(pool, order)
    }
}
