//! `tidepool simulate`: the live rule, its rivals and the bound on a recorded load.

mod args;
mod page;
mod report;
mod table;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use indicatif::{ProgressBar, ProgressStyle};
use tidepool_profile::{Config, Pattern};
use tidepool_sim::contest::{CLAIRVOYANT, Case, Prepared, Score, USUAL};
use tidepool_sim::outcome::{Second, Watch};
use tidepool_sim::parallel;
use tidepool_sim::record::Record;
use tidepool_sim::scaler::Autoscaler;
use tidepool_sim::scenario;
use tidepool_sim::trace::Trace;
use tidepool_sim::workload::{Cut, DAY_S, Workload};

pub(crate) use args::SimulateArgs;

use crate::cli::{Cli, GlobalArgs};
use crate::exit::{Exit, complain};
use crate::terminal;

/// Runs the command.
pub(crate) fn run(global: &GlobalArgs, args: &SimulateArgs) -> Exit {
    if let Err(fault) = check(args) {
        refuse(&fault);
    }
    Exit::of(match &args.table {
        Some(folder) => table::run(args, folder),
        None => one(global, args),
    })
}

/// Ends the program as for any other mistyped flag.
fn refuse(fault: &str) -> ! {
    let mut program = Cli::command();
    program.build();
    let error = match program.find_subcommand_mut("simulate") {
        Some(command) => command.error(ErrorKind::ValueValidation, fault),
        None => program.error(ErrorKind::ValueValidation, fault),
    };
    error.exit()
}

fn check(args: &SimulateArgs) -> Result<(), String> {
    args.check()?;
    Pattern::new(Config::in_zone(&args.zone)).map_err(|fault| format!("--zone: {fault}"))?;
    Ok(())
}

fn one(global: &GlobalArgs, args: &SimulateArgs) -> anyhow::Result<()> {
    let (name, case) = case(args)?;
    let contest = Contest::of(args, &case)?;
    let mut printer = terminal::stdout(global.output);
    report::print(&mut printer, &name, args, &case, &contest)?;
    if let Some(file) = &args.html {
        let html = page::render(&name, args, &case, &contest)?;
        std::fs::write(file, html).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn case(args: &SimulateArgs) -> anyhow::Result<(String, Case)> {
    if let Some(name) = &args.scenario {
        let scenario = scenario::named(name, &args.model(), args.mean_workers)
            .context("there is no such scenario")?;
        return Ok((name.clone(), scenario.case(profile(args))));
    }
    let file = args.trace.as_deref().context("no trace was given")?;
    Ok((file.display().to_string(), trace_case(args, &read(file)?)))
}

fn read(file: &Path) -> anyhow::Result<Trace> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    // What is no UTF-8 is no number either, and is told with its line.
    Trace::parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("{} is no trace", file.display()))
}

fn profile(args: &SimulateArgs) -> Option<Config> {
    (!args.no_profile).then(|| Config::in_zone(&args.zone))
}

/// A trace as a case.
fn trace_case(args: &SimulateArgs, trace: &Trace) -> Case {
    let model = args.model();
    let cut = Cut {
        smoothing: args.smoothing,
        train_s: args.train as u64,
        score_s: (args.days * DAY_S as f64) as u64,
        mean_workers: args.mean_workers,
        slots: model.slots,
        service_mean_s: model.service_mean_s,
        start_ms: args.start.unwrap_or(0),
    };
    let load = Workload::of(trace, &cut);
    let model = model.sized_for(load.peak());
    Case::new(model, load, profile(args))
}

/// What a contest came to.
pub(crate) struct Contest {
    /// Policies in the order asked for, each with its score by seed.
    pub(crate) scores: Vec<(String, Vec<Score>)>,
    /// Charts of the first seed, where wanted.
    pub(crate) records: Vec<(String, Record)>,
    /// Largest gap of the bound, as a share.
    pub(crate) bound_gap: f64,
}

impl Contest {
    fn of(args: &SimulateArgs, case: &Case) -> anyhow::Result<Self> {
        let policies = policies(args, case);
        let seeds = args.seed_list();
        let runs = policies.iter().filter(|name| *name != CLAIRVOYANT).count() as u64;
        let seconds = case.load.rates.len() as u64;
        let bar = bar(seconds * seeds.len() as u64 * runs);
        bar.set_message("bounding the cost from below");
        let threads = args.thread_count();
        let prepared = parallel::each(threads, &seeds, |seed| case.prepare(*seed), |_, _| ());
        let prepared: Vec<Prepared> = prepared.into_iter().collect::<Result<_, _>>()?;
        check_policies(&policies, case, &prepared);
        let jobs: Vec<(&String, &Prepared)> = policies
            .iter()
            .flat_map(|name| prepared.iter().map(move |p| (name, p)))
            .collect();
        let wants = |p: &Prepared| args.html.is_some() && p.seed == args.seed;
        bar.set_message("simulating");
        let passed = AtomicU64::new(0);
        let job = |(name, prepared): &(&String, &Prepared)| {
            let mut watcher = Watcher {
                record: wants(prepared)
                    .then(|| Record::new(case.load.scored_s(), case.model.slots)),
                bar: &bar,
                passed: &passed,
            };
            let score = case.run(name, prepared, &mut watcher)?;
            anyhow::Ok((score, watcher.record))
        };
        let results = parallel::each(threads, &jobs, job, |_, _| ());
        bar.finish_and_clear();
        let mut contest = Self {
            scores: policies
                .iter()
                .map(|name| (name.clone(), Vec::new()))
                .collect(),
            records: Vec::new(),
            bound_gap: prepared.iter().map(|p| p.bound.gap()).fold(0.0, f64::max),
        };
        for ((name, _), result) in jobs.iter().zip(results) {
            let (score, record) = result?;
            for (_, scores) in contest
                .scores
                .iter_mut()
                .filter(|(known, _)| known == *name)
            {
                scores.push(score.clone());
            }
            contest.records.extend(
                record
                    .filter(|_| *name != CLAIRVOYANT)
                    .map(|record| ((*name).clone(), record)),
            );
        }
        Ok(contest)
    }
}

/// Those asked for, once each; a usual one that cannot run here is left out.
fn policies(args: &SimulateArgs, case: &Case) -> Vec<String> {
    let untrained = case.load.score_from_s == 0 && args.policy == USUAL;
    if untrained {
        complain("note: no training days, so no static fleet is compared");
    }
    let mut policies: Vec<String> = Vec::new();
    for name in &args.policy {
        if !(policies.contains(name) || (untrained && name == "static")) {
            policies.push(name.clone());
        }
    }
    policies
}

fn check_policies(policies: &[String], case: &Case, prepared: &[Prepared]) {
    for name in policies.iter().filter(|name| *name != CLAIRVOYANT) {
        if let Some(Err(fault)) = prepared
            .first()
            .map(|prepared| case.contender(name, prepared))
        {
            refuse(&fault.to_string());
        }
    }
}

/// On stderr, and only if that is a terminal.
fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Records a run and shows that it goes on.
struct Watcher<'a> {
    record: Option<Record>,
    bar: &'a ProgressBar,
    passed: &'a AtomicU64,
}

impl Watch for Watcher<'_> {
    fn second(&mut self, second: &Second, scaler: &dyn Autoscaler) {
        if let Some(record) = &mut self.record {
            record.second(second, scaler);
        }
        const EVERY: u64 = 10_000;
        if second.second % EVERY == EVERY - 1 {
            self.bar
                .set_position(self.passed.fetch_add(EVERY, Ordering::Relaxed) + EVERY);
        }
    }
}
