//! Which request gets which slot: the slot table and the queue of one pool, with time passed in.
//!
//! Slots pull. A request is bound to a worker only when a slot of that worker is free, so there
//! is never a guess to repair. Free slots are handed out round robin, the one idle the longest
//! first.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tidepool_core::{Deadline, LatencyHistogram, Priority};

use crate::queue::{WaitQueue, Waiter, WaiterKey};

/// Weight of the newest work time in its moving average.
const WORK_WEIGHT: f64 = 0.05;
/// Shortest and longest advice when to come again.
const RETRY_AFTER_S: (f64, f64) = (1.0, 30.0);

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    pub(crate) len_max: usize,
    pub(crate) bytes_max: usize,
}

/// What a request brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) priority: Priority,
    pub(crate) bytes: usize,
    pub(crate) deadline: Deadline,
    /// Requests of one session prefer one worker.
    pub(crate) session: Option<u64>,
}

/// Names a seat in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SeatKey(u64);

/// Why a request is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RefusalReason {
    /// Too many requests wait.
    QueueFull,
    /// Too many bytes wait.
    QueueBytesFull,
    /// It would wait longer than its deadline allows.
    WouldMissDeadline,
    /// The process is going away.
    Draining,
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

#[derive(Debug)]
struct SeatEntry<S> {
    payload: S,
    slots: u32,
    busy: u32,
    leaving: bool,
    /// Entries of this seat in the ring of free slots; at least `slots - busy`.
    hints: u32,
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
    seats: BTreeMap<SeatKey, SeatEntry<S>>,
    ring: VecDeque<SeatKey>,
    queue: WaitQueue<T>,
    next_seat: u64,
    busy: u32,
    slots: u32,
    closed: bool,
    work_mean_s: Option<f64>,
    window: Window,
    integrated_to: Instant,
}

impl<S: Clone, T> Dispatch<S, T> {
    pub(crate) fn new(limits: QueueLimits, now: Instant) -> Self {
        Self {
            limits,
            seats: BTreeMap::new(),
            ring: VecDeque::new(),
            queue: WaitQueue::new(),
            next_seat: 0,
            busy: 0,
            slots: 0,
            closed: false,
            work_mean_s: None,
            window: Window::begin(now),
            integrated_to: now,
        }
    }

    /// Adds a seat. Waiters are not told here: call [`Self::next_handover`] until there is none.
    pub(crate) fn join(&mut self, payload: S, slots: u32) -> SeatKey {
        let key = SeatKey(self.next_seat);
        self.next_seat += 1;
        let entry = SeatEntry {
            payload,
            slots,
            busy: 0,
            leaving: false,
            hints: slots,
        };
        self.seats.insert(key, entry);
        self.slots += slots;
        self.ring.extend((0..slots).map(|_| key));
        key
    }

    /// Takes a seat out; its slots in use stay so until they are released.
    pub(crate) fn leave(&mut self, key: SeatKey) {
        let Some(entry) = self.seats.get_mut(&key) else {
            return;
        };
        if !entry.leaving {
            entry.leaving = true;
            self.slots -= entry.slots;
            self.ring.retain(|k| *k != key);
        }
        if entry.busy == 0 {
            self.seats.remove(&key);
        }
    }

    /// Lets nothing new in; what waits is still served.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Slots in use of the seats that `belongs` picks.
    pub(crate) fn busy_of(&self, belongs: impl Fn(&S) -> bool) -> u32 {
        self.seats
            .values()
            .filter(|e| belongs(&e.payload))
            .map(|e| e.busy)
            .sum()
    }

    /// The seats that have not left and that `belongs` picks.
    pub(crate) fn seats_of(&self, belongs: impl Fn(&S) -> bool) -> Vec<SeatKey> {
        let joined = self
            .seats
            .iter()
            .filter(|(_, e)| !e.leaving && belongs(&e.payload));
        joined.map(|(key, _)| *key).collect()
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
            return Admission::Slot(key, payload);
        }
        if self.queue.len() >= self.limits.len_max {
            return self.refuse(RefusalReason::QueueFull);
        }
        if self.queue.bytes().saturating_add(ask.bytes) > self.limits.bytes_max {
            return self.refuse(RefusalReason::QueueBytesFull);
        }
        if self
            .predicted_wait(ask.priority)
            .is_some_and(|wait| wait > ask.deadline.remaining(now))
        {
            return self.refuse(RefusalReason::WouldMissDeadline);
        }
        let waiter = Waiter {
            token: token(),
            since: now,
            deadline: ask.deadline,
            bytes: ask.bytes,
        };
        Admission::Queued(self.queue.push(ask.priority, waiter))
    }

    /// Closes, and lets go of everybody who waits: their tokens are dropped, which tells them.
    pub(crate) fn dismiss(&mut self) {
        self.closed = true;
        while self.queue.pop().is_some() {}
    }

    /// Forgets a waiter that gave up. `false` when it had been handed a slot already.
    pub(crate) fn cancel(&mut self, key: WaiterKey) -> bool {
        self.queue.remove(key).is_some()
    }

    /// Takes back a slot after it was held for `held`, and passes it on.
    pub(crate) fn release(&mut self, key: SeatKey, held: Duration, now: Instant) -> Released<S, T> {
        self.window.work.record(held);
        let held_s = held.as_secs_f64();
        let mean = self.work_mean_s.get_or_insert(held_s);
        *mean += WORK_WEIGHT * (held_s - *mean);
        self.release_unused(key, now)
    }

    /// Takes back a slot that nobody used.
    pub(crate) fn release_unused(&mut self, key: SeatKey, now: Instant) -> Released<S, T> {
        self.integrate(now);
        let Some(entry) = self.seats.get_mut(&key) else {
            return Released::Free;
        };
        entry.busy -= 1;
        self.busy -= 1;
        if entry.leaving {
            if entry.busy > 0 {
                return Released::Free;
            }
            return match self.seats.remove(&key) {
                Some(entry) => Released::SeatIdle(entry.payload),
                None => Released::Free,
            };
        }
        if entry.hints < entry.slots - entry.busy {
            entry.hints += 1;
            self.ring.push_back(key);
        }
        self.next_handover(now)
            .map_or(Released::Free, Released::Next)
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
                self.window
                    .wait
                    .record(now.saturating_duration_since(waiter.since));
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
        self.busy
    }

    /// Slots of the seats that take new work.
    pub(crate) fn ready_slots(&self) -> u32 {
        self.slots
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
        let key = match session.and_then(|session| self.preferred(session)) {
            Some(key) => key,
            None => self.next_in_ring()?,
        };
        self.integrate(now);
        let entry = self.seats.get_mut(&key)?;
        entry.busy += 1;
        self.busy += 1;
        Some((key, entry.payload.clone()))
    }

    /// The seat whose free slot has waited longest. An entry of the ring is a hint only: a
    /// session may have taken the slot that it stood for.
    fn next_in_ring(&mut self) -> Option<SeatKey> {
        while let Some(key) = self.ring.pop_front() {
            if let Some(entry) = self.seats.get_mut(&key) {
                entry.hints -= 1;
                if !entry.leaving && entry.busy < entry.slots {
                    return Some(key);
                }
            }
        }
        None
    }

    /// The seat of a session by rendezvous hashing, if it has a free slot: few sessions move
    /// when seats come and go.
    fn preferred(&self, session: u64) -> Option<SeatKey> {
        let joined = self.seats.iter().filter(|(_, entry)| !entry.leaving);
        let (key, entry) = joined.max_by_key(|(key, _)| mix(session ^ mix(key.0)))?;
        (entry.busy < entry.slots).then_some(*key)
    }

    /// Expected wait of a newcomer, once work times are known and there are slots.
    fn predicted_wait(&self, priority: Priority) -> Option<Duration> {
        let mean_s = self.work_mean_s?;
        if self.slots == 0 {
            return None;
        }
        let turns = (self.queue.ahead_of(priority) + 1) as f64 / f64::from(self.slots);
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
    fn refusal(&self, reason: RefusalReason) -> Refusal {
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
        self.window.busy_slot_s += f64::from(self.busy) * elapsed.as_secs_f64();
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

/// Finalizer of splitmix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

// Named by its path, so that the benchmark, which includes this file, finds it too.
#[cfg(test)]
#[path = "dispatch/tests.rs"]
mod tests;
