//! The task that gives events their ids and makes them visible.

use std::sync::Arc;

use tidepool_core::{EventDraft, EventId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Shared;
use crate::entry::Entry;

/// Orders taken from the queue at a time.
const BATCH_LEN_MAX: usize = 256;

/// What handles ask of this task, in order.
pub(crate) enum Order {
    /// Make an event of this.
    Tell(EventDraft, Timestamp),
    /// Say which event is the newest.
    Mark(oneshot::Sender<EventId>),
    /// As `Mark`, then stop.
    End(oneshot::Sender<EventId>),
}

/// Runs until all handles are gone or one of them says `End`.
pub(crate) async fn run(
    shared: Arc<Shared>,
    source: String,
    mut orders: mpsc::Receiver<Order>,
    announced: watch::Sender<EventId>,
) {
    let mut batch = Vec::with_capacity(BATCH_LEN_MAX);
    let mut last = *announced.borrow();
    while orders.recv_many(&mut batch, BATCH_LEN_MAX).await > 0 {
        for order in batch.drain(..) {
            match order {
                Order::Tell(draft, time) => {
                    last = last.next(time);
                    let entry = Arc::new(Entry::new(draft, last, &source, time));
                    shared.ring.write().push(entry);
                }
                Order::Mark(reply) => {
                    // Nobody may be waiting any more.
                    let _ = reply.send(last);
                }
                Order::End(reply) => {
                    orders.close();
                    let _ = reply.send(last);
                }
            }
        }
        announced.send_if_modified(|newest| std::mem::replace(newest, last) != last);
    }
}
