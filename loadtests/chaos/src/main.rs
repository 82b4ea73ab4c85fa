//! The command line of the fault suite: runs rows of the reliability matrix and prints what was
//! shown, or judges a history that is there already.

mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use tidepool_chaos::check::{self, Verdict};
use tidepool_chaos::history;
use tidepool_chaos::run::{Options, Outcome, Plant, history_path, run};
use tidepool_chaos::scenario::{self, Scenario};

/// Hurts a real cluster and judges what its clients saw.
#[derive(Debug, Parser)]
#[command(name = "tidepool-chaos", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what there is
    List,
    /// Run one scenario, or all of them
    Run(RunArgs),
    /// Judge a history
    Check {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Names of scenarios, or `all`
    #[arg(required = true)]
    names: Vec<String>,
    /// Length of each [default: as the scenario says]
    #[arg(long)]
    seconds: Option<u64>,
    /// Everything drawn follows from it [default: drawn]
    #[arg(long)]
    seed: Option<u64>,
    /// Requests a second [default: as the scenario says]
    #[arg(long)]
    rate: Option<f64>,
    /// The program [default: `tidepool` beside this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where histories go [default: the system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    histories: Option<PathBuf>,
    /// Something wrong on purpose, that must be found
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Keep the logs of all processes
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let is_pass = match Cli::parse().command {
        Command::List => list()?,
        Command::Run(args) => run_all(&args).await?,
        Command::Check { file } => judge(&file)?,
    };
    Ok(if is_pass {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn list() -> anyhow::Result<bool> {
    for scenario in scenario::table() {
        say(&format!(
            "{:18} {}\n{:18} must hold: {}",
            scenario.name, scenario.fault, "", scenario.must_hold
        ))?;
    }
    Ok(true)
}

fn judge(file: &Path) -> anyhow::Result<bool> {
    let verdict = check::judge(&history::read(file)?);
    tell(&verdict)?;
    Ok(verdict.is_pass())
}

async fn run_all(args: &RunArgs) -> anyhow::Result<bool> {
    let scenarios = chosen(&args.names)?;
    let program = program(args.program.as_deref())?;
    let folder = args.histories.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&folder).context("the folder for histories cannot be made")?;
    say(&table::machine())?;
    say(&table::head())?;
    let mut is_pass = true;
    for scenario in &scenarios {
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
        let options = Options {
            program: program.clone(),
            seconds: args.seconds,
            seed,
            rate_per_s: args.rate,
            history: history_path(&folder, scenario, seed),
            plant: args.plant,
            keep: args.keep,
        };
        let outcome = run(scenario, &options).await;
        is_pass &= outcome.as_ref().is_ok_and(Outcome::is_pass);
        say(&table::row(scenario, &options, &outcome))?;
        if let Ok(Outcome::Judged(verdict)) = &outcome
            && !verdict.is_pass()
        {
            complain(&format!("{}: {}", scenario.name, options.history.display()))?;
            for finding in &verdict.findings {
                complain(&format!("  {}: {}", finding.law, finding.what))?;
            }
        }
    }
    Ok(is_pass)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    if names == ["all"] {
        return Ok(scenario::table());
    }
    let find = |name: &String| {
        let found = scenario::find(name);
        found.with_context(|| format!("there is no scenario {name}; `list` lists them"))
    };
    names.iter().map(find).collect()
}

fn program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match named {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("tidepool"),
    };
    ensure!(
        program.is_file(),
        "{} is not there: `cargo build -p tidepool` makes it, --program names another one",
        program.display()
    );
    Ok(program)
}

fn tell(verdict: &Verdict) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(verdict)?)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn complain(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}
