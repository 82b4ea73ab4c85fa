//! A rival to the profile: somebody else's idea of the coming hours, judged on the same moments.

use crate::{Error, check, week::RATE_LEAST};

/// Points that a challenge may hold: a week at five minutes.
pub const CHALLENGE_POINTS_MAX: usize = 2_016;

/// Rates that a rival expects at equal steps. It is used as the profile is: as growth over the last
/// value. It is judged and shown, and never acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    begin_ms: u64,
    step_ms: u64,
    rates: Vec<f64>,
}

impl Challenge {
    /// Rates (requests per second) at `begin_ms` and every `step_ms` from then on.
    ///
    /// # Errors
    /// If there are fewer than two or too many rates, one is not a rate, or the step is zero.
    pub fn new(begin_ms: u64, step_ms: u64, rates: Vec<f64>) -> Result<Self, Error> {
        if !(2..=CHALLENGE_POINTS_MAX).contains(&rates.len()) || step_ms == 0 {
            let why = format!("{} rates every {step_ms} ms", rates.len());
            return Err(Error::corrupt("challenge", why));
        }
        for (place, rate) in rates.iter().enumerate() {
            check::within(format!("challenge[{place}]"), *rate, 0.0, check::LARGEST)?;
        }
        Ok(Self {
            begin_ms,
            step_ms,
            rates,
        })
    }

    /// The expected rate in requests per second; `None` outside of what was forecast.
    #[must_use]
    pub fn rate(&self, at_ms: u64) -> Option<f64> {
        let place = at_ms.checked_sub(self.begin_ms)? as f64 / self.step_ms as f64;
        let (here, next) = (place as usize, place as usize + 1);
        let (here, next) = (self.rates.get(here)?, self.rates.get(next)?);
        Some(here + (next - here) * place.fract())
    }

    /// What the rival expects to be added within a lead, as a logarithm.
    pub(crate) fn growth(&self, now_ms: u64, lead_s: f64) -> Option<f64> {
        let ln_rate = |at_ms| Some(self.rate(at_ms)?.max(RATE_LEAST).ln());
        Some(ln_rate(now_ms + (lead_s * 1_000.0) as u64)? - ln_rate(now_ms)?)
    }
}
