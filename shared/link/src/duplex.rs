//! One connection driven by polls: frames in, an outbox out, and one coarse look at the clock
//! while there is something to look after.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidepool_wire::frame::Frame;
use tokio::time::Sleep;

use crate::config::LinkConfig;
use crate::intake::Intake;
use crate::outbox::{Outbox, StallWatch};
use crate::peer::Closed;
use crate::transport::Io;

/// Reads of one turn; then the other tasks of the thread get theirs.
const READS_MAX: usize = 16;

/// See the module.
pub(crate) struct Duplex {
    io: Box<dyn Io>,
    intake: Intake,
    stall: StallWatch,
    stall_patience: Duration,
}

impl Duplex {
    pub(crate) fn new(io: Box<dyn Io>, intake: Intake, config: &LinkConfig) -> Self {
        Self {
            io,
            intake,
            stall: StallWatch::new(config.patience.stall, Instant::now()),
            stall_patience: config.patience.stall,
        }
    }

    /// Takes frames until none is left, or `take` wants no more for now; those that came already
    /// wait here then. An error ends the link.
    pub(crate) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Frame) -> Result<ControlFlow<()>, Closed>,
    ) -> Result<(), Closed> {
        for _ in 0..READS_MAX {
            // Before the first read: frames may have come together with the greeting.
            while let Some(frame) = self.intake.next()? {
                if take(frame)?.is_break() {
                    return Ok(());
                }
            }
            match self.intake.poll_read(&mut *self.io, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(Closed::Eof),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes what the socket takes.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), Closed> {
        match outbox.poll_flush(&mut *self.io, cx) {
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Ends the link of a peer that does not read.
    pub(crate) fn look(&mut self, outbox: &Outbox, now: Instant) -> Result<(), Closed> {
        match self.stall.is_stalled(outbox, now) {
            true => Err(Closed::Stalled(self.stall_patience)),
            false => Ok(()),
        }
    }

    pub(crate) fn into_io(self) -> Box<dyn Io> {
        self.io
    }
}

/// Fires once per period while somebody is busy; costs nothing otherwise.
pub(crate) struct Sweep {
    period: Duration,
    sleep: Pin<Box<Sleep>>,
    is_armed: bool,
}

impl Sweep {
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            sleep: Box::pin(tokio::time::sleep(period)),
            is_armed: false,
        }
    }

    /// The instant, when the time has come to look. To be asked again after a look.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, is_busy: bool) -> Option<Instant> {
        if !self.is_armed {
            if !is_busy {
                return None;
            }
            self.sleep
                .as_mut()
                .reset(tokio::time::Instant::now() + self.period);
            self.is_armed = true;
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Pending => None,
            Poll::Ready(()) => {
                self.is_armed = false;
                Some(Instant::now())
            }
        }
    }
}
