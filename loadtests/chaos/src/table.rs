//! The printed table: a line for each run, in Markdown, to be kept as it is.

use std::fmt::Write;

use tidepool_chaos::check::{Figures, Held, Spread};
use tidepool_chaos::run::{Options, Outcome};
use tidepool_chaos::scenario::Scenario;

/// Findings that are told in the table; the others are on stderr.
const TOLD_MAX: usize = 2;

/// Where and when.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = load.split(' ').take(3).collect();
    let now = jiff::Timestamp::now();
    format!(
        "{now:.0}, {cpus} processors, load average {}\n",
        load.join(" ")
    )
}

/// The first lines.
pub(crate) fn head() -> String {
    "| scenario | fault | must hold | measured | result |\n|---|---|---|---|---|".to_owned()
}

/// A run.
pub(crate) fn row(
    scenario: &Scenario,
    options: &Options,
    outcome: &anyhow::Result<Outcome>,
) -> String {
    let (measured, result) = match outcome {
        Err(error) => (String::new(), format!("**not run**: {error:#}")),
        Ok(Outcome::Skipped(why)) => (String::new(), format!("**SKIP**, no pass: {why}")),
        Ok(Outcome::Judged(verdict)) if verdict.is_pass() => {
            (measured(&verdict.figures), "pass".to_owned())
        }
        Ok(Outcome::Judged(verdict)) => {
            let told = verdict.findings.iter().take(TOLD_MAX);
            let told = told
                .map(|f| format!("{}: {}", f.law, f.what))
                .collect::<Vec<_>>();
            (
                measured(&verdict.figures),
                format!("**FAIL** {}", told.join("; ")),
            )
        }
    };
    let result = result.replace('\n', " / ").replace('|', "\\|");
    let plant = options
        .plant
        .map_or_else(String::new, |plant| format!(", planted {plant:?}"));
    format!(
        "| {} (seed {}, {} s{plant}) | {} | {} | {measured} | {result} |",
        scenario.name,
        options.seed,
        options.seconds.unwrap_or(scenario.seconds),
        scenario.fault,
        scenario.must_hold
    )
}

fn measured(figures: &Figures) -> String {
    let mut told = format!(
        "{} faults; {} echo, {} failed; p50/p99/max healthy {}, faulty {}, after {} ms",
        figures.faults,
        figures.echo,
        figures.echo_failed,
        spread(&figures.healthy),
        spread(&figures.faulty),
        spread(&figures.recovered)
    );
    // Writing to a string cannot fail.
    let _ = match figures.notes {
        0 => Ok(()),
        notes => write!(
            told,
            "; {notes} notes, {} kept, {} unknown",
            figures.notes_kept, figures.notes_unknown
        ),
    };
    let _ = figures
        .slow_share
        .map(|share| write!(told, "; slow share {:.1} %", share * 100.0));
    let _ = figures.goodput_per_s.map(|per_s| {
        let p99 = figures.refusals.p99_ms;
        write!(
            told,
            "; {per_s:.0} good/s; refusals {} p99 {p99:.1} ms",
            figures.refusals.count
        )
    });
    let _ = match figures.desired {
        (0, _) => Ok(()),
        (states, epochs) => write!(told, "; {states} desired states of {epochs} epochs"),
    };
    told += &figures
        .held
        .map_or_else(String::new, |held| frozen(held, &figures.elsewhere));
    told += &scaling(figures);
    let _ = figures
        .rss_max_mib
        .as_ref()
        .map(|(mib, who)| write!(told, "; RSS {who} {mib} MiB"));
    for (end, times) in &figures.ends {
        let _ = write!(told, "; {times} x {end}");
    }
    told
}

/// What there is to be told of balancers that were frozen.
fn frozen(held: Held, elsewhere: &Spread) -> String {
    let Held {
        all,
        given_up,
        told_late,
        answered_after_ms,
    } = held;
    let last = answered_after_ms.map_or_else(
        || "none answered once it woke".to_owned(),
        |ms| format!("the last answered {ms} ms after it woke"),
    );
    format!(
        "; {all} at a frozen balancer: {given_up} given up, {told_late} told as late, {last}; elsewhere {} ms",
        spread(elsewhere)
    )
}

/// What there is to be told of reads, of nodes that were silent, and of who ran what.
fn scaling(figures: &Figures) -> String {
    let mut told = Vec::new();
    if let (sent @ 1.., good) = figures.reads {
        let found = figures.reads_found;
        told.push(format!("{good} of {sent} reads, {found} found their note"));
    }
    if let Some(unsettled_ms) = figures.unsettled_ms {
        let (least, most, last) = figures.wanted.unwrap_or_default();
        told.push(format!(
            "wanted {least} to {most} workers, in the end {last}"
        ));
        told.push(format!("other than wanted for {unsettled_ms} ms at most"));
    }
    for healed_ms in &figures.healed_ms {
        told.push(match healed_ms {
            Some(ms) => format!("answered again after {ms} ms"),
            None => "never answered again".to_owned(),
        });
    }
    for taken_ms in &figures.takeovers_ms {
        told.push(match taken_ms {
            Some(ms) => format!("led by another after {ms} ms"),
            None => "led by nobody else".to_owned(),
        });
    }
    told.iter().map(|told| format!("; {told}")).collect()
}

fn spread(spread: &Spread) -> String {
    format!(
        "{:.0}/{:.0}/{:.0}",
        spread.p50_ms, spread.p99_ms, spread.max_ms
    )
}
