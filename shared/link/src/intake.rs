//! What was read: cut into frames, and payloads in pieces put together within a bound.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tidepool_wire::frame::{Frame, take_frame};

use crate::peer::Closed;
use crate::transport::Io;

/// Room that a read gets, in bytes. A payload that somebody holds on to holds this much.
const READ_BYTES: usize = 32 * 1024;
/// Least room that is worth a read, in bytes.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes that came and are no complete frame yet.
pub(crate) struct Intake {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl Intake {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            frame_bytes_max,
        }
    }

    /// Accepts longer frames from now on.
    pub(crate) fn widen(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The next complete frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Closed> {
        let raw = take_frame(&mut self.buffer, self.frame_bytes_max)?;
        Ok(raw.map(|raw| raw.parse()).transpose()?)
    }

    /// Reads once; 0 bytes are the end.
    pub(crate) fn poll_read(
        &mut self,
        io: &mut dyn Io,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        let read = ready!(tokio_util::io::poll_read_buf(
            Pin::new(io),
            cx,
            &mut self.buffer
        ));
        Poll::Ready(read)
    }
}

/// There is no room for a further piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooMuch;

/// Messages of which the payload has come in part.
pub(crate) struct Partials<T> {
    messages: HashMap<u64, (T, BytesMut)>,
    bytes: usize,
    bytes_max: usize,
    message_bytes_max: usize,
}

impl<T> Partials<T> {
    pub(crate) fn new(bytes_max: usize, message_bytes_max: usize) -> Self {
        Self {
            messages: HashMap::new(),
            bytes: 0,
            bytes_max,
            message_bytes_max,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.messages.contains_key(&id)
    }

    /// A message whose further pieces will come.
    pub(crate) fn begin(&mut self, id: u64, head: T, piece: &Bytes) -> Result<(), TooMuch> {
        self.forget(id);
        self.messages.insert(id, (head, BytesMut::new()));
        self.grow(id, piece)
    }

    /// A further piece. Answers the message when it was the last one, and nothing when the
    /// message is not known (any more).
    pub(crate) fn add(
        &mut self,
        id: u64,
        piece: &Bytes,
        more: bool,
    ) -> Result<Option<(T, Bytes)>, TooMuch> {
        self.grow(id, piece)?;
        if more {
            return Ok(None);
        }
        Ok(self.forget(id).map(|(head, body)| (head, body.freeze())))
    }

    fn grow(&mut self, id: u64, piece: &Bytes) -> Result<(), TooMuch> {
        let Some((_, body)) = self.messages.get_mut(&id) else {
            return Ok(());
        };
        if body.len() + piece.len() > self.message_bytes_max
            || self.bytes + piece.len() > self.bytes_max
        {
            self.forget(id);
            return Err(TooMuch);
        }
        self.bytes += piece.len();
        body.extend_from_slice(piece);
        Ok(())
    }

    pub(crate) fn forget(&mut self, id: u64) -> Option<(T, BytesMut)> {
        let message = self.messages.remove(&id)?;
        self.bytes -= message.1.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests;
