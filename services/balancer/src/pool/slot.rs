//! Guards of what a request holds: its place in the queue, and then its slot.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Place, Pool};
use crate::dispatch::Refusal;
use crate::health::Verdict;
use crate::queue::WaiterKey;
use crate::slots::SeatKey;

/// What a request gets on arrival.
pub(crate) enum Admitted {
    Slot(Slot),
    Queued(Waiting),
    Refused(Refusal),
}

/// A place in the queue. Dropping it gives it up.
pub(crate) struct Waiting {
    pub(super) pool: Arc<Pool>,
    pub(super) key: WaiterKey,
    pub(super) receiver: oneshot::Receiver<Slot>,
}

impl Waiting {
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The slot, or nothing when the deadline passed in the queue.
    pub(crate) async fn slot(mut self) -> Option<Slot> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // When the slot is on its way already, the receiver drops it and it goes back.
        self.pool.dispatch.lock().cancel(self.key);
    }
}

/// A slot that is taken. Dropping it gives it back and passes it on.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    key: SeatKey,
    pub(crate) place: Arc<Place>,
    since: Instant,
    state: SlotState,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// On its way to a request, which may have gone meanwhile.
    Granted,
    Used,
    /// Given back already.
    Disarmed,
}

impl Slot {
    pub(super) fn new(pool: &Arc<Pool>, key: SeatKey, place: Arc<Place>, since: Instant) -> Self {
        Self {
            pool: Arc::clone(pool),
            key,
            place,
            since,
            state: SlotState::Granted,
            verdict: Verdict::Nothing,
        }
    }

    /// What the request tells about its seat; nothing until it has ended.
    pub(crate) fn judge(&mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// The pool that it is a slot of.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// From now on the time that it is held counts as work.
    pub(crate) fn begin_use(&mut self) {
        self.state = SlotState::Used;
    }

    /// Says that the handler panicked: its worker gets no more work until it has restarted.
    pub(crate) fn panicked(&mut self) {
        self.verdict = Verdict::Bad;
        if let Some(seat) = self.place.worker() {
            self.pool
                .leave_where(|place| place.worker().is_some_and(|other| Arc::ptr_eq(other, seat)));
            seat.count_panic();
        }
    }

    /// Gives the slot back, and says when that was.
    pub(crate) fn give_back(mut self) -> Instant {
        let now = Instant::now();
        self.release(now);
        now
    }

    /// Says that its seat did not take the request: it gets no other until it shows that it lives.
    pub(crate) fn doubt(&mut self) {
        self.pool.dispatch.lock().doubt(self.key, Instant::now());
    }

    /// Gives the slot back as one that nobody used.
    pub(crate) fn unused(mut self) {
        self.state = SlotState::Granted;
        self.release(Instant::now());
    }

    pub(super) fn disarm(mut self) -> SeatKey {
        self.state = SlotState::Disarmed;
        self.key
    }
}

impl Slot {
    fn release(&mut self, now: Instant) {
        let released = match std::mem::replace(&mut self.state, SlotState::Disarmed) {
            SlotState::Disarmed => return,
            SlotState::Granted => self.pool.dispatch.lock().release_unused(self.key, now),
            SlotState::Used => {
                if let Some(seat) = self.place.worker() {
                    seat.count_completed();
                }
                let held = now.saturating_duration_since(self.since);
                let ended = (held, self.verdict);
                let (released, out) = self.pool.dispatch.lock().release(self.key, ended, now);
                if let Some(out) = out {
                    self.pool.tell_out(&out);
                }
                released
            }
        };
        let next = self.pool.settle(released);
        self.pool.hand_over(next);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.state != SlotState::Disarmed {
            self.release(Instant::now());
        }
    }
}
