//! A pattern as it is stored: a versioned document, checked field by field when it is loaded.
//!
//! | version | holds |
//! |---|---|
//! | 1 | `config` and `week`: enough to write one by hand or to make one from old logs |
//! | 2 | also today, days put aside, and how forecasts fared, so that a restart forgets nothing |

use serde::{Deserialize, Serialize};

use crate::{
    Config, Error, Pattern,
    burst::Bursts,
    check::{self, Check},
    day::{DayHours, Gate},
    horizon::Horizon,
    local::WEEK_HOURS,
    pace::Pace,
    stored,
    week::{Bin, Week},
};

/// The version that is written.
const NEWEST: u32 = 2;

/// A stored pattern. Give it to any serde format; a loaded one is checked by [`Pattern::import`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    version: u32,
    config: Config,
    week: Vec<Hour>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<State>,
}

/// An hour of the week, from Monday's midnight on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hour {
    /// Requests per second.
    #[serde(with = "stored")]
    rate: f64,
    /// Weeks it rests on, fading; 0 if it was never seen.
    #[serde(with = "stored")]
    weight: f64,
    /// Standard deviation of single weeks, in ln units.
    #[serde(default, with = "stored")]
    spread: f64,
}

/// What a restart must not forget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    seen_ms: u64,
    today: Option<DayHours>,
    gate: Gate,
    horizons: [Horizon; 2],
    pace: Pace,
    bursts: Bursts,
}

impl Pattern {
    /// All that was learned.
    #[must_use]
    pub fn export(&self) -> Document {
        Document {
            version: NEWEST,
            config: self.config.clone(),
            week: self.week.bins.iter().map(Hour::of).collect(),
            state: Some(State {
                seen_ms: self.seen_ms,
                today: self.today.clone(),
                gate: self.gate.clone(),
                horizons: self.horizons.clone(),
                pace: self.pace,
                bursts: self.bursts.clone(),
            }),
        }
    }

    /// The pattern that a document holds.
    ///
    /// # Errors
    /// If it was written by a newer version, or a field holds what no pattern can hold: the message
    /// names the field. Keep such a document under another name and learn anew.
    pub fn import(document: Document) -> Result<Self, Error> {
        if !(1..=NEWEST).contains(&document.version) {
            return Err(Error::Version {
                found: document.version,
                newest: NEWEST,
            });
        }
        let mut pattern = Self::new(document.config)?;
        pattern.week = Week::new(bins(&document.week)?);
        if let Some(state) = document.state {
            state.check("state")?;
            pattern.seen_ms = state.seen_ms;
            pattern.today = state.today;
            pattern.gate = state.gate;
            pattern.horizons = state.horizons;
            pattern.pace = state.pace;
            pattern.bursts = state.bursts;
            let quantile = pattern.quantile();
            for horizon in &mut pattern.horizons {
                horizon.restore(quantile);
            }
        }
        Ok(pattern)
    }
}

impl Hour {
    fn of(bin: &Bin) -> Self {
        Self {
            rate: if bin.weight > 0.0 {
                bin.ln_rate.exp()
            } else {
                0.0
            },
            weight: bin.weight,
            spread: bin.variance.sqrt(),
        }
    }
}

fn bins(hours: &[Hour]) -> Result<[Bin; WEEK_HOURS], Error> {
    if hours.len() != WEEK_HOURS {
        let why = format!("{} hours, but a week has {WEEK_HOURS}", hours.len());
        return Err(Error::corrupt("week", why));
    }
    let mut bins = [Bin::default(); WEEK_HOURS];
    for (place, (bin, hour)) in bins.iter_mut().zip(hours).enumerate() {
        let field = |name: &str| format!("week[{place}].{name}");
        check::within(field("weight"), hour.weight, 0.0, check::LARGEST)?;
        check::within(field("spread"), hour.spread, 0.0, 100.0)?;
        let least = if hour.weight > 0.0 { 1e-9 } else { 0.0 };
        check::within(field("rate"), hour.rate, least, check::LARGEST)?;
        if hour.weight > 0.0 {
            *bin = Bin {
                ln_rate: hour.rate.ln(),
                variance: hour.spread * hour.spread,
                weight: hour.weight,
            };
        }
    }
    Ok(bins)
}

impl Check for State {
    fn check(&self, path: &str) -> Result<(), Error> {
        if let Some(today) = &self.today {
            today.check(&format!("{path}.today"))?;
        }
        self.gate.check(&format!("{path}.gate"))?;
        for (place, horizon) in self.horizons.iter().enumerate() {
            horizon.check(&format!("{path}.horizons[{place}]"))?;
        }
        self.pace.check(&format!("{path}.pace"))?;
        self.bursts.check(&format!("{path}.bursts"))
    }
}
