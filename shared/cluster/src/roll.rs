//! Who is there, followed over the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_store::Roster;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::documents::Document;

/// Members of a group as they were seen last.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// By name.
    pub members: BTreeMap<String, Arc<T>>,
    /// When the store last answered; nothing before it did.
    pub at: Option<Instant>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            at: None,
        }
    }
}

/// Follows a group. While the store is away, who was there stays there.
pub struct Roll<T> {
    seen: watch::Receiver<Arc<Seen<T>>>,
    task: JoinHandle<()>,
}

impl<T: Document> Roll<T> {
    /// Looks every `interval`. Needs a tokio runtime.
    #[must_use]
    pub fn follow(roster: Arc<dyn Roster>, interval: Duration) -> Self {
        let (sender, seen) = watch::channel(Arc::new(Seen::default()));
        let task = tokio::spawn(async move {
            loop {
                match look(&*roster).await {
                    Ok(members) => {
                        let at = Some(Instant::now());
                        sender.send_replace(Arc::new(Seen { members, at }));
                    }
                    Err(error) => tracing::debug!(group = T::GROUP, %error, "nobody can be seen"),
                }
                tokio::time::sleep(interval).await;
            }
        });
        Self { seen, task }
    }

    /// A reader that is told of every look.
    #[must_use]
    pub fn reader(&self) -> watch::Receiver<Arc<Seen<T>>> {
        self.seen.clone()
    }

    /// Who was there last.
    #[must_use]
    pub fn seen(&self) -> Arc<Seen<T>> {
        Arc::clone(&self.seen.borrow())
    }
}

impl<T> Drop for Roll<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look<T: Document>(
    roster: &dyn Roster,
) -> Result<BTreeMap<String, Arc<T>>, tidepool_store::StoreError> {
    let members = roster.members(T::GROUP).await?;
    let read = members
        .into_iter()
        .filter_map(|(name, document)| match T::from_bytes(&document) {
            Ok(document) => Some((name, Arc::new(document))),
            Err(error) => {
                tracing::warn!(group = T::GROUP, name, %error, "a member says what cannot be read");
                None
            }
        });
    Ok(read.collect())
}
