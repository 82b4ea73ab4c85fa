//! Which pools want any workers at all, pushed to those who subscribe.
//!
//! One task looks for everybody, so that subscribers cost no looks of their own. Each keeps only
//! the newest state: a slow reader misses what was over before it read, and holds no memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tidepool_core::PoolName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;

use crate::advisor::Advisor;

/// Most streams at a time; further ones are refused.
pub(crate) const STREAMS_MAX: usize = 256;
/// How often it looks. Decisions come once a second, and sooner when requests queue up.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether each pool wants workers, as far as that was ever known.
type Active = BTreeMap<PoolName, bool>;

/// Tells subscribers of changes.
#[derive(Clone)]
pub(crate) struct Activity {
    advisor: Advisor,
    newest: Arc<watch::Sender<Active>>,
    streams: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Activity {
    pub(crate) fn new(advisor: Advisor, stopping: watch::Receiver<bool>) -> Self {
        Self {
            advisor,
            newest: Arc::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stopping,
        }
    }

    /// Looks again and again while anybody listens; ends never.
    pub(crate) async fn keep_looking(self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.newest.receiver_count() > 0 {
                self.look();
            }
        }
    }

    /// Notes what changed. A pool of which nothing is known now stays as it was: not to know is no
    /// reason to take workers away.
    fn look(&self) {
        let advice = self.advisor.advise_all();
        self.newest.send_if_modified(|newest| {
            let mut modified = false;
            for advice in advice {
                let active = advice.desired_workers > 0;
                modified |= newest.insert(advice.pool, active) != Some(active);
            }
            modified
        });
    }

    /// The pool's state now, if it is known, and then each change until the server stops.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many listen already.
    pub(crate) fn subscribe(
        &self,
        pool: PoolName,
    ) -> Result<impl Stream<Item = bool> + Send + use<>, Status> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{STREAMS_MAX} streams are open; close one"))
        })?;
        let newest = self.newest.subscribe();
        // What was noted when somebody listened last may be old.
        self.look();
        let subscription = Subscription {
            pool,
            told: None,
            newest,
            stopping: self.stopping.clone(),
            _permit: permit,
        };
        Ok(unfold(subscription, |mut subscription| async {
            let active = subscription.next().await?;
            Some((active, subscription))
        }))
    }
}

struct Subscription {
    pool: PoolName,
    told: Option<bool>,
    newest: watch::Receiver<Active>,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Subscription {
    /// The next state that differs from the one told last; nothing when it is over.
    async fn next(&mut self) -> Option<bool> {
        loop {
            let active = self.newest.borrow_and_update().get(&self.pool).copied();
            if active.is_some() && active != self.told {
                self.told = active;
                return active;
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }
}
