//! Reads a body without ever holding more than it may: each by itself, and all together.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::problem::{Code, Problem};

/// Bounds of bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Most bytes of one body.
    pub(crate) bytes_max: usize,
    /// Longest time that one body may take to arrive.
    pub(crate) read_timeout: Duration,
}

/// Bytes that all bodies of this process may hold together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    used: AtomicUsize,
    max: usize,
}

impl BodyBudget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max,
        })
    }
}

/// A share of the budget; given back when the request ends.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Held {
    fn none(budget: &Arc<BodyBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.budget.max {
            let detail = "as many bytes of bodies are held as may";
            return Err(Problem::new(Code::Overloaded, detail).retry_after(1));
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that has not been read.
pub(crate) struct Coming {
    payload: Payload,
    announced: Option<usize>,
    limits: BodyLimits,
    held: Held,
}

type Chunk = Option<Result<Bytes, PayloadError>>;

impl Coming {
    /// A body that may be read, as far as its announced length tells.
    pub(crate) fn new(
        payload: Payload,
        announced: Option<usize>,
        limits: BodyLimits,
        budget: &Arc<BodyBudget>,
    ) -> Result<Self, Problem> {
        if announced.is_some_and(|bytes| bytes > limits.bytes_max) {
            return Err(too_large(limits));
        }
        Ok(Self {
            payload,
            announced,
            limits,
            held: Held::none(budget),
        })
    }

    /// Waits for the whole body, or says why not.
    pub(crate) async fn read(mut self) -> Result<(Bytes, Held), Problem> {
        let first = self.at_once().await;
        if let Some(Some(Ok(all))) = &first
            && self.announced == Some(all.len())
        {
            self.held.grow(all.len())?;
            return Ok((all.clone(), self.held));
        }
        let limits = self.limits;
        let reading = self.read_patiently(first);
        match tokio::time::timeout(limits.read_timeout, reading).await {
            Ok(Ok((body, _))) if body.len() > limits.bytes_max => Err(too_large(limits)),
            Ok(read) => read,
            Err(_elapsed) => {
                let detail = format!(
                    "the body did not arrive within {} ms",
                    limits.read_timeout.as_millis()
                );
                Err(Problem::new(Code::BodyTimeout, detail))
            }
        }
    }

    /// What came with the head, as the whole body usually does. The connection polls once before
    /// it hands over what it has read, and at once again after it: only who is left with nothing
    /// then is worth a timer.
    async fn at_once(&mut self) -> Option<Chunk> {
        let mut has_looked = false;
        poll_fn(|context| match self.payload.poll_next_unpin(context) {
            Poll::Ready(first) => Poll::Ready(Some(first)),
            Poll::Pending if std::mem::replace(&mut has_looked, true) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    async fn read_patiently(self, first: Option<Chunk>) -> Result<(Bytes, Held), Problem> {
        let Self {
            mut payload,
            announced,
            limits,
            mut held,
        } = self;
        let first = match first {
            Some(first) => first,
            None => payload.next().await,
        };
        let Some(first) = first else {
            return Ok((Bytes::new(), held));
        };
        let first = first.map_err(|e| unreadable(&e))?;
        held.grow(first.len())?;
        if announced == Some(first.len()) {
            return Ok((first, held));
        }
        let mut all = BytesMut::from(first);
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|e| unreadable(&e))?;
            if all.len() + chunk.len() > limits.bytes_max {
                return Err(too_large(limits));
            }
            held.grow(chunk.len())?;
            all.extend_from_slice(&chunk);
        }
        Ok((all.freeze(), held))
    }
}

fn too_large(limits: BodyLimits) -> Problem {
    let detail = format!("a body may have {} bytes here", limits.bytes_max);
    Problem::new(Code::TooLarge, detail)
}

fn unreadable(error: &PayloadError) -> Problem {
    let detail = match error {
        PayloadError::Incomplete(_) => "the body ended before it was complete",
        PayloadError::Overflow => return Problem::new(Code::TooLarge, "the body is too large"),
        _ => "the transfer encoding of the body is broken",
    };
    Problem::new(Code::Malformed, detail)
}
