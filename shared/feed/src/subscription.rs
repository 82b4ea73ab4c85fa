//! One who follows the feed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, stream};
use tidepool_core::EventId;
use tokio::sync::watch;

use crate::Shared;
use crate::entry::Entry;
use crate::filter::Filter;

/// Events looked at under one lock.
const SCAN_LEN_MAX: usize = 64;

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Something happened.
    Event(Arc<Entry>),
    /// Events are missing here: look at the present state anew, then go on with what follows.
    Resync,
}

/// Follows the feed from some position on. Counted while it lives.
pub struct Subscription {
    shared: Arc<Shared>,
    announced: watch::Receiver<EventId>,
    filter: Filter,
    cursor: EventId,
    /// Rewinds of the ring that are known here.
    rewinds: u64,
    ready: VecDeque<Delivery>,
    _counted: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Subscription {
    pub(crate) fn new(
        shared: Arc<Shared>,
        announced: watch::Receiver<EventId>,
        since: Option<EventId>,
        filter: Filter,
    ) -> Self {
        let (newest, (rewinds, _)) = {
            let ring = shared.ring.read();
            (ring.newest(), ring.rewound())
        };
        let mut ready = VecDeque::new();
        let cursor = since.unwrap_or(newest);
        if cursor > newest {
            // A position of another history. Nothing would come until ids have got there.
            ready.push_back(Delivery::Resync);
        }
        Self {
            _counted: Counted::new(&shared.subscribers),
            shared,
            announced,
            filter,
            cursor: cursor.min(newest),
            rewinds,
            ready,
        }
    }

    /// The next delivery; nothing when the feed has ended. Can be dropped while it waits
    /// without losing anything.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return Some(delivery);
            }
            // Before looking into the ring, so that what comes after the look wakes us.
            let newest = *self.announced.borrow_and_update();
            if self.cursor < newest || self.is_rewound() {
                self.look();
            } else if self.announced.changed().await.is_err() && self.is_at_end() {
                return None;
            }
        }
    }

    /// The deliveries as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Delivery> + Send + 'static {
        stream::unfold(self, |mut this| async move {
            this.next().await.map(|delivery| (delivery, this))
        })
    }

    fn is_at_end(&self) -> bool {
        self.cursor >= *self.announced.borrow()
    }

    fn is_rewound(&self) -> bool {
        self.shared.ring.read().rewound().0 != self.rewinds
    }

    fn look(&mut self) {
        let ring = self.shared.ring.read();
        let (rewinds, up_to) = ring.rewound();
        let missed = rewinds - self.rewinds;
        self.rewinds = rewinds;
        // It was shown events that were taken back, or perhaps was.
        if missed > 1 || (missed == 1 && self.cursor > up_to) {
            self.ready.push_back(Delivery::Resync);
            self.cursor = self.cursor.min(up_to);
        }
        let next = ring.next(self.cursor, &self.filter, SCAN_LEN_MAX);
        drop(ring);
        if next.has_gap {
            self.ready.push_back(Delivery::Resync);
        }
        let events = next.entries.into_iter().map(Delivery::Event);
        self.ready.extend(events);
        self.cursor = next.cursor;
    }
}
