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
            .map(|(quiet_s, peak)| (quiet_s, peak.need()))
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
        // A longer window spares no more than a shorter one, so most need not be looked into.
        let mut spare = f64::from(self.target);
        let pays = |spare: f64, quiet_s: f64| spare > 0.0 && spare * quiet_s >= self.price;
        let mut windows = self.peaks.since(self.now_ms, quiet_s_min);
        let (quiet_s, enough) = windows.find_map(|(quiet_s, peak)| {
            if !pays(spare, quiet_s) {
                return None;
            }
            let enough = whole(peak.need());
            spare = f64::from(self.target.saturating_sub(enough));
            pays(spare, quiet_s).then_some((quiet_s, enough))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Five minutes: ten workers were needed at first, and `later` for the last `quiet_s` seconds.
    fn peaks(quiet_s: u64, later: f64) -> NeedPeaks {
        let mut peaks = NeedPeaks::default();
        for second in 0..=300 {
            let need = if second + quiet_s < 300 { 10.0 } else { later };
            peaks.record(1_000 * second, need);
        }
        peaks
    }

    fn peaks_of(need: f64) -> NeedPeaks {
        peaks(300, need)
    }

    fn fleet(peaks: &NeedPeaks, target: u32, need: f64) -> Fleet<'_> {
        Fleet {
            peaks,
            now_ms: 300_000,
            target,
            have: target,
            need,
            price: 0.0,
            step_share: 0.0,
            floor: 0,
        }
    }

    #[test]
    fn spare_workers_go_once_their_absence_would_have_paid() {
        let peaks = peaks(70, 8.0);
        let wish = |price: f64, target: u32| {
            let fleet = Fleet {
                price,
                ..fleet(&peaks, target, 8.0)
            };
            fleet.wish(15.0)
        };
        // Two to spare for fifteen seconds are worth thirty worker-seconds; a minute of them is worth
        // 120; the two minutes before needed all.
        let cheap = wish(30.0, 10).unwrap();
        assert_eq!((cheap.to, cheap.quiet_s), (9, Some(15.0)));
        assert_eq!(wish(31.0, 10).unwrap().quiet_s, Some(30.0));
        assert_eq!(wish(120.0, 10).unwrap().quiet_s, Some(60.0));
        assert_eq!(wish(121.0, 10), None);
        assert_eq!(wish(0.0, 8), None, "none is spare, however cheap");
        assert_eq!(fleet(&peaks, 8, 7.5).wish(15.0), None, "nor to be named");
        assert_eq!(wish(0.0, 7), None, "too few are there");
    }

    #[test]
    fn some_to_spare_go_a_step_at_a_time_and_the_last_step_says_so() {
        let peaks = peaks(70, 20.0);
        let wish = |step_share: f64, target: u32| {
            let fleet = Fleet {
                step_share,
                ..fleet(&peaks, target, 19.5)
            };
            fleet.wish(15.0).unwrap()
        };
        let one = wish(0.0, 24);
        assert_eq!(
            (one.to, one.stepped, one.reason),
            (23, true, Reason::Surplus)
        );
        let eighth = wish(0.125, 24);
        assert_eq!((eighth.to, eighth.stepped), (21, true));
        let all = wish(0.5, 24);
        assert_eq!((all.to, all.stepped), (20, false));
        assert!(one.affordable && all.affordable);
    }

    #[test]
    fn nobody_goes_whom_the_need_of_now_would_bring_back() {
        let peaks = peaks_of(8.0);
        assert!(fleet(&peaks, 10, 8.0).wish(15.0).is_some());
        // A need that rises beyond what was seen so far leaves nine no room.
        assert_eq!(fleet(&peaks, 9, 8.0).wish(15.0), None, "exactly enough");
        assert_eq!(fleet(&peaks, 10, 9.5).wish(15.0), None);
    }

    #[test]
    fn far_too_many_go_at_once_but_not_below_what_was_needed_lately_or_what_a_burst_left() {
        let calm = peaks(70, 2.0);
        let wish = fleet(&calm, 40, 2.0).wish(15.0).unwrap();
        assert_eq!((wish.to, wish.reason), (2, Reason::Idle));
        assert_eq!((wish.quiet_s, wish.stepped), (Some(15.0), false));
        let after_burst = Fleet {
            floor: 20,
            ..fleet(&calm, 40, 2.0)
        };
        let held = after_burst.wish(15.0).unwrap();
        assert_eq!((held.to, held.stepped), (20, true));
        assert_eq!(
            Fleet {
                floor: 40,
                ..after_burst
            }
            .wish(15.0),
            None
        );
        // Who must look back further sees that ten were needed.
        assert_eq!(fleet(&calm, 40, 2.0).wish(120.0).unwrap().to, 10);
    }

    #[test]
    fn a_need_that_still_falls_is_waited_for_a_minute() {
        // Of fifteen and thirty seconds ago one knows only that ten were needed then.
        let falling = peaks(5, 2.0);
        let wish = fleet(&falling, 40, 2.0).wish(15.0).unwrap();
        assert_eq!((wish.to, wish.quiet_s), (10, Some(60.0)), "it swings");
        let nearly = peaks(5, 9.0);
        let wish = fleet(&nearly, 40, 9.0).wish(15.0).unwrap();
        assert_eq!(
            (wish.to, wish.quiet_s),
            (10, Some(15.0)),
            "one more is level"
        );
        let by_two = peaks(5, 8.0);
        let wish = fleet(&by_two, 40, 8.0).wish(15.0).unwrap();
        assert_eq!(wish.quiet_s, Some(60.0), "two more are not");
    }

    #[test]
    fn the_score_says_whether_many_or_some_are_spare() {
        let peaks = peaks(70, 3.0);
        let reason = |need: f64| fleet(&peaks, 8, need).wish(15.0).map(|wish| wish.reason);
        assert_eq!(reason(3.1), Some(Reason::Surplus));
        assert_eq!(reason(2.9), Some(Reason::Idle));
        // 0.80 x 1.125 / 3 is 0.30 to the last bit, and no less.
        let few = peaks_of(1.125);
        let wish = fleet(&few, 3, 1.125).wish(15.0).unwrap();
        assert_eq!((wish.to, wish.reason), (2, Reason::Surplus));
    }

    proptest! {
        #[test]
        fn windows_that_are_not_looked_into_would_have_spared_nobody(
            needs in prop::collection::vec(3.0_f64..20.0, 60..900),
            target in 1_u32..25, price in 0.0_f64..3_000.0,
        ) {
            let (mut peaks, mut now_ms, mut need) = (NeedPeaks::default(), 0, 0.0);
            for (second, seen) in needs.iter().enumerate() {
                (now_ms, need) = (1_000 * second as u64, seen.min(f64::from(target)));
                peaks.record(now_ms, *seen);
            }
            let fleet = Fleet { now_ms, need, price, step_share: 1.0, ..fleet(&peaks, target, need) };
            let mut windows = peaks.since(now_ms, 15.0).map(|(s, peak)| (s, whole(peak.need())));
            let found = windows.find(|(quiet_s, enough)| {
                let spare = f64::from(target.saturating_sub(*enough));
                spare > 0.0 && spare * quiet_s >= price
            });
            let told = fleet.surplus(15.0).map(|wish| (wish.quiet_s.unwrap_or(0.0), wish.to));
            prop_assert_eq!(told, found.filter(|(_, enough)| need < f64::from(*enough)));
        }
    }
}
