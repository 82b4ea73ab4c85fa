//! The operators' feed: what happened, in order, live and again later.
//!
//! [`Feed::publish`] never waits and never fails. One task gives each event its id and makes it
//! visible at once; another writes what became visible to the `events` stream of the store. The
//! events kept in memory (a `Ring`) are all that both of them and the subscribers share: each
//! reader has a cursor into it, so that a replay goes over into following without a gap or a
//! repetition, and nobody who reads slowly holds up anybody else.
//!
//! Of several processes over one store one leads at a time ([`Feed::lead`]): it gives the ids, under
//! an epoch that the store holds older leaders to. The others follow: they show what is stored, and
//! pass their own events on to the leader, who keeps their source and time. An event is shown by a
//! follower only once it is stored, so nobody ever sees an order that another leader changes; only
//! a leader that was replaced takes back what it could not store and says `Resync`.

mod announce;
mod archive;
mod entry;
mod exchange;
mod filter;
mod outbox;
mod persist;
mod ring;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use tidepool_core::status::ComponentHealth;
use tidepool_core::{EventDraft, EventId, Timestamp};
use tidepool_store::{Clock, Epoch, Log, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use announce::{Mark, Order};
use archive::Archive;
use exchange::{Command, Exchange, Taken};
use outbox::Outbox;
use persist::Progress;
use ring::Ring;

pub use entry::{EVENT_BYTES_MAX, Entry};
pub use filter::{Filter, InvalidFilter};
pub use subscription::{Delivery, Subscription};

/// Most events that [`Feed::history`] gives at once.
pub const HISTORY_LEN_MAX: usize = 1_000;

/// How a feed is set up.
#[derive(Clone)]
pub struct FeedConfig {
    /// `source` of the events: `/tidepool/<node>`.
    pub source: String,
    /// Events kept in memory for subscribers.
    pub memory_len: usize,
    /// Events of earlier runs that are loaded into memory at start.
    pub preload_len: usize,
    /// Events kept in the store, at least.
    pub retained_len: u64,
    /// Events that may wait for an id before further ones are dropped.
    pub queue_len: usize,
    /// Events that a follower keeps while they cannot be passed on, before the oldest are dropped.
    pub outbox_len: usize,
    /// Time of the events.
    pub clock: Clock,
}

impl FeedConfig {
    /// The usual sizes, and the wall clock.
    #[must_use]
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            memory_len: 10_000,
            preload_len: 2_000,
            retained_len: 100_000,
            queue_len: 4_096,
            outbox_len: 4_096,
            clock: Arc::new(|| Timestamp::from(SystemTime::now())),
        }
    }
}

/// Who gives events their ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// This process, under this epoch. [`Epoch::UNFENCED`]: it is the only one.
    Leads(Epoch),
    /// Another one, or nobody for now.
    Follows,
}

/// What the handles, the tasks and the subscribers share.
struct Shared {
    ring: RwLock<Ring>,
    archive: Archive,
    clock: Clock,
    subscribers: Arc<AtomicUsize>,
    dropped: AtomicU64,
    is_overflowing: AtomicBool,
    role: watch::Sender<Role>,
    outbox: Mutex<Outbox>,
    progress: watch::Sender<Progress>,
    /// Held while events are appended under the epoch of the role.
    storing: tokio::sync::Mutex<()>,
}

impl Shared {
    fn role(&self) -> Role {
        *self.role.borrow()
    }
}

/// A handle to the feed; clones are cheap. When all are gone, what was published is still written.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    /// Id of the newest event.
    announced: watch::Receiver<EventId>,
    persisted: watch::Receiver<Progress>,
    commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed(at {})", *self.announced.borrow())
    }
}

/// Some of what happened, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The events.
    pub events: Vec<Arc<Entry>>,
    /// Whether events after the asked position are gone.
    pub is_incomplete: bool,
}

impl Feed {
    /// Starts the feed of the only process there is, where the store's `events` stream ends. Needs
    /// a tokio runtime, on which its tasks run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(log: Arc<dyn Log>, config: FeedConfig) -> Result<Self, StoreError> {
        let archive = Archive::new(Arc::clone(&log), config.retained_len);
        let mut ring = Ring::new(config.memory_len);
        let loaded = archive.newest(config.preload_len).await?;
        ring.restore(loaded.entries, loaded.is_all);
        let role = Role::Leads(Epoch::UNFENCED);
        Ok(Self::run(log, archive, ring, role, config))
    }

    /// Starts a feed that follows the one of another process until [`Self::lead`] is called. The
    /// store need not answer yet. Needs a tokio runtime, on which its tasks run.
    #[must_use]
    pub fn following(log: Arc<dyn Log>, config: FeedConfig) -> Self {
        let archive = Archive::new(Arc::clone(&log), config.retained_len);
        let ring = Ring::new(config.memory_len);
        Self::run(log, archive, ring, Role::Follows, config)
    }

    fn run(
        log: Arc<dyn Log>,
        archive: Archive,
        ring: Ring,
        role: Role,
        config: FeedConfig,
    ) -> Self {
        let last = ring.newest();
        let (orders, order_queue) = mpsc::channel(config.queue_len);
        let (commands, command_queue) = mpsc::channel(1);
        let (announce, announced) = watch::channel(last);
        let (progress, persisted) = watch::channel(Progress::at(last));
        let shared = Arc::new(Shared {
            ring: RwLock::new(ring),
            archive,
            clock: config.clock,
            subscribers: Arc::default(),
            dropped: AtomicU64::new(0),
            is_overflowing: AtomicBool::new(false),
            role: watch::Sender::new(role),
            outbox: Mutex::new(Outbox::new(config.outbox_len)),
            progress,
            storing: tokio::sync::Mutex::default(),
        });
        let announcing = announce::run(Arc::clone(&shared), config.source, order_queue, announce);
        tokio::spawn(announcing);
        let weak = orders.downgrade();
        tokio::spawn(persist::run(
            Arc::clone(&shared),
            announced.clone(),
            weak.clone(),
        ));
        let exchange = Exchange {
            shared: Arc::clone(&shared),
            log,
            orders: weak,
            announced: announced.clone(),
            preload_len: config.preload_len,
            scan: None,
            taken: Taken::default(),
            appended_since_trim: 0,
        };
        tokio::spawn(exchange.run(command_queue));
        Self {
            shared,
            orders,
            announced,
            persisted,
            commands,
        }
    }

    /// Gives the ids from now on, under an epoch that the caller alone holds: the one of its lease.
    /// Leaders of older epochs are shut out first, and what they stored is read to its end. What
    /// this process had not passed on yet becomes visible at once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the store has seen a higher epoch; the store's. The feed follows
    /// then.
    pub async fn lead(&self, epoch: Epoch) -> Result<(), StoreError> {
        self.command(|reply| Command::Lead(epoch, reply)).await
    }

    /// Stops giving ids. What could not be stored is taken back and passed on to the next leader.
    /// Happens by itself when the store refuses the epoch.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the feed has ended.
    pub async fn follow(&self) -> Result<(), StoreError> {
        self.command(Command::Follow).await
    }

    async fn command(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Command,
    ) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Who gives the ids.
    #[must_use]
    pub fn role(&self) -> Role {
        self.shared.role()
    }

    /// Tells everybody. Never waits; an event that finds the queue full is dropped and counted.
    /// Can be called from any thread.
    pub fn publish(&self, draft: EventDraft) {
        let order = Order::Tell(draft, (self.shared.clock)());
        let overflowing = &self.shared.is_overflowing;
        if self.orders.try_send(order).is_ok() {
            if overflowing.load(Ordering::Relaxed) {
                overflowing.store(false, Ordering::Relaxed);
            }
            return;
        }
        let dropped = self.shared.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if !overflowing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                dropped,
                "events come faster than the feed takes them: dropped"
            );
        }
    }

    /// Events after `since`, oldest first, up to `limit` (at most [`HISTORY_LEN_MAX`]); without
    /// `since` the newest ones. Looks into the store for what is no longer in memory.
    ///
    /// # Errors
    /// When older events are asked for and the store cannot be read.
    pub async fn history(
        &self,
        since: Option<EventId>,
        filter: &Filter,
        limit: usize,
    ) -> Result<History, StoreError> {
        let limit = limit.min(HISTORY_LEN_MAX);
        match since {
            Some(since) => self.history_since(since, filter, limit).await,
            None => self.history_newest(filter, limit).await,
        }
    }

    async fn history_since(
        &self,
        since: EventId,
        filter: &Filter,
        limit: usize,
    ) -> Result<History, StoreError> {
        let in_memory = self.shared.ring.read().matching(since, filter, limit);
        if let Some(events) = in_memory {
            return Ok(History {
                events,
                is_incomplete: false,
            });
        }
        let mut old = self.shared.archive.since(since, filter, limit).await?;
        if old.events.len() < limit {
            // The store ended first: what follows is in memory and may not be stored yet.
            let ring = self.shared.ring.read();
            let rest = limit - old.events.len();
            let newer = ring.matching(old.scanned_to, filter, rest);
            old.is_incomplete |= newer.is_none();
            old.events.extend(newer.unwrap_or_default());
        }
        Ok(History {
            events: old.events,
            is_incomplete: old.is_incomplete,
        })
    }

    async fn history_newest(&self, filter: &Filter, limit: usize) -> Result<History, StoreError> {
        let (newest, oldest_id, is_all) = {
            let ring = self.shared.ring.read();
            (
                ring.newest_matching(filter, limit),
                ring.oldest(),
                ring.is_all(),
            )
        };
        if is_all || newest.len() >= limit {
            return Ok(History {
                events: newest,
                is_incomplete: false,
            });
        }
        let rest = limit - newest.len();
        let mut events = self.shared.archive.before(oldest_id, filter, rest).await?;
        events.extend(newest);
        Ok(History {
            events,
            is_incomplete: false,
        })
    }

    /// Follows the feed: first what came after `since` (without it: nothing), then everything
    /// new. Says [`Delivery::Resync`] where events are missing: when `since` is older than what
    /// memory holds or was never reached, and when the subscriber fell too far behind.
    #[must_use]
    pub fn subscribe(&self, since: Option<EventId>, filter: Filter) -> Subscription {
        Subscription::new(
            Arc::clone(&self.shared),
            self.announced.clone(),
            since,
            filter,
        )
    }

    /// Id of the newest event.
    #[must_use]
    pub fn newest(&self) -> EventId {
        *self.announced.borrow()
    }

    /// Subscriptions that exist now.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.shared.subscribers.load(Ordering::Relaxed)
    }

    /// Events dropped because they came too fast, or could not be passed on for too long, since
    /// start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Whether events reach the store, or the leader.
    #[must_use]
    pub fn health(&self) -> ComponentHealth {
        let progress = self.persisted.borrow();
        let (state, detail) = match (&progress.failing, &progress.apart) {
            (Some(why), _) => ("degraded", format!("events are not being stored: {why}")),
            (None, Some(why)) => {
                let outbox = self.shared.outbox.lock();
                let waiting = outbox.end() - outbox.first();
                let text = format!("apart from other processes, {waiting} events wait: {why}");
                ("degraded", text)
            }
            (None, None) => ("ok", self.fine(&progress)),
        };
        ComponentHealth {
            component: "events".to_owned(),
            state: state.to_owned(),
            detail,
        }
    }

    fn fine(&self, progress: &Progress) -> String {
        let did = match self.role() {
            Role::Leads(_) => "stored",
            Role::Follows => "followed",
        };
        match (progress.gaps, self.dropped(), progress.lost) {
            (0, 0, 0) => format!("{did} up to {}", progress.up_to),
            (gaps, dropped, lost) => format!(
                "since start {dropped} events were dropped, {gaps} times some not stored, {lost} of \
                 other processes lost"
            ),
        }
    }

    /// Waits until everything published before this call is stored, or with the leader.
    ///
    /// # Errors
    /// When the store refuses it. The feed goes on trying.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let mut persisted = self.persisted.clone();
        let failures_before = persisted.borrow().failures;
        let mark = self.order(Order::Mark).await?;
        let is_done = |now: &Progress| now.up_to >= mark.newest && now.passed >= mark.passed;
        let progress = persisted
            .wait_for(|now| is_done(now) || now.failures > failures_before)
            .await
            .map_err(|_| StoreError::Closed)?;
        match &progress.last_error {
            Some(error) if !is_done(&progress) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Ends the feed: takes no more events, stores those it has, ends all subscriptions.
    ///
    /// # Errors
    /// When the store refuses them; they are lost then.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        let flushed = self.flush().await;
        match self.order(Order::End).await {
            Ok(_) | Err(StoreError::Closed) => flushed,
            Err(error) => Err(error),
        }
    }

    /// Sends an order that is answered with how far events have come at that point.
    async fn order(&self, order: fn(oneshot::Sender<Mark>) -> Order) -> Result<Mark, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(order(reply)).await;
        sent.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }
}
