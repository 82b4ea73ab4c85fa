//! What every autoscaler under simulation sees and may do.

use tidepool_policy::{Backlog, MemorySample, WorkSample, WorkerCounts};

/// What an autoscaler sees at the end of a second.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Seconds since the simulation began.
    pub second: u64,
    /// Wall time in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What happened within the last second; `None` while metrics are cut off.
    pub work: Option<WorkSample>,
    /// What waits and what is in service; `None` while metrics are cut off.
    pub backlog: Option<Backlog>,
    /// The fleet.
    pub workers: WorkerCounts,
    /// Measured 95th percentile of the time from launch to ready, in seconds; `None` before the
    /// first worker became ready.
    pub startup_p95_s: Option<f64>,
    /// Memory of the workers; `None` where it is not measured.
    pub memory: Option<MemorySample>,
}

/// An autoscaler: a function of what it saw so far. It is shown every second and keeps its own
/// slower period, if it has one.
pub trait Autoscaler {
    /// Its name on the command line and in reports.
    fn name(&self) -> &str;

    /// Workers that it wants to serve or start from now on. The simulation keeps it within its own
    /// bounds.
    fn target(&mut self, seen: &Seen) -> u32;
    /// What it thought at its last decision, for charts; nothing for those that do not tell.
    fn insight(&self) -> Option<Insight> {
        None
    }
}

/// Thoughts behind a decision.
#[derive(Clone, Debug, Default)]
pub struct Insight {
    /// Workers needed, before bounds and patience.
    pub need: Option<f64>,
    /// Median of the forecast rate in requests per second.
    pub rate_p50: Option<f64>,
    /// 99th percentile of that forecast.
    pub rate_p99: Option<f64>,
    /// Seconds that the forecast reaches ahead.
    pub ahead_s: f64,
    /// Why the target moved; empty if it did not.
    pub sentence: String,
}
