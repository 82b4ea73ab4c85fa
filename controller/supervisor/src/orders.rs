//! Orders of operators: kept in the store before they count, told on the feed, and ended on time.
//!
//! The desk is the only writer, for operators and for the clock: the supervisor looks at it each time
//! it decides, which is when an order that has run out ends. Nothing waits for the store there, so an
//! end may fall into the middle of a change; each takes effect in one step on what stands by then.

pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tidepool_core::order::{ChangeError, ChangeFuture, PoolChange, Standing};
use tidepool_core::{EventDraft, PoolName, Timestamp};
use tidepool_policy::Override;
use tidepool_store::{Kv, StoreError};
use tokio::sync::Notify;

use crate::control::PoolPlan;
use crate::durable::{self, Kept};
use rules::Configured;

/// Pause before the store is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What an order desk tells, and what time it is. None of it may block.
pub struct DeskPorts {
    /// Publishes an event on the feed.
    pub publish: Box<dyn Fn(EventDraft) + Send + Sync>,
    /// Wall time.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Takes the orders of operators. Cheap to clone.
#[derive(Clone)]
pub struct OrderDesk(Arc<Desk>);

struct Desk {
    kv: Arc<dyn Kv>,
    pools: BTreeMap<PoolName, Configured>,
    standing: RwLock<BTreeMap<PoolName, Arc<Standing>>>,
    /// One change at a time, from reading what stands to having written what follows. Whether there
    /// may be any: a desk that another one follows is closed.
    changing: tokio::sync::Mutex<bool>,
    /// Pools whose orders ended and are still in the store; no more than there are pools.
    ended: Mutex<BTreeSet<PoolName>>,
    has_ended: Notify,
    ports: DeskPorts,
}

impl std::fmt::Debug for OrderDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderDesk").finish_non_exhaustive()
    }
}

impl OrderDesk {
    /// A desk with the orders that the store has. Needs a tokio runtime, on which a task forgets
    /// what has ended. What cannot be understood is set aside and told.
    ///
    /// # Errors
    /// When the store does not answer: an order that stands must not be overlooked.
    pub async fn open(
        kv: Arc<dyn Kv>,
        plans: &[PoolPlan],
        ports: DeskPorts,
    ) -> Result<Self, StoreError> {
        let mut pools = BTreeMap::new();
        let mut standing = BTreeMap::new();
        for plan in plans {
            let name = &plan.spec.name;
            pools.insert(name.clone(), plan.configured());
            let found = durable::load::<Standing>(&kv, Kept::Orders, name, &ports.publish).await?;
            standing.extend(found.map(|found| (name.clone(), Arc::new(found))));
        }
        let desk = Arc::new(Desk {
            kv,
            pools,
            standing: RwLock::new(standing),
            changing: tokio::sync::Mutex::new(true),
            ended: Mutex::default(),
            has_ended: Notify::new(),
            ports,
        });
        tokio::spawn(forget_ended(Arc::downgrade(&desk)));
        Ok(Self(desk))
    }

    /// Makes a change; done when it would survive a crash.
    #[must_use]
    pub fn change(&self, pool: &PoolName, change: PoolChange) -> ChangeFuture {
        let (desk, pool) = (Arc::clone(&self.0), pool.clone());
        Box::pin(async move { desk.change(&pool, change).await })
    }

    /// Writes nothing any more, once what is being written is: another desk is about to be opened
    /// over the same store, and would not know of it. Changes are refused.
    pub async fn close(&self) {
        *self.0.changing.lock().await = false;
    }

    /// What stands for a pool.
    #[must_use]
    pub fn standing(&self, pool: &PoolName) -> Arc<Standing> {
        self.0.standing(pool)
    }

    /// What the policy has to obey at `now`. Ends what has run out.
    pub(crate) fn in_force(&self, pool: &PoolName, now: Timestamp) -> Option<Override> {
        let desk = &self.0;
        let standing = desk.standing(pool);
        if rules::expire(&standing, now).is_none() {
            return rules::to_override(&standing, now);
        }
        let Some((old, left, told)) = desk.expire(pool, now) else {
            // An operator was faster.
            return rules::to_override(&desk.standing(pool), now);
        };
        desk.tell(pool, (&old, &left), "the clock", Some(told));
        desk.ended.lock().insert(pool.clone());
        desk.has_ended.notify_one();
        rules::to_override(&left, now)
    }
}

impl Desk {
    fn standing(&self, pool: &PoolName) -> Arc<Standing> {
        self.standing.read().get(pool).cloned().unwrap_or_default()
    }

    /// Ends what has run out, in one step: an order that is made meanwhile is not overwritten. Returns
    /// what stood, what is left, and what ended.
    fn expire(
        &self,
        pool: &PoolName,
        now: Timestamp,
    ) -> Option<(Arc<Standing>, Standing, &'static str)> {
        let mut all = self.standing.write();
        let standing = Arc::clone(all.get(pool)?);
        let (left, told) = rules::expire(&standing, now)?;
        put(&mut all, pool, left.clone());
        Some((standing, left, told))
    }

    /// Makes a change of `before` stand. What the clock ended while the change was written stays
    /// ended. Returns what stands.
    fn replace(&self, pool: &PoolName, before: &Standing, after: Standing) -> Standing {
        let mut all = self.standing.write();
        let current = all.get(pool).cloned().unwrap_or_default();
        let merged = rules::merge(before, &current, after);
        put(&mut all, pool, merged.clone());
        merged
    }

    async fn change(&self, pool: &PoolName, change: PoolChange) -> Result<Standing, ChangeError> {
        let unknown = || ChangeError::UnknownPool(pool.clone());
        let configured = *self.pools.get(pool).ok_or_else(unknown)?;
        let may_change = self.changing.lock().await;
        if !*may_change {
            let follows = "another supervisor takes over: try again in a moment";
            return Err(ChangeError::Unavailable(follows.to_owned()));
        }
        let before = self.standing(pool);
        let after = rules::apply(&before, configured, &change, (self.ports.now)())?;
        let kept = self.keep(pool, &after).await;
        kept.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        let after = self.replace(pool, &before, after);
        let by: String = change.by.chars().take(64).collect();
        self.tell(pool, (&before, &after), &by, change.reason.as_deref());
        tracing::info!(%pool, by, "an operator changed the orders of a pool");
        Ok(after)
    }

    /// Writes what stands for a pool, or that nothing does.
    async fn keep(&self, pool: &PoolName, standing: &Standing) -> Result<(), StoreError> {
        if standing.is_empty() {
            let key = Kept::Orders.key(pool);
            return self.kv.delete(&key).await.map(drop);
        }
        durable::save(&self.kv, Kept::Orders, pool, standing, (self.ports.now)()).await
    }

    fn tell(
        &self,
        pool: &PoolName,
        (old, new): (&Standing, &Standing),
        by: &str,
        reason: Option<&str>,
    ) {
        let Some(configured) = self.pools.get(pool) else {
            return;
        };
        let until = changed_until(old, new).map(Timestamp::rfc3339);
        let data = json!({
            "pool": pool,
            "old": summary(*configured, old),
            "new": summary(*configured, new),
            "by": by,
            "reason": reason,
            "until": until,
            "sentence": sentence(*configured, (old, new), by, reason, until.as_deref()),
        });
        (self.ports.publish)(EventDraft::of_pool("config.applied", pool, data));
    }
}

fn put(all: &mut BTreeMap<PoolName, Arc<Standing>>, pool: &PoolName, standing: Standing) {
    if standing.is_empty() {
        all.remove(pool);
    } else {
        all.insert(pool.clone(), Arc::new(standing));
    }
}

fn summary(configured: Configured, standing: &Standing) -> Value {
    let Configured { min, max } = rules::bounds(configured, standing);
    json!({"min": min, "max": max, "paused": standing.is_paused(), "pin": standing.pinned()})
}

/// When what a change set will end.
fn changed_until(old: &Standing, new: &Standing) -> Option<Timestamp> {
    let hold = new.hold.as_ref().filter(|_| new.hold != old.hold);
    let bounds = new.bounds.as_ref().filter(|_| new.bounds != old.bounds);
    let bounds = bounds.and_then(|bounds| bounds.until);
    hold.map(|hold| hold.until).into_iter().chain(bounds).min()
}

fn sentence(
    configured: Configured,
    (old, new): (&Standing, &Standing),
    by: &str,
    reason: Option<&str>,
    until: Option<&str>,
) -> String {
    let (before, after) = (
        rules::bounds(configured, old),
        rules::bounds(configured, new),
    );
    let hold = match (&new.hold, &old.hold) {
        (Some(hold), _) if new.hold != old.hold => Some(match hold.pin {
            Some(pin) => format!("pinned to {pin}"),
            None => "paused".to_owned(),
        }),
        (None, Some(hold)) => Some(match hold.pin {
            Some(_) => "no longer pinned".to_owned(),
            None => "no longer paused".to_owned(),
        }),
        _ => None,
    };
    let bounds = (before != after).then(|| format!("bounds {}-{}", after.min, after.max));
    let what: Vec<String> = hold.into_iter().chain(bounds).collect();
    let mut text = if what.is_empty() {
        "orders renewed".to_owned()
    } else {
        what.join(", ")
    };
    text.push_str(&until.map_or_else(String::new, |until| format!(" until {until}")));
    text.push_str(&format!(" by {by}"));
    text.push_str(&reason.map_or_else(String::new, |reason| format!(": {reason}")));
    text
}

/// Takes orders that ended out of the store, until the desk is gone.
async fn forget_ended(desk: std::sync::Weak<Desk>) {
    loop {
        let Some(desk) = desk.upgrade() else { return };
        // Looks up now and then, so that it notices when the desk is gone.
        let _ = tokio::time::timeout(RETRY_AFTER, desk.has_ended.notified()).await;
        // Taken before it is read what stands: what ends while that is written is another end.
        let ended = std::mem::take(&mut *desk.ended.lock());
        for pool in ended {
            let may_change = desk.changing.lock().await;
            if !*may_change {
                return;
            }
            if let Err(error) = desk.keep(&pool, &desk.standing(&pool)).await {
                tracing::warn!(%pool, %error, "an ended order is still in the store");
                desk.ended.lock().insert(pool);
            }
        }
    }
}

#[cfg(test)]
mod tests;
