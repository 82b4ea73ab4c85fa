//! What waits to be written: frames one after another, and large payloads of which one piece at a
//! time goes between them. Counts every byte, so that a call knows whether any of it was sent.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidepool_wire::frame::{
    CHUNK_BYTES, Frame, Request, Response, put_chunk, put_request, put_response,
};

use crate::transport::Io;

/// The next piece of a large payload is put in when less than this waits, in bytes: so a small
/// frame stands behind one piece at most.
const REFILL_BELOW_BYTES: usize = 16 * 1024;
/// Writes of one turn, each of a piece; then the other tasks of the thread get theirs.
const WRITES_MAX: usize = 8;
/// Room that is kept when all was written, in bytes.
const KEPT_BYTES: usize = 256 * 1024;

/// A large payload on its way.
#[derive(Debug)]
struct Bulk {
    id: u64,
    rest: Bytes,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    out: Vec<u8>,
    /// Where in `out` begins what was not written yet.
    begin: usize,
    bulk: VecDeque<Bulk>,
    bulk_bytes: usize,
    written: u64,
    /// Whether the socket may hold back some of what it was given, as TLS does.
    is_held_back: bool,
}

impl Outbox {
    /// Bytes that wait here, all in all.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.out.len() - self.begin + self.bulk_bytes
    }

    /// Whether everything has left this process.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued_bytes() == 0 && !self.is_held_back
    }

    /// Bytes written since the link began.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that will have been written before the next frame that is pushed.
    pub(crate) fn position(&self) -> u64 {
        self.written + (self.out.len() - self.begin) as u64
    }

    pub(crate) fn push(&mut self, frame: &Frame) {
        frame.put(&mut self.out);
    }

    pub(crate) fn push_request(&mut self, id: u64, request: &Request, payload: Bytes) {
        if payload.len() <= CHUNK_BYTES {
            put_request(&mut self.out, id, request, &payload, false);
        } else {
            put_request(&mut self.out, id, request, &[], true);
            self.push_bulk(id, payload);
        }
    }

    pub(crate) fn push_response(&mut self, id: u64, response: &Response, payload: Bytes) {
        if payload.len() <= CHUNK_BYTES {
            put_response(&mut self.out, id, response, &payload, false);
        } else {
            put_response(&mut self.out, id, response, &[], true);
            self.push_bulk(id, payload);
        }
    }

    fn push_bulk(&mut self, id: u64, rest: Bytes) {
        self.bulk_bytes += rest.len();
        self.bulk.push_back(Bulk { id, rest });
    }

    /// Sends no more of a payload; the peer must be told that the message ends.
    pub(crate) fn drop_bulk(&mut self, id: u64) {
        self.bulk.retain(|bulk| bulk.id != id);
        self.bulk_bytes = self.bulk.iter().map(|bulk| bulk.rest.len()).sum();
    }

    /// What is to be written now.
    fn pending(&mut self) -> &[u8] {
        if self.out.len() - self.begin < REFILL_BELOW_BYTES
            && let Some(mut bulk) = self.bulk.pop_front()
        {
            let piece = bulk.rest.split_to(bulk.rest.len().min(CHUNK_BYTES));
            self.bulk_bytes -= piece.len();
            put_chunk(&mut self.out, bulk.id, &piece, !bulk.rest.is_empty());
            // The others come first next time.
            if !bulk.rest.is_empty() {
                self.bulk.push_back(bulk);
            }
        }
        &self.out[self.begin..]
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.begin += bytes;
        if self.begin == self.out.len() {
            self.out.clear();
            self.out.shrink_to(KEPT_BYTES);
            self.begin = 0;
        } else if self.begin > KEPT_BYTES {
            self.out.drain(..self.begin);
            self.begin = 0;
        }
    }

    /// Writes until nothing is left or the socket takes no more. The usual batch is one write.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut dyn Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut io = Pin::new(io);
        for _ in 0..WRITES_MAX {
            let pending = self.pending();
            if pending.is_empty() {
                if self.is_held_back {
                    ready!(io.poll_flush(cx))?;
                    self.is_held_back = false;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(io.as_mut().poll_write(cx, pending))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.wrote(bytes),
            }
            self.is_held_back = true;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether a peer has stopped reading, told by looks from time to time.
#[derive(Debug)]
pub(crate) struct StallWatch {
    patience: Duration,
    written: u64,
    since: Instant,
}

impl StallWatch {
    pub(crate) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            written: 0,
            since: now,
        }
    }

    /// Whether something has waited for longer than the patience and nothing was written.
    pub(crate) fn is_stalled(&mut self, outbox: &Outbox, now: Instant) -> bool {
        if outbox.is_empty() || outbox.written() != self.written {
            self.written = outbox.written();
            self.since = now;
            return false;
        }
        now.saturating_duration_since(self.since) > self.patience
    }
}

#[cfg(test)]
mod tests;
