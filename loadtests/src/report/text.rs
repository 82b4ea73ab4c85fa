//! The report for people: one screen, plain characters, no colour needed to read it.

use std::fmt;

use super::{Distribution, Judgement, Report, Scaling, outcome_name};
use crate::span::Span;

/// Width of the charts, in characters.
const CHART_WIDTH: usize = 64;
/// Heights of a chart's column.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Most decisions that are printed; the JSON report has all.
const DECISIONS_SHOWN: usize = 40;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.requests(f)?;
        self.times(f)?;
        self.outcome_table(f)?;
        self.charts(f)?;
        if let Some(scaling) = &self.scaling {
            scaling_story(f, scaling)?;
        }
        self.judgements(f)?;
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

impl Report {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        writeln!(f, "{}: {}", self.scenario, self.summary)?;
        writeln!(
            f,
            "{} to {} · {} arrivals, seed {} · {}{}, first {} not judged",
            settings.kinds.join(", "),
            self.target,
            settings.arrivals,
            settings.seed,
            seconds(self.lasted_s),
            if self.interrupted {
                " (interrupted)"
            } else {
                ""
            },
            seconds(settings.warmup_s),
        )
    }

    fn requests(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counts, rates) = (&self.counts, &self.rates);
        writeln!(f)?;
        writeln!(
            f,
            "due       {:>10}   {:.1}/s, planned peak {:.0}/s",
            counts.due, rates.offered_per_s, self.settings.peak_rate
        )?;
        writeln!(f, "ok        {:>10}   {:.1}/s", counts.ok, rates.ok_per_s)?;
        for (name, count, share) in [
            ("refused", counts.refused, rates.refused),
            ("errors", counts.errors, rates.errors),
            ("dropped", counts.dropped, rates.dropped),
        ] {
            writeln!(f, "{name:<9} {count:>10}   {}", percent(share))?;
        }
        if counts.abandoned > 0 {
            writeln!(
                f,
                "abandoned {:>10}   in flight at the interrupt",
                counts.abandoned
            )?;
        }
        Ok(())
    }

    fn times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        write!(f, "{:<22}", "milliseconds")?;
        for name in ["p50", "p90", "p95", "p99", "p99.9", "max", "mean"] {
            write!(f, "{name:>10}")?;
        }
        writeln!(f)?;
        for (name, distribution) in [
            ("latency (intended)", &self.latency_ms),
            ("service (from sending)", &self.service_ms),
            ("refusals", &self.refused_ms),
            ("generator's own lag", &self.lag_ms),
        ] {
            if distribution.count > 0 {
                writeln!(f, "{name:<22}{}", row(distribution))?;
            }
        }
        Ok(())
    }

    fn outcome_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.outcomes.is_empty() {
            return writeln!(f, "\nno request finished");
        }
        writeln!(
            f,
            "\n{:<28}{:>10}{:>10}{:>10}",
            "outcome", "count", "p50 ms", "p99 ms"
        )?;
        for outcome in &self.outcomes {
            let times = &outcome.latency_ms;
            writeln!(
                f,
                "{:<28}{:>10}{:>10}{:>10}",
                outcome_name(outcome.status, &outcome.code),
                times.count,
                percentile(times, "p50"),
                percentile(times, "p99"),
            )?;
        }
        let Some(slowest) = self.slowest.first() else {
            return Ok(());
        };
        let id = slowest.request_id.as_deref().unwrap_or("-");
        let (ms, at) = (ms(Some(slowest.latency_ms)), clock(slowest.at_s));
        writeln!(
            f,
            "slowest {ms} ms at {at}, {}, request id {id}",
            slowest.outcome
        )
    }

    fn charts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        let end_s = self.lasted_s;
        let series = |of: fn(&super::TimelinePoint) -> Option<f64>| {
            let points = self.timeline.iter();
            points
                .filter_map(move |p| Some((p.at_s, of(p)?)))
                .collect::<Vec<_>>()
        };
        chart(f, "planned /s", &series(|p| Some(p.planned_per_s)), end_s)?;
        chart(f, "p99 ms", &series(|p| p.p99_ms), end_s)?;
        if let Some(scaling) = &self.scaling {
            let samples = scaling.samples.iter();
            let ready: Vec<_> = samples.map(|s| (s.at_s, f64::from(s.ready))).collect();
            chart(f, "ready", &ready, end_s)?;
            let samples = scaling.samples.iter();
            let score: Vec<_> = samples.filter_map(|s| Some((s.at_s, s.score?))).collect();
            chart(f, "score", &score, end_s)?;
        }
        Ok(())
    }

    fn judgements(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.thresholds.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nthresholds")?;
        for Judgement {
            threshold,
            observed,
            passed,
        } in &self.thresholds
        {
            let sign = if *passed { "✓" } else { "✗" };
            let verdict = if *passed { "met" } else { "missed" };
            let observed = observed.map_or_else(|| "not measured".to_owned(), figure);
            writeln!(f, "  {sign} {threshold:<26} {verdict:<7} {observed}")?;
        }
        Ok(())
    }
}

fn scaling_story(f: &mut fmt::Formatter<'_>, scaling: &Scaling) -> fmt::Result {
    writeln!(
        f,
        "\npool {}: ready {} → {} → {}, highest score {}, score at the end {}",
        scaling.pool,
        scaling.ready_start,
        scaling.ready_max,
        scaling.ready_end,
        scaling.score_max.map_or_else(|| "-".to_owned(), figure),
        scaling.score_end.map_or_else(|| "-".to_owned(), figure),
    )?;
    let capacity = scaling
        .time_to_capacity_s
        .map_or_else(|| "not reached".to_owned(), |s| format!("{s:.1} s"));
    writeln!(
        f,
        "time to capacity {capacity}, reversals {}, flaps {}, cost {:.0} worker-seconds",
        scaling.reversals, scaling.flaps, scaling.worker_seconds
    )?;
    for decision in scaling.decisions.iter().take(DECISIONS_SHOWN) {
        let at = clock(decision.at_s);
        writeln!(
            f,
            "  {at:>6}  {} → {}  {}",
            decision.from, decision.to, decision.sentence
        )?;
    }
    match scaling.decisions.len().checked_sub(DECISIONS_SHOWN) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "  and {more} more, in the JSON report"),
    }
}

fn row(times: &Distribution) -> String {
    let named = ["p50", "p90", "p95", "p99", "p99.9"].map(|name| percentile(times, name));
    let rest = [ms(times.max), ms(times.mean)];
    let cells = named.into_iter().chain(rest);
    cells.map(|cell| format!("{cell:>10}")).collect()
}

fn percentile(times: &Distribution, name: &str) -> String {
    ms(times.percentiles.get(name).copied())
}

/// Milliseconds with as many digits as they deserve.
fn ms(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v < 10.0 => format!("{v:.3}"),
        Some(v) if v < 1_000.0 => format!("{v:.1}"),
        Some(v) => format!("{v:.0}"),
    }
}

/// A number without digits that say nothing.
fn figure(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.3} %", share * 100.0))
}

fn seconds(s: f64) -> String {
    let rounded = std::time::Duration::from_millis((s * 10.0).round() as u64 * 100);
    Span(rounded).to_string()
}

/// Minutes and seconds since the start.
fn clock(at_s: f64) -> String {
    let s = at_s.max(0.0) as u64;
    format!("{}:{:02}", s / 60, s % 60)
}

/// One line of columns, each the highest value of its stretch.
fn chart(f: &mut fmt::Formatter<'_>, name: &str, points: &[(f64, f64)], end_s: f64) -> fmt::Result {
    let highest = points.iter().map(|(_, v)| *v).fold(0.0, f64::max);
    if points.is_empty() || end_s <= 0.0 || highest <= 0.0 {
        return Ok(());
    }
    let mut columns = [None; CHART_WIDTH];
    for (at_s, value) in points {
        let place = (at_s / end_s * CHART_WIDTH as f64) as usize;
        let column: &mut Option<f64> = &mut columns[place.min(CHART_WIDTH - 1)];
        *column = Some(column.map_or(*value, |seen| seen.max(*value)));
    }
    let mut last = None;
    let line: String = columns
        .into_iter()
        .map(|column| {
            // Short runs have fewer points than columns: a point lasts until the next one.
            last = column.or(last);
            last.map_or(' ', |value| level(value / highest))
        })
        .collect();
    writeln!(
        f,
        "{name:>10} {line} max {}",
        figure((highest * 100.0).round() / 100.0)
    )
}

fn level(share: f64) -> char {
    let top = LEVELS.len() - 1;
    LEVELS[((share * top as f64).round() as usize).min(top)]
}
