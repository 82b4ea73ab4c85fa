//! The task that gives events their ids and makes them visible, or passes them on when another
//! process leads. It alone changes the ring and the role.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidepool_core::{Event, EventDraft, EventId, Timestamp};
use tidepool_store::Epoch;
use tokio::sync::{mpsc, oneshot, watch};

use crate::entry::{Entry, read_unnumbered, unnumbered};
use crate::{Role, Shared};

/// Orders taken from the queue at a time.
const BATCH_LEN_MAX: usize = 256;

/// What handles and other tasks ask of this task, in order.
pub(crate) enum Order {
    /// Make an event of this.
    Tell(EventDraft, Timestamp),
    /// Say how far events have come.
    Mark(oneshot::Sender<Mark>),
    /// As `Mark`, then stop.
    End(oneshot::Sender<Mark>),
    /// Show events of the store, unless this process leads.
    Show(Seen),
    /// Give events of other processes their ids. Answered with the last one, unless this process
    /// does not lead.
    Number(Vec<Event>, oneshot::Sender<Option<EventId>>),
    /// Give ids from now on; everything in the store is shown already.
    Lead(Epoch, oneshot::Sender<()>),
    /// Give ids no longer, if that was done under this epoch, or under any.
    Follow(Option<Epoch>, oneshot::Sender<()>),
}

/// How far events have come.
pub(crate) struct Mark {
    /// The newest that is visible.
    pub(crate) newest: EventId,
    /// The end of those that wait to be passed on.
    pub(crate) passed: u64,
}

/// Events of the store.
pub(crate) struct Seen {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Nothing is missing between those before and these.
    pub(crate) follows_on: bool,
    /// There are no older ones than these, if they are the first.
    pub(crate) is_all: bool,
}

/// Runs until all handles are gone or one of them says `End`.
pub(crate) async fn run(
    shared: Arc<Shared>,
    source: String,
    mut orders: mpsc::Receiver<Order>,
    announced: watch::Sender<EventId>,
) {
    let last = *announced.borrow();
    let mut announcer = Announcer {
        shared,
        source,
        announced,
        last,
    };
    let mut batch = Vec::with_capacity(BATCH_LEN_MAX);
    while orders.recv_many(&mut batch, BATCH_LEN_MAX).await > 0 {
        for order in batch.drain(..) {
            if matches!(order, Order::End(_)) {
                orders.close();
            }
            announcer.obey(order).await;
        }
        announcer.announce();
    }
}

struct Announcer {
    shared: Arc<Shared>,
    source: String,
    announced: watch::Sender<EventId>,
    /// The newest id in the ring.
    last: EventId,
}

impl Announcer {
    async fn obey(&mut self, order: Order) {
        // Whoever asked may not be waiting any more.
        match order {
            Order::Tell(draft, time) => {
                let event = draft.into_event(EventId::default(), &self.source, time);
                self.tell(event, time);
            }
            Order::Mark(reply) | Order::End(reply) => {
                let _ = reply.send(Mark {
                    newest: self.last,
                    passed: self.shared.outbox.lock().end(),
                });
            }
            Order::Show(seen) => self.show(seen),
            Order::Number(events, reply) => {
                let _ = reply.send(self.number_all(events));
            }
            Order::Lead(epoch, reply) => {
                self.lead(epoch);
                let _ = reply.send(());
            }
            Order::Follow(epoch, reply) => {
                self.follow(epoch).await;
                let _ = reply.send(());
            }
        }
    }

    /// Lets the readers of the ring know.
    fn announce(&self) {
        let last = self.last;
        self.announced
            .send_if_modified(|newest| std::mem::replace(newest, last) != last);
    }

    fn tell(&mut self, event: Event, now: Timestamp) {
        match self.shared.role() {
            Role::Leads(_) => self.number(event, now),
            Role::Follows => self.pass_on(event),
        }
    }

    fn number(&mut self, event: Event, now: Timestamp) {
        self.last = self.last.next(now);
        let id = self.last;
        let entry = Arc::new(Entry::from_event(Event { id, ..event }));
        self.shared.ring.write().push(entry);
    }

    fn pass_on(&self, event: Event) {
        if self.shared.outbox.lock().push(unnumbered(event)) {
            return;
        }
        let dropped = self.shared.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if dropped.is_power_of_two() {
            tracing::warn!(
                dropped,
                "too many events wait to be passed on: the oldest are dropped"
            );
        }
    }

    fn number_all(&mut self, events: Vec<Event>) -> Option<EventId> {
        let Role::Leads(_) = self.shared.role() else {
            return None;
        };
        let now = (self.shared.clock)();
        events.into_iter().for_each(|event| self.number(event, now));
        Some(self.last)
    }

    fn show(&mut self, seen: Seen) {
        if self.shared.role() != Role::Follows {
            return;
        }
        let mut ring = self.shared.ring.write();
        ring.catch_up(seen.entries, seen.follows_on, seen.is_all);
        self.last = ring.newest();
        drop(ring);
        self.mark_stored();
    }

    /// Everything in the ring is from the store.
    fn mark_stored(&self) {
        let (last, passed) = (self.last, self.shared.outbox.lock().first());
        self.shared.progress.send_modify(|now| {
            now.up_to = last;
            now.passed = passed;
        });
    }

    fn lead(&mut self, epoch: Epoch) {
        let waiting = self.shared.outbox.lock().take();
        self.mark_stored();
        self.shared.role.send_replace(Role::Leads(epoch));
        let now = (self.shared.clock)();
        for event in waiting.iter().filter_map(|json| read_unnumbered(json)) {
            self.number(event, now);
        }
        tracing::info!(%epoch, "this process leads the feed");
    }

    /// Takes back what is not stored. What came from other processes is still where it was, so only
    /// what is this process's own is passed on.
    async fn follow(&mut self, epoch: Option<Epoch>) {
        let Role::Leads(current) = self.shared.role() else {
            return;
        };
        if epoch.is_some_and(|epoch| epoch != current) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        // An append under way may still happen; the store bounds its time.
        let _storing = shared.storing.lock().await;
        shared.role.send_replace(Role::Follows);
        let up_to = shared.progress.borrow().up_to;
        let taken = shared.ring.write().rewind(up_to);
        for event in taken.iter().filter_map(|entry| entry.event().ok()) {
            if event.source == self.source {
                self.pass_on(event);
            }
        }
        self.last = shared.ring.read().newest();
        self.announce();
        shared.progress.send_modify(|now| now.failing = None);
        tracing::info!(epoch = %current, "this process follows the feed");
    }
}
