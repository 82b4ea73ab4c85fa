//! The figures of a run that thresholds look at, worked out from what was recorded.

use std::time::Duration;

use super::{Counts, Judgement, Rates, as_ms};
use crate::generator::Results;
use crate::outcome::Class;
use crate::recorder::{Times as Histo, add, times};
use crate::scaling::Scaling;
use crate::scenario::Scenario;
use crate::threshold::{Figure, Metric, Stat, Threshold, Times};

/// The distributions and numbers that thresholds look at.
pub(super) struct Figures {
    pub(super) counts: Counts,
    pub(super) rates: Rates,
    pub(super) latency: Histo,
    pub(super) service: Histo,
    pub(super) refused: Histo,
    lag: Histo,
    pub(super) scaling: Option<Scaling>,
}

impl Figures {
    pub(super) fn new(scenario: &Scenario, results: &Results, scaling: Option<Scaling>) -> Self {
        let (mut latency, mut service, mut refused) = (times(), times(), times());
        for tally in &results.recorder.tallies {
            if tally.outcome.class() == Class::Refused {
                add(&mut refused, &tally.latency);
            } else {
                add(&mut latency, &tally.latency);
                add(&mut service, &tally.service);
            }
        }
        let counts = counts(results);
        let judged = results.paced.lasted.saturating_sub(scenario.warmup);
        Self {
            counts,
            rates: rates(&counts, judged),
            latency,
            service,
            refused,
            lag: results.recorder.lag.clone(),
            scaling,
        }
    }

    pub(super) fn judge(&self, threshold: &Threshold) -> Judgement {
        let observed = self.observe(threshold.metric());
        Judgement {
            threshold: threshold.to_string(),
            observed,
            passed: threshold.is_met(observed),
        }
    }

    fn observe(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Time(times, stat) => {
                let histogram = match times {
                    Times::Latency => &self.latency,
                    Times::Service => &self.service,
                    Times::Refused => &self.refused,
                    Times::Lag => &self.lag,
                };
                (!histogram.is_empty()).then(|| match stat {
                    Stat::Percentile(p) => as_ms(histogram.value_at_percentile(p)),
                    Stat::Mean => histogram.mean() / 1e3,
                    Stat::Max => as_ms(histogram.max()),
                })
            }
            Metric::Figure(figure) => self.figure(figure),
        }
    }

    fn figure(&self, figure: Figure) -> Option<f64> {
        let scaling = self.scaling.as_ref();
        match figure {
            Figure::FailedRate => self.rates.failed,
            Figure::RefusedRate => self.rates.refused,
            Figure::ErrorRate => self.rates.errors,
            Figure::DroppedRate => self.rates.dropped,
            Figure::Failed => Some(self.counts.failed as f64),
            Figure::Dropped => Some(self.counts.dropped as f64),
            Figure::Requests => Some(self.counts.finished as f64),
            Figure::OkPerSecond => Some(self.rates.ok_per_s),
            Figure::ReadyMax => scaling.map(|s| f64::from(s.ready_max)),
            Figure::ReadyEnd => scaling.map(|s| f64::from(s.ready_end)),
            Figure::TargetMax => scaling.map(|s| f64::from(s.target_max)),
            Figure::ScoreMax => scaling.and_then(|s| s.score_max),
            Figure::ScoreEnd => scaling.and_then(|s| s.score_end),
            Figure::Flaps => scaling.map(|s| f64::from(s.flaps)),
            Figure::Reversals => scaling.map(|s| f64::from(s.reversals)),
            Figure::TimeToCapacity => scaling.and_then(|s| s.time_to_capacity_s),
        }
    }

    /// Says so when the generator was the bottleneck, for then the server was not measured.
    pub(super) fn generator_notes(&self) -> Vec<String> {
        let lag_ms = as_ms(self.lag.value_at_percentile(99.0));
        let mut notes = Vec::new();
        if lag_ms > 10.0 {
            notes.push(format!(
                "the generator itself was late by {lag_ms:.1} ms (p99): lower the rate, use more \
                 threads, or give it a processor of its own"
            ));
        }
        if self.counts.dropped > 0 {
            notes.push(format!(
                "{} requests were due and not sent because max_in_flight were in flight: the \
                 percentiles know nothing of them",
                self.counts.dropped
            ));
        }
        notes
    }
}

fn counts(results: &Results) -> Counts {
    let of = |class| -> u64 {
        let tallies = results.recorder.tallies.iter();
        let of_class = tallies.filter(|tally| tally.outcome.class() == class);
        of_class.map(|tally| tally.latency.len()).sum()
    };
    let (ok, refused, errors) = (of(Class::Ok), of(Class::Refused), of(Class::Error));
    Counts {
        due: results.paced.due,
        dropped: results.paced.dropped,
        finished: ok + refused + errors,
        ok,
        failed: refused + errors,
        refused,
        errors,
        abandoned: results.abandoned,
        warmup: results.recorder.warmed_up,
    }
}

fn rates(counts: &Counts, judged: Duration) -> Rates {
    let per_s = |n: u64| {
        if judged.is_zero() {
            0.0
        } else {
            n as f64 / judged.as_secs_f64()
        }
    };
    let share = |n: u64, of: u64| (of > 0).then(|| n as f64 / of as f64);
    Rates {
        offered_per_s: per_s(counts.due),
        ok_per_s: per_s(counts.ok),
        failed: share(counts.failed, counts.finished),
        refused: share(counts.refused, counts.finished),
        errors: share(counts.errors, counts.finished),
        dropped: share(counts.dropped, counts.due),
    }
}
