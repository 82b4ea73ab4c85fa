//! The learned hours of the week of every pool: fed with what is observed, asked for the floor
//! under the forecast, kept in the store, and shown to operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tidepool_core::order::ChangeError;
use tidepool_core::{EventDraft, PoolName, Timestamp};
use tidepool_policy::{Observation, ProfileForecast};
use tidepool_profile::{Config, Document, Forecast, Pattern, WeekHour};
use tidepool_store::{Kv, StoreError};

use crate::control::PoolPlan;
use crate::durable::{self, Kept};
use crate::keeper::Save;
use crate::pattern_clock::{Learning, PatternClock};
use crate::rival::{self, Fits, Rival};

/// What an outlook covers, and how finely.
const OUTLOOK_HOURS: u32 = 24;
const OUTLOOK_STEP_S: u32 = 300;
/// Longest name of an operator that is told, in characters.
const BY_LEN_MAX: usize = 64;
/// Longest account of what is wrong with a pattern, in characters.
const PROBLEM_LEN_MAX: usize = 400;
/// A pattern is kept this often: a crash costs at most this much of a day that it learns from.
pub(crate) const KEEP_EVERY: Duration = Duration::from_secs(300);

/// One pool's pattern and what it last foretold.
#[derive(Debug)]
struct Learner {
    pattern: Pattern,
    rival: Rival,
    lead_s: f64,
    forecast: Option<Forecast>,
}

/// The patterns of all pools. Cheap to clone.
#[derive(Clone)]
pub struct Patterns(Arc<Inner>);

struct Inner {
    zone: String,
    clock: PatternClock,
    kv: Arc<dyn Kv>,
    publish: Publish,
    fits: Fits,
    learners: BTreeMap<PoolName, Arc<Mutex<Learner>>>,
}

/// Publishes an event on the feed. Must not block.
pub type Publish = Arc<dyn Fn(EventDraft) + Send + Sync>;

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patterns").finish_non_exhaustive()
    }
}

/// The patterns cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PatternsError {
    /// The time zone cannot be used.
    #[error("the hours of the week cannot be learned")]
    Zone(#[from] tidepool_profile::Error),
    /// The store does not answer.
    #[error("what was learned cannot be read")]
    Store(#[from] StoreError),
}

impl Patterns {
    /// The patterns that the store has of these pools, and new ones for the others. One that cannot
    /// be understood, or that belongs to another time zone, is set aside and told. While time is sped
    /// up the store is neither read nor written: days that never were must not become habits.
    ///
    /// # Errors
    /// When the time zone is unknown or the store does not answer.
    pub async fn load(
        kv: Arc<dyn Kv>,
        plans: &[PoolPlan],
        learning: Learning<'_>,
        publish: Publish,
    ) -> Result<Self, PatternsError> {
        let Learning { zone, speed } = learning;
        let clock = PatternClock::new(speed);
        let mut learners = BTreeMap::new();
        for plan in plans {
            let pool = &plan.spec.name;
            let check = |document: Document| import(document, zone);
            let kept = if clock.is_real() {
                durable::load_checked(&kv, Kept::Pattern, pool, check, &*publish).await?
            } else {
                None
            };
            let challenger = if clock.is_real() {
                let check = rival::checked;
                durable::load_checked(&kv, Kept::Challenger, pool, check, &*publish).await?
            } else {
                None
            };
            let pattern = match kept {
                Some(pattern) => pattern,
                None => Pattern::new(Config::in_zone(zone))?,
            };
            let learner = Learner {
                pattern,
                rival: challenger.map(Rival::of).unwrap_or_default(),
                lead_s: plan.policy.bounds.startup_s_assumed,
                forecast: None,
            };
            learners.insert(pool.clone(), Arc::new(Mutex::new(learner)));
        }
        let zone = zone.to_owned();
        Ok(Self(Arc::new(Inner {
            zone,
            clock,
            kv,
            publish,
            fits: Fits::default(),
            learners,
        })))
    }

    /// Learns from an observation at `now` and puts the forecast for one start-up time ahead into
    /// it, while forecasts are worth believing.
    pub(crate) fn attend(
        &self,
        pool: &PoolName,
        observation: &mut Observation,
        startup_s_assumed: f64,
        now: Timestamp,
    ) {
        let Some(shared) = self.0.learners.get(pool) else {
            return;
        };
        let mut learner = shared.lock();
        let clock = &self.0.clock;
        if let Some(work) = &observation.work {
            let Learner { pattern, rival, .. } = &mut *learner;
            let windows = clock.windows(now, work.window_s, work.arrivals);
            pattern.observe_cut(windows.map(|window| {
                rival.observe(window.at_ms, window.seconds, window.arrivals);
                (window.at_ms, window.seconds, window.arrivals)
            }));
            if let Some(late) = work.late {
                let at_ms = clock.at_ms(now);
                learner.pattern.budget(at_ms, work.arrivals, late);
            }
        }
        self.fit_if_due(pool, (shared, &mut learner), clock.at_ms(now));
        let startup_s = observation.startup_p95_s.unwrap_or(startup_s_assumed);
        learner.lead_s = clock.lead_s(startup_s);
        let lead_s = learner.lead_s;
        learner.forecast = learner.pattern.forecast(clock.at_ms(now), lead_s);
        let advice = learner.forecast.and_then(|forecast| forecast.advice());
        observation.forecast = advice.map(|advice| ProfileForecast {
            median_rate: advice.median_rate,
            floor_rate: advice.floor_rate,
            growth: advice.growth,
            quantile_rates: advice.quantile_rates,
            waking: advice.waking,
        });
    }

    /// Fits the challenger elsewhere when it is time to.
    fn fit_if_due(
        &self,
        pool: &PoolName,
        (shared, learner): (&Arc<Mutex<Learner>>, &mut Learner),
        at_ms: u64,
    ) {
        let (pool, shared) = (pool.clone(), Arc::clone(shared));
        learner
            .rival
            .fit_if_due(at_ms, &self.0.fits, move |outcome| {
                let Learner { pattern, rival, .. } = &mut *shared.lock();
                rival.settle(outcome, at_ms, (&pool, pattern));
            });
    }

    /// What the pattern last foretold, believed or not.
    pub(crate) fn forecast_of(&self, pool: &PoolName) -> Option<Forecast> {
        self.0.learners.get(pool)?.lock().forecast
    }

    /// The pattern and its challenger as they are to be kept.
    pub(crate) fn saves(&self, pool: &PoolName, now: Timestamp) -> Vec<Save> {
        let learner = self.0.learners.get(pool);
        let Some(learner) = learner.filter(|_| self.0.clock.is_real()) else {
            return Vec::new();
        };
        let (document, challenger) = {
            let learner = learner.lock();
            (learner.pattern.export(), learner.rival.challenger().clone())
        };
        vec![
            Save::new(Kept::Pattern, pool, document, now),
            Save::new(Kept::Challenger, pool, challenger, now),
        ]
    }

    /// The learned week with its confidence, and the document that another controller can import.
    #[must_use]
    pub fn pattern(&self, pool: &PoolName) -> Option<Value> {
        // Copied, so that the supervisor does not wait while this is worked out.
        let (pattern, rival) = {
            let learner = self.0.learners.get(pool)?.lock();
            (learner.pattern.clone(), learner.rival.status())
        };
        Some(json!({
            "pool": pool,
            "time_zone": self.0.zone,
            "hours": pattern.week(),
            "days": pattern.days(),
            "quality": pattern.quality(),
            "contest": pattern.contest(),
            "challenger": rival,
            "document": pattern.export(),
        }))
    }

    /// The next 24 hours with their band, and how forecasts fared.
    #[must_use]
    pub fn forecast(&self, pool: &PoolName, now: Timestamp) -> Option<Value> {
        let (pattern, lead_s, next) = {
            let learner = self.0.learners.get(pool)?.lock();
            (learner.pattern.clone(), learner.lead_s, learner.forecast)
        };
        let quality = pattern.quality();
        let points = pattern.outlook(self.0.clock.at_ms(now), OUTLOOK_HOURS, OUTLOOK_STEP_S);
        let points = points.iter().map(|point| {
            json!({
                "at": Timestamp(point.at_ms).rfc3339(), "p10": point.p10_rate,
                "p50": point.p50_rate, "p90": point.p90_rate, "p99": point.p99_rate,
            })
        });
        Some(json!({
            "pool": pool,
            "lead_s": lead_s,
            "believed": next.is_some_and(|next| next.believed),
            "next": next,
            "coverage": quality[0].coverage,
            "coverage_wanted": quality[0].quantile,
            "quality": quality,
            "points": points.collect::<Vec<_>>(),
        }))
    }

    /// Replaces a pattern by an exported one, on behalf of `by`: the document, or the whole answer
    /// that holds it. Done when the new one would survive a crash; told on the feed.
    ///
    /// # Errors
    /// When there is no such pool, the document cannot be used, or the store does not answer.
    pub async fn import(
        self,
        pool: PoolName,
        mut given: Value,
        by: String,
    ) -> Result<(), ChangeError> {
        let pool = &pool;
        let unknown = || ChangeError::UnknownPool(pool.clone());
        let learner = self.0.learners.get(pool).ok_or_else(unknown)?;
        let invalid = |message: String| ChangeError::Invalid {
            member: "document",
            message,
        };
        let (within, document) = match given.get_mut("document") {
            Some(inner) => ("/document", inner.take()),
            None => ("", given),
        };
        let document: Document = serde_path_to_error::deserialize(document)
            .map_err(|error| invalid(misshapen(within, &error)))?;
        let pattern = import(document, &self.0.zone).map_err(invalid)?;
        let now = Timestamp::from(std::time::SystemTime::now());
        if self.0.clock.is_real() {
            let kept = durable::save(&self.0.kv, Kept::Pattern, pool, &pattern.export(), now).await;
            kept.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        }
        let new = pattern.clone();
        let old = {
            let mut learner = learner.lock();
            let old = std::mem::replace(&mut learner.pattern, pattern);
            let Learner { pattern, rival, .. } = &mut *learner;
            rival.join(pattern);
            learner.forecast = None;
            old
        };
        let by: String = by.chars().take(BY_LEN_MAX).collect();
        tracing::info!(%pool, by, "an operator imported the learned hours of a pool");
        (self.0.publish)(imported(pool, (&old, &new), &by));
        Ok(())
    }
}

/// What no pattern has, and its JSON Pointer in the body, whose part `within` is the pattern.
fn misshapen(within: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = within.to_owned();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let place = match pointer.as_str() {
        "" => "the document",
        pointer => pointer,
    };
    // A key or a value of the body may be as long as the body.
    let told = format!("{place}: {}", error.inner());
    told.chars().take(PROBLEM_LEN_MAX).collect()
}

/// What the feed tells of an import.
fn imported(pool: &PoolName, (old, new): (&Pattern, &Pattern), by: &str) -> EventDraft {
    let known = |pattern: &Pattern| {
        let week = pattern.week();
        let is_known = |hour: &&WeekHour| hour.median_rate.is_some();
        week.iter().filter(is_known).count()
    };
    let (before, after) = (known(old), known(new));
    let data = json!({
        "pool": pool,
        "old": { "hours_known": before },
        "new": { "hours_known": after },
        "by": by,
        "sentence": format!(
            "learned hours imported by {by}: {after} of 168 are known, {before} were before"
        ),
    });
    EventDraft::of_pool("config.applied", pool, data)
}

fn import(document: Document, zone: &str) -> Result<Pattern, String> {
    let pattern = Pattern::import(document).map_err(|error| error.to_string())?;
    let learned_in = &pattern.config().zone;
    if learned_in == zone {
        return Ok(pattern);
    }
    Err(format!(
        "it was learned in the time zone {learned_in}, and controller.time_zone is {zone}"
    ))
}

#[cfg(test)]
mod tests;
