//! Who is there, followed over the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidepool_store::{Roster, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::documents::Document;

/// Members of a group as they were seen last.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// By name.
    pub members: BTreeMap<String, Arc<T>>,
    /// When each was first seen to say what it says now. Times that it tells are of its own clock.
    pub changed_at: BTreeMap<String, Instant>,
    /// When the store last answered; nothing before it did.
    pub at: Option<Instant>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            changed_at: BTreeMap::new(),
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
            let mut told = BTreeMap::new();
            loop {
                match look(&*roster, &mut told).await {
                    Ok(seen) => {
                        sender.send_replace(Arc::new(seen));
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

/// What a member said last. It is read, and told to be unreadable, once.
struct Told<T> {
    bytes: Bytes,
    document: Option<Arc<T>>,
    since: Instant,
}

impl<T: Document> Told<T> {
    fn read(name: &str, bytes: Bytes, since: Instant) -> Self {
        let document = T::from_bytes(&bytes)
            .inspect_err(|error| {
                tracing::warn!(group = T::GROUP, name, %error, "a member says what cannot be read");
            })
            .ok();
        Self {
            document: document.map(Arc::new),
            bytes,
            since,
        }
    }
}

async fn look<T: Document>(
    roster: &dyn Roster,
    told: &mut BTreeMap<String, Told<T>>,
) -> Result<Seen<T>, StoreError> {
    let members = roster.members(T::GROUP).await?;
    let now = Instant::now();
    let mut before = std::mem::take(told);
    for (name, bytes) in members {
        let same = before.remove(&name).filter(|told| told.bytes == bytes);
        let says = same.unwrap_or_else(|| Told::read(&name, bytes, now));
        told.insert(name, says);
    }
    let mut seen = Seen {
        at: Some(now),
        ..Seen::default()
    };
    for (name, says) in told {
        if let Some(document) = &says.document {
            seen.members.insert(name.clone(), Arc::clone(document));
            seen.changed_at.insert(name.clone(), says.since);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use tidepool_store::EmbeddedStore;

    use super::*;
    use crate::{CONTROLLERS, ControllerDocument};

    #[tokio::test]
    async fn what_is_said_is_as_old_as_its_last_change_by_the_readers_clock() {
        let roster = EmbeddedStore::ephemeral().unwrap();
        let mut told = BTreeMap::new();
        let mut look_after = async |version: &str| {
            let document = ControllerDocument {
                name: "a".to_owned(),
                version: version.to_owned(),
                operator_addr: String::new(),
            };
            let (bytes, ttl) = (document.to_bytes().unwrap(), Duration::from_secs(60));
            let announced = roster.announce(CONTROLLERS, "a", bytes, ttl);
            announced.await.unwrap();
            look::<ControllerDocument>(&roster, &mut told)
                .await
                .unwrap()
        };
        let first = look_after("1").await;
        let again = look_after("1").await;
        assert_eq!(again.changed_at, first.changed_at);
        assert!(again.at > first.at);
        assert!(
            Arc::ptr_eq(&again.members["a"], &first.members["a"]),
            "read once"
        );
        let other = look_after("2").await;
        assert!(other.changed_at["a"] > first.changed_at["a"]);
        assert_eq!(other.members["a"].version, "2");
    }
}
