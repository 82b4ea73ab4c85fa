//! How far a run is, on standard error, and only where somebody looks: a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::generator::Live;
use crate::plan::RatePlan;

/// The bar of one run.
pub(crate) struct Progress {
    bar: ProgressBar,
    total_ms: u64,
}

impl Progress {
    pub(crate) fn new(plan: &RatePlan) -> Self {
        let total_ms = u64::try_from(plan.duration().as_millis()).unwrap_or(u64::MAX);
        // Drawn on standard error; hidden by the crate when that is no terminal.
        let bar = ProgressBar::new(total_ms);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Self { bar, total_ms }
    }

    pub(crate) fn show(&self, plan: &RatePlan, live: &Live, start: Instant) {
        let elapsed = start.elapsed();
        self.bar.set_position(as_ms(elapsed).min(self.total_ms));
        let left = plan.duration().saturating_sub(elapsed).as_secs();
        self.bar.set_message(format!(
            "{:.0}/s  in flight {}  done {}  failed {}  dropped {}  {left} s left",
            plan.rate_at(elapsed.as_secs_f64()),
            Live::read(&live.in_flight),
            Live::read(&live.finished),
            Live::read(&live.failed),
            Live::read(&live.dropped),
        ));
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
