//! Predictive scaling of Amazon EC2 Auto Scaling together with a target tracking policy; the larger
//! of the two counts.
//!
//! *Predictive scaling* (user guide): hourly loads of at least 24 hours and at most 14 days, a
//! forecast of 48 hours every 6 hours, the capacity for an hour from `SchedulingBufferTime` (300 s)
//! before it begins, and nothing that ever scales in. The forecast itself is not public; see
//! [`Season`] for the one used here.
//!
//! *Target tracking* (user guide): proportional to the metric, rounded up, scaling in only when the
//! metric is 10 % below the target and not while instances warm up. The alarms it creates look at
//! one-minute means: three above the target in a row, fifteen below the margin. The metric here
//! counts queued requests as well, as one of requests per target does, so it does not saturate;
//! warming up takes as long as the start-up, where EC2 would wait for a configured time.

use super::season::Season;
use super::sight::{Window, concurrency, slots};
use super::{Rule, whole};
use crate::scaler::Seen;

const MINUTE_S: usize = 60;
const HIGH_MINUTES: u32 = 3;
const LOW_MINUTES: u32 = 15;
const LOW_MARGIN: f64 = 0.9;
const BUFFER_MS: u64 = 300_000;
pub(super) const HOUR_MS: u64 = 3_600_000;

pub(super) struct Aws {
    target: f64,
    load: Window,
    capacity: Window,
    high_minutes: u32,
    low_minutes: u32,
    season: Season,
}

impl Aws {
    pub(super) fn new(target: f64) -> Self {
        Self {
            target,
            load: Window::new(MINUTE_S),
            capacity: Window::new(MINUTE_S),
            high_minutes: 0,
            low_minutes: 0,
            season: Season::default(),
        }
    }

    /// Target tracking at the end of a minute. A minute without metrics neither counts nor resets.
    fn track(&mut self, seen: &Seen, wanted: u32) -> u32 {
        let (Some(load), Some(capacity)) =
            (self.load.mean(0, MINUTE_S), self.capacity.mean(0, MINUTE_S))
        else {
            return wanted;
        };
        // No ready worker and a load is as high as a metric can be.
        let ratio = load / (self.target * capacity.max(f64::MIN_POSITIVE));
        self.high_minutes = if ratio > 1.0 {
            self.high_minutes.saturating_add(1)
        } else {
            0
        };
        self.low_minutes = if ratio < LOW_MARGIN {
            self.low_minutes.saturating_add(1)
        } else {
            0
        };
        let sized = whole(load / (self.target * slots(seen)));
        if self.high_minutes >= HIGH_MINUTES {
            wanted.max(sized)
        } else if self.low_minutes >= LOW_MINUTES && seen.workers.starting == 0 {
            wanted.min(sized)
        } else {
            wanted
        }
    }

    /// Workers that the forecast asks for: those of this hour, and of the next once it is near.
    fn planned(&self, seen: &Seen) -> u32 {
        let load = |at_ms: u64| self.season.forecast(at_ms / HOUR_MS).unwrap_or(0.0);
        let load = load(seen.now_ms).max(load(seen.now_ms.saturating_add(BUFFER_MS)));
        whole(load / (self.target * slots(seen)))
    }
}

impl Rule for Aws {
    fn want(&mut self, seen: &Seen, wanted: u32) -> u32 {
        let load = concurrency(seen);
        self.load.push(load);
        self.capacity
            .push(load.map(|_| f64::from(seen.workers.ready) * slots(seen)));
        self.season.learn(seen.now_ms / HOUR_MS, load);
        let tracked = if (seen.second + 1).is_multiple_of(MINUTE_S as u64) {
            self.track(seen, wanted)
        } else {
            wanted
        };
        tracked.max(self.planned(seen))
    }
}
