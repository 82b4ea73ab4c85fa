//! The task that writes visible events to the store, and keeps trying when it fails.

use std::sync::Arc;
use std::time::Duration;

use tidepool_core::EventId;
use tidepool_store::StoreError;
use tokio::sync::watch;

use crate::Shared;
use crate::filter::Filter;

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
    progress: watch::Sender<Progress>,
) {
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
        match store_some(&shared, &progress).await {
            Ok(()) => delay = RETRY_DELAY_MIN,
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

async fn store_some(shared: &Shared, progress: &watch::Sender<Progress>) -> Result<(), StoreError> {
    let cursor = progress.borrow().up_to;
    let all = Filter::default();
    let next = shared.ring.read().next(cursor, &all, BATCH_LEN_MAX);
    let records = next.entries.iter().map(|entry| entry.json.clone());
    shared.archive.append(records.collect()).await?;
    progress.send_modify(|now| {
        now.gaps += u64::from(next.has_gap);
        now.stored(next.cursor);
    });
    Ok(())
}
