//! The calls of one link: which are in flight, which have ended, and what is to be written.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;
use tidepool_wire::frame::{Frame, HelloLimits, Request, Response};

use super::{CallEnd, Full, unexpected};
use crate::config::Limits;
use crate::intake::{Partials, TooMuch};
use crate::outbox::Outbox;
use crate::peer::Closed;

/// One call, until its end was looked at.
struct Slot {
    id: u64,
    deadline: Instant,
    /// Bytes that the link will have written before its first one.
    begins_at: u64,
    waker: Option<Waker>,
    end: Option<CallEnd>,
}

/// See the module.
pub(super) struct Calls {
    slots: Slab<Slot>,
    generation: u32,
    limits: Limits,
    outbox: Outbox,
    partials: Partials<Response>,
    /// Whoever waits for a call that has ended.
    ready: Vec<Waker>,
}

impl Calls {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            slots: Slab::new(),
            generation: 0,
            limits,
            outbox: Outbox::default(),
            partials: Partials::new(limits.partial_bytes, limits.message_bytes),
            ready: Vec::new(),
        }
    }

    /// Keeps to what the peer takes.
    pub(super) fn learn(&mut self, theirs: &HelloLimits) {
        let limits = &mut self.limits;
        limits.message_bytes = limits.message_bytes.min(theirs.message_bytes as usize);
        limits.in_flight = limits.in_flight.min(theirs.in_flight as usize);
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether anything is to be looked after.
    pub(super) fn is_busy(&self) -> bool {
        !self.slots.is_empty() || !self.outbox.is_empty()
    }

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Takes a call and encodes it.
    pub(super) fn begin(
        &mut self,
        request: &Request,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<u64, Full> {
        if payload.len() > self.limits.message_bytes {
            return Err(Full::TooLarge);
        }
        if self.slots.len() >= self.limits.in_flight {
            return Err(Full::InFlight);
        }
        if self.outbox.queued_bytes() + payload.len() > self.limits.queued_bytes {
            return Err(Full::Bytes);
        }
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        // The key fits: there are at most `in_flight` slots.
        let id = u64::from(self.generation) << 32 | entry.key() as u64;
        entry.insert(Slot {
            id,
            deadline,
            begins_at: self.outbox.position(),
            waker: None,
            end: None,
        });
        self.outbox.push_request(id, request, payload);
        Ok(id)
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let key = (id & u64::from(u32::MAX)) as usize;
        self.slots.get_mut(key).filter(|slot| slot.id == id)
    }

    /// The end of a call, which is forgotten with it.
    pub(super) fn poll(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<CallEnd> {
        let Some(slot) = self.slot(id) else {
            return Poll::Ready(CallEnd::Lost { sent: true });
        };
        if let Some(end) = slot.end.take() {
            self.slots.remove((id & u64::from(u32::MAX)) as usize);
            return Poll::Ready(end);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Forgets a call that nobody waits for; the peer is told if it is still at it.
    pub(super) fn cancel(&mut self, id: u64) {
        let Some(has_ended) = self.slot(id).map(|slot| slot.end.is_some()) else {
            return;
        };
        self.slots.remove((id & u64::from(u32::MAX)) as usize);
        if !has_ended {
            self.give_up(id);
        }
    }

    fn give_up(&mut self, id: u64) {
        self.partials.forget(id);
        self.outbox.drop_bulk(id);
        self.outbox.push(&Frame::Cancel { id });
    }

    fn end(&mut self, id: u64, end: CallEnd) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        if slot.end.is_none() {
            slot.end = Some(end);
            let waker = slot.waker.take();
            self.ready.extend(waker);
        }
    }

    fn was_sent(&self, slot: &Slot) -> bool {
        self.outbox.written() > slot.begins_at
    }

    /// Ends the calls whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        let passed: Vec<(u64, bool)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.end.is_none() && slot.deadline <= now)
            .map(|(_, slot)| (slot.id, self.was_sent(slot)))
            .collect();
        for (id, sent) in passed {
            self.end(id, CallEnd::Expired { sent });
            self.give_up(id);
        }
    }

    /// Ends all calls: there is no link any more.
    pub(super) fn lose_all(&mut self) {
        let open: Vec<(u64, bool)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.end.is_none())
            .map(|(_, slot)| (slot.id, self.was_sent(slot)))
            .collect();
        for (id, sent) in open {
            self.end(id, CallEnd::Lost { sent });
        }
        self.outbox = Outbox::default();
        self.partials = Partials::new(0, 0);
    }

    /// Those to wake, after the state was let go.
    pub(super) fn take_ready(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.ready)
    }

    /// A frame of the peer.
    pub(super) fn take(&mut self, frame: Frame) -> Result<(), Closed> {
        match frame {
            Frame::Response {
                id,
                response,
                payload,
                more,
            } if more => {
                // Somebody may have given it up meanwhile.
                if self.slot(id).is_some_and(|slot| slot.end.is_none()) {
                    let begun = self.partials.begin(id, response, &payload);
                    self.judge(id, begun);
                }
            }
            Frame::Response {
                id,
                response,
                payload,
                ..
            } => {
                self.end(id, CallEnd::Answered(response, payload));
            }
            Frame::Chunk { id, payload, more } => match self.partials.add(id, &payload, more) {
                Ok(Some((response, payload))) => {
                    self.end(id, CallEnd::Answered(response, payload));
                }
                Ok(None) => {}
                Err(too_much) => self.judge(id, Err(too_much)),
            },
            Frame::Reject { id, reject } => {
                // It may have been refused before the whole of it was sent.
                self.outbox.drop_bulk(id);
                self.end(id, CallEnd::Rejected(reject));
            }
            frame => return Err(unexpected(&frame)),
        }
        Ok(())
    }

    /// An answer that is more than there is room for is as good as lost.
    fn judge(&mut self, id: u64, grown: Result<(), TooMuch>) {
        if grown.is_err() {
            self.end(id, CallEnd::Lost { sent: true });
            self.give_up(id);
        }
    }
}
