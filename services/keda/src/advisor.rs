//! Looks a pool up in the running fleet and asks for its advice.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidepool_core::status::PoolStatus;
use tidepool_core::{PoolName, Timestamp};

use crate::advice::{self, Advice, NoAdvice};

/// Longest name that is repeated in an error, in characters.
const NAME_LEN_SHOWN: usize = 80;
/// Most pools that an error lists.
const POOLS_SHOWN: usize = 20;

/// Tells the time by which decisions are dated.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Shows every pool that was decided about, as of now. Quick: it is asked several times a second.
pub type Statuses = Arc<dyn Fn() -> Vec<PoolStatus> + Send + Sync>;

/// Knows how many workers each pool should have, or that it does not know. Cheap to clone.
#[derive(Clone)]
pub struct Advisor {
    statuses: Statuses,
    pools: Arc<BTreeSet<PoolName>>,
    now: Clock,
}

impl Advisor {
    /// An advisor on the configured `pools`, which may be more than were decided about yet.
    pub fn new(statuses: Statuses, pools: impl IntoIterator<Item = PoolName>, now: Clock) -> Self {
        Self {
            statuses,
            pools: Arc::new(pools.into_iter().collect()),
            now,
        }
    }

    /// How many workers `pool` should have now.
    ///
    /// # Errors
    /// When there is no such pool, or no number that is not made up.
    pub fn advise(&self, pool: &str) -> Result<Advice, NoAdvice> {
        let pool = self.known(pool)?;
        let mut pools = (self.statuses)().into_iter();
        let status = pools.find(|status| status.pool == *pool);
        let status = status.ok_or_else(|| NoAdvice::Undecided(pool.clone()))?;
        advice::advise(&status, (self.now)())
    }

    /// What is known of every pool; pools without a number are left out.
    #[cfg(feature = "grpc")]
    pub(crate) fn advise_all(&self) -> Vec<Advice> {
        let now = (self.now)();
        let pools = (self.statuses)().into_iter();
        pools
            .filter_map(|status| advice::advise(&status, now).ok())
            .collect()
    }

    /// The configured pool of this name.
    pub(crate) fn known(&self, name: &str) -> Result<&PoolName, NoAdvice> {
        self.pools.get(name).ok_or_else(|| NoAdvice::UnknownPool {
            name: name.chars().take(NAME_LEN_SHOWN).collect(),
            known: self.listed(),
        })
    }

    /// The pools there are, for people.
    pub(crate) fn listed(&self) -> String {
        let shown: Vec<_> = self.pools.iter().take(POOLS_SHOWN).collect();
        let names = shown.iter().map(|name| name.as_str()).collect::<Vec<_>>();
        match self.pools.len().saturating_sub(POOLS_SHOWN) {
            0 if names.is_empty() => "none".to_owned(),
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
}
