//! What the controller keeps in the store: one value a pool and purpose, in an envelope that says
//! what it is and of which version. Numbers survive exactly, which JSON does not promise.
//!
//! What cannot be understood is moved aside and told, never deleted and never a reason not to start.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidepool_core::{EventDraft, PoolName, Timestamp};
use tidepool_store::{Kv, StoreError, VALUE_BYTES_MAX};

/// Version of the envelope. Contents take other versions of themselves by defaults.
const VERSION: u32 = 1;
/// Longest description of what is wrong with a value, in characters.
const PROBLEM_LEN_MAX: usize = 300;

/// What is kept of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// What operators ask.
    Orders,
    /// What the policy remembers.
    Memory,
    /// The learned hours of the week.
    Pattern,
    /// What the pattern's challenger saw.
    Challenger,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Memory => "memory",
            Self::Pattern => "pattern",
            Self::Challenger => "challenger",
        }
    }

    /// Where it is kept.
    pub(crate) fn key(self, pool: &PoolName) -> String {
        format!("controller/{}/{pool}", self.name())
    }

    /// Where one that could not be understood is put; the newest of them is kept.
    fn key_aside(self, pool: &PoolName) -> String {
        format!("controller/set_aside/{}/{pool}", self.name())
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    tidepool: String,
    version: u32,
    saved_ms: u64,
    body: T,
}

/// A value cannot be understood.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("it is damaged: {0}")]
    Damaged(#[from] rmp_serde::decode::Error),
    #[error("it holds '{found}', not '{expected}'")]
    Stranger {
        found: String,
        expected: &'static str,
    },
    #[error("it is of version {0}; this program reads up to {VERSION}")]
    Newer(u32),
}

/// The bytes of a value, unless it is too large to be kept.
pub(crate) fn encode<T: Serialize>(kept: Kept, body: &T, now: Timestamp) -> Option<Bytes> {
    let envelope = Envelope {
        tidepool: kept.name().to_owned(),
        version: VERSION,
        saved_ms: now.0,
        body,
    };
    match rmp_serde::to_vec_named(&envelope) {
        Ok(bytes) if bytes.len() <= VALUE_BYTES_MAX => Some(bytes.into()),
        Ok(bytes) => {
            let (what, size) = (kept.name(), bytes.len());
            tracing::warn!(what, size, "a state is too large to be kept");
            None
        }
        Err(error) => {
            tracing::warn!(what = kept.name(), %error, "a state cannot be written down");
            None
        }
    }
}

fn decode<T: DeserializeOwned>(kept: Kept, bytes: &[u8]) -> Result<T, Unreadable> {
    /// The same without what depends on the version.
    #[derive(Deserialize)]
    struct Head {
        tidepool: String,
        version: u32,
    }
    let head: Head = rmp_serde::from_slice(bytes)?;
    if head.tidepool != kept.name() {
        let found = head.tidepool.chars().take(40).collect();
        let expected = kept.name();
        return Err(Unreadable::Stranger { found, expected });
    }
    if head.version > VERSION {
        return Err(Unreadable::Newer(head.version));
    }
    let envelope: Envelope<T> = rmp_serde::from_slice(bytes)?;
    Ok(envelope.body)
}

/// Keeps a value.
///
/// # Errors
/// The store's.
pub(crate) async fn save<T: Serialize>(
    kv: &Arc<dyn Kv>,
    kept: Kept,
    pool: &PoolName,
    body: &T,
    now: Timestamp,
) -> Result<(), StoreError> {
    match encode(kept, body, now) {
        Some(bytes) => kv.put(&kept.key(pool), bytes, None).await.map(drop),
        None => Err(StoreError::TooLarge {
            what: "a state of the controller",
            size: usize::MAX,
            max: VALUE_BYTES_MAX,
        }),
    }
}

/// Reads a value, if there is one. One that cannot be understood is set aside and told.
///
/// # Errors
/// The store's.
pub(crate) async fn load<T: DeserializeOwned>(
    kv: &Arc<dyn Kv>,
    kept: Kept,
    pool: &PoolName,
    publish: &(dyn Fn(EventDraft) + Send + Sync),
) -> Result<Option<T>, StoreError> {
    load_checked(kv, kept, pool, Ok, publish).await
}

/// The same for a value that has to pass a check, or else is set aside as well.
///
/// # Errors
/// The store's.
pub(crate) async fn load_checked<T: DeserializeOwned, U>(
    kv: &Arc<dyn Kv>,
    kept: Kept,
    pool: &PoolName,
    check: impl Fn(T) -> Result<U, String>,
    publish: &(dyn Fn(EventDraft) + Send + Sync),
) -> Result<Option<U>, StoreError> {
    let key = kept.key(pool);
    let Some(value) = kv.get(&key).await? else {
        return Ok(None);
    };
    let body = decode(kept, &value.bytes).map_err(|problem| problem.to_string());
    let problem = match body.and_then(check) {
        Ok(body) => return Ok(Some(body)),
        Err(problem) => problem,
    };
    let aside = kept.key_aside(pool);
    kv.put(&aside, value.bytes, None).await?;
    kv.delete(&key).await?;
    publish(set_aside(kept, pool, &problem, &aside));
    Ok(None)
}

/// Tells of a value that was set aside, in the log and as an event.
fn set_aside(kept: Kept, pool: &PoolName, problem: &str, aside: &str) -> EventDraft {
    let what = kept.name();
    let problem: String = problem.chars().take(PROBLEM_LEN_MAX).collect();
    tracing::warn!(%pool, what, problem, aside, "a kept state cannot be used and is set aside");
    let sentence = format!(
        "the kept {what} of {pool} cannot be used ({problem}): it was set aside as '{aside}', and \
         the pool begins anew"
    );
    let data = json!({
        "pool": pool, "what": what, "problem": problem, "set_aside": aside, "sentence": sentence,
    });
    EventDraft::of_pool("config.rejected", pool, data)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tidepool_policy::Memory;
    use tidepool_store::EmbeddedStore;

    use super::*;
    use crate::intake::tests::pool_name;
    use crate::troubled::{Access, TroubledKv};

    async fn load_bytes(bytes: &[u8]) -> (Option<Memory>, Vec<EventDraft>, Arc<dyn Kv>) {
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let bytes = Bytes::copy_from_slice(bytes);
        let key = Kept::Memory.key(&pool_name());
        kv.put(&key, bytes, None).await.unwrap();
        let told = Mutex::new(Vec::new());
        let publish = |event| told.lock().push(event);
        let found = load(&kv, Kept::Memory, &pool_name(), &publish).await;
        (found.unwrap(), told.into_inner(), kv)
    }

    #[tokio::test]
    async fn what_was_kept_comes_back_and_what_is_damaged_is_set_aside() {
        let memory = Memory::default();
        let good = encode(Kept::Memory, &memory, Timestamp(7)).unwrap();
        let (found, told, _) = load_bytes(&good).await;
        assert_eq!((found, told.len()), (Some(memory), 0));
        let strange = encode(Kept::Pattern, &Memory::default(), Timestamp(7)).unwrap();
        for bad in [&good[..good.len() - 9], b"", b"\xc1", b"{}", &strange] {
            let (found, told, kv) = load_bytes(bad).await;
            assert_eq!(found, None);
            assert_eq!(told[0].kind, "config.rejected");
            let sentence = told[0].data["sentence"].as_str().unwrap();
            assert!(sentence.contains("set aside"), "{sentence}");
            let key = Kept::Memory.key(&pool_name());
            assert_eq!(kv.get(&key).await.unwrap(), None);
            let aside = kv.get(&Kept::Memory.key_aside(&pool_name())).await.unwrap();
            assert_eq!(&aside.unwrap().bytes[..], bad);
        }
    }

    #[tokio::test]
    async fn an_older_version_loads_and_a_newer_one_is_set_aside() {
        let older =
            json!({"tidepool": "memory", "version": 1, "saved_ms": 1, "body": {"target": 3}});
        let (found, ..) = load_bytes(&rmp_serde::to_vec_named(&older).unwrap()).await;
        assert_eq!(found.unwrap().target(), Some(3));
        let newer = json!({"tidepool": "memory", "version": 9, "saved_ms": 1, "body": 5});
        let (found, told, _) = load_bytes(&rmp_serde::to_vec_named(&newer).unwrap()).await;
        assert_eq!(found, None);
        assert!(
            told[0].data["problem"]
                .as_str()
                .unwrap()
                .contains("version 9")
        );
    }

    #[tokio::test]
    async fn what_cannot_be_set_aside_stays_where_it_is() {
        let store: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let (pool, key) = (pool_name(), Kept::Orders.key(&pool_name()));
        let bad = Bytes::from_static(b"nonsense");
        store.put(&key, bad.clone(), None).await.unwrap();
        let full = TroubledKv::over(&store, |access, _| access != Access::Put);
        let told = Mutex::new(Vec::new());
        let publish = |event| told.lock().push(event);
        let found = load::<Memory>(&full, Kept::Orders, &pool, &publish).await;
        assert!(found.is_err());
        assert!(told.lock().is_empty());
        assert_eq!(store.get(&key).await.unwrap().unwrap().bytes, bad);
    }

    #[tokio::test]
    async fn each_purpose_has_its_place_and_what_is_too_large_is_refused() {
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let (pool, now) = (pool_name(), Timestamp(7));
        let all = [Kept::Orders, Kept::Memory, Kept::Pattern, Kept::Challenger];
        for (n, kept) in (0_u64..).zip(all) {
            save(&kv, kept, &pool, &n, now).await.unwrap();
        }
        for (n, kept) in (0_u64..).zip(all) {
            let found: Option<u64> = load(&kv, kept, &pool, &|_| {}).await.unwrap();
            assert_eq!(found, Some(n), "{kept:?}");
        }
        let huge = "x".repeat(VALUE_BYTES_MAX);
        let refused = save(&kv, Kept::Memory, &pool, &huge, now).await;
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        let found: Option<u64> = load(&kv, Kept::Memory, &pool, &|_| {}).await.unwrap();
        assert_eq!(found, Some(1), "what was there before");
    }
}
