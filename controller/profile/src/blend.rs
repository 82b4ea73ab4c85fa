//! How much of the pattern's growth to believe, learned from how traffic followed it.
//!
//! The forecast is `last value + w x growth - k x deviation + d x drift`, all in logarithms: `growth`
//! is what the profile says will happen within the lead, `deviation` how far the present is off the
//! profile, `drift` what it will gain if it goes on as in the last minutes. A pattern that traffic
//! does not follow gets w = k = 0, and where minutes say nothing of the next ones d = 0: both leave
//! the last value.

use serde::{Deserialize, Serialize};

use crate::stored;

/// Forecasts overlap, so that so many of them are worth one.
const OVERLAP: f64 = 10.0;
/// Errors beyond so many mean absolute errors count as that many.
const CLIP_TIMES: f64 = 3.0;

/// What a forecast rests on beside the last value.
const TERMS: usize = 4;
/// Prior variances of their shares.
const PRIOR_VARIANCES: [f64; TERMS] = [1.0, 0.1, 0.1, 0.1];
/// Shares that are believed until traffic said otherwise. Of the growth all: most pools live by the
/// day, and a pool whose first days are silent until the morning could not learn it before it is needed.
const PRIORS: [f64; TERMS] = [1.0, 0.0, 0.0, 0.0];
/// Least and largest shares.
const RANGES: [(f64, f64); TERMS] = [(0.0, 1.2), (0.0, 1.0), (-1.2, 1.2), (-1.0, 1.0)];

/// A fading, clipped least-squares fit with an unknown for each term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Sums", into = "Sums")]
pub(crate) struct Blend {
    /// Products of terms with each other, and with what came of them.
    products: [[f64; TERMS]; TERMS],
    moved: [f64; TERMS],
    /// Mean absolute error.
    pub(crate) error: f64,
    /// Weight of all of it.
    pub(crate) weight: f64,
}

/// A fit as it is stored. The first version knew two terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
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
    /// Products of the drifts with the growth, the way back, themselves and what came.
    #[serde(default, with = "stored::array")]
    pub(crate) drift: [f64; 9],
    #[serde(with = "stored")]
    pub(crate) error: f64,
    #[serde(with = "stored")]
    pub(crate) weight: f64,
}

impl From<Sums> for Blend {
    fn from(sums: Sums) -> Self {
        let Sums {
            growth_growth: gg,
            growth_back: gb,
            back_back: bb,
            growth_moved,
            back_moved,
            drift: [gd, bd, dd, gl, bl, dl, ll, drift_moved, late_moved],
            error,
            weight,
        } = sums;
        Self {
            products: [
                [gg, gb, gd, gl],
                [gb, bb, bd, bl],
                [gd, bd, dd, dl],
                [gl, bl, dl, ll],
            ],
            moved: [growth_moved, back_moved, drift_moved, late_moved],
            error,
            weight,
        }
    }
}

impl From<Blend> for Sums {
    fn from(blend: Blend) -> Self {
        let [
            [gg, gb, gd, gl],
            [_, bb, bd, bl],
            [_, _, dd, dl],
            [_, _, _, ll],
        ] = blend.products;
        let [growth_moved, back_moved, drift_moved, late_moved] = blend.moved;
        Self {
            growth_growth: gg,
            growth_back: gb,
            back_back: bb,
            growth_moved,
            back_moved,
            drift: [gd, bd, dd, gl, bl, dl, ll, drift_moved, late_moved],
            error: blend.error,
            weight: blend.weight,
        }
    }
}

/// Shares that are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares([f64; TERMS]);

impl Shares {
    /// Of the profile's growth.
    pub(crate) fn growth(self) -> f64 {
        self.0[0]
    }

    /// Of the way back to the profile.
    pub(crate) fn back(self) -> f64 {
        self.0[1]
    }

    /// Logarithm of the forecast over the last value.
    fn change(self, known: Known) -> f64 {
        let terms = self.0.iter().zip(known.terms);
        terms.map(|(share, term)| share * term).sum()
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
    /// What the profile says will be added to it; what would bring it back to the profile; what it
    /// will gain on the profile if it goes on as in the last minutes; what it has gained on the
    /// profile in a longer time. All in ln units.
    pub(crate) terms: [f64; TERMS],
    /// Hour of the day that it is known of.
    pub(crate) hour: usize,
    /// Whether next to nothing comes at present: there is no last value to go by.
    pub(crate) asleep: bool,
}

impl Known {
    /// Logarithm of what the profile says, whatever the present is like.
    pub(crate) fn ln_profile(self) -> f64 {
        let [growth, back, ..] = self.terms;
        self.ln_last + growth + back
    }
}

impl Blend {
    /// Share of each term to believe.
    pub(crate) fn shares(&self) -> Shares {
        if self.weight < OVERLAP {
            return Shares(PRIORS);
        }
        let doubt = OVERLAP * self.error * self.error;
        let mut rows = [[0.0; TERMS + 1]; TERMS];
        for (place, row) in rows.iter_mut().enumerate() {
            let prior = doubt / PRIOR_VARIANCES[place];
            row[..TERMS].copy_from_slice(&self.products[place]);
            row[place] += prior;
            row[TERMS] = self.moved[place] + prior * PRIORS[place];
        }
        let Some(mut shares) = solve(rows) else {
            return Shares(PRIORS);
        };
        for (share, (least, most)) in shares.iter_mut().zip(RANGES) {
            *share = share.clamp(least, most);
        }
        Shares(shares)
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
        for (place, term) in known.terms.iter().enumerate() {
            for (product, other) in self.products[place].iter_mut().zip(known.terms) {
                fade(product, term * other);
            }
            fade(&mut self.moved[place], term * moved);
        }
        fade(&mut self.weight, 1.0);
    }
}

/// The solution of symmetric positive definite equations, right-hand sides last, by Gaussian
/// elimination; `None` where they are singular.
fn solve(mut rows: [[f64; TERMS + 1]; TERMS]) -> Option<[f64; TERMS]> {
    for pivot in 0..TERMS {
        let above = rows[pivot];
        if !above[pivot].is_normal() {
            return None;
        }
        for (place, row) in rows.iter_mut().enumerate() {
            if place != pivot {
                let times = row[pivot] / above[pivot];
                row.iter_mut()
                    .zip(above)
                    .for_each(|(value, above)| *value -= times * above);
            }
        }
    }
    let mut solution = [0.0; TERMS];
    for (place, value) in solution.iter_mut().enumerate() {
        *value = rows[place][TERMS] / rows[place][place];
    }
    solution
        .iter()
        .all(|value| value.is_finite())
        .then_some(solution)
}
