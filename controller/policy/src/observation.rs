//! What was measured about a pool. Only numbers; what was not measured is `None`, never zero.

use serde::{Deserialize, Serialize};

use crate::config::Bounds;

/// Everything that a decision sees of a pool. Counts are `f64` so that a fluid model can use them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// What happened since the decision before; `None` when no report has come since.
    pub work: Option<WorkSample>,
    /// What waits, by the newest report.
    pub backlog: Option<Backlog>,
    /// Seconds since the report that `work` and `backlog` come from; `None` before the first.
    pub work_age_s: Option<f64>,
    /// Workers by the newest report of the nodes; `None` before the first.
    pub workers: Option<WorkerCounts>,
    /// Seconds since the report that `workers`, `cpu` and `memory` come from.
    pub workers_age_s: Option<f64>,
    /// Measured 95th percentile of the time from launch to ready, in seconds.
    pub startup_p95_s: Option<f64>,
    /// CPU of the workers' own threads; `None` for handlers that have none.
    pub cpu: Option<CpuSample>,
    /// Memory of the workers, where it can be told apart.
    pub memory: Option<MemorySample>,
    /// Fullest node's memory in use over its limit, 0 to 1.
    pub node_memory_share: Option<f64>,
    /// What the learned hourly pattern expects, if there is one that is worth believing.
    pub forecast: Option<ProfileForecast>,
    /// What an operator ordered for this pool, if anything.
    pub operator: Option<Override>,
}

/// An operator's order. It narrows what the rule may do and ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Override {
    /// The target stays where it is, whatever the rule would like.
    pub paused: bool,
    /// The target is this number, within the bounds.
    pub pin: Option<u32>,
    /// Lower bound instead of the configured one.
    pub min: Option<u32>,
    /// Upper bound instead of the configured one.
    pub max: Option<u32>,
    /// Wall time in milliseconds since the Unix epoch at which the order ends; `None` for one that
    /// stands until it is taken back.
    pub until_ms: Option<u64>,
}

impl Override {
    pub(crate) fn in_force(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }

    pub(crate) fn bounds(&self, configured: &Bounds) -> Bounds {
        let max = self.max.unwrap_or(configured.max);
        Bounds {
            // A lower bound above the upper one would be nobody's wish.
            min: self.min.unwrap_or(configured.min).min(max),
            max,
            ..configured.clone()
        }
    }
}

/// Counts over a window. Requests end exactly once, so the counts of endings do not overlap
/// except that `failed` is part of `completed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkSample {
    /// Length of the window in seconds.
    pub window_s: f64,
    /// Requests that came, admitted or refused.
    pub arrivals: f64,
    /// Requests that got an answer from a handler, also a failed one.
    pub completed: f64,
    /// Requests refused for want of room.
    pub refused: f64,
    /// Requests whose deadline passed, waiting or running.
    pub deadline_missed: f64,
    /// Answers that were failures of the handler or of what it depends on.
    pub failed: f64,
    /// Requests given up by their caller.
    pub cancelled: f64,
    /// Slots given back, whatever the outcome.
    pub released: f64,
    /// Slot-seconds in use within the window.
    pub busy_slot_s: f64,
    /// Requests that got their slot only after the pool's wait objective; `None` where waits are not
    /// measured.
    pub late: Option<f64>,
    /// 95th percentile of the waits for a slot that ended in the window, in seconds.
    pub wait_p95_s: Option<f64>,
    /// Mean time that a slot was held, in seconds.
    pub service_mean_s: Option<f64>,
    /// 95th percentile of the time that a slot was held, in seconds.
    pub service_p95_s: Option<f64>,
}

/// Requests that wait for a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backlog {
    /// How many wait.
    pub queued: f64,
    /// Age of the oldest in seconds.
    pub oldest_wait_s: f64,
    /// Slots in use.
    pub busy_slots: f64,
}

/// Workers by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerCounts {
    /// Serving.
    pub ready: u32,
    /// Loading their handler.
    pub starting: u32,
    /// Finishing what they have.
    pub draining: u32,
    /// Concurrent places in each; zero is taken as one.
    pub slots_per_worker: u32,
}

impl WorkerCounts {
    /// Workers that serve or soon will.
    #[must_use]
    pub fn have(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }

    pub(crate) fn slots(&self) -> f64 {
        f64::from(self.slots_per_worker.max(1))
    }

    pub(crate) fn ready_slots(&self) -> f64 {
        f64::from(self.ready) * self.slots()
    }
}

/// CPU time of the threads that belong to a pool's ready workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuSample {
    /// Cores in use.
    pub used_cores: f64,
    /// Cores that one worker can use.
    pub quota_cores_per_worker: f64,
}

/// Memory of a pool's workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemorySample {
    /// Bytes in use by all of them.
    pub used_bytes: f64,
    /// Bytes that one idle worker uses.
    pub idle_bytes_per_worker: f64,
    /// Bytes that one worker may use.
    pub limit_bytes_per_worker: f64,
}

/// What the learned pattern expects one start-up time ahead, in requests per second. It is a floor:
/// it may add workers early and never removes any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileForecast {
    /// Median rate.
    pub median_rate: f64,
    /// Rate at the quantile that the error budget calls for.
    pub floor_rate: f64,
    /// Rate of the pattern one start-up time ahead over that of now. Experts that follow it compete
    /// with those that do not, so a pattern that does not help is not heard.
    #[serde(default = "no_growth")]
    pub growth: f64,
    /// Rates at [`PATTERN_QUANTILES`] of the forecast, for margins that go by the pattern alone. All
    /// zero when they are not known, as in logs of an older version.
    #[serde(default)]
    pub quantile_rates: [f64; PATTERN_QUANTILES.len()],
    /// Whether next to nothing comes at present, so that the pattern is all there is to go by.
    #[serde(default)]
    pub waking: bool,
}

/// Quantiles of the learned pattern's forecast that a margin may go by.
pub const PATTERN_QUANTILES: [f64; 8] = [0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999];

fn no_growth() -> f64 {
    1.0
}
