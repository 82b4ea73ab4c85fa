//! One pool at run time: the dispatch state behind a lock, guards that give slots back, and
//! counters that add up.
//!
//! The lock is held for a table look-up and never across a wait. Slots are handed over outside
//! of it; a waiter that is gone gives its slot back in a loop, not by recursion through `Drop`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tidepool_core::{Kind, LatencyCounts, PoolName, PoolReport, PoolSpec, TraceId, WorkerId};
use tidepool_worker::{Membership, Seat, SeatNotice};
use tokio::sync::oneshot;

use crate::dispatch::{
    Admission, Ask, Dispatch, Handover, QueueLimits, Refusal, RefusalReason, Released,
};
use crate::hosting::Offer;
use crate::metrics::PoolMetrics;
use crate::remote::{RemoteSeat, RepeatBudget};
use crate::slots::PutOut;

mod arrival;
mod place;
mod slot;

pub(crate) use arrival::{Arrival, Outcome};
pub(crate) use place::{Place, WorkerName};
pub(crate) use slot::{Admitted, Slot, Waiting};

type PoolDispatch = Dispatch<Arc<Place>, oneshot::Sender<Slot>>;
type PoolAdmission = Admission<Arc<Place>>;
type PoolHandover = Handover<Arc<Place>, oneshot::Sender<Slot>>;

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
    repeats: Mutex<RepeatBudget>,
    on_set_aside: OnceLock<OnSetAside>,
}

/// A request was set aside: the nodes that it was given to were lost with it. Nothing of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its pool.
    pub pool: PoolName,
    /// What it asked for.
    pub kind: Kind,
    /// By which the caller knows it.
    pub trace_id: TraceId,
}

/// Is told of requests that were set aside. Called between requests: it must not wait.
pub type OnSetAside = Box<dyn Fn(SetAside) + Send + Sync>;

impl Pool {
    /// A pool without workers.
    #[must_use]
    pub fn new(spec: PoolSpec, metrics: PoolMetrics, now: Instant) -> Arc<Self> {
        let limits = QueueLimits {
            len_max: spec.queue_len_max,
            bytes_max: spec.queue_bytes_max,
            objective: Duration::from_millis(spec.slo_ms),
        };
        Arc::new(Self {
            spec,
            metrics,
            dispatch: Mutex::new(Dispatch::new(limits, now)),
            totals: Totals::default(),
            reported: Mutex::default(),
            repeats: Mutex::new(RepeatBudget::new(now)),
            on_set_aside: OnceLock::new(),
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

    /// What balancers may use of it: its slots, and what may be on its way besides.
    pub(crate) fn offered_slots(&self) -> Offer {
        let dispatch = self.dispatch.lock();
        let slots = dispatch.ready_slots();
        let workers = slots.div_ceil(self.spec.slots.max(1));
        Offer {
            slots: slots.saturating_add(dispatch.ahead(workers)),
            workers,
        }
    }

    /// Whether more requests wait than there are slots: all of them will wait for a whole turn.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        let dispatch = self.dispatch.lock();
        dispatch.queued() > dispatch.ready_slots() as usize
    }

    /// Lets go of all who wait where no worker is: what came over a link may go on to another node,
    /// and would wait in vain.
    pub(crate) fn send_back_if_deserted(&self) {
        self.dispatch.lock().send_back_if_deserted();
    }

    /// Refuses those who still wait; what runs goes on. For the end of a stop's patience, so
    /// that nobody is left without an answer.
    pub fn dismiss_waiting(&self) {
        self.dispatch.lock().dismiss();
    }

    /// Compares the seats with one another: who is far slower than its peers or fails gets no
    /// work for a while, and those whose time is over get some.
    pub fn look(self: &Arc<Self>, now: Instant) {
        let out = self.dispatch.lock().look(now);
        out.iter().for_each(|seat| self.tell_out(seat));
        self.hand_over_all();
    }

    fn tell_out(&self, out: &PutOut<Arc<Place>>) {
        self.metrics.ejections.inc();
        tracing::warn!(
            pool = %self.spec.name, seat = out.payload.title(), cause = out.cause.as_str(),
            "a seat does worse than its peers and gets no work for a while"
        );
    }

    /// Takes one repeat of a request whose node was lost out of the budget, if there is one.
    pub(crate) fn may_repeat(&self, now: Instant) -> bool {
        let may = self.repeats.lock().take(now);
        if may {
            self.metrics.lost.inc();
        }
        may
    }

    /// Counts a request that goes to another node because the first did not begin it.
    pub(crate) fn count_rejected(&self) {
        self.metrics.rejected.inc();
    }

    /// Counts a request that is not tried again: it may be what stops nodes.
    pub(crate) fn count_set_aside(&self) {
        self.metrics.set_aside.inc();
    }

    /// Has requests that are set aside told to `listener` from now on; the first one stays.
    pub fn on_set_aside(&self, listener: OnSetAside) {
        // A pool has one process around it, which says so once.
        let _ = self.on_set_aside.set(listener);
    }

    pub(crate) fn tell_set_aside(&self, kind: &Kind, trace_id: TraceId) {
        if let Some(listener) = self.on_set_aside.get() {
            listener(SetAside {
                pool: self.spec.name.clone(),
                kind: kind.clone(),
                trace_id,
            });
        }
    }

    /// The refusal of a request that no node would begin.
    pub(crate) fn no_node(&self) -> Refusal {
        self.dispatch.lock().refusal(RefusalReason::NoNode)
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
        let mut report = PoolReport {
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
            wait: LatencyCounts::default(),
            work: LatencyCounts::default(),
        };
        drop(dispatch);
        // Nobody need wait for this.
        (report.wait, report.work) = (window.wait.counts(), window.work.counts());
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
        self.repeats.lock().earn(arrivals, Instant::now());
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
        self.admitted(now, |dispatch, token| dispatch.admit(ask, now, token))
    }

    /// A slot or a place in the queue for a request whose seat could not take it.
    pub(crate) fn admit_again(self: &Arc<Self>, ask: &Ask, now: Instant) -> Admitted {
        self.admitted(now, |dispatch, token| dispatch.admit_again(ask, now, token))
    }

    fn admitted(
        self: &Arc<Self>,
        now: Instant,
        admit: impl FnOnce(
            &mut PoolDispatch,
            &mut dyn FnMut() -> oneshot::Sender<Slot>,
        ) -> PoolAdmission,
    ) -> Admitted {
        let mut receiver = None;
        let admission = admit(&mut self.dispatch.lock(), &mut || {
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

    /// Gives free slots to waiters until one of both is used up.
    fn hand_over_all(self: &Arc<Self>) {
        loop {
            let next = self.dispatch.lock().next_handover(Instant::now());
            if next.is_none() {
                return;
            }
            self.hand_over(next);
        }
    }

    /// Offers slots of a node, or another number of them.
    pub(crate) fn offer(self: &Arc<Self>, remote: &RemoteSeat, slots: u32, now: Instant) {
        let mut dispatch = self.dispatch.lock();
        if let Some(key) = dispatch.seats_of(|place| place.is_of(remote)).first() {
            dispatch.resize(*key, slots, now);
        } else if slots > 0 {
            let place = Arc::new(Place::There(remote.clone()));
            let mark = place.mark();
            dispatch.join(place, slots, mark, now);
        } else {
            return;
        }
        drop(dispatch);
        self.hand_over_all();
    }

    /// A node has shown that it lives: what it did not take before it may be asked again.
    pub(crate) fn trust(self: &Arc<Self>, remote: &RemoteSeat) {
        let now = Instant::now();
        let is_back = self.dispatch.lock().trust(|place| place.is_of(remote), now);
        if is_back {
            self.hand_over_all();
        }
    }

    /// Takes a node's seat away. What runs there ends by itself.
    pub(crate) fn withdraw(&self, remote: &RemoteSeat) {
        self.leave_where(|place| place.is_of(remote));
    }

    /// Requests that run on a node, and those that wait here: what it is told that this process
    /// wants.
    pub(crate) fn demand_of(&self, remote: &RemoteSeat) -> (u32, u32) {
        let dispatch = self.dispatch.lock();
        let queued = u32::try_from(dispatch.queued()).unwrap_or(u32::MAX);
        (dispatch.busy_of(|place| place.is_of(remote)), queued)
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
                if let Some(seat) = place.worker() {
                    let _ = seat.notices.try_send(SeatNotice::Idle);
                }
                None
            }
        }
    }

    fn leave_where(&self, belongs: impl Fn(&Place) -> bool) {
        let mut dispatch = self.dispatch.lock();
        for key in dispatch.seats_of(|place| belongs(place)) {
            dispatch.leave(key);
        }
    }
}

impl Membership for PoolTable {
    fn join(&self, seat: Arc<Seat>) {
        self.leave(&seat.worker);
        let (slots, name) = (seat.slots, WorkerName::of(&seat.worker));
        let place = Arc::new(Place::Here { seat, name });
        let mark = place.mark();
        let now = Instant::now();
        self.0.dispatch.lock().join(place, slots, mark, now);
        self.0.hand_over_all();
    }

    fn leave(&self, worker: &WorkerId) {
        self.0.leave_where(|place| is_worker(place, worker));
    }

    fn busy(&self, worker: &WorkerId) -> u32 {
        self.0
            .dispatch
            .lock()
            .busy_of(|place| is_worker(place, worker))
    }
}

fn is_worker(place: &Place, worker: &WorkerId) -> bool {
    place.worker().is_some_and(|seat| seat.worker == *worker)
}

/// The slot table of a pool, for the workers that join it.
pub struct PoolTable(pub Arc<Pool>);

#[cfg(test)]
mod tests;
