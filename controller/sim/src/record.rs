//! A run as columns for a chart, thinned to a number of points that a page can hold.

use serde::Serialize;

use crate::outcome::{Second, Watch};
use crate::scaler::Autoscaler;

/// Most points of a chart.
const POINTS_MAX: usize = 12_000;
/// Most changes that are told.
const CHANGES_MAX: usize = 3_000;

/// What a chart shows. Columns are parallel; a point stands for `every_s` seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// Seconds per point.
    pub every_s: usize,
    /// Mean rate of arrivals.
    pub rate: Vec<f64>,
    /// Median forecast, moved to the time that it was made for.
    pub p50: Vec<Option<f64>>,
    /// 99th percentile of that forecast.
    pub p99: Vec<Option<f64>>,
    /// Largest need in workers.
    pub need: Vec<Option<f64>>,
    /// Largest target.
    pub target: Vec<u32>,
    /// Fewest serving.
    pub ready: Vec<u32>,
    /// Most starting.
    pub starting: Vec<u32>,
    /// Places in use at most, in workers.
    pub busy: Vec<f64>,
    /// Late in percent of those that came.
    pub late: Vec<f64>,
    /// Moves of the target.
    pub changes: Vec<Change>,
    /// Moves that were left out.
    pub changes_left_out: usize,
    #[serde(skip)]
    seconds: usize,
    #[serde(skip)]
    slots: f64,
    #[serde(skip)]
    sums: Vec<(f64, u64, u64)>,
    #[serde(skip)]
    target_before: Option<u32>,
}

/// A move of the target.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Seconds since scoring began.
    pub at: usize,
    /// Target before.
    pub from: u32,
    /// Target after.
    pub to: u32,
    /// Why.
    pub why: String,
}

impl Record {
    /// A record of `scored_s` seconds of a pool with that many places in a worker.
    #[must_use]
    pub fn new(scored_s: usize, slots: u32) -> Self {
        let every_s = scored_s.div_ceil(POINTS_MAX).max(1);
        let points = scored_s.div_ceil(every_s);
        Self {
            every_s,
            rate: vec![0.0; points],
            p50: vec![None; points],
            p99: vec![None; points],
            need: vec![None; points],
            target: vec![0; points],
            ready: vec![u32::MAX; points],
            starting: vec![0; points],
            busy: vec![0.0; points],
            late: vec![0.0; points],
            slots: f64::from(slots.max(1)),
            sums: vec![(0.0, 0, 0); points],
            ..Self::default()
        }
    }

    fn change(&mut self, second: &Second, why: String) {
        let Some(from) = self.target_before.replace(second.target) else {
            return;
        };
        if from == second.target {
            return;
        }
        if self.changes.len() == CHANGES_MAX {
            self.changes_left_out += 1;
            return;
        }
        self.changes.push(Change {
            at: self.seconds,
            from,
            to: second.target,
            why,
        });
    }
}

fn largest(place: &mut Option<f64>, value: Option<f64>) {
    if let Some(value) = value {
        let rounded = (value * 100.0).round() / 100.0;
        *place = Some(place.map_or(rounded, |before| before.max(rounded)));
    }
}

impl Watch for Record {
    fn second(&mut self, second: &Second, scaler: &dyn Autoscaler) {
        if !second.scored {
            self.target_before = Some(second.target);
            return;
        }
        let at = self.seconds / self.every_s;
        if at >= self.rate.len() {
            return;
        }
        let insight = scaler.insight().unwrap_or_default();
        largest(&mut self.need[at], insight.need);
        let ahead = (self.seconds + insight.ahead_s as usize) / self.every_s;
        if let (Some(p50), Some(p99)) = (self.p50.get_mut(ahead), self.p99.get_mut(ahead)) {
            largest(p50, insight.rate_p50);
            largest(p99, insight.rate_p99);
        }
        let sums = &mut self.sums[at];
        sums.0 += 1.0;
        sums.1 += second.arrivals;
        sums.2 += second.late;
        self.rate[at] = (sums.1 as f64 / sums.0 * 10.0).round() / 10.0;
        self.late[at] = (1e4 * sums.2 as f64 / (sums.1.max(sums.2).max(1) as f64)).round() / 100.0;
        self.target[at] = self.target[at].max(second.target);
        self.ready[at] = self.ready[at].min(second.ready);
        self.starting[at] = self.starting[at].max(second.starting);
        let busy = (f64::from(second.busy) / self.slots * 10.0).round() / 10.0;
        self.busy[at] = self.busy[at].max(busy);
        self.change(second, insight.sentence);
        self.seconds += 1;
    }
}
