//! How a worker offers its slots, and how those who use them tell it what happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::prelude::*;
use tidepool_core::WorkerId;
use tidepool_handler::Instance;

use crate::lane::Lane;

/// A hint to the worker that something changed. Losing one is harmless: the worker looks at the
/// same facts once a second.
#[derive(Message, Clone, Copy, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
pub enum SeatNotice {
    /// A handler panicked; the slots have been taken out of the table already.
    Panicked,
    /// The last request of a draining worker ended.
    Idle,
}

/// A started worker as the slot table sees it. A restart makes a new one.
pub struct Seat {
    /// The worker.
    pub worker: WorkerId,
    /// Concurrent places.
    pub slots: u32,
    /// One instance for each kind of the pool, in the pool's order.
    pub instances: Vec<Arc<dyn Instance>>,
    /// Where computing runs; its threads end when nobody holds a slot of this seat any more.
    pub lane: Lane,
    /// Whom to tell.
    pub notices: Recipient<SeatNotice>,
    completed: AtomicU64,
    panics: AtomicU64,
}

impl Seat {
    /// A seat for freshly started instances.
    #[must_use]
    pub fn new(
        worker: WorkerId,
        slots: u32,
        instances: Vec<Arc<dyn Instance>>,
        lane: Lane,
        notices: Recipient<SeatNotice>,
    ) -> Self {
        Self {
            worker,
            slots,
            instances,
            lane,
            notices,
            completed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Counts a finished request.
    pub fn count_completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a panic and tells the worker.
    pub fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        // A full mailbox is fine: the counter says it too.
        let _ = self.notices.try_send(SeatNotice::Panicked);
    }

    /// Requests finished on this seat.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Panics on this seat.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

/// The slot table of one pool, as workers use it.
pub trait Membership: Send + Sync + 'static {
    /// Offers the slots of a ready worker. A seat of the same worker replaces an older one.
    fn join(&self, seat: Arc<Seat>);
    /// Offers them no longer; requests that run go on.
    fn leave(&self, worker: &WorkerId);
    /// Slots of the worker in use, also after it left.
    fn busy(&self, worker: &WorkerId) -> u32;
}
