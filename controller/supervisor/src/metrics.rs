//! The supervisor's metrics. What is shown of a pool is read off the view when somebody asks, not kept
//! up to date every second: nobody asks a thousand pools that often. A number that was not measured has
//! no series, so that it cannot be mistaken for zero.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};
use tidepool_core::{PoolName, WorkerState};
use tidepool_policy::{Decision, Signal};
use tidepool_profile::Forecast;

use crate::view::{Seen, SupervisorView};

/// All series, labelled by pool.
#[derive(Debug)]
pub(crate) struct Metrics {
    shown: Shown,
    decisions: IntCounterVec,
    registry: Registry,
    /// Whether the series are off the registry. A second time would take off those of the next
    /// supervisor: they have the same names.
    is_withdrawn: AtomicBool,
}

impl Metrics {
    /// Creates the series and registers them.
    pub(crate) fn new(registry: &Registry, view: SupervisorView) -> prometheus::Result<Self> {
        let decisions = IntCounterVec::new(
            Opts::new(
                "tidepool_scaling_decisions_total",
                "Decisions told on the feed: changes, the first, and newly held wishes.",
            ),
            &["pool", "direction", "reason"],
        )?;
        let shown = Shown {
            names: Gauges::new()?,
            view,
        };
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(shown.clone()))?;
        Ok(Self {
            shown,
            decisions,
            registry: registry.clone(),
            is_withdrawn: AtomicBool::new(false),
        })
    }

    /// Takes all series off the registry. Another supervisor may register its own then.
    pub(crate) fn withdraw(&self) {
        if self.is_withdrawn.swap(true, Ordering::Relaxed) {
            return;
        }
        let series: [Box<dyn Collector>; 2] = [
            Box::new(self.decisions.clone()),
            Box::new(self.shown.clone()),
        ];
        for series in series {
            if let Err(error) = self.registry.unregister(series) {
                tracing::debug!(%error, "a series was not there");
            }
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

/// The last decisions, as numbers.
#[derive(Clone, Debug)]
struct Shown {
    /// Of what there is, without a value.
    names: Gauges,
    view: SupervisorView,
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        let all = self.names.all().into_iter();
        all.flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Those of the names were accepted, so these are.
        let Ok(gauges) = Gauges::new() else {
            return Vec::new();
        };
        self.view.each(|seen, learned| gauges.show(seen, learned));
        let all = gauges.all().into_iter();
        all.flat_map(Collector::collect).collect()
    }
}

/// One gauge for each thing that is told.
#[derive(Clone, Debug)]
struct Gauges {
    score: GaugeVec,
    target: GaugeVec,
    need: GaugeVec,
    workers: GaugeVec,
    age: GaugeVec,
    forecast: GaugeVec,
    learned: GaugeVec,
    shadow: GaugeVec,
    infeasible: GaugeVec,
}

impl Gauges {
    fn new() -> prometheus::Result<Self> {
        let gauge =
            |name: &str, labels: &[&str], help: &str| GaugeVec::new(Opts::new(name, help), labels);
        Ok(Self {
            score: gauge(
                "tidepool_load_score",
                &["pool"],
                "Load score: 0.80 is exactly enough workers.",
            )?,
            target: gauge("tidepool_pool_target", &["pool"], "Workers wanted.")?,
            need: gauge(
                "tidepool_need",
                &["pool", "signal"],
                "Workers that a signal asks for.",
            )?,
            workers: gauge("tidepool_workers", &["pool", "state"], "Workers by state.")?,
            age: gauge(
                "tidepool_metrics_age_seconds",
                &["pool"],
                "Seconds since the pool's newest report.",
            )?,
            forecast: gauge(
                "tidepool_forecast_rate",
                &["pool", "q"],
                "Requests per second expected one start-up time ahead, by quantile.",
            )?,
            learned: gauge(
                "tidepool_learned_rate",
                &["pool", "q"],
                "Requests per second that the learned hours expect one start-up time ahead.",
            )?,
            shadow: gauge(
                "tidepool_shadow_target",
                &["pool", "policy"],
                "Workers that a policy in shadow would make of the live target.",
            )?,
            infeasible: gauge(
                "tidepool_pool_infeasible",
                &["pool"],
                "1 while the work itself takes longer than the pool's objective, so that no number of workers meets it.",
            )?,
        })
    }

    fn all(&self) -> [&GaugeVec; 9] {
        [
            &self.score,
            &self.target,
            &self.need,
            &self.workers,
            &self.age,
            &self.forecast,
            &self.learned,
            &self.shadow,
            &self.infeasible,
        ]
    }

    /// Shows a pool at its last decision, and what its learned hours expect.
    fn show(&self, seen: &Seen, learned: Option<Forecast>) {
        let (pool, decision) = (seen.plan.spec.name.as_str(), &seen.decision);
        say(&self.score, &[pool], decision.score);
        say(&self.target, &[pool], Some(f64::from(decision.to)));
        say(&self.age, &[pool], seen.metrics_age_s());
        let infeasible = f64::from(u8::from(decision.infeasible));
        say(&self.infeasible, &[pool], Some(infeasible));
        for signal in Signal::ALL {
            let need = decision.needs.get(*signal);
            say(&self.need, &[pool, signal.as_str()], need);
        }
        for (state, n) in WorkerState::ALL.into_iter().zip(seen.by_state) {
            say(&self.workers, &[pool, state.as_str()], Some(f64::from(n)));
        }
        let forecast = decision.forecast;
        say(&self.forecast, &[pool, "0.5"], forecast.map(|f| f.p50));
        say(&self.forecast, &[pool, "0.99"], forecast.map(|f| f.p99));
        let (median, upper) = (
            learned.map(|f| f.median_rate),
            learned.map(|f| f.upper_rate),
        );
        say(&self.learned, &[pool, "0.5"], median);
        say(&self.learned, &[pool, "0.99"], upper);
        for shadow in &seen.shadows {
            let target = f64::from(shadow.target);
            say(&self.shadow, &[pool, &shadow.policy], Some(target));
        }
    }
}

/// Gives a series its value, where there is one.
fn say(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    if let Some(value) = value {
        gauge.with_label_values(labels).set(value);
    }
}

#[cfg(test)]
mod tests {
    use tidepool_policy::{Memory, Observation, Policy, decide};

    use super::*;
    use crate::actor::tests::view_of_nothing;

    #[actix::test]
    async fn series_end_with_their_supervisor_and_not_with_another_one() {
        let registry = Registry::new();
        let pool = PoolName::new("echo").unwrap();
        let view = view_of_nothing().await;
        let begin = || Metrics::new(&registry, view.clone()).unwrap();
        let first = begin();
        first.withdraw();
        let second = begin();
        let observation = Observation::default();
        let policy = Policy::tidepool(3, 8);
        let (decision, _) = decide(&policy, Memory::default(), &observation, 0);
        second.count(&pool, &decision);
        drop(first);
        assert_eq!(registry.gather().len(), 1, "those of the second are there");
        // It panics, and nobody retires it.
        drop(second);
        assert!(registry.gather().is_empty());
        begin();
    }
}
