//! The supervisor's metrics. A number that was not measured has no series, so that it cannot be
//! mistaken for zero.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tidepool_core::PoolName;
use tidepool_policy::{Decision, Signal};
use tidepool_profile::Forecast;

use crate::nodes::PoolWorkers;
use crate::shadow::Shadow;

/// All series, labelled by pool.
#[derive(Debug)]
pub(crate) struct Metrics {
    score: GaugeVec,
    target: IntGaugeVec,
    need: GaugeVec,
    workers: IntGaugeVec,
    decisions: IntCounterVec,
    age: GaugeVec,
    forecast: GaugeVec,
    learned: GaugeVec,
    shadow: IntGaugeVec,
    infeasible: IntGaugeVec,
    registry: Registry,
    /// Whether the series are off the registry. A second time would take off those of the next
    /// supervisor: they have the same names.
    is_withdrawn: AtomicBool,
}

fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<GaugeVec> {
    let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn int_gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Sets a series, or removes it when there is nothing to say.
fn say(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        None => {
            // It may never have been there.
            let _ = gauge.remove_label_values(labels);
        }
    }
}

impl Metrics {
    /// Creates the series and registers them.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let decisions = IntCounterVec::new(
            Opts::new(
                "tidepool_scaling_decisions_total",
                "Decisions told on the feed: changes, the first, and newly held wishes.",
            ),
            &["pool", "direction", "reason"],
        )?;
        registry.register(Box::new(decisions.clone()))?;
        Ok(Self {
            score: gauge(
                registry,
                "tidepool_load_score",
                "Load score: 0.80 is exactly enough workers.",
                &["pool"],
            )?,
            target: int_gauge(
                registry,
                "tidepool_pool_target",
                "Workers wanted.",
                &["pool"],
            )?,
            need: gauge(
                registry,
                "tidepool_need",
                "Workers that a signal asks for.",
                &["pool", "signal"],
            )?,
            workers: int_gauge(
                registry,
                "tidepool_workers",
                "Workers by state.",
                &["pool", "state"],
            )?,
            decisions,
            age: gauge(
                registry,
                "tidepool_metrics_age_seconds",
                "Seconds since the pool's newest report.",
                &["pool"],
            )?,
            forecast: gauge(
                registry,
                "tidepool_forecast_rate",
                "Requests per second expected one start-up time ahead, by quantile.",
                &["pool", "q"],
            )?,
            learned: gauge(
                registry,
                "tidepool_learned_rate",
                "Requests per second that the learned hours expect one start-up time ahead.",
                &["pool", "q"],
            )?,
            shadow: int_gauge(
                registry,
                "tidepool_shadow_target",
                "Workers that a policy in shadow would make of the live target.",
                &["pool", "policy"],
            )?,
            infeasible: int_gauge(
                registry,
                "tidepool_pool_infeasible",
                "1 while the work itself takes longer than the pool's objective, so that no number of workers meets it.",
                &["pool"],
            )?,
            registry: registry.clone(),
            is_withdrawn: AtomicBool::new(false),
        })
    }

    /// Takes all series off the registry. Another supervisor may register its own then.
    pub(crate) fn withdraw(&self) {
        if self.is_withdrawn.swap(true, Ordering::Relaxed) {
            return;
        }
        let series: [Box<dyn Collector>; 10] = [
            Box::new(self.score.clone()),
            Box::new(self.target.clone()),
            Box::new(self.need.clone()),
            Box::new(self.workers.clone()),
            Box::new(self.decisions.clone()),
            Box::new(self.age.clone()),
            Box::new(self.forecast.clone()),
            Box::new(self.learned.clone()),
            Box::new(self.shadow.clone()),
            Box::new(self.infeasible.clone()),
        ];
        for series in series {
            if let Err(error) = self.registry.unregister(series) {
                tracing::debug!(%error, "a series was not there");
            }
        }
    }

    /// Shows a decision.
    pub(crate) fn show(&self, pool: &PoolName, decision: &Decision, age_s: Option<f64>) {
        let pool = pool.as_str();
        say(&self.score, &[pool], decision.score);
        say(&self.age, &[pool], age_s);
        for signal in Signal::ALL {
            say(
                &self.need,
                &[pool, signal.as_str()],
                decision.needs.get(*signal),
            );
        }
        say(
            &self.forecast,
            &[pool, "0.5"],
            decision.forecast.map(|f| f.p50),
        );
        say(
            &self.forecast,
            &[pool, "0.99"],
            decision.forecast.map(|f| f.p99),
        );
        self.target
            .with_label_values(&[pool])
            .set(i64::from(decision.to));
        self.infeasible
            .with_label_values(&[pool])
            .set(i64::from(decision.infeasible));
    }

    /// Shows what the learned hours expect; nothing before a day is known.
    pub(crate) fn show_learned(&self, pool: &PoolName, learned: Option<Forecast>) {
        let pool = pool.as_str();
        say(
            &self.learned,
            &[pool, "0.5"],
            learned.map(|f| f.median_rate),
        );
        say(
            &self.learned,
            &[pool, "0.99"],
            learned.map(|f| f.upper_rate),
        );
    }

    /// Shows what policies in shadow would want.
    pub(crate) fn show_shadows(&self, pool: &PoolName, shadows: &[Shadow]) {
        for shadow in shadows {
            if let Some(target) = shadow.target() {
                self.shadow
                    .with_label_values(&[pool.as_str(), shadow.name()])
                    .set(i64::from(target));
            }
        }
    }

    /// Shows how many workers are in each state.
    pub(crate) fn show_workers(&self, pool: &PoolName, workers: &PoolWorkers) {
        for (state, n) in workers.by_state() {
            self.workers
                .with_label_values(&[pool.as_str(), state.as_str()])
                .set(i64::from(n));
        }
    }

    /// Counts a decision that was told.
    pub(crate) fn count(&self, pool: &PoolName, decision: &Decision) {
        self.decisions
            .with_label_values(&[
                pool.as_str(),
                decision.direction.as_str(),
                decision.reason.as_str(),
            ])
            .inc();
    }
}

/// A supervisor that panicked leaves no numbers, and nothing in the way of the next one.
impl Drop for Metrics {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_end_with_their_supervisor_and_not_with_another_one() {
        let registry = Registry::new();
        let pool = PoolName::new("echo").unwrap();
        let first = Metrics::new(&registry).unwrap();
        first.withdraw();
        let second = Metrics::new(&registry).unwrap();
        second.show_workers(&pool, &PoolWorkers::default());
        drop(first);
        assert_eq!(registry.gather().len(), 1, "those of the second are there");
        // It panics, and nobody retires it.
        drop(second);
        assert!(registry.gather().is_empty());
        Metrics::new(&registry).unwrap();
    }
}
