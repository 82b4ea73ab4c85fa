//! Which request gets which slot: the queue of one pool before its slot table, with time passed
//! in.
//!
//! Slots pull. A request is bound to a worker only when a slot of that worker is free, so there
//! is never a guess to repair.

use std::time::{Duration, Instant};

use tidepool_core::ids::PRIORITY_CLASSES;
use tidepool_core::{Deadline, LatencyHistogram, Priority};

use crate::health::Verdict;
use crate::pulse::Pulse;
use crate::queue::{WaitQueue, Waiter, WaiterKey};
use crate::slots::{PutOut, Returned, SeatKey, SlotTable};
use crate::standing::StandingQueue;

/// Weight of the newest work time in its moving average.
const WORK_WEIGHT: f64 = 0.05;
/// Work that takes less is quick: a journey over a network is a good part of that.
const QUICK_S: f64 = 0.002;
/// How long a slot is idle between two requests that come over a network, about: a journey back and
/// forth, and the turns of the threads on both ends.
const JOURNEY_S: f64 = 0.000_2;
/// Most turns of work that may be on their way to a slot, however little they take. It bounds what
/// waits in the wrong place when quick work turns slow.
const TURNS_AHEAD_MAX: f64 = 4.0;
/// Shortest and longest advice when to come again.
const RETRY_AFTER_S: (f64, f64) = (1.0, 30.0);

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    pub(crate) len_max: usize,
    pub(crate) bytes_max: usize,
    /// The wait that the pool means to keep to; see [`StandingQueue`].
    pub(crate) objective: Duration,
}

/// What a request brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) priority: Priority,
    pub(crate) bytes: usize,
    pub(crate) deadline: Deadline,
    /// Requests of one session prefer one worker.
    pub(crate) session: Option<u64>,
    /// Whether it may run twice.
    pub(crate) is_idempotent: bool,
}

/// Why a request is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RefusalReason {
    /// Too many requests wait.
    QueueFull,
    /// Too many bytes wait.
    QueueBytesFull,
    /// It would wait longer than its deadline allows.
    WouldMissDeadline,
    /// It would be late, and so have been others for longer than workers take to come.
    QueueStands,
    /// The process is going away.
    Draining,
    /// Every node that was asked said no.
    NoNode,
}

/// A refusal, with advice when to try again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: RefusalReason,
    pub(crate) retry_after_s: f64,
}

/// What becomes of a request on arrival.
#[derive(Debug)]
pub(crate) enum Admission<S> {
    Slot(SeatKey, S),
    Queued(WaiterKey),
    Refused(Refusal),
}

/// A slot for a waiter; its token has to be told, and if it is gone the slot goes back by
/// [`Dispatch::release_unused`].
#[derive(Debug)]
pub(crate) struct Handover<S, T> {
    pub(crate) token: T,
    pub(crate) seat: SeatKey,
    pub(crate) payload: S,
}

/// What follows from a slot coming free.
#[derive(Debug)]
pub(crate) enum Released<S, T> {
    Next(Handover<S, T>),
    Free,
    /// It was the last slot in use of a seat that left.
    SeatIdle(S),
}

/// What happened since the last look.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) wait: LatencyHistogram,
    pub(crate) work: LatencyHistogram,
    pub(crate) busy_slot_s: f64,
}

/// The state of one pool's dispatching. `S` is what a seat carries, `T` how a waiter is told.
#[derive(Debug)]
pub(crate) struct Dispatch<S, T> {
    limits: QueueLimits,
    slots: SlotTable<S>,
    queue: WaitQueue<T>,
    standing: StandingQueue,
    /// What ends after a time in which this process did not run says nothing of work times.
    pulse: Pulse,
    closed: bool,
    dismissed: bool,
    /// Whether nobody waits here for a seat that may never come; see [`Self::send_back`].
    work_mean_s: Option<f64>,
    window: Window,
    integrated_to: Instant,
}

impl<S: Clone, T> Dispatch<S, T> {
    pub(crate) fn new(limits: QueueLimits, now: Instant) -> Self {
        Self {
            limits,
            slots: SlotTable::new(now),
            queue: WaitQueue::new(),
            standing: StandingQueue::new(limits.objective),
            pulse: Pulse::default(),
            closed: false,
            dismissed: false,
            work_mean_s: None,
            window: Window::begin(now),
            integrated_to: now,
        }
    }

    /// Adds a seat. Waiters are not told here: call [`Self::next_handover`] until there is none.
    pub(crate) fn join(&mut self, payload: S, slots: u32, mark: u64, now: Instant) -> SeatKey {
        self.slots.join(payload, slots, mark, now)
    }

    /// Changes how many slots a seat offers. Call [`Self::next_handover`] afterwards.
    pub(crate) fn resize(&mut self, key: SeatKey, slots: u32, now: Instant) {
        self.slots.resize(key, slots, now);
    }

    /// Takes a seat out; its slots in use stay so until they are released.
    pub(crate) fn leave(&mut self, key: SeatKey) {
        self.slots.leave(key);
    }

    /// Lets go of all who wait here if there is no seat: they come from elsewhere, where other places
    /// are known. To be called now and then, not when a seat leaves: most that do are followed at once.
    pub(crate) fn send_back_if_deserted(&mut self) {
        // Their tokens are dropped, which tells them.
        while !self.slots.has_seats() && self.queue.pop().is_some() {}
    }

    /// Hands a seat nothing until it is trusted again: it did not take a request.
    pub(crate) fn doubt(&mut self, key: SeatKey, now: Instant) {
        self.slots.doubt(key, now);
    }

    /// Ends the doubt about the seats that `belongs` picks. Whether there was any: call
    /// [`Self::next_handover`] then.
    pub(crate) fn trust(&mut self, belongs: impl Fn(&S) -> bool, now: Instant) -> bool {
        self.slots.trust(belongs, now)
    }

    /// Compares the seats, and says which get no work for a while. Call
    /// [`Self::next_handover`] afterwards: others may be back. To be called every 50 ms: the beats
    /// tell whether this process runs.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<PutOut<S>> {
        self.pulse.beat(now);
        self.slots.look(now)
    }

    /// Lets nothing new in; what waits is still served.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Slots in use of the seats that `belongs` picks.
    pub(crate) fn busy_of(&self, belongs: impl Fn(&S) -> bool) -> u32 {
        self.slots.busy_of(belongs)
    }

    /// The seats that have not left and that `belongs` picks.
    pub(crate) fn seats_of(&self, belongs: impl Fn(&S) -> bool) -> Vec<SeatKey> {
        self.slots.seats_of(belongs)
    }

    /// Gives a slot, a place in the queue, or a refusal. `token` is made only for a waiter.
    pub(crate) fn admit(
        &mut self,
        ask: &Ask,
        now: Instant,
        token: impl FnOnce() -> T,
    ) -> Admission<S> {
        if self.closed {
            return self.refuse(RefusalReason::Draining);
        }
        if self.queue.is_empty()
            && let Some((key, payload)) = self.take_slot(ask.session, now)
        {
            self.window.wait.record(Duration::ZERO);
            self.standing.passed();
            return Admission::Slot(key, payload);
        }
        if self.queue.len() >= self.limits.len_max {
            return self.refuse(RefusalReason::QueueFull);
        }
        if self.queue.bytes().saturating_add(ask.bytes) > self.limits.bytes_max {
            return self.refuse(RefusalReason::QueueBytesFull);
        }
        match self.wait_refusal(ask, now) {
            Some(reason) => self.refuse(reason),
            None => self.enqueue(ask, now, token()),
        }
    }

    /// Why a newcomer may not wait for as long as it would have to.
    fn wait_refusal(&mut self, ask: &Ask, now: Instant) -> Option<RefusalReason> {
        let wait = self.predicted_wait(ask.priority)?;
        if wait > ask.deadline.remaining(now) {
            return Some(RefusalReason::WouldMissDeadline);
        }
        // The least urgent hold up nobody and may wait as long as they like.
        let is_background = ask.priority.class() + 1 == PRIORITY_CLASSES;
        let work_mean_s = self.work_mean_s?;
        let may_wait = is_background || self.standing.admits(wait, work_mean_s, now);
        (!may_wait).then_some(RefusalReason::QueueStands)
    }

    /// Gives a slot or a place in the queue to a request that was let in before and whose seat
    /// could not take it. It is not refused: its place is its own until it ends or all are let go.
    pub(crate) fn admit_again(
        &mut self,
        ask: &Ask,
        now: Instant,
        token: impl FnOnce() -> T,
    ) -> Admission<S> {
        if self.dismissed {
            return self.refuse(RefusalReason::Draining);
        }
        match self.take_slot(ask.session, now) {
            Some((key, payload)) => Admission::Slot(key, payload),
            None => self.enqueue(ask, now, token()),
        }
    }

    fn enqueue(&mut self, ask: &Ask, now: Instant, token: T) -> Admission<S> {
        let waiter = Waiter {
            token,
            since: now,
            deadline: ask.deadline,
            bytes: ask.bytes,
        };
        Admission::Queued(self.queue.push(ask.priority, waiter))
    }

    /// Closes, and lets go of everybody who waits: their tokens are dropped, which tells them.
    pub(crate) fn dismiss(&mut self) {
        (self.closed, self.dismissed) = (true, true);
        while self.queue.pop().is_some() {}
    }

    /// Forgets a waiter that gave up. `false` when it had been handed a slot already.
    pub(crate) fn cancel(&mut self, key: WaiterKey) -> bool {
        self.queue.remove(key).is_some()
    }

    /// Takes back a slot after it was held for `held`, and passes it on. Tells also of the seat
    /// if that puts it out.
    pub(crate) fn release(
        &mut self,
        key: SeatKey,
        (held, verdict): (Duration, Verdict),
        now: Instant,
    ) -> (Released<S, T>, Option<PutOut<S>>) {
        let since = now.checked_sub(held).unwrap_or(now);
        let out = if self.pulse.has_gap(since, now) {
            None
        } else {
            self.learn(held);
            self.slots.judge(key, held, verdict, now)
        };
        (self.release_unused(key, now), out)
    }

    /// Takes in how long work took.
    fn learn(&mut self, held: Duration) {
        self.window.work.record(held);
        let held_s = held.as_secs_f64();
        let mean = self.work_mean_s.get_or_insert(held_s);
        *mean += WORK_WEIGHT * (held_s - *mean);
    }

    /// Takes back a slot that nobody used.
    pub(crate) fn release_unused(&mut self, key: SeatKey, now: Instant) -> Released<S, T> {
        self.integrate(now);
        match self.slots.give_back(key) {
            Returned::SeatIdle(payload) => Released::SeatIdle(payload),
            Returned::Gone => Released::Free,
            Returned::Free => self
                .next_handover(now)
                .map_or(Released::Free, Released::Next),
        }
    }

    /// Gives a free slot to the waiter whose turn it is. Waiters whose deadline has passed are
    /// dropped on the way; they notice by themselves.
    pub(crate) fn next_handover(&mut self, now: Instant) -> Option<Handover<S, T>> {
        if self.queue.is_empty() {
            return None;
        }
        let (seat, payload) = self.take_slot(None, now)?;
        while let Some(waiter) = self.queue.pop() {
            if !waiter.deadline.has_passed(now) {
                if !self.pulse.has_gap(waiter.since, now) {
                    let wait = now.saturating_duration_since(waiter.since);
                    self.window.wait.record(wait);
                }
                return Some(Handover {
                    token: waiter.token,
                    seat,
                    payload,
                });
            }
        }
        // Everybody in the queue was late. With the queue empty this cannot come back here.
        let _ = self.release_unused(seat, now);
        None
    }

    /// Ends the window and begins the next.
    pub(crate) fn take_window(&mut self, now: Instant) -> Window {
        self.integrate(now);
        std::mem::replace(&mut self.window, Window::begin(now))
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    pub(crate) fn oldest_wait(&self, now: Instant) -> Duration {
        self.queue
            .oldest()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(crate) fn busy_slots(&self) -> u32 {
        self.slots.busy()
    }

    /// Slots of the seats that take new work.
    pub(crate) fn ready_slots(&self) -> u32 {
        self.slots.open()
    }

    /// How many requests may be on their way here beyond the slots of so many workers, so that slots
    /// are not idle for whole journeys: as many as end within one, and one for each worker at least,
    /// if work is quick; none else, because a request that waits here cannot go where a slot is free.
    pub(crate) fn ahead(&self, workers: u32) -> u32 {
        let Some(mean_s) = self.work_mean_s.filter(|mean_s| *mean_s < QUICK_S) else {
            return 0;
        };
        let turns = (JOURNEY_S / mean_s.max(f64::EPSILON)).min(TURNS_AHEAD_MAX);
        // In powers of two, so that balancers are not told of every change.
        let turns = if turns < 1.0 {
            0.0
        } else {
            turns.log2().floor().exp2()
        };
        let ahead = workers.max((f64::from(self.ready_slots()) * turns) as u32);
        // They wait in the queue here.
        ahead.min(u32::try_from(self.limits.len_max).unwrap_or(u32::MAX))
    }

    /// Whether a newcomer would be turned away now whatever it brings; cheap enough to ask
    /// before its body is read.
    pub(crate) fn refuses_all(&self) -> Option<Refusal> {
        if self.closed {
            return Some(self.refusal(RefusalReason::Draining));
        }
        (self.queue.len() >= self.limits.len_max).then(|| self.refusal(RefusalReason::QueueFull))
    }

    fn take_slot(&mut self, session: Option<u64>, now: Instant) -> Option<(SeatKey, S)> {
        // The integral is of the slots that were in use until now.
        self.integrate(now);
        self.slots.take(session, now)
    }

    /// Expected wait of a newcomer, once work times are known and there are slots.
    fn predicted_wait(&self, priority: Priority) -> Option<Duration> {
        let mean_s = self.work_mean_s?;
        let slots = self.slots.open();
        if slots == 0 {
            return None;
        }
        let turns = (self.queue.ahead_of(priority) + 1) as f64 / f64::from(slots);
        Duration::try_from_secs_f64(turns * mean_s).ok()
    }

    fn refuse(&self, reason: RefusalReason) -> Admission<S> {
        Admission::Refused(self.refusal(reason))
    }

    /// The refusal of a waiter that was let go of.
    pub(crate) fn dismissal(&self) -> Refusal {
        self.refusal(RefusalReason::Draining)
    }

    /// Advises to come again when the queue that is there now will have been served.
    pub(crate) fn refusal(&self, reason: RefusalReason) -> Refusal {
        let drain_s = self
            .predicted_wait(Priority::new(7))
            .map_or(0.0, |wait| wait.as_secs_f64());
        Refusal {
            reason,
            retry_after_s: drain_s.clamp(RETRY_AFTER_S.0, RETRY_AFTER_S.1),
        }
    }

    fn integrate(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.integrated_to);
        self.window.busy_slot_s += f64::from(self.slots.busy()) * elapsed.as_secs_f64();
        self.integrated_to = self.integrated_to.max(now);
    }
}

impl Window {
    fn begin(begin: Instant) -> Self {
        Self {
            begin,
            wait: LatencyHistogram::new(),
            work: LatencyHistogram::new(),
            busy_slot_s: 0.0,
        }
    }
}

// Named by its path, so that the benchmark, which includes this file, finds it too.
#[cfg(test)]
#[path = "dispatch/tests.rs"]
mod tests;
