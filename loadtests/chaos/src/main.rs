//! The command line of the fault suite: runs rows of the reliability matrix and prints what was
//! shown, or judges a history that is there already.

mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use clap::{Args, Parser, Subcommand};
use tidepool_chaos::check::{self, Verdict};
use tidepool_chaos::compose;
use tidepool_chaos::history;
use tidepool_chaos::run::{Options, Outcome, Plant, history_path, run};
use tidepool_chaos::scenario::{self, Scenario};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Play the storm over containers that Compose has started, by `docker`
    Compose(ComposeArgs),
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
    /// An older build of it: where the upgrade begins, and what one node goes back to
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
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

#[derive(Debug, Args)]
struct ComposeArgs {
    /// Name of the project, as Compose has it
    #[arg(long)]
    project: String,
    /// `HOST:PORT` of a balancer
    #[arg(long = "balancer", value_name = "ADDR", default_values = ["127.0.0.1:8700", "127.0.0.1:8710"])]
    balancers: Vec<String>,
    /// `HOST:PORT` of the operator API of a controller
    #[arg(long = "controller", value_name = "ADDR", default_values = ["127.0.0.1:8701", "127.0.0.1:8711"])]
    controllers: Vec<String>,
    /// Where `api_token` and `operator_token` are
    #[arg(long, value_name = "FOLDER", default_value = "deploy/secrets")]
    secrets: PathBuf,
    /// Length [default: as the scenario says]
    #[arg(long)]
    seconds: Option<u64>,
    /// Everything drawn follows from it [default: drawn]
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let is_pass = match Cli::parse().command {
        Command::List => list()?,
        Command::Run(args) => run_until_told_to_stop(run_all(&args)).await?,
        Command::Compose(args) => storm_over_containers(&args).await?,
        Command::Check { file } => judge(&file)?,
    };
    Ok(if is_pass {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whoever ends a run ends all that it has started, and takes down what it has made.
async fn run_until_told_to_stop(
    run: impl Future<Output = anyhow::Result<bool>>,
) -> anyhow::Result<bool> {
    let stop = told_to_stop()?;
    tokio::select! {
        run = run => run,
        why = stop => Err(why),
    }
}

/// Ends when somebody wants this process to end, and says how; listens from the call on.
fn told_to_stop() -> anyhow::Result<impl Future<Output = anyhow::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => anyhow!("interrupted"),
            _ = term.recv() => anyhow!("told to stop"),
            _ = hangup.recv() => anyhow!("nobody listens any more"),
        }
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
    let from = args.from.as_deref().map(std::path::absolute).transpose()?;
    let folder = args.histories.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&folder).context("the folder for histories cannot be made")?;
    say(&table::machine())?;
    say(&table::head())?;
    let mut is_pass = true;
    for scenario in &scenarios {
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
        let options = Options {
            program: program.clone(),
            from: from.clone(),
            seconds: args.seconds,
            seed,
            rate_per_s: args.rate,
            history: history_path(&folder, scenario, seed),
            plant: args.plant,
            keep: args.keep,
        };
        let outcome = run(scenario, &options).await;
        is_pass &= tell_row(scenario, &options, &outcome)?;
    }
    Ok(is_pass)
}

/// Tells of a run; whether it passed.
fn tell_row(
    scenario: &Scenario,
    options: &Options,
    outcome: &anyhow::Result<Outcome>,
) -> anyhow::Result<bool> {
    say(&table::row(scenario, options, outcome))?;
    if let Ok(Outcome::Judged(verdict)) = outcome
        && !verdict.is_pass()
    {
        complain(&format!("{}: {}", scenario.name, options.history.display()))?;
        for finding in &verdict.findings {
            complain(&format!("  {}: {}", finding.law, finding.what))?;
        }
    }
    Ok(outcome.as_ref().is_ok_and(Outcome::is_pass))
}

async fn storm_over_containers(args: &ComposeArgs) -> anyhow::Result<bool> {
    let scenario = Scenario {
        name: "compose-storm",
        ..compose::storm()
    };
    let secret = |name: &str| {
        let file = args.secrets.join(name);
        let secret = std::fs::read_to_string(&file);
        let secret = secret.with_context(|| format!("{} cannot be read", file.display()));
        secret.map(|text| text.trim().to_owned())
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let history = history_path(&std::env::temp_dir(), &scenario, seed);
    let cluster = compose::Options {
        project: args.project.clone(),
        balancers: args.balancers.clone(),
        controllers: args.controllers.clone(),
        api_token: secret("api_token")?,
        operator_token: secret("operator_token")?,
        seconds: args.seconds,
        seed,
        history: history.clone(),
    };
    let verdict = compose::run(&cluster, told_to_stop()?).await;
    let outcome = verdict.map(|verdict| Outcome::Judged(Box::new(verdict)));
    let options = Options {
        program: PathBuf::from("docker"),
        from: None,
        seconds: args.seconds,
        seed,
        rate_per_s: None,
        history,
        plant: None,
        keep: false,
    };
    say(&table::machine())?;
    say(&table::head())?;
    tell_row(&scenario, &options, &outcome)
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
