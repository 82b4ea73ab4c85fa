//! One pool at run time: the dispatch state behind a lock, guards that give slots back, and
//! counters that add up.
//!
//! The lock is held for a table look-up and never across a wait. Slots are handed over outside
//! of it; a waiter that is gone gives its slot back in a loop, not by recursion through `Drop`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::header::HeaderValue;
use parking_lot::Mutex;
use tidepool_core::{PoolName, PoolReport, PoolSpec, WorkerId};
use tidepool_worker::{Membership, Seat};
use tokio::sync::oneshot;

use crate::dispatch::{
    Admission, Ask, Dispatch, Handover, QueueLimits, Refusal, Released, SeatKey,
};
use crate::metrics::PoolMetrics;
use crate::queue::WaiterKey;

type PoolDispatch = Dispatch<Arc<Place>, oneshot::Sender<Slot>>;
type PoolHandover = Handover<Arc<Place>, oneshot::Sender<Slot>>;

/// A worker's name, ready to be sent: every answer carries it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerName(pub(crate) HeaderValue);

impl WorkerName {
    fn of(worker: &WorkerId) -> Self {
        // The name of a pool and a number: always visible ASCII.
        let value = HeaderValue::from_str(worker.as_str());
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("unnamed")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A seat in the slot table.
pub(crate) struct Place {
    pub(crate) seat: Arc<Seat>,
    pub(crate) name: WorkerName,
}

/// How a request ended. Each request has exactly one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A handler answered; also with the word that the input is wrong.
    Answered,
    /// Not let in.
    Refused,
    /// Its deadline passed, waiting or running.
    DeadlineMissed,
    /// Its caller went away.
    Cancelled,
    /// The handler or something it needs failed.
    Failed,
}

impl Outcome {
    /// Number of outcomes.
    pub(crate) const COUNT: usize = 5;
    /// All outcomes, in the order of their index.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Answered,
        Self::Refused,
        Self::DeadlineMissed,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The label of `tidepool_requests_total`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::DeadlineMissed => "deadline_missed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Default)]
struct Totals {
    arrivals: AtomicU64,
    ended: [AtomicU64; Outcome::COUNT],
}

/// What the totals were at the end of the last window.
#[derive(Debug, Default)]
struct Reported {
    arrivals: u64,
    ended: [u64; Outcome::COUNT],
}

/// A pool: its queue and its slot table.
pub struct Pool {
    /// What it is.
    pub spec: PoolSpec,
    pub(crate) metrics: PoolMetrics,
    dispatch: Mutex<PoolDispatch>,
    totals: Totals,
    reported: Mutex<Reported>,
}

impl Pool {
    /// A pool without workers.
    #[must_use]
    pub fn new(spec: PoolSpec, metrics: PoolMetrics, now: Instant) -> Arc<Self> {
        let limits = QueueLimits {
            len_max: spec.queue_len_max,
            bytes_max: spec.queue_bytes_max,
        };
        Arc::new(Self {
            spec,
            metrics,
            dispatch: Mutex::new(Dispatch::new(limits, now)),
            totals: Totals::default(),
            reported: Mutex::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &PoolName {
        &self.spec.name
    }

    /// Requests that have come and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let ended: u64 = self
            .totals
            .ended
            .iter()
            .map(|n| n.load(Ordering::Acquire))
            .sum();
        self.totals
            .arrivals
            .load(Ordering::Acquire)
            .saturating_sub(ended)
    }

    /// Slots in use; outlives requests whose caller has gone but whose work goes on.
    #[must_use]
    pub fn busy_slots(&self) -> u32 {
        self.dispatch.lock().busy_slots()
    }

    /// Slots that could take work.
    #[must_use]
    pub fn ready_slots(&self) -> u32 {
        self.dispatch.lock().ready_slots()
    }

    /// Whether more requests wait than there are slots: all of them will wait for a whole turn.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        let dispatch = self.dispatch.lock();
        dispatch.queued() > dispatch.ready_slots() as usize
    }

    /// Refuses those who still wait; what runs goes on. For the end of a stop's patience, so
    /// that nobody is left without an answer.
    pub fn dismiss_waiting(&self) {
        self.dispatch.lock().dismiss();
    }

    pub(crate) fn dismissal(&self) -> Refusal {
        self.dispatch.lock().dismissal()
    }

    /// Lets nothing new in; what is there is still served.
    pub fn close(&self) {
        self.dispatch.lock().close();
    }

    /// Ends the window and says what happened in it.
    pub fn report(&self, now: Instant) -> PoolReport {
        let mut dispatch = self.dispatch.lock();
        let window = dispatch.take_window(now);
        let queued = dispatch.queued();
        let report = PoolReport {
            pool: self.spec.name.clone(),
            at: SystemTime::now().into(),
            window: now.saturating_duration_since(window.begin),
            arrivals: 0,
            completed: 0,
            refused: 0,
            deadline_missed: 0,
            cancelled: 0,
            failed: 0,
            queued: u32::try_from(queued).unwrap_or(u32::MAX),
            queued_bytes: dispatch.queued_bytes() as u64,
            oldest_wait: dispatch.oldest_wait(now),
            busy_slots: dispatch.busy_slots(),
            ready_slots: dispatch.ready_slots(),
            busy_slot_s: window.busy_slot_s,
            wait: window.wait,
            work: window.work,
        };
        drop(dispatch);
        self.metrics
            .queue_depth
            .set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.with_counts(report)
    }

    fn with_counts(&self, report: PoolReport) -> PoolReport {
        let mut reported = self.reported.lock();
        let since = |total: &AtomicU64, before: &mut u64| {
            let now = total.load(Ordering::Relaxed);
            now - std::mem::replace(before, now)
        };
        let arrivals = since(&self.totals.arrivals, &mut reported.arrivals);
        let mut of = |outcome: Outcome| {
            let index = outcome as usize;
            since(&self.totals.ended[index], &mut reported.ended[index])
        };
        let (answered, failed) = (of(Outcome::Answered), of(Outcome::Failed));
        PoolReport {
            arrivals,
            completed: answered + failed,
            refused: of(Outcome::Refused),
            deadline_missed: of(Outcome::DeadlineMissed),
            cancelled: of(Outcome::Cancelled),
            failed,
            ..report
        }
    }

    /// Whether a newcomer would be turned away whatever it brings.
    pub(crate) fn refuses_all(&self) -> Option<Refusal> {
        self.dispatch.lock().refuses_all()
    }

    /// Begins a request; the guard ends it.
    pub(crate) fn arrive(self: &Arc<Self>, kind_index: usize) -> Arrival {
        self.totals.arrivals.fetch_add(1, Ordering::AcqRel);
        Arrival {
            pool: Arc::clone(self),
            kind_index,
            ended: false,
        }
    }

    /// A slot now, a place in the queue, or a refusal.
    pub(crate) fn admit(self: &Arc<Self>, ask: &Ask, now: Instant) -> Admitted {
        let mut receiver = None;
        let admission = self.dispatch.lock().admit(ask, now, || {
            let (sender, waiting) = oneshot::channel();
            receiver = Some(waiting);
            sender
        });
        match (admission, receiver) {
            (Admission::Slot(key, place), _) => Admitted::Slot(Slot::new(self, key, place, now)),
            (Admission::Queued(key), Some(receiver)) => Admitted::Queued(Waiting {
                pool: Arc::clone(self),
                key,
                receiver,
            }),
            (Admission::Refused(refusal), _) => Admitted::Refused(refusal),
            (Admission::Queued(_), None) => unreachable!("a waiter is queued with its token"),
        }
    }

    /// Gives slots to waiters until one takes it or none is left.
    fn hand_over(self: &Arc<Self>, mut next: Option<PoolHandover>) {
        while let Some(handover) = next {
            let now = Instant::now();
            let slot = Slot::new(self, handover.seat, handover.payload, now);
            let Err(slot) = handover.token.send(slot) else {
                return;
            };
            // The waiter is gone. Give its slot to the next one here, not in `Slot::drop`.
            let seat_key = slot.disarm();
            let released = self.dispatch.lock().release_unused(seat_key, now);
            next = self.settle(released);
        }
    }

    fn settle(
        &self,
        released: Released<Arc<Place>, oneshot::Sender<Slot>>,
    ) -> Option<PoolHandover> {
        match released {
            Released::Next(handover) => Some(handover),
            Released::Free => None,
            Released::SeatIdle(place) => {
                // The worker looks once a second by itself; a lost notice costs that at most.
                let _ = place
                    .seat
                    .notices
                    .try_send(tidepool_worker::SeatNotice::Idle);
                None
            }
        }
    }

    fn leave_where(&self, belongs: impl Fn(&Seat) -> bool) {
        let mut dispatch = self.dispatch.lock();
        for key in dispatch.seats_of(|place| belongs(&place.seat)) {
            dispatch.leave(key);
        }
    }
}

impl Membership for PoolTable {
    fn join(&self, seat: Arc<Seat>) {
        self.leave(&seat.worker);
        let (slots, name) = (seat.slots, WorkerName::of(&seat.worker));
        let place = Arc::new(Place { seat, name });
        self.0.dispatch.lock().join(place, slots);
        loop {
            let next = self.0.dispatch.lock().next_handover(Instant::now());
            if next.is_none() {
                return;
            }
            self.0.hand_over(next);
        }
    }

    fn leave(&self, worker: &WorkerId) {
        self.0.leave_where(|seat| seat.worker == *worker);
    }

    fn busy(&self, worker: &WorkerId) -> u32 {
        self.0
            .dispatch
            .lock()
            .busy_of(|place| place.seat.worker == *worker)
    }
}

/// The slot table of a pool, for the workers that join it.
pub struct PoolTable(pub Arc<Pool>);

/// What a request gets on arrival.
pub(crate) enum Admitted {
    Slot(Slot),
    Queued(Waiting),
    Refused(Refusal),
}

/// A place in the queue. Dropping it gives it up.
pub(crate) struct Waiting {
    pool: Arc<Pool>,
    key: WaiterKey,
    receiver: oneshot::Receiver<Slot>,
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
    fn new(pool: &Arc<Pool>, key: SeatKey, place: Arc<Place>, since: Instant) -> Self {
        Self {
            pool: Arc::clone(pool),
            key,
            place,
            since,
            state: SlotState::Granted,
        }
    }

    /// From now on the time that it is held counts as work.
    pub(crate) fn begin_use(&mut self) {
        self.state = SlotState::Used;
    }

    /// Says that the handler panicked: its worker gets no more work until it has restarted.
    pub(crate) fn panicked(&self) {
        self.pool
            .leave_where(|seat| std::ptr::eq(seat, &*self.place.seat));
        self.place.seat.count_panic();
    }

    /// Gives the slot back, and says when that was.
    pub(crate) fn give_back(mut self) -> Instant {
        let now = Instant::now();
        self.release(now);
        now
    }

    fn disarm(mut self) -> SeatKey {
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
                self.place.seat.count_completed();
                let held = now.saturating_duration_since(self.since);
                self.pool.dispatch.lock().release(self.key, held, now)
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

/// A request between its arrival and its end. Dropped without an outcome, its caller is gone.
pub(crate) struct Arrival {
    pool: Arc<Pool>,
    kind_index: usize,
    ended: bool,
}

impl Arrival {
    /// Ends the request, after it waited and perhaps was worked on.
    pub(crate) fn end(mut self, outcome: Outcome, waited: Duration, work: Option<Duration>) {
        if outcome != Outcome::Refused {
            self.pool.metrics.observe(self.kind_index, waited, work);
        }
        self.count(outcome);
    }

    /// Ends a request that was not let in.
    pub(crate) fn refuse(mut self) {
        self.count(Outcome::Refused);
    }

    fn count(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.pool.totals.ended[outcome as usize].fetch_add(1, Ordering::AcqRel);
            self.pool.metrics.count(self.kind_index, outcome);
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.count(Outcome::Cancelled);
    }
}

#[cfg(test)]
mod tests;
