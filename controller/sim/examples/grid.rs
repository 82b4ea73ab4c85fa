//! Runs the live rule over a grid of traces, start-up times and sizes, and prints a line for each
//! cell as it finishes: the quick way to see what a setting does.
//!
//! ```text
//! cargo run --release -p tidepool-sim --example grid -- dir=TRACES [trace=nasa,taxi] [boot=10,30,120]
//!     [size=20,200] [smoothing=b] [days=7] [train=7] [seed=1] [threads=2] [rule=tidepool|threshold]
//!     [margins=on]       also what became of each margin of the ladder, and
//!                        what those with the learned pattern cost over those without
//!     [profile=on|off] [zone=UTC] [start_ms=0]
//!     [bounds=DIR|off]   where the clairvoyant bound of a cell is kept once computed
//!     [late_price=300 ...] ['json={"free_slot_factor":5}'] [bounds.cooldown_s=60]
//! ```
//!
//! Any other key is a field of the rule's configuration, `bounds.KEY` one of the bounds.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use serde_json::{Map, Value};
use tidepool_policy::{MarginRecord, PATTERN_QUANTILES, Policy, Rule};
use tidepool_profile::{Config, Pattern};
use tidepool_sim::engine::simulate;
use tidepool_sim::foresight::Learned;
use tidepool_sim::frontier::Frontier;
use tidepool_sim::live::LiveScaler;
use tidepool_sim::model::Model;
use tidepool_sim::offered::clairvoyant;
use tidepool_sim::outcome::Outcome;
use tidepool_sim::smooth::Smoothing;
use tidepool_sim::trace::Trace;
use tidepool_sim::workload::{Cut, DAY_S, Workload};

type Fault = Box<dyn std::error::Error>;

/// Late percentage up to which a cell passes.
const LATE_PCT_MAX: f64 = 0.1;
/// Shares of late requests at which the worth of the learned pattern is told.
const LATE_SHARES: [f64; 5] = [0.0001, 0.0003, 0.001, 0.003, 0.01];

struct Plan {
    profile: Option<Config>,
    start_ms: u64,
    /// Where bounds are kept; nothing to do without them.
    bounds: Option<PathBuf>,
    traces: Vec<(String, Trace)>,
    cells: Vec<Cell>,
    policy: Policy,
    train_s: u64,
    score_s: u64,
    threads: usize,
    margins: bool,
}

#[derive(Clone, Copy)]
struct Cell {
    trace: usize,
    smoothing: Smoothing,
    boot_s: f64,
    size: f64,
    seed: u64,
}

/// What became of each margin of the ladder, an asterisk at the one that is held.
fn shadows(scaler: &LiveScaler) -> String {
    let line = |record: MarginRecord| {
        let MarginRecord {
            margin,
            cost,
            late_share,
            chosen,
        } = record;
        let mark = if chosen { '*' } else { ' ' };
        let by = margin
            .quantile
            .map(|place| PATTERN_QUANTILES[place].to_string());
        format!(
            "{mark} deviations {:4} floor {:5} pattern {:6} {cost:6.3} x work {:8.4} % late\n",
            margin.deviations,
            margin.learned,
            by.unwrap_or_default(),
            100.0 * late_share
        )
    };
    scaler.margins().map(line).collect()
}

/// Cost of the ladder's best margins over that of its best without the learned pattern, at equal lateness.
fn worth(scaler: &LiveScaler) -> String {
    let of = |wanted: &dyn Fn(&MarginRecord) -> bool| {
        let ways = scaler.margins().filter(|record| wanted(record));
        Frontier::of(ways.map(|record| (record.late_share, record.cost)))
    };
    let (with, without) = (of(&|_| true), of(&|record| !record.margin.learned));
    let at = |late: f64| {
        let ratio = with.over(&without, late);
        ratio.map(|ratio| format!("{:.3} at {} % late", ratio, 100.0 * late))
    };
    let all: Vec<String> = LATE_SHARES.into_iter().filter_map(at).collect();
    format!("  with the pattern over without: {}\n", all.join(", "))
}

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn take(&mut self, key: &str, default: &str) -> String {
        self.0.remove(key).unwrap_or_else(|| default.to_owned())
    }

    fn list<T: std::str::FromStr>(&mut self, key: &str, default: &str) -> Result<Vec<T>, Fault> {
        let text = self.take(key, default);
        text.split(',')
            .map(|part| {
                part.parse()
                    .map_err(|_| format!("{key}={text}: {part:?} is no number").into())
            })
            .collect()
    }
}

/// What is left are settings of the policy.
fn policy(rest: BTreeMap<String, String>, rule: &str) -> Result<Policy, Fault> {
    let rule = Rule::named(rule).ok_or("rule must be tidepool or threshold")?;
    let mut tree = serde_json::to_value(Policy {
        rule: rule.clone(),
        ..Policy::default()
    })?;
    for (key, text) in rest {
        let (place, key) = match key.strip_prefix("bounds.") {
            Some(key) => ("/bounds".to_owned(), key),
            None => (format!("/rule/{}", rule.name()), key.as_str()),
        };
        let settings = tree
            .pointer_mut(&place)
            .and_then(Value::as_object_mut)
            .ok_or("no settings")?;
        let changes = if key == "json" {
            serde_json::from_str(&text)?
        } else {
            Map::from_iter([(key.to_owned(), serde_json::from_str(&text)?)])
        };
        for (key, value) in changes {
            let known: Vec<String> = settings.keys().cloned().collect();
            *settings
                .get_mut(&key)
                .ok_or_else(|| format!("{key} is none of {known:?}"))? = value;
        }
    }
    Ok(serde_json::from_value(tree)?)
}

fn read(dir: &str, wanted: &[String]) -> Result<Vec<(String, Trace)>, Fault> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut traces = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|ext| ext == "csv"))
    {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if wanted.iter().any(|part| name.contains(part.as_str())) {
            let trace = Trace::parse(&std::fs::read_to_string(file)?)
                .map_err(|f| format!("{}: {f}", file.display()))?;
            traces.push((name, trace));
        }
    }
    Ok(traces)
}

fn plan() -> Result<Plan, Fault> {
    let mut arguments = BTreeMap::new();
    for argument in std::env::args().skip(1) {
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| format!("{argument:?} is not key=value"))?;
        arguments.insert(key.to_owned(), value.to_owned());
    }
    let mut arguments = Arguments(arguments);
    let dir = arguments.take("dir", "traces");
    let traces = read(&dir, &arguments.list::<String>("trace", "")?)?;
    let boots: Vec<f64> = arguments.list("boot", "10,30,120")?;
    let sizes: Vec<f64> = arguments.list("size", "20,200")?;
    let seeds: Vec<u64> = arguments.list("seed", "1")?;
    let smoothings = arguments.list::<String>("smoothing", "b")?;
    let smoothings: Vec<Smoothing> = smoothings
        .iter()
        .filter_map(|name| Smoothing::named(name))
        .collect();
    let days: Vec<f64> = arguments.list("days", "7")?;
    let train: Vec<f64> = arguments.list("train", "7")?;
    let threads = arguments.list("threads", "2")?;
    let rule = arguments.take("rule", "tidepool");
    let margins = arguments.take("margins", "off") == "on";
    let kept = std::env::temp_dir().join("tidepool-bounds");
    let bounds = match arguments.take("bounds", &kept.to_string_lossy()) {
        off if off == "off" => None,
        dir => Some(PathBuf::from(dir)),
    };
    if let Some(dir) = &bounds {
        std::fs::create_dir_all(dir)?;
    }
    let mut cells = Vec::new();
    for trace in 0..traces.len() {
        for &smoothing in &smoothings {
            for &boot_s in &boots {
                for &size in &sizes {
                    cells.extend(seeds.iter().map(|&seed| Cell {
                        trace,
                        smoothing,
                        boot_s,
                        size,
                        seed,
                    }));
                }
            }
        }
    }
    // The longest first, so that no core idles at the end.
    cells.sort_by(|a, b| b.size.total_cmp(&a.size));
    let zone = arguments.take("zone", "UTC");
    let profile = (arguments.take("profile", "on") == "on").then(|| Config::in_zone(&zone));
    profile.clone().map(Pattern::new).transpose()?;
    let start_ms = arguments.list("start_ms", "0")?[0];
    Ok(Plan {
        profile,
        start_ms,
        bounds,
        traces,
        cells,
        policy: policy(arguments.0, &rule)?,
        train_s: (train[0] * DAY_S as f64) as u64,
        score_s: (days[0] * DAY_S as f64) as u64,
        threads: threads[0],
        margins,
    })
}

impl Plan {
    fn run(&self, cell: &Cell) -> (Outcome, Option<f64>) {
        let (_, trace) = &self.traces[cell.trace];
        let model = Model {
            startup_s: cell.boot_s,
            ..Model::default()
        };
        let cut = Cut {
            smoothing: cell.smoothing,
            train_s: self.train_s,
            score_s: self.score_s,
            mean_workers: cell.size,
            slots: model.slots,
            service_mean_s: model.service_mean_s,
            start_ms: self.start_ms,
        };
        let load = Workload::of(trace, &cut);
        let model = model.sized_for(load.peak());
        let mut policy = self.policy.clone();
        (policy.bounds.min, policy.bounds.max) = (model.workers_min, model.workers_max);
        policy.bounds.wait_objective_s = Some(model.late_after_s);
        let mut scaler = LiveScaler::of(policy);
        // A zone was checked when the plan was made.
        if let Some(Ok(pattern)) = self.profile.clone().map(Pattern::new) {
            scaler = scaler.with_foresight(Box::new(Learned::new(pattern)));
        }
        let outcome = simulate(&model, &load, &mut scaler, cell.seed, &mut ());
        if self.margins {
            println!("{}{}", shadows(&scaler), worth(&scaler));
        }
        let bound_s = self
            .bounds
            .as_ref()
            .and_then(|dir| self.bound_s(dir, cell, &model, &load));
        (outcome, bound_s)
    }

    /// The bound in worker-seconds, from the file of an earlier run if there is one.
    fn bound_s(&self, dir: &Path, cell: &Cell, model: &Model, load: &Workload) -> Option<f64> {
        let mut hasher = std::hash::DefaultHasher::new();
        load.rates
            .iter()
            .for_each(|rate| rate.to_bits().hash(&mut hasher));
        (load.score_from_s, cell.seed).hash(&mut hasher);
        let name = format!(
            "{}-{:016x}-{}",
            self.traces[cell.trace].0,
            hasher.finish(),
            cell.boot_s
        );
        let file = dir.join(name);
        let kept = std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        kept.or_else(|| {
            let bound_s = clairvoyant(model, load, cell.seed).ok()?.worker_s;
            let _ = std::fs::write(&file, format!("{bound_s}\n"));
            Some(bound_s)
        })
    }

    fn line(
        &self,
        cell: &Cell,
        (outcome, bound_s): &(Outcome, Option<f64>),
        took_s: f64,
    ) -> String {
        let mark = if outcome.late_pct() <= LATE_PCT_MAX {
            "ok"
        } else {
            "LATE"
        };
        format!(
            "{:24} {} D{:<4} {:4} s{} | {:6.3} x work {} x bound {:8.4} % late {:6.1} rev/d {:7.1} starts/d worst {:7.3} % p99 {:6.2} s {mark:4} {took_s:5.1} s",
            self.traces[cell.trace].0,
            cell.smoothing.name(),
            cell.boot_s,
            cell.size,
            cell.seed,
            outcome.over_work(),
            bound_s.map_or_else(
                || "     -".to_owned(),
                |bound_s| format!("{:6.3}", outcome.worker_s / bound_s)
            ),
            outcome.late_pct(),
            outcome.per_day(outcome.reversals),
            outcome.per_day(outcome.starts),
            outcome.worst_hour_late * 100.0,
            outcome.wait_p99_s,
        )
    }
}

fn main() -> Result<(), Fault> {
    let plan = plan()?;
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let mut outcomes = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            let (sender, plan, next) = (sender.clone(), &plan, &next);
            scope.spawn(move || {
                while let Some(cell) = plan.cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    let outcome = plan.run(cell);
                    let _ = sender.send((*cell, outcome, begin.elapsed().as_secs_f64()));
                }
            });
        }
        drop(sender);
        for (cell, outcome, took_s) in receiver {
            println!("{}", plan.line(&cell, &outcome, took_s));
            outcomes.push((cell, outcome));
        }
    });
    let mean = |pick: &dyn Fn(&Cell) -> bool| {
        let ratio = |(outcome, bound_s): &(Outcome, Option<f64>)| {
            bound_s.map_or_else(|| outcome.over_work(), |bound_s| outcome.worker_s / bound_s)
        };
        let logs: Vec<f64> = outcomes
            .iter()
            .filter(|(c, _)| pick(c))
            .map(|(_, o)| ratio(o).ln())
            .collect();
        (logs.iter().sum::<f64>() / (logs.len().max(1) as f64)).exp()
    };
    let over = if plan.bounds.is_some() {
        "bound"
    } else {
        "work"
    };
    let passing = outcomes
        .iter()
        .filter(|(_, o)| o.0.late_pct() <= LATE_PCT_MAX)
        .count();
    let reversals = outcomes
        .iter()
        .map(|(_, o)| o.0.per_day(o.0.reversals))
        .fold(0.0, f64::max);
    println!(
        "geometric mean {:.4} x {over} (D10 {:.3}, D30 {:.3}, D120 {:.3}); {passing} of {} cells at most {LATE_PCT_MAX} % late; most reversals {reversals:.1} a day; {:.0} s",
        mean(&|_| true),
        mean(&|c| c.boot_s == 10.0),
        mean(&|c| c.boot_s == 30.0),
        mean(&|c| c.boot_s == 120.0),
        outcomes.len(),
        begin.elapsed().as_secs_f64(),
    );
    Ok(())
}
