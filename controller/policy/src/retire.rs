//! Who can go: which workers were not needed for long enough to be worth retiring.
//!
//! The same rule serves the live pool and the fleets that [`crate::ladder`] runs in shadow.

use crate::decision::{Reason, SCORE_IDLE, score, whole};
use crate::peaks::NeedPeaks;

/// A need that swings for as long as this does not level out.
const LEVELLED_S: f64 = 60.0;

/// A wish for fewer workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retirement {
    pub(crate) to: u32,
    pub(crate) reason: Reason,
    /// Seconds for which that would have been enough.
    pub(crate) quiet_s: Option<f64>,
    /// Whether fewer still would do and only the step is smaller.
    pub(crate) stepped: bool,
    /// Whether the budget of reversals has room for it.
    pub(crate) affordable: bool,
}

/// What a fleet looks like to somebody who would like it smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet<'a> {
    pub(crate) peaks: &'a NeedPeaks,
    pub(crate) now_ms: u64,
    pub(crate) target: u32,
    /// Workers that serve or start.
    pub(crate) have: u32,
    pub(crate) need: f64,
    /// Worker-seconds that a retirement must be able to save.
    pub(crate) price: f64,
    /// Largest share retired in one step while the score is in the band.
    pub(crate) step_share: f64,
    /// Least that the fleet may shrink to after a burst.
    pub(crate) floor: u32,
}

impl Fleet<'_> {
    /// Whom to retire when a lower need must have held for `quiet_s_min` seconds.
    pub(crate) fn wish(&self, quiet_s_min: f64) -> Option<Retirement> {
        if score(self.need, self.have) < SCORE_IDLE {
            self.idle(quiet_s_min)
        } else {
            self.surplus(quiet_s_min)
        }
    }

    /// Far too many: down to what was needed since a worker launched now could have been there.
    fn idle(&self, quiet_s_min: f64) -> Option<Retirement> {
        let need = whole(self.need);
        // While the need still falls, wait for it to level out: one step instead of several.
        let levelled = |peak: f64, quiet_s: f64| whole(peak) <= need + 1 || quiet_s >= LEVELLED_S;
        let (quiet_s, peak) = self
            .peaks
            .since(self.now_ms, quiet_s_min)
            .find(|(quiet_s, peak)| levelled(*peak, *quiet_s))?;
        let enough = whole(peak).max(need);
        let to = enough.max(self.floor);
        (to < self.target).then_some(Retirement {
            to,
            reason: Reason::Idle,
            quiet_s: Some(quiet_s),
            stepped: to > enough,
            affordable: true,
        })
    }

    /// Some to spare: retire those whose absence over a window would have saved more than a
    /// reversal costs, a step at a time.
    fn surplus(&self, quiet_s_min: f64) -> Option<Retirement> {
        let step = whole(f64::from(self.target) * self.step_share).max(1);
        let (quiet_s, enough) = self
            .peaks
            .since(self.now_ms, quiet_s_min)
            .map(|(quiet_s, peak)| (quiet_s, whole(peak)))
            .find(|(quiet_s, enough)| {
                let spare = f64::from(self.target.saturating_sub(*enough));
                spare > 0.0 && spare * quiet_s >= self.price
            })?;
        let to = enough.max(self.target.saturating_sub(step));
        // What is left must score below 0.80, or the next breath of load would bring one back.
        (self.need < f64::from(to)).then_some(Retirement {
            to,
            reason: Reason::Surplus,
            quiet_s: Some(quiet_s),
            stepped: to > enough,
            affordable: true,
        })
    }
}
