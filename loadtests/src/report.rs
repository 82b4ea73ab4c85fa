//! The numbers of a run, as JSON for machines and as text for people.

mod figures;
mod text;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use self::figures::Figures;
use crate::error::Exit;
use crate::generator::Results;
use crate::recorder::{Bucket, Grid, Slow, Tally, Times};
pub use crate::scaling::{Decision, PoolSample, Scaling};
use crate::scenario::Scenario;

/// Percentiles of every distribution in a report.
const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub summary: String,
    /// The address that the requests went to.
    pub target: String,
    /// RFC 3339.
    pub started_at: String,
    /// Version of the program.
    pub version: &'static str,
    /// How it was run.
    pub settings: Settings,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// How long it ran, in seconds.
    pub lasted_s: f64,
    /// Requests by how they ended.
    pub counts: Counts,
    /// Shares and rates.
    pub rates: Rates,
    /// From the intended start, of every request that was not refused.
    pub latency_ms: Distribution,
    /// From the actual sending, of the same requests.
    pub service_ms: Distribution,
    /// From the intended start, of refused requests.
    pub refused_ms: Distribution,
    /// From the intended start to the actual sending: how far the generator itself was behind.
    pub lag_ms: Distribution,
    /// Each outcome with its own times.
    pub outcomes: Vec<OutcomeReport>,
    /// The slowest requests.
    pub slowest: Vec<SlowRequest>,
    /// The run from beginning to end, warm-up included.
    pub timeline: Vec<TimelinePoint>,
    /// What the pool did; absent when it was not seen.
    pub scaling: Option<Scaling>,
    /// The thresholds, each with what was observed.
    pub thresholds: Vec<Judgement>,
    /// What a reader should know before trusting the numbers.
    pub notes: Vec<String>,
}

/// How a run was set up.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Where the requests went.
    pub kinds: Vec<String>,
    /// `constant` or `poisson`.
    pub arrivals: String,
    /// What decided arrivals and bodies.
    pub seed: u64,
    /// Planned length.
    pub duration_s: f64,
    /// Left out of the figures.
    pub warmup_s: f64,
    /// Most requests in flight.
    pub max_in_flight: usize,
    /// Longest that a request may take.
    pub timeout_ms: f64,
    /// Threads that sent.
    pub threads: usize,
    /// Highest planned rate.
    pub peak_rate: f64,
}

/// Requests that were due after the warm-up, by how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Their intended start came.
    pub due: u64,
    /// Not sent: too many were in flight.
    pub dropped: u64,
    /// Sent, and ended in an answer or an error.
    pub finished: u64,
    /// With a 2xx answer.
    pub ok: u64,
    /// Without one: refused and errors.
    pub failed: u64,
    /// Answered 429 or 503.
    pub refused: u64,
    /// Failed and not refused.
    pub errors: u64,
    /// In flight when the run was interrupted.
    pub abandoned: u64,
    /// Finished requests of the warm-up, which count nowhere else.
    pub warmup: u64,
}

/// Shares of finished (or due) requests, and rates. Absent without a request.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Rates {
    /// Due requests per second.
    pub offered_per_s: f64,
    /// 2xx answers per second.
    pub ok_per_s: f64,
    /// Share of finished requests that failed.
    pub failed: Option<f64>,
    /// Share of finished requests that were refused.
    pub refused: Option<f64>,
    /// Share of finished requests that were errors.
    pub errors: Option<f64>,
    /// Share of due requests that were dropped.
    pub dropped: Option<f64>,
}

/// Times in milliseconds. All but the count are absent when there are none.
#[derive(Clone, Debug, Serialize)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// The mean.
    pub mean: Option<f64>,
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Percentiles by name, such as `p99.9`.
    pub percentiles: BTreeMap<String, f64>,
    /// Upper bounds in milliseconds and counts, in steps of a tenth.
    pub histogram: Vec<(f64, u64)>,
}

/// One way in which requests ended.
#[derive(Clone, Debug, Serialize)]
pub struct OutcomeReport {
    /// HTTP status; absent when there was no answer.
    pub status: Option<u16>,
    /// The problem's code, or why there was no answer.
    pub code: String,
    /// From the intended start.
    pub latency_ms: Distribution,
    /// From the actual sending.
    pub service_ms: Distribution,
}

/// A request to look up in logs or traces.
#[derive(Clone, Debug, Serialize)]
pub struct SlowRequest {
    /// Intended start, in seconds since the start of the run.
    pub at_s: f64,
    /// From the intended start.
    pub latency_ms: f64,
    /// How it ended.
    pub outcome: String,
    /// The server's `X-Request-Id`.
    pub request_id: Option<String>,
}

/// A stretch of the run, by intended start.
#[derive(Clone, Debug, Serialize)]
pub struct TimelinePoint {
    /// Its beginning, in seconds since the start of the run.
    pub at_s: f64,
    /// Planned requests per second.
    pub planned_per_s: f64,
    /// 2xx answers.
    pub ok: u64,
    /// Answered 429 or 503.
    pub refused: u64,
    /// Failed otherwise.
    pub errors: u64,
    /// Not sent.
    pub dropped: u64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the latency in milliseconds.
    pub p99_ms: Option<f64>,
}

/// A threshold and what was observed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Judgement {
    /// As written.
    pub threshold: String,
    /// Absent when it could not be measured, which misses the threshold.
    pub observed: Option<f64>,
    /// Whether it was kept.
    pub passed: bool,
}

/// Where and when a run took place.
pub(crate) struct Circumstances {
    pub(crate) target: String,
    pub(crate) started_at: String,
    pub(crate) interrupted: bool,
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// The numbers of `results`, judged by the scenario's thresholds.
    pub(crate) fn new(
        scenario: &Scenario,
        results: &Results,
        scaling: Option<Scaling>,
        circumstances: Circumstances,
    ) -> Self {
        let figures = Figures::new(scenario, results, scaling);
        let mut notes = circumstances.notes;
        notes.extend(figures.generator_notes());
        Self {
            scenario: scenario.name.clone(),
            summary: scenario.summary.clone(),
            target: circumstances.target,
            started_at: circumstances.started_at,
            version: env!("CARGO_PKG_VERSION"),
            settings: settings(scenario),
            interrupted: circumstances.interrupted,
            lasted_s: results.paced.lasted.as_secs_f64(),
            counts: figures.counts,
            rates: figures.rates,
            latency_ms: distribution(&figures.latency),
            service_ms: distribution(&figures.service),
            refused_ms: distribution(&figures.refused),
            lag_ms: distribution(&results.recorder.lag),
            outcomes: outcomes(&results.recorder.tallies),
            slowest: results.recorder.slowest.iter().map(slow_request).collect(),
            timeline: timeline(scenario, results),
            thresholds: scenario
                .thresholds
                .iter()
                .map(|t| figures.judge(t))
                .collect(),
            scaling: figures.scaling,
            notes,
        }
    }

    /// How the command ends by these numbers.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.interrupted {
            Exit::Interrupted
        } else if self.thresholds.iter().all(|judgement| judgement.passed) {
            Exit::Passed
        } else {
            Exit::ThresholdMissed
        }
    }
}

fn settings(scenario: &Scenario) -> Settings {
    Settings {
        kinds: scenario.mix.kinds().to_vec(),
        arrivals: scenario.arrivals.to_string(),
        seed: scenario.seed,
        duration_s: scenario.plan.duration().as_secs_f64(),
        warmup_s: scenario.warmup.as_secs_f64(),
        max_in_flight: scenario.max_in_flight,
        timeout_ms: scenario.timeout.as_secs_f64() * 1e3,
        threads: scenario.threads,
        peak_rate: scenario.plan.peak_rate(),
    }
}

fn as_ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn distribution(histogram: &Times) -> Distribution {
    let is_some = !histogram.is_empty();
    let percentiles = PERCENTILES.into_iter().filter(|_| is_some);
    let steps = histogram.iter_log(100, 1.1);
    Distribution {
        count: histogram.len(),
        mean: is_some.then(|| histogram.mean() / 1e3),
        min: is_some.then(|| as_ms(histogram.min())),
        max: is_some.then(|| as_ms(histogram.max())),
        percentiles: percentiles
            .map(|p| (format!("p{p}"), as_ms(histogram.value_at_percentile(p))))
            .collect(),
        histogram: steps
            .map(|step| {
                (
                    as_ms(step.value_iterated_to()),
                    step.count_since_last_iteration(),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}

fn outcomes(tallies: &[Tally]) -> Vec<OutcomeReport> {
    let mut outcomes: Vec<_> = tallies
        .iter()
        .map(|tally| OutcomeReport {
            status: tally.outcome.status,
            code: tally.outcome.code.to_string(),
            latency_ms: distribution(&tally.latency),
            service_ms: distribution(&tally.service),
        })
        .collect();
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.latency_ms.count));
    outcomes
}

fn slow_request(slow: &Slow) -> SlowRequest {
    let id = slow.request_id.as_ref().and_then(|id| id.to_str().ok());
    SlowRequest {
        at_s: slow.at.as_secs_f64(),
        latency_ms: slow.latency.as_secs_f64() * 1e3,
        outcome: outcome_name(slow.outcome.status, &slow.outcome.code),
        request_id: id.map(|id| id.chars().take(64).collect()),
    }
}

fn outcome_name(status: Option<u16>, code: &str) -> String {
    match status {
        Some(status) if code.is_empty() => status.to_string(),
        Some(status) => format!("{status} {code}"),
        None => code.to_owned(),
    }
}

fn timeline(scenario: &Scenario, results: &Results) -> Vec<TimelinePoint> {
    let Grid { width, .. } = results.grid;
    let plan = &scenario.plan;
    let dropped = results.paced.dropped_at.iter();
    let buckets = results.recorder.timeline.iter().zip(dropped).zip(0_u32..);
    buckets
        .map(|((bucket, dropped), i)| {
            // The last bucket may reach beyond the plan.
            let at_s = (width * i).as_secs_f64();
            let end_s = (width * (i + 1)).min(plan.duration()).as_secs_f64();
            let expected = plan.expected_until(end_s) - plan.expected_until(at_s);
            timeline_point(at_s, expected / (end_s - at_s), bucket, *dropped)
        })
        .take_while(|point| point.at_s < results.paced.lasted.as_secs_f64())
        .collect()
}

fn timeline_point(at_s: f64, planned_per_s: f64, bucket: &Bucket, dropped: u64) -> TimelinePoint {
    TimelinePoint {
        at_s,
        planned_per_s,
        ok: bucket.ok,
        refused: bucket.refused,
        errors: bucket.errors,
        dropped,
        p50_ms: percentile_ms(&bucket.latency, 50.0),
        p99_ms: percentile_ms(&bucket.latency, 99.0),
    }
}

fn percentile_ms(histogram: &Histogram<u32>, p: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| as_ms(histogram.value_at_percentile(p)))
}

#[cfg(test)]
mod tests;
