//! What load a pool has at which hour of the week, learned, and how far to believe it.
//!
//! ```
//! use tidepool_profile::{Config, Pattern};
//!
//! let mut pattern = Pattern::new(Config::in_zone("Europe/Berlin"))?;
//! for second in 1..=100_000_u64 {
//!     pattern.observe(1_700_000_000_000 + second * 1_000, 1.0, 20.0);
//! }
//! let now_ms = 1_700_100_000_000;
//! let forecast = pattern.forecast(now_ms, 30.0).filter(|forecast| forecast.believed);
//! assert!(forecast.is_none(), "a pattern has to prove itself first");
//! # Ok::<(), tidepool_profile::Error>(())
//! ```
//!
//! [`Pattern`] counts arrivals by the hour of the local week, learns each day when it is over
//! (unless it was an odd one), and corrects the level by what is observed now. Each forecast is kept
//! until its time comes. What came of it tunes four things: how much of the profile's growth to
//! believe, the spread, the coverage of the floor, and whether to believe the profile at all.
//!
//! Nothing here reads a clock or a file.

mod blend;
mod burst;
mod challenge;
mod check;
mod config;
mod conformal;
mod curve;
mod day;
mod document;
mod error;
mod floor;
mod forecast;
mod horizon;
mod local;
mod pace;
mod pattern;
mod rate;
mod residual;
mod scatter;
mod shown;
mod stored;
mod waking;
mod week;

#[cfg(test)]
mod tests;

pub use challenge::{CHALLENGE_POINTS_MAX, Challenge};
pub use config::{CALENDAR_ENTRIES_MAX, Config, DayKind};
pub use document::Document;
pub use error::Error;
pub use forecast::{
    Advice, BurstAccount, BurstPhase, Contest, Days, Forecast, OutlookPoint, QUANTILES, Quality,
    WeekHour,
};
pub use pattern::Pattern;
