//! The task that connects the feeds of several processes over the store. Followers read the stream
//! `events` and append their own events to `events/in`; the leader takes them from there and gives
//! them ids. It trims what it has stored, so a new leader goes on at the first that is left, and an
//! event comes at least once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidepool_core::{Event, EventId};
use tidepool_store::{Epoch, Log, Position, Records, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::announce::{Order, Seen};
use crate::archive::Scan;
use crate::entry::read_unnumbered;
use crate::{Role, Shared};

/// Events of followers on their way to the leader.
const STREAM_IN: &str = "events/in";
/// Events in [`STREAM_IN`] at most, while nobody leads; it may be longer by [`TRIM_EVERY`] a
/// follower.
const STREAM_IN_LEN_MAX: u64 = 10_000;
/// A follower looks after the length of [`STREAM_IN`] after so many events.
const TRIM_EVERY: u64 = 256;
/// Events moved at a time.
const BATCH_LEN_MAX: usize = 256;
/// Batches moved in a round.
const BATCHES_MAX: usize = 16;
/// Time between rounds.
const ROUND_EVERY: Duration = Duration::from_millis(200);
/// The leader waits so long for a batch to be stored before it does something else.
const STORED_WITHIN: Duration = Duration::from_secs(1);
/// Tries to pass on the last events after all handles are gone.
const LAST_TRIES_MAX: u32 = 3;

/// What handles ask of this task.
pub(crate) enum Command {
    /// Give ids from now on.
    Lead(Epoch, oneshot::Sender<Result<(), StoreError>>),
    /// Give ids no longer.
    Follow(oneshot::Sender<Result<(), StoreError>>),
}

pub(crate) struct Exchange {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<dyn Log>,
    /// Weak, because the announcing task ends with the last handle.
    pub(crate) orders: mpsc::WeakSender<Order>,
    pub(crate) announced: watch::Receiver<EventId>,
    pub(crate) preload_len: usize,
    /// Where the reading of `events` has got.
    pub(crate) scan: Option<Scan>,
    pub(crate) taken: Taken,
    pub(crate) appended_since_trim: u64,
}

/// How far a leader has got in [`STREAM_IN`].
#[derive(Default)]
pub(crate) struct Taken {
    up_to: Position,
    /// The event that has to be stored before everything up to here is trimmed.
    unsettled: Option<EventId>,
}

impl Exchange {
    /// Runs until all handles are gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut role = self.shared.role.subscribe();
        loop {
            let is_alone = self.shared.role() == Role::Leads(Epoch::UNFENCED);
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Lead(epoch, reply)) => {
                        let _ = reply.send(self.lead(epoch).await);
                    }
                    Some(Command::Follow(reply)) => {
                        let _ = reply.send(self.follow().await);
                    }
                    None => break,
                },
                // A feed without followers has nobody to exchange anything with.
                () = tokio::time::sleep(ROUND_EVERY), if !is_alone => self.round().await,
                _ = role.changed() => self.forget(),
            }
        }
        for _ in 0..LAST_TRIES_MAX {
            if self.shared.role() != Role::Follows || self.pass_on().await.is_ok() {
                return;
            }
            tokio::time::sleep(ROUND_EVERY).await;
        }
        tracing::error!("the last events could not be passed on");
    }

    /// Positions of another role say nothing.
    fn forget(&mut self) {
        self.scan = None;
        self.taken = Taken::default();
    }

    async fn round(&mut self) {
        let outcome = match self.shared.role() {
            Role::Leads(_) => self.take_in().await,
            Role::Follows => {
                let passed = self.pass_on().await;
                self.read().await.and(passed)
            }
        };
        self.shared
            .progress
            .send_if_modified(|now| now.exchanged(outcome));
    }

    async fn order(&self, order: Order) -> Result<(), StoreError> {
        let orders = self.orders.upgrade().ok_or(StoreError::Closed)?;
        orders.send(order).await.map_err(|_| StoreError::Closed)
    }

    /// Shuts out older leaders first, then reads what they wrote to the end, then goes on from there.
    async fn lead(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.follow().await?;
        self.shared.archive.fence(epoch).await?;
        while self.read().await? {}
        let (reply, done) = oneshot::channel();
        self.order(Order::Lead(epoch, reply)).await?;
        done.await.map_err(|_| StoreError::Closed)?;
        self.forget();
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.order(Order::Follow(None, reply)).await?;
        done.await.map_err(|_| StoreError::Closed)
    }

    /// Shows what is new in the store. True when there may be more.
    async fn read(&mut self) -> Result<bool, StoreError> {
        let mut scan = match self.scan.take() {
            Some(scan) => scan,
            None => self.begin().await?,
        };
        for _ in 0..BATCHES_MAX {
            let entries = match self.shared.archive.chunk(&mut scan).await {
                Ok(entries) => entries,
                Err(error) => {
                    self.scan = Some(scan);
                    return Err(error);
                }
            };
            if entries.is_empty() {
                self.scan = Some(scan);
                return Ok(false);
            }
            let follows_on = !scan.take_gap();
            let seen = Seen {
                entries,
                follows_on,
                is_all: true,
            };
            self.order(Order::Show(seen)).await?;
        }
        self.scan = Some(scan);
        Ok(true)
    }

    async fn begin(&mut self) -> Result<Scan, StoreError> {
        let newest = *self.announced.borrow();
        if newest > EventId::default() {
            let (mut scan, is_incomplete) = self.shared.archive.locate(newest).await?;
            scan.note_gap(is_incomplete);
            return Ok(scan);
        }
        let loaded = self.shared.archive.newest(self.preload_len).await?;
        let seen = Seen {
            entries: loaded.entries,
            follows_on: true,
            is_all: loaded.is_all,
        };
        self.order(Order::Show(seen)).await?;
        Ok(loaded.scan)
    }

    /// Appends what waits to the leader's stream.
    async fn pass_on(&mut self) -> Result<(), StoreError> {
        for _ in 0..BATCHES_MAX {
            let (batch, end) = self.shared.outbox.lock().oldest(BATCH_LEN_MAX);
            if batch.is_empty() {
                return Ok(());
            }
            self.appended_since_trim += batch.len() as u64;
            let tail = self.log.append(STREAM_IN, Epoch::UNFENCED, batch).await?;
            self.shared.outbox.lock().done(end);
            self.shared.progress.send_modify(|now| now.passed = end);
            if self.appended_since_trim >= TRIM_EVERY {
                self.appended_since_trim = 0;
                self.log
                    .trim(STREAM_IN, tail.back(STREAM_IN_LEN_MAX))
                    .await?;
            }
        }
        Ok(())
    }

    /// Takes what others appended, and trims it once it is stored as part of the feed.
    async fn take_in(&mut self) -> Result<(), StoreError> {
        for _ in 0..BATCHES_MAX {
            if !self.settle().await? {
                return Ok(());
            }
            let records = self
                .log
                .read(STREAM_IN, self.taken.up_to, BATCH_LEN_MAX)
                .await?;
            let Some((last, _)) = records.last() else {
                return Ok(());
            };
            let last = *last;
            let events = self.understood(records);
            let (reply, numbered) = oneshot::channel();
            self.order(Order::Number(events, reply)).await?;
            // Without an id this process does not lead any more.
            let Ok(Some(id)) = numbered.await else {
                return Ok(());
            };
            self.taken = Taken {
                up_to: last,
                unsettled: Some(id),
            };
        }
        Ok(())
    }

    /// Those that are events; tells of others, and of those that nobody took in time.
    fn understood(&self, records: Records) -> Vec<Event> {
        let (up_to, first) = (
            self.taken.up_to,
            records.first().map(|(position, _)| *position),
        );
        let missed = first.map_or(0, |first| first.0.saturating_sub(up_to.0 + 1));
        let missed = if up_to == Position::START { 0 } else { missed };
        let read = records.len();
        let bodies = records.iter().map(|(_, body): &(_, Bytes)| body);
        let events: Vec<Event> = bodies.filter_map(|body| read_unnumbered(body)).collect();
        let lost = missed + (read - events.len()) as u64;
        if lost > 0 {
            self.shared.progress.send_modify(|now| now.lost += lost);
            tracing::warn!(lost, "events of other processes were lost on their way");
        }
        events
    }

    /// Trims what was taken if it is stored. False when it is not stored yet.
    async fn settle(&mut self) -> Result<bool, StoreError> {
        let Some(id) = self.taken.unsettled else {
            return Ok(true);
        };
        let mut progress = self.shared.progress.subscribe();
        let stored = progress.wait_for(|now| now.up_to >= id);
        if tokio::time::timeout(STORED_WITHIN, stored).await.is_err() {
            return Ok(false);
        }
        self.log.trim(STREAM_IN, self.taken.up_to).await?;
        self.taken.unsettled = None;
        Ok(true)
    }
}
