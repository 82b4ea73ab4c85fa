//! A second opinion on the hours to come, beside the learned hourly profile.
//!
//! Hourly means of the last five weeks are split into a daily and a weekly season and a trend
//! (MSTL), and the trend is carried on by exponential smoothing (ETS); both by the `augurs` crates.
//! The profile judges the outcome by pinball loss on the same moments as itself
//! ([`tidepool_profile::Pattern::challenge`]). Nobody acts on it: it is here to show when the simple
//! profile leaves something on the table.
//!
//! Fitting takes milliseconds, so it is a step of its own for another thread:
//!
//! ```
//! # use tidepool_challenger::Challenger;
//! # use tidepool_profile::{Config, Pattern};
//! # let mut pattern = Pattern::new(Config::default())?;
//! # let mut challenger = Challenger::default();
//! # let now_ms = 1_700_000_000_000;
//! challenger.observe(now_ms, 1.0, 12.0);
//! if let Some(training) = challenger.training(now_ms) {
//!     // Elsewhere, off the hot path:
//!     if let Ok(challenge) = training.fit() {
//!         pattern.challenge(challenge);
//!     }
//! }
//! # Ok::<(), tidepool_profile::Error>(())
//! ```

mod history;
mod training;

pub use history::Challenger;
pub use training::{Error, Training};
