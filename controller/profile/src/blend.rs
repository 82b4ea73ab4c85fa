//! How much of the pattern's growth to believe, learned from how traffic followed it.
//!
//! The forecast is `last value + w x growth - k x deviation`, all in logarithms: `growth` is what
//! the profile says will happen within the lead, `deviation` how far the present is off the
//! profile. A pattern that traffic does not follow gets w = k = 0, which is the last value.

use serde::{Deserialize, Serialize};

use crate::stored;

/// Share of the growth that is believed until traffic said otherwise: most pools live by the day, and
/// a pool whose first days are silent until the morning could not learn it before it is needed.
const GROWTH_PRIOR: f64 = 1.0;
/// Prior variances of the two shares.
const GROWTH_PRIOR_VARIANCE: f64 = 1.0;
const RETURN_PRIOR_VARIANCE: f64 = 0.1;
/// Forecasts overlap, so that so many of them are worth one.
const OVERLAP: f64 = 10.0;
/// Errors beyond so many mean absolute errors count as that many.
const CLIP_TIMES: f64 = 3.0;
const GROWTH_SHARE_MAX: f64 = 1.2;

/// A fading, clipped least-squares fit with two unknowns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blend {
    #[serde(with = "stored")]
    pub(crate) growth_growth: f64,
    #[serde(with = "stored")]
    pub(crate) growth_back: f64,
    #[serde(with = "stored")]
    pub(crate) back_back: f64,
    #[serde(with = "stored")]
    pub(crate) growth_moved: f64,
    #[serde(with = "stored")]
    pub(crate) back_moved: f64,
    /// Mean absolute error.
    #[serde(with = "stored")]
    pub(crate) error: f64,
    /// Weight of all of it.
    #[serde(with = "stored")]
    pub(crate) weight: f64,
}

/// Shares that are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    /// Of the profile's growth.
    pub(crate) growth: f64,
    /// Of the way back to the profile.
    pub(crate) back: f64,
}

impl Shares {
    /// Logarithm of the forecast over the last value.
    fn change(self, known: Known) -> f64 {
        self.growth * known.growth + self.back * known.back
    }

    /// Logarithm of the forecast rate.
    pub(crate) fn ln_forecast(self, known: Known) -> f64 {
        known.ln_last + self.change(known)
    }
}

/// What a forecast knew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known {
    /// Logarithm of the last value.
    pub(crate) ln_last: f64,
    /// What the profile says will be added to it.
    pub(crate) growth: f64,
    /// What would bring it back to the profile.
    pub(crate) back: f64,
}

impl Blend {
    /// Share of the growth to believe and share of the deviation that goes away.
    pub(crate) fn shares(&self) -> Shares {
        let doubt = OVERLAP * self.error * self.error;
        let gg = self.growth_growth + doubt / GROWTH_PRIOR_VARIANCE;
        let bb = self.back_back + doubt / RETURN_PRIOR_VARIANCE;
        let determinant = gg * bb - self.growth_back * self.growth_back;
        if !determinant.is_normal() || self.weight < OVERLAP {
            return Shares {
                growth: GROWTH_PRIOR,
                back: 0.0,
            };
        }
        let moved = self.growth_moved + doubt / GROWTH_PRIOR_VARIANCE * GROWTH_PRIOR;
        let growth = (moved * bb - self.back_moved * self.growth_back) / determinant;
        let back = (self.back_moved * gg - moved * self.growth_back) / determinant;
        Shares {
            growth: growth.clamp(0.0, GROWTH_SHARE_MAX),
            back: back.clamp(0.0, 1.0),
        }
    }

    /// Learns from what came of a forecast; what is older fades by `kept`.
    pub(crate) fn learn(&mut self, known: Known, moved: f64, kept: f64) {
        let predicted = self.shares().change(known);
        let off = moved - predicted;
        let share = 1.0 / (self.weight + 1.0).min(500.0);
        let clip = CLIP_TIMES
            * if self.weight < OVERLAP {
                off.abs()
            } else {
                self.error
            };
        self.error += share * (off.abs().min(clip.max(1e-3)) - self.error);
        let moved = predicted + off.clamp(-clip, clip);
        let fade = |sum: &mut f64, new: f64| *sum = *sum * kept + new;
        fade(&mut self.growth_growth, known.growth * known.growth);
        fade(&mut self.growth_back, known.growth * known.back);
        fade(&mut self.back_back, known.back * known.back);
        fade(&mut self.growth_moved, known.growth * moved);
        fade(&mut self.back_moved, known.back * moved);
        fade(&mut self.weight, 1.0);
    }
}
