//! Every trace at every start-up time and size, as a table that can be taken up where it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tidepool_sim::contest::{CLAIRVOYANT, Score};
use tidepool_sim::parallel;
use tidepool_sim::smooth::Smoothing;
use tidepool_sim::trace::Trace;

use super::{SimulateArgs, read, trace_case};

const HEADER: &str = "trace,smoothing,boot_s,mean_workers,seed,policy,late_pct,cost_ratio,over_work,worker_hours,starts_per_day,reversals_per_day,p99_wait_s,worst_hour_late_pct";
const KEYS: usize = 6;
/// Late percentage up to which a cell passes.
const LATE_PCT_MAX: f64 = 0.1;
/// Reversals a day within which a rival counts as better.
const REVERSALS_MAX: f64 = 30.0;
/// Whom the rivals are held against.
const OURS: &str = "tidepool";

/// A load on a pool with one seed.
#[derive(Clone)]
struct Cell {
    trace: usize,
    boot_s: f64,
    size: f64,
    seed: u64,
}

/// What is to be run, and what was run before.
struct Sheet<'a> {
    args: &'a SimulateArgs,
    traces: Vec<(String, Trace)>,
    file: Mutex<fs::File>,
    known: BTreeMap<String, Vec<f64>>,
}

/// Runs what is missing of the table, then writes it as Markdown.
pub(crate) fn run(args: &SimulateArgs, folder: &Path) -> anyhow::Result<()> {
    let out = args.out.as_deref().context("--out is missing")?;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let rows = out.join("cells.csv");
    end_last_line(&rows)?;
    let known = known(&rows)?;
    let file = OpenOptions::new().create(true).append(true).open(&rows)?;
    let sheet = Sheet {
        args,
        traces: traces(folder)?,
        file: Mutex::new(file),
        known,
    };
    if sheet.known.is_empty() && fs::metadata(&rows)?.len() == 0 {
        sheet.append(HEADER)?;
    }
    let cells = sheet.missing();
    let bar = ProgressBar::new(cells.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} cells {eta} left")
    {
        bar.set_style(style);
    }
    let results = parallel::each(
        args.thread_count(),
        &cells,
        |cell| sheet.run(cell),
        |cell, _| {
            bar.set_message(sheet.traces[cell.trace].0.clone());
            bar.inc(1);
        },
    );
    bar.finish_and_clear();
    results.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let text = markdown(args, &self::known(&rows)?, &sheet.untrained())?;
    let page = out.join("table.md");
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn traces(folder: &Path) -> anyhow::Result<Vec<(String, Trace)>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
    files.sort();
    if files.is_empty() {
        bail!("{} holds no file that ends in .csv", folder.display());
    }
    let name = |file: &PathBuf| {
        file.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    files
        .iter()
        .map(|file| Ok((name(file).unwrap_or_default(), read(file)?)))
        .collect()
}

/// Rows that an earlier run wrote, by their keys. A last line that was cut off is not one.
fn known(file: &Path) -> anyhow::Result<BTreeMap<String, Vec<f64>>> {
    let Ok(text) = fs::read_to_string(file) else {
        return Ok(BTreeMap::new());
    };
    let columns = HEADER.split(',').count();
    if text.lines().next().is_some_and(|header| header != HEADER) {
        bail!(
            "{} was written by another version: move it away",
            file.display()
        );
    }
    let mut rows = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() == columns {
            let numbers = cells[KEYS..]
                .iter()
                .map(|cell| cell.parse().unwrap_or(f64::NAN));
            rows.insert(cells[..KEYS].join(","), numbers.collect());
        }
    }
    Ok(rows)
}

/// After a run that was cut off in the middle of a line, the next row begins on its own.
fn end_last_line(file: &Path) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(file) else {
        return Ok(());
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        fs::write(file, &text[..whole])
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

impl Sheet<'_> {
    /// Traces that have no training part.
    fn untrained(&self) -> Vec<&str> {
        let case = |trace| trace_case(self.args, trace);
        let none = |trace| case(trace).load.score_from_s == 0;
        let traces = self.traces.iter().filter(|(_, trace)| none(trace));
        traces.map(|(name, _)| name.as_str()).collect()
    }

    fn append(&self, line: &str) -> anyhow::Result<()> {
        let mut file = self
            .file
            .lock()
            .map_err(|_| anyhow::anyhow!("another run failed"))?;
        // One write a row, so that what is cut off is at most the last.
        file.write_all(format!("{line}\n").as_bytes())
            .context("cannot write the table")
    }

    fn key(&self, cell: &Cell, policy: &str) -> String {
        let trace = &self.traces[cell.trace].0;
        let smoothing = self.args.smoothing.name();
        format!(
            "{trace},{smoothing},{},{},{},{policy}",
            cell.boot_s, cell.size, cell.seed
        )
    }

    /// Cells in which a policy is missing, the longest first.
    fn missing(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for trace in 0..self.traces.len() {
            for &boot_s in &self.args.boots {
                for &size in &self.args.sizes {
                    cells.extend(self.args.seed_list().into_iter().map(|seed| Cell {
                        trace,
                        boot_s,
                        size,
                        seed,
                    }));
                }
            }
        }
        cells.retain(|cell| {
            self.args
                .policy
                .iter()
                .any(|policy| !self.known.contains_key(&self.key(cell, policy)))
        });
        cells.sort_by(|a, b| b.size.total_cmp(&a.size));
        cells
    }

    fn run(&self, cell: &Cell) -> anyhow::Result<()> {
        let args = SimulateArgs {
            boot: cell.boot_s,
            mean_workers: cell.size,
            ..self.args.clone()
        };
        let case = trace_case(&args, &self.traces[cell.trace].1);
        let prepared = case.prepare(cell.seed)?;
        for policy in &self.args.policy {
            let key = self.key(cell, policy);
            let impossible = policy == "static" && case.load.score_from_s == 0;
            if self.known.contains_key(&key) || impossible {
                continue;
            }
            let score = case.run(policy, &prepared, &mut ())?;
            self.append(&format!("{key},{}", numbers(&score)))?;
        }
        Ok(())
    }
}

fn numbers(score: &Score) -> String {
    let cells = [
        Some(score.late_pct),
        Some(score.cost_ratio),
        Some(score.over_work),
        Some(score.worker_hours),
        score.starts_per_day,
        score.reversals_per_day,
        score.p99_wait_s,
        score.worst_hour_late_pct,
    ];
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
    cells.map(cell).join(",")
}

/// Figures of a policy in a cell, means over seeds.
#[derive(Clone, Copy, Default)]
struct Figures {
    late_pct: f64,
    ln_cost: f64,
    reversals: f64,
    seeds: f64,
}

impl Figures {
    fn add(&mut self, numbers: &[f64]) {
        self.late_pct += numbers[0];
        self.ln_cost += numbers[1].ln();
        self.reversals += numbers[5];
        self.seeds += 1.0;
    }

    fn late(&self) -> f64 {
        self.late_pct / self.seeds
    }

    fn cost(&self) -> f64 {
        (self.ln_cost / self.seeds).exp()
    }

    fn reversals(&self) -> f64 {
        self.reversals / self.seeds
    }

    /// Whether it is cheaper than another one, no later, and calm.
    fn dominates(&self, other: &Self) -> bool {
        self.cost() < other.cost()
            && self.late() <= other.late()
            && self.reversals() <= REVERSALS_MAX
    }
}

type Key = (String, String, String);
/// Figures by policy.
type Rivals<'a> = BTreeMap<&'a str, Figures>;

fn markdown(
    args: &SimulateArgs,
    rows: &BTreeMap<String, Vec<f64>>,
    untrained: &[&str],
) -> anyhow::Result<String> {
    let mut text = String::from(
        "# Simulation results\n\nCost over the clairvoyant bound / late % / reversals a day; means over seeds. Raw numbers: `cells.csv`.\n",
    );
    if !untrained.is_empty() {
        writeln!(
            text,
            "Too short to train on, and not part of the means: {}.",
            untrained.join(", ")
        )?;
    }
    for smoothing in [Smoothing::B, Smoothing::A] {
        let mut cells: BTreeMap<Key, Rivals<'_>> = BTreeMap::new();
        for (key, numbers) in rows {
            let parts: Vec<&str> = key.split(',').collect();
            if parts[1] == smoothing.name() && parts[5] != CLAIRVOYANT {
                let cell = (
                    parts[0].to_owned(),
                    format!("{:0>6}", parts[2]),
                    format!("{:0>6}", parts[3]),
                );
                cells
                    .entry(cell)
                    .or_default()
                    .entry(parts[5])
                    .or_default()
                    .add(numbers);
            }
        }
        if !cells.is_empty() {
            section(&mut text, args, (smoothing, untrained), &cells)?;
        }
    }
    Ok(text)
}

/// Every policy with a row, those that were asked for first.
fn policies<'a>(args: &'a SimulateArgs, cells: &BTreeMap<Key, Rivals<'a>>) -> Vec<&'a str> {
    let asked = args.policy.iter().map(String::as_str);
    let mut policies: Vec<&str> = asked.filter(|policy| *policy != CLAIRVOYANT).collect();
    let found: BTreeSet<&str> = cells
        .values()
        .flat_map(|cell| cell.keys().copied())
        .collect();
    let more: Vec<&str> = found
        .into_iter()
        .filter(|policy| !policies.contains(policy))
        .collect();
    policies.extend(more);
    policies
}

fn section(
    text: &mut String,
    args: &SimulateArgs,
    (smoothing, untrained): (Smoothing, &[&str]),
    cells: &BTreeMap<Key, Rivals<'_>>,
) -> anyhow::Result<()> {
    let policies = policies(args, cells);
    writeln!(text, "\n## Smoothing {}\n", smoothing.name())?;
    writeln!(
        text,
        "| policy | geometric mean cost | cells at most {LATE_PCT_MAX} % late | most reversals a day | cells in which it is cheaper than {OURS}, no later and within {REVERSALS_MAX} reversals |\n|---|---|---|---|---|"
    )?;
    let trained = |key: &Key| !untrained.contains(&key.0.as_str());
    for policy in &policies {
        let all = cells.iter().filter(|(key, _)| trained(key));
        let all: Vec<&Rivals<'_>> = all.map(|(_, cell)| cell).collect();
        summary(text, policy, &all)?;
    }
    writeln!(
        text,
        "\n| trace | start-up s | workers | {} |\n|---|---|---|{}",
        policies.join(" | "),
        "---|".repeat(policies.len())
    )?;
    for ((trace, boot, size), figures) in cells {
        let (boot, size) = (boot.trim_start_matches('0'), size.trim_start_matches('0'));
        write!(text, "| {trace} | {boot} | {size} |")?;
        for policy in &policies {
            match figures.get(policy) {
                Some(f) => write!(
                    text,
                    " {:.2} / {:.3} / {:.0} |",
                    f.cost(),
                    f.late(),
                    f.reversals()
                )?,
                None => text.push_str(" – |"),
            }
        }
        text.push('\n');
    }
    Ok(())
}

/// A policy's line over all cells that it has run.
fn summary(text: &mut String, policy: &str, cells: &[&Rivals<'_>]) -> anyhow::Result<()> {
    let all: Vec<&Figures> = cells.iter().filter_map(|cell| cell.get(policy)).collect();
    if all.is_empty() {
        return Ok(());
    }
    let mean = all.iter().map(|f| f.cost().ln()).sum::<f64>() / all.len() as f64;
    let passing = all.iter().filter(|f| f.late() <= LATE_PCT_MAX).count();
    let reversals = all.iter().map(|f| f.reversals()).fold(0.0, f64::max);
    let better = |cell: &&&Rivals<'_>| match (cell.get(policy), cell.get(OURS)) {
        (Some(rival), Some(ours)) => rival.dominates(ours),
        _ => false,
    };
    let better = cells.iter().filter(better).count();
    writeln!(
        text,
        "| {policy} | {:.3} | {passing} of {} | {reversals:.1} | {better} |",
        mean.exp(),
        all.len()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_line_is_run_again_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cells.csv");
        assert!(known(&file).unwrap().is_empty());
        let row = "t,b,30,20,1,hpa,0.1,1.5,1.6,3,4,5,6,7";
        fs::write(&file, format!("{HEADER}\n{row}\nt,b,30,20,2,hpa,0.1")).unwrap();
        end_last_line(&file).unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            format!("{HEADER}\n{row}\n")
        );
        fs::write(&file, format!("{HEADER}\n{row}\n")).unwrap();
        assert_eq!(known(&file).unwrap()["t,b,30,20,1,hpa"][1], 1.5);
        fs::write(&file, "other\n").unwrap();
        assert!(known(&file).is_err());
    }

    fn figures(late_pct: f64, cost: f64, reversals: f64) -> Figures {
        let mut figures = Figures::default();
        // Two seeds of the same outcome.
        for _ in 0..2 {
            figures.add(&[late_pct, cost, 0.0, 0.0, 0.0, reversals]);
        }
        figures
    }

    #[test]
    fn a_rival_is_better_when_it_is_cheaper_no_later_and_calm() {
        let ours = figures(0.05, 1.2, 28.0);
        assert!(figures(0.05, 1.1, 30.0).dominates(&ours));
        for worse in [(0.06, 1.1, 5.0), (0.0, 1.2, 5.0), (0.0, 1.1, 31.0)] {
            let (late_pct, cost, reversals) = worse;
            assert!(
                !figures(late_pct, cost, reversals).dominates(&ours),
                "{worse:?}"
            );
        }
        let rivals = Rivals::from([(OURS, ours), ("hpa@0.9", figures(0.01, 1.1, 20.0))]);
        let mut text = String::new();
        summary(&mut text, "hpa@0.9", &[&rivals]).unwrap();
        assert_eq!(text, "| hpa@0.9 | 1.100 | 1 of 1 | 20.0 | 1 |\n");
    }
}
