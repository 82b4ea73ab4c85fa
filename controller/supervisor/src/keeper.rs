//! Writes what the supervisor wants kept, off its thread: a bounded queue and one task.
//!
//! The supervisor hands over each pool's state every half minute. What does not fit into the queue
//! or into the store is lost without harm: the next half minute brings a newer one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidepool_core::{EventDraft, PoolName, Timestamp};
use tidepool_policy::Memory;
use tidepool_store::{Kv, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::control::PoolPlan;
use crate::durable::{self, Kept};

/// States that may wait to be written.
const QUEUE_LEN: usize = 1_024;
/// Warnings about a store that fails are this far apart.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the supervisor knows of a pool beyond its last decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolState {
    /// What the policy remembers.
    pub(crate) memory: Memory,
    /// Newest start-up times in seconds.
    pub(crate) startups_s: Vec<f64>,
}

/// A state to be kept. It is put into bytes by who writes it: that takes longer than a decision.
#[derive(Clone)]
pub struct Save {
    key: String,
    encode: Arc<dyn Fn() -> Option<Bytes> + Send + Sync>,
}

impl std::fmt::Debug for Save {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Save")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Save {
    pub(crate) fn new<T>(kept: Kept, pool: &PoolName, body: T, now: Timestamp) -> Self
    where
        T: Serialize + Send + Sync + 'static,
    {
        Self {
            key: kept.key(pool),
            encode: Arc::new(move || durable::encode(kept, &body, now)),
        }
    }

    #[cfg(test)]
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    #[cfg(test)]
    pub(crate) fn encoded(&self) -> Option<Bytes> {
        (self.encode)()
    }

    /// Writes them at once, in order.
    ///
    /// # Errors
    /// The store's, of the first that it does not take; those after it are not tried.
    pub async fn write_all(saves: &[Self], kv: &Arc<dyn Kv>) -> Result<(), StoreError> {
        for save in saves {
            save.write(kv).await?;
        }
        Ok(())
    }

    /// One that is too large, which is told, is not written.
    async fn write(&self, kv: &Arc<dyn Kv>) -> Result<(), StoreError> {
        let encode = Arc::clone(&self.encode);
        let bytes = tokio::task::spawn_blocking(move || encode()).await;
        if let Ok(Some(bytes)) = bytes {
            kv.put(&self.key, bytes, None).await?;
        }
        Ok(())
    }
}

/// What earlier supervisors left behind.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub(crate) states: BTreeMap<PoolName, PoolState>,
}

impl Inheritance {
    /// Reads what the store has of these pools. What cannot be understood is set aside and told.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load(
        kv: &Arc<dyn Kv>,
        plans: &[PoolPlan],
        publish: &(dyn Fn(EventDraft) + Send + Sync),
    ) -> Result<Self, StoreError> {
        let mut states = BTreeMap::new();
        for plan in plans {
            let pool = &plan.spec.name;
            let state = durable::load::<PoolState>(kv, Kept::Memory, pool, publish).await?;
            states.extend(state.map(|state| (pool.clone(), state)));
        }
        Ok(Self { states })
    }
}

enum Job {
    Write(Save),
    Flush(oneshot::Sender<()>),
}

/// A handle to the task that writes; it ends when all handles are gone.
#[derive(Clone, Debug)]
pub struct Keeper {
    jobs: mpsc::Sender<Job>,
}

impl Keeper {
    /// Starts the task. Needs a tokio runtime.
    #[must_use]
    pub fn start(kv: Arc<dyn Kv>) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_LEN);
        tokio::spawn(write_all(kv, queue));
        Self { jobs }
    }

    /// Takes a state, without waiting; `false` when it does not fit.
    #[must_use]
    pub fn keep(&self, save: Save) -> bool {
        self.jobs.try_send(Job::Write(save)).is_ok()
    }

    /// Writes the last states, after all that were taken before, and waits for it.
    pub async fn finish(&self, saves: Vec<Save>) {
        for save in saves {
            // The task ends only after its handles.
            let _ = self.jobs.send(Job::Write(save)).await;
        }
        let (done, written) = oneshot::channel();
        let _ = self.jobs.send(Job::Flush(done)).await;
        let _ = written.await;
    }
}

async fn write_all(kv: Arc<dyn Kv>, mut queue: mpsc::Receiver<Job>) {
    let mut warned: Option<tokio::time::Instant> = None;
    while let Some(job) = queue.recv().await {
        let save = match job {
            Job::Write(save) => save,
            Job::Flush(done) => {
                // Whoever asked may have given up.
                let _ = done.send(());
                continue;
            }
        };
        let Err(error) = save.write(&kv).await else {
            continue;
        };
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            warned = Some(tokio::time::Instant::now());
            tracing::warn!(key = save.key, %error, "what the controller learned cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use tidepool_policy::Policy;
    use tidepool_store::{EmbeddedStore, Epoch, FencedKv};

    use super::*;
    use crate::actor::tests::plan;
    use crate::troubled::TroubledKv;

    fn state(pool: &PoolName, startup_s: f64) -> Save {
        let state = PoolState {
            startups_s: vec![startup_s],
            ..PoolState::default()
        };
        Save::new(Kept::Memory, pool, state, Timestamp(1))
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_is_told() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let kv = |epoch| -> Arc<dyn Kv> { Arc::new(FencedKv::new(store.clone(), Epoch(epoch))) };
        let plans = [plan(Policy::tidepool(1, 8))];
        let pool = &plans[0].spec.name;
        let saves = [state(pool, 1.5)];
        Inheritance::load(&kv(5), &plans, &|_| {}).await.unwrap();
        assert!(Save::write_all(&saves, &kv(4)).await.is_err());
        Save::write_all(&saves, &kv(6)).await.unwrap();
        let left = Inheritance::load(&kv(6), &plans, &|_| {}).await.unwrap();
        assert_eq!(left.states[pool].startups_s, [1.5]);
    }

    #[tokio::test]
    async fn a_state_that_was_taken_is_there_after_the_finish() {
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let keeper = Keeper::start(Arc::clone(&kv));
        let plans = [plan(Policy::tidepool(1, 8))];
        let pool = &plans[0].spec.name;
        assert!(keeper.keep(state(pool, 1.0)));
        // What 0.1 + 0.2 is must come back to its last bit.
        keeper.finish(vec![state(pool, 0.1 + 0.2)]).await;
        let left = Inheritance::load(&kv, &plans, &|_| {}).await.unwrap();
        assert_eq!(left.states[pool].startups_s, [0.1 + 0.2]);
    }

    fn named(name: &str) -> PoolPlan {
        let mut plan = plan(Policy::tidepool(1, 8));
        plan.spec.name = PoolName::new(name).unwrap();
        plan
    }

    #[tokio::test]
    async fn all_that_was_taken_is_written_at_the_finish_and_a_failure_stops_only_itself() {
        let store: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let plans = ["a", "b", "c"].map(named);
        let refuses = Kept::Memory.key(&plans[0].spec.name);
        let kv = TroubledKv::over(&store, move |_, key| key != refuses);
        let keeper = Keeper::start(kv);
        let states = plans.each_ref().map(|plan| state(&plan.spec.name, 2.5));
        let [first, rest @ ..] = states;
        assert!(keeper.keep(first));
        keeper.finish(rest.to_vec()).await;
        let left = Inheritance::load(&store, &plans, &|_| {}).await.unwrap();
        let names: Vec<&str> = left.states.keys().map(PoolName::as_str).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told_and_not_waited_for() {
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let keeper = Keeper::start(kv);
        let pool = &plan(Policy::tidepool(1, 8)).spec.name;
        // The task does not run before this test waits.
        let taken = (0..2 * QUEUE_LEN).filter(|_| keeper.keep(state(pool, 1.0)));
        assert_eq!(taken.count(), QUEUE_LEN);
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_no_empty_store() {
        let store: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let silent = TroubledKv::over(&store, |_, _| false);
        let plans = [named("a")];
        let left = Inheritance::load(&silent, &plans, &|_| {}).await;
        assert!(left.is_err());
    }
}
