//! The slots of a pool: which seats there are, how many slots of each may be taken, and which
//! free one is next.
//!
//! Seats with a free slot stand in a ring, each once, and take turns. Of the next two, the one
//! that promises the later answer lets the other go first ("the power of two choices" with a
//! moving average of work times as cost, as in Finagle's peak EWMA, times a penalty for failures):
//! a seat that is slow or fails is spared before it is put out by [`crate::health`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::health::{SeatHealth, Verdict};

/// A seat lets the next one go first when its cost is more than this many times higher.
const WORSE_FACTOR: f64 = 1.5;
/// Seats fail alike when the shares of their failures differ by less than this factor.
const ALIKE_FACTOR: f64 = 3.0;
/// A seat that had no request for so long has its turn whatever is remembered of it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// How often seats are compared with their peers.
const JUDGE_INTERVAL: Duration = Duration::from_millis(250);

/// Names a seat in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SeatKey(u64);

/// What follows from giving a slot back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Returned<S> {
    /// It may be taken again.
    Free,
    /// It is gone, because its seat left or offers less now.
    Gone,
    /// It was the last slot in use of a seat that left.
    SeatIdle(S),
}

/// Why a seat is put out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Failures,
    Slowness,
}

impl Cause {
    /// What operators read.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Slowness => "slowness",
        }
    }

    /// How many seats may be out beside so many others: half of them. Of two, one that fails: its
    /// work is worth nothing. One that is slow does some, and its cost lets the other go first.
    fn out_max(self, others: usize) -> usize {
        match self {
            Self::Failures => (others / 2).max(1),
            Self::Slowness => others / 2,
        }
    }
}

/// A seat that was put out.
#[derive(Debug)]
pub(crate) struct PutOut<S> {
    pub(crate) payload: S,
    pub(crate) cause: Cause,
}

#[derive(Debug)]
struct Seat<S> {
    payload: S,
    /// Slots on offer.
    slots: u32,
    /// Those that may be taken now; fewer while the seat is on probation.
    open: u32,
    busy: u32,
    leaving: bool,
    /// Did not take a request, and has not shown since that it would.
    doubted: bool,
    in_ring: bool,
    /// What sessions are hashed with.
    mark: u64,
    taken_at: Instant,
    health: SeatHealth,
}

impl<S> Seat<S> {
    /// Whether it has slots at all.
    fn is_there(&self) -> bool {
        !self.leaving && self.slots > 0
    }

    fn is_free(&self) -> bool {
        !self.leaving && self.busy < self.open
    }

    /// Whether it has slots and nothing speaks against it.
    fn serves(&self) -> bool {
        self.is_there() && !self.doubted && self.health.is_in()
    }

    /// What the next request would cost here, if its work takes `work_s`.
    fn cost(&self, work_s: f64, now: Instant) -> f64 {
        let turns = f64::from(self.busy + 1) / f64::from(self.open.max(1));
        work_s * turns * self.health.penalty(now)
    }
}

/// The table. `S` is what a seat carries.
#[derive(Debug)]
pub(crate) struct SlotTable<S> {
    seats: BTreeMap<SeatKey, Seat<S>>,
    ring: VecDeque<SeatKey>,
    next_seat: u64,
    busy: u32,
    open: u32,
    /// Median work time of the seats.
    typical_s: Option<f64>,
    judged: Instant,
}

impl<S: Clone> SlotTable<S> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            seats: BTreeMap::new(),
            ring: VecDeque::new(),
            next_seat: 0,
            busy: 0,
            open: 0,
            typical_s: None,
            judged: now,
        }
    }

    /// Adds a seat. Sessions prefer seats by `mark`, which tells the same seat in every process.
    pub(crate) fn join(&mut self, payload: S, slots: u32, mark: u64, now: Instant) -> SeatKey {
        let key = SeatKey(self.next_seat);
        self.next_seat += 1;
        let seat = Seat {
            payload,
            slots,
            open: 0,
            busy: 0,
            leaving: false,
            doubted: false,
            in_ring: false,
            mark,
            taken_at: now,
            health: SeatHealth::new(now),
        };
        self.seats.insert(key, seat);
        self.refresh(key, now);
        key
    }

    /// Changes how many slots a seat offers. Those in use beyond that are let go as they end.
    pub(crate) fn resize(&mut self, key: SeatKey, slots: u32, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&key) {
            seat.slots = slots;
            self.refresh(key, now);
        }
    }

    /// Hands a seat nothing until [`Self::trust`].
    pub(crate) fn doubt(&mut self, key: SeatKey, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&key) {
            seat.doubted = true;
            self.refresh(key, now);
        }
    }

    /// Ends the doubt about the seats that `belongs` picks; whether there was any.
    pub(crate) fn trust(&mut self, belongs: impl Fn(&S) -> bool, now: Instant) -> bool {
        let doubted = self.seats.iter_mut().filter(|(_, seat)| seat.doubted);
        let trusted = doubted.filter(|(_, seat)| belongs(&seat.payload));
        let trusted: Vec<SeatKey> = trusted
            .map(|(key, seat)| {
                seat.doubted = false;
                *key
            })
            .collect();
        trusted.iter().for_each(|key| self.refresh(*key, now));
        !trusted.is_empty()
    }

    /// Takes a seat out; its slots in use stay so until they are given back.
    pub(crate) fn leave(&mut self, key: SeatKey) {
        let Some(seat) = self.seats.get_mut(&key) else {
            return;
        };
        seat.leaving = true;
        self.open -= std::mem::take(&mut seat.open);
        if std::mem::take(&mut seat.in_ring) {
            self.ring.retain(|waiting| *waiting != key);
        }
        if seat.busy == 0 {
            self.seats.remove(&key);
        }
    }

    /// Takes a free slot: of the seat that the session prefers if it has one, else of the next.
    pub(crate) fn take(&mut self, session: Option<u64>, now: Instant) -> Option<(SeatKey, S)> {
        let key = match session.and_then(|session| self.preferred(session, now)) {
            Some(key) => key,
            None => self.next_in_ring(now)?,
        };
        let seat = self.seats.get_mut(&key)?;
        seat.busy += 1;
        seat.taken_at = now;
        self.busy += 1;
        let payload = seat.payload.clone();
        self.enlist(key);
        Some((key, payload))
    }

    /// Gives a slot back.
    pub(crate) fn give_back(&mut self, key: SeatKey) -> Returned<S> {
        let Some(seat) = self.seats.get_mut(&key) else {
            return Returned::Gone;
        };
        seat.busy -= 1;
        self.busy -= 1;
        if seat.leaving {
            if seat.busy > 0 {
                return Returned::Gone;
            }
            return match self.seats.remove(&key) {
                Some(seat) => Returned::SeatIdle(seat.payload),
                None => Returned::Gone,
            };
        }
        let is_free = seat.is_free();
        self.enlist(key);
        if is_free {
            Returned::Free
        } else {
            Returned::Gone
        }
    }

    /// Takes in how a request ended on a seat. Tells of the seat if that puts it out.
    pub(crate) fn judge(
        &mut self,
        key: SeatKey,
        held: Duration,
        verdict: Verdict,
        now: Instant,
    ) -> Option<PutOut<S>> {
        let seat = self.seats.get_mut(&key)?;
        let is_bad = seat.health.ended(held, verdict, self.typical_s, now);
        is_bad
            .then(|| self.put_out(key, Cause::Failures, now))
            .flatten()
    }

    /// Lets time pass: brings seats back and puts those out that are far slower than the others or fail
    /// far more often.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<PutOut<S>> {
        if now.saturating_duration_since(self.judged) < JUDGE_INTERVAL {
            return Vec::new();
        }
        self.judged = now;
        self.typical_s = self.median_work_s();
        let keys: Vec<SeatKey> = self.seats.keys().copied().collect();
        let mut out = Vec::new();
        for key in keys {
            let Some(seat) = self.seats.get_mut(&key) else {
                continue;
            };
            seat.health.tick(now);
            let is_slow = self.typical_s.is_some_and(|s| seat.health.is_outlier(s));
            let is_failing = seat.health.is_failing(now);
            if is_failing {
                out.extend(self.put_out(key, Cause::Failures, now));
            } else if is_slow {
                out.extend(self.put_out(key, Cause::Slowness, now));
            }
            self.refresh(key, now);
        }
        if self.open == 0 {
            self.readmit(now);
        }
        out
    }

    /// Brings back whoever was put out: those who were better have left meanwhile.
    fn readmit(&mut self, now: Instant) {
        let keys: Vec<SeatKey> = self.seats.keys().copied().collect();
        for key in keys {
            if let Some(seat) = self.seats.get_mut(&key) {
                seat.health = SeatHealth::new(now);
                self.refresh(key, now);
            }
        }
    }

    /// Slots in use of the seats that `belongs` picks.
    pub(crate) fn busy_of(&self, belongs: impl Fn(&S) -> bool) -> u32 {
        self.seats
            .values()
            .filter(|seat| belongs(&seat.payload))
            .map(|seat| seat.busy)
            .sum()
    }

    /// The seats that have not left and that `belongs` picks.
    pub(crate) fn seats_of(&self, belongs: impl Fn(&S) -> bool) -> Vec<SeatKey> {
        let joined = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.leaving && belongs(&seat.payload));
        joined.map(|(key, _)| *key).collect()
    }

    pub(crate) fn busy(&self) -> u32 {
        self.busy
    }

    /// Whether there is anybody who has slots and stays.
    pub(crate) fn has_seats(&self) -> bool {
        self.seats.values().any(Seat::is_there)
    }

    /// Slots that may be taken or are.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Puts a seat out, unless that would be the last that serves or more than half of its peers, or
    /// all fail alike: then it is the requests, and fewer seats would not help.
    fn put_out(&mut self, key: SeatKey, cause: Cause, now: Instant) -> Option<PutOut<S>> {
        let joined = self.seats.iter().filter(|(_, seat)| seat.is_there());
        let others = joined.clone().filter(|(other, _)| **other != key);
        let out = joined.filter(|(_, seat)| !seat.health.is_in()).count();
        let seat = self.seats.get(&key)?;
        if seat.health.is_in() {
            let failing = seat.health.failing(now);
            let is_better = |other: &Seat<S>| {
                let is_alike =
                    cause == Cause::Failures && ALIKE_FACTOR * other.health.failing(now) > failing;
                other.serves() && !is_alike
            };
            let has_better = others.clone().any(|(_, other)| is_better(other));
            if !has_better || out + 1 > cause.out_max(others.count()) {
                return None;
            }
        }
        let seat = self.seats.get_mut(&key)?;
        // The low bits of a hash are as good as chance here, and come out the same in a replay.
        let jitter = (mix(seat.mark ^ self.next_seat) % 1_000) as f64 / 1_000.0;
        seat.health.put_out(jitter, now);
        let payload = seat.payload.clone();
        self.refresh(key, now);
        Some(PutOut { payload, cause })
    }

    /// Brings what may be taken of a seat up to date.
    fn refresh(&mut self, key: SeatKey, now: Instant) {
        let Some(seat) = self.seats.get_mut(&key).filter(|seat| !seat.leaving) else {
            return;
        };
        let offered = if seat.doubted { 0 } else { seat.slots };
        let open = seat.health.open_slots(offered, now);
        self.open = self.open - std::mem::replace(&mut seat.open, open) + open;
        self.enlist(key);
    }

    /// Puts a seat into the ring if it has a free slot and is not there.
    fn enlist(&mut self, key: SeatKey) {
        if let Some(seat) = self.seats.get_mut(&key)
            && seat.is_free()
            && !std::mem::replace(&mut seat.in_ring, true)
        {
            self.ring.push_back(key);
        }
    }

    /// Takes the next seat out of the ring.
    fn next_in_ring(&mut self, now: Instant) -> Option<SeatKey> {
        let first = self.pop_free()?;
        if self.ring.is_empty() {
            return Some(first);
        }
        let Some(second) = self.pop_free() else {
            return Some(first);
        };
        let (next, other) = if self.is_worse(first, second, now) {
            // The one that was passed over has its turn after the others.
            self.ring.push_back(first);
            (second, first)
        } else {
            self.ring.push_front(second);
            (first, second)
        };
        if let Some(seat) = self.seats.get_mut(&other) {
            seat.in_ring = true;
        }
        Some(next)
    }

    /// The first seat in the ring that has a free slot; forgets those before it, which have none
    /// and come back with their next one.
    fn pop_free(&mut self) -> Option<SeatKey> {
        while let Some(key) = self.ring.pop_front() {
            if let Some(seat) = self.seats.get_mut(&key) {
                seat.in_ring = false;
                if seat.is_free() {
                    return Some(key);
                }
            }
        }
        None
    }

    fn is_worse(&self, first: SeatKey, second: SeatKey, now: Instant) -> bool {
        let (Some(first), Some(second)) = (self.seats.get(&first), self.seats.get(&second)) else {
            return false;
        };
        if now.saturating_duration_since(first.taken_at) >= FORGOTTEN_AFTER {
            return false;
        }
        // Who is not known yet is as good as the other.
        let (own, other) = (first.health.work_s(), second.health.work_s());
        let own_s = own.or(other).unwrap_or(1.0);
        let other_s = other.or(own).unwrap_or(1.0);
        first.cost(own_s, now) > WORSE_FACTOR * second.cost(other_s, now)
    }

    /// The seat of a session by rendezvous hashing, if it has a free slot and does not fail: few
    /// sessions move when seats come and go.
    fn preferred(&self, session: u64, now: Instant) -> Option<SeatKey> {
        let joined = self.seats.iter().filter(|(_, seat)| seat.is_there());
        let (key, seat) = joined.max_by_key(|(_, seat)| mix(session ^ mix(seat.mark)))?;
        (seat.is_free() && !seat.health.is_shunned(now)).then_some(*key)
    }

    fn median_work_s(&self) -> Option<f64> {
        let times = self.seats.values().filter(|seat| !seat.leaving);
        let mut times: Vec<f64> = times
            .filter_map(|seat| seat.health.settled_work_s())
            .collect();
        let middle = times.len().checked_sub(1)? / 2;
        let (_, median, _) = times.select_nth_unstable_by(middle, f64::total_cmp);
        Some(*median)
    }
}

/// Finalizer of splitmix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

// Named by its path, so that the benchmark, which includes this file, finds it too.
#[cfg(test)]
#[path = "slots/failing.rs"]
mod failing;
#[cfg(test)]
#[path = "slots/tests.rs"]
mod tests;
