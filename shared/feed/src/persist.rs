//! The task that writes visible events to the store, and keeps trying when it fails.

use std::sync::Arc;
use std::time::Duration;

use tidepool_core::EventId;
use tidepool_store::{Epoch, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::announce::Order;
use crate::filter::Filter;
use crate::{Role, Shared};

/// Events in one append.
const BATCH_LEN_MAX: usize = 256;
/// Time between tries while the store fails.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// Tries after the feed has ended, before the rest is given up.
const LAST_TRIES_MAX: u32 = 3;

/// How far the store has got.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Everything up to here is stored or lost.
    pub(crate) up_to: EventId,
    /// Everything before this number was passed on to the leader, or lost.
    pub(crate) passed: u64,
    /// Events of other processes that were lost on their way here.
    pub(crate) lost: u64,
    /// Why the exchange with other processes failed, until it succeeds.
    pub(crate) apart: Option<String>,
    /// How often events left memory before they could be stored.
    pub(crate) gaps: u64,
    /// Failed tries since start.
    pub(crate) failures: u64,
    /// Why the last try failed, until one succeeds.
    pub(crate) failing: Option<String>,
    /// The last failure.
    pub(crate) last_error: Option<StoreError>,
}

impl Progress {
    pub(crate) fn at(up_to: EventId) -> Self {
        Self {
            up_to,
            passed: 0,
            lost: 0,
            apart: None,
            gaps: 0,
            failures: 0,
            failing: None,
            last_error: None,
        }
    }

    fn stored(&mut self, up_to: EventId) {
        self.up_to = up_to;
        if self.failing.take().is_some() {
            tracing::info!("events are being stored again");
        }
    }

    /// Notes how the exchange with other processes went. True when that changes anything.
    pub(crate) fn exchanged<T>(&mut self, outcome: Result<T, StoreError>) -> bool {
        match (outcome, &self.apart) {
            (Ok(_), None) => false,
            (Ok(_), Some(_)) => {
                tracing::info!("events are being exchanged with other processes again");
                self.apart = None;
                true
            }
            (Err(error), apart) => {
                let text = error.full();
                if apart.is_none() {
                    tracing::error!(error = %text, "events cannot be exchanged with other processes");
                }
                self.failures += 1;
                self.apart = Some(text);
                self.last_error = Some(error);
                true
            }
        }
    }

    fn failed(&mut self, error: StoreError) {
        let text = error.full();
        if self.failing.is_none() {
            tracing::error!(error = %text, "events cannot be stored; trying again");
        }
        self.failures += 1;
        self.failing = Some(text);
        self.last_error = Some(error);
    }
}

/// Runs until the announcing task has ended and everything is stored.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut announced: watch::Receiver<EventId>,
    orders: mpsc::WeakSender<Order>,
) {
    let progress = &shared.progress;
    let mut delay = RETRY_DELAY_MIN;
    let mut last_tries = 0;
    loop {
        let has_ended = announced.has_changed().is_err();
        let target = *announced.borrow_and_update();
        if progress.borrow().up_to >= target {
            if has_ended {
                return;
            }
            // An error means that it has ended, which the next round sees.
            let _ = announced.changed().await;
            continue;
        }
        match store_some(&shared).await {
            Ok(()) => delay = RETRY_DELAY_MIN,
            Err(StoreError::Fenced { epoch, current, .. }) => {
                tracing::warn!(%epoch, %current, "another process leads the feed");
                let error = StoreError::Fenced {
                    name: "events".to_owned(),
                    epoch,
                    current,
                };
                progress.send_modify(|now| now.failed(error));
                if !resign(&orders, epoch).await {
                    return;
                }
            }
            Err(error) => {
                progress.send_modify(|now| now.failed(error));
                last_tries += u32::from(has_ended);
                if last_tries == LAST_TRIES_MAX {
                    tracing::error!("the last events could not be stored");
                    return;
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RETRY_DELAY_MAX);
            }
        }
    }
}

/// Stops leading under an epoch that is over. False when the feed has ended.
async fn resign(orders: &mpsc::WeakSender<Order>, epoch: Epoch) -> bool {
    let (reply, done) = oneshot::channel();
    let Some(orders) = orders.upgrade() else {
        return false;
    };
    let sent = orders.send(Order::Follow(Some(epoch), reply)).await;
    drop(orders);
    sent.is_ok() && done.await.is_ok()
}

async fn store_some(shared: &Shared) -> Result<(), StoreError> {
    let _storing = shared.storing.lock().await;
    // Who does not lead shows only what is stored.
    let Role::Leads(epoch) = shared.role() else {
        return Ok(());
    };
    let cursor = shared.progress.borrow().up_to;
    let all = Filter::default();
    let next = shared.ring.read().next(cursor, &all, BATCH_LEN_MAX);
    let records = next.entries.iter().map(|entry| entry.json.clone());
    shared.archive.append(epoch, records.collect()).await?;
    shared.progress.send_modify(|now| {
        now.gaps += u64::from(next.has_gap);
        now.stored(next.cursor);
    });
    Ok(())
}
