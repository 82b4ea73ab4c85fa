//! What a run came to.

use serde::{Deserialize, Serialize};

use crate::scaler::Autoscaler;

/// Seconds within which a change of direction counts as a reversal of the last change.
const REVERSAL_S: u64 = 600;
const HOUR_S: usize = 3_600;
/// Requests below which an hour is too thin to be the worst.
const HOUR_REQUESTS_MIN: u64 = 100;

/// Figures over the scored part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Seconds that were scored.
    pub scored_s: u64,
    /// Requests that arrived.
    pub requests: u64,
    /// Those that waited too long for a place.
    pub late: u64,
    /// Worker-seconds from launch to the end, or to the end of the run.
    pub worker_s: f64,
    /// Worker-seconds that the requests would take on workers that are always full.
    pub work_s: f64,
    /// Launches, failed and called-off ones included.
    pub starts: u64,
    /// Changes of the target in the direction opposite to the one before, within ten minutes of it.
    pub reversals: u64,
    /// 99th percentile of the wait for a place in seconds.
    pub wait_p99_s: f64,
    /// Share of late requests in the worst hour, 0 to 1.
    pub worst_hour_late: f64,
    /// That hour, counted from the first scored one.
    pub worst_hour: u32,
    /// Most workers alive at once.
    pub workers_peak: u32,
}

impl Outcome {
    /// Late requests in percent.
    #[must_use]
    pub fn late_pct(&self) -> f64 {
        percent(self.late, self.requests)
    }

    /// Workers paid for over workers that are always full.
    #[must_use]
    pub fn over_work(&self) -> f64 {
        self.worker_s / self.work_s.max(f64::MIN_POSITIVE)
    }

    /// A count per day.
    #[must_use]
    pub fn per_day(&self, count: u64) -> f64 {
        count as f64 * 86_400.0 / (self.scored_s.max(1) as f64)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

/// A second of a run, for charts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// Counted from the first.
    pub second: u64,
    /// Whether it is scored.
    pub scored: bool,
    /// Rate that arrivals were drawn from.
    pub rate: f64,
    /// Requests that came.
    pub arrivals: u64,
    /// Requests that came into service late.
    pub late: u64,
    /// Requests waiting at its end.
    pub queued: u64,
    /// Places in use at its end.
    pub busy: u32,
    /// Serving.
    pub ready: u32,
    /// Launched and not serving yet.
    pub starting: u32,
    /// Finishing what they have.
    pub draining: u32,
    /// Wanted by the autoscaler, within the bounds.
    pub target: u32,
}

/// Looks on while a run goes.
pub trait Watch {
    /// Called at the end of each second, after the decision.
    fn second(&mut self, second: &Second, scaler: &dyn Autoscaler);
}

/// Looks away.
impl Watch for () {
    fn second(&mut self, _: &Second, _: &dyn Autoscaler) {}
}

/// Counts while a run goes.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    steps_per_s: u64,
    score_from: u64,
    late_after: u64,
    waits: Vec<u64>,
    hours: Vec<(u64, u64)>,
    pub(crate) billed_steps: u64,
    pub(crate) workers_peak: u32,
    reversals: u64,
    last_change: Option<(u64, bool)>,
    /// Waits that ended within this second, in steps, with how many.
    pub(crate) window: Vec<(u64, u32)>,
    pub(crate) window_late: u64,
}

impl Tally {
    pub(crate) fn new(
        steps_per_s: u32,
        score_from_s: usize,
        seconds: usize,
        late_after_s: f64,
    ) -> Self {
        let steps = u64::from(steps_per_s);
        let hours = seconds.saturating_sub(score_from_s).div_ceil(HOUR_S);
        Self {
            steps_per_s: steps,
            score_from: score_from_s as u64 * steps,
            late_after: (late_after_s * steps as f64).round() as u64,
            // Ten minutes one by one; beyond that a wait is simply long.
            waits: vec![0; 600 * steps_per_s as usize + 1],
            hours: vec![(0, 0); hours],
            billed_steps: 0,
            workers_peak: 0,
            reversals: 0,
            last_change: None,
            window: Vec::new(),
            window_late: 0,
        }
    }

    pub(crate) fn scores(&self, step: u64) -> bool {
        step >= self.score_from
    }

    fn hour(&self, step: u64) -> Option<usize> {
        let since = step.checked_sub(self.score_from)?;
        Some((since / self.steps_per_s) as usize / HOUR_S)
    }

    /// `count` requests came in this step.
    pub(crate) fn arrive(&mut self, step: u64, count: u32) {
        if let Some(hour) = self.hour(step).and_then(|hour| self.hours.get_mut(hour)) {
            hour.0 += u64::from(count);
        }
    }

    /// `count` requests that came at `arrived` got their places.
    pub(crate) fn start(&mut self, arrived: u64, now: u64, count: u32) {
        let wait = now - arrived;
        match self.window.last_mut() {
            Some(last) if last.0 == wait => last.1 += count,
            _ => self.window.push((wait, count)),
        }
        let late = wait > self.late_after;
        if late {
            self.window_late += u64::from(count);
        }
        let Some(hour) = self.hour(arrived) else {
            return;
        };
        let index = (wait as usize).min(self.waits.len() - 1);
        self.waits[index] += u64::from(count);
        if late && let Some(hour) = self.hours.get_mut(hour) {
            hour.1 += u64::from(count);
        }
    }

    /// 95th percentile of the waits of this second in seconds; then forgets them.
    pub(crate) fn take_wait_p95_s(&mut self) -> Option<f64> {
        let total: u64 = self.window.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut rank = (total * 95).div_ceil(100);
        if self.window.len() > 1 {
            self.window.sort_unstable();
        }
        let p95 = self.window.iter().find(|(_, count)| {
            let here = rank <= u64::from(*count);
            rank = rank.saturating_sub(u64::from(*count));
            here
        });
        let p95_s = p95.map(|(wait, _)| *wait as f64 / self.steps_per_s as f64);
        self.window.clear();
        p95_s
    }

    /// The target moved in `second`.
    pub(crate) fn change(&mut self, second: u64, up: bool, scored: bool) {
        if let Some((before, was_up)) = self.last_change
            && scored
            && was_up != up
            && second - before <= REVERSAL_S
        {
            self.reversals += 1;
        }
        self.last_change = Some((second, up));
    }

    pub(crate) fn finish(
        &self,
        service_mean_s: f64,
        slots: u32,
        starts: u64,
        scored_s: usize,
    ) -> Outcome {
        let requests: u64 = self.hours.iter().map(|hour| hour.0).sum();
        let worst = self
            .hours
            .iter()
            .enumerate()
            .filter(|(_, hour)| hour.0 >= HOUR_REQUESTS_MIN)
            .map(|(at, hour)| (at, percent(hour.1, hour.0) / 100.0))
            .fold(
                (0, 0.0),
                |worst, hour| if hour.1 > worst.1 { hour } else { worst },
            );
        Outcome {
            scored_s: scored_s as u64,
            requests,
            late: self.hours.iter().map(|hour| hour.1).sum(),
            worker_s: self.billed_steps as f64 / self.steps_per_s as f64,
            work_s: requests as f64 * service_mean_s / f64::from(slots),
            starts,
            reversals: self.reversals,
            wait_p99_s: self.wait_quantile_s(0.99),
            worst_hour_late: worst.1,
            worst_hour: worst.0 as u32,
            workers_peak: self.workers_peak,
        }
    }

    fn wait_quantile_s(&self, quantile: f64) -> f64 {
        let total: u64 = self.waits.iter().sum();
        let rank = (total as f64 * quantile).ceil().max(1.0) as u64;
        let mut below = 0;
        let at = self.waits.iter().position(|count| {
            below += count;
            below >= rank
        });
        at.unwrap_or(0) as f64 / self.steps_per_s as f64
    }
}
