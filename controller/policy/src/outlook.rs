//! What is expected of the arrivals, and by whom. Told apart from how it is worked out, because the
//! signals and the ladder's shadow fleets read it and know nothing of experts.

/// What is expected, in requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outlook {
    /// The speaking expert's forecast, kept within what the last seconds make plausible.
    pub(crate) rate: f64,
    /// Standard deviation of the logarithm of its error, towards too low.
    pub(crate) sigma: f64,
    /// Arrivals over the last five seconds.
    pub(crate) recent: f64,
    /// Arrivals over the last four seconds or so, for what has to be served meanwhile.
    pub(crate) fast: f64,
    /// Whether the speaking expert follows the learned pattern.
    pub(crate) learned: bool,
    /// Forecast and error of the best expert that does not follow the learned pattern; where
    /// workers start quickly, of the best of all.
    pub(crate) own: Guess,
    /// What the last seconds prove beyond chance, whatever anybody forecasts.
    pub(crate) proven: f64,
}

/// A rate in requests per second and the standard deviation of the logarithm of its error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Guess {
    pub(crate) rate: f64,
    pub(crate) sigma: f64,
}

impl Outlook {
    /// The forecast that a margin goes by: with the experts that follow the learned pattern or not.
    pub(crate) fn heard(&self, learned: bool) -> Guess {
        if learned {
            Guess {
                rate: self.rate,
                sigma: self.sigma,
            }
        } else {
            self.own
        }
    }
}

/// What the learned hourly pattern expects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learned {
    /// The rate one start-up time ahead over that of now, at least one.
    pub(crate) growth: f64,
    /// The median of the rate then.
    pub(crate) median_rate: f64,
}
