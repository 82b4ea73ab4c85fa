//! `tidepool load`: the commands, their flags, and how they end.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Url;

use crate::client::Target;
use crate::error::{Error, Exit};
use crate::mix::{Body, JsonBody, Mix, check_kind};
use crate::plan::{RatePlan, Stage};
use crate::report::Report;
use crate::scenario::{Scenario, built_in, read_text};
use crate::span::Span;
use crate::trace::{Replay, Trace};
use crate::watch::Operator;

/// Longest trace file, in bytes.
const TRACE_BYTES_MAX: u64 = 64 << 20;

/// Sends load to a running Tidepool and judges what comes back.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Run a scenario: a built-in one by name, or a TOML file.
    Run(RunArgs),
    /// Send a constant rate to one kind for a short time.
    Quick(QuickArgs),
    /// Drive recorded traffic (CSV `timestamp_s,requests`), sped up and scaled.
    Replay(ReplayArgs),
    /// List the built-in scenarios.
    Scenarios,
}

/// Flags of `load run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of a built-in scenario (see `load scenarios`) or path of a TOML file.
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// Flags of every command that sends.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `load quick`.
#[derive(Debug, Args)]
pub struct QuickArgs {
    /// Kind to send to.
    #[arg(long, default_value = "echo")]
    pub kind: String,
    /// Requests per second.
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// Length of the run, such as 10s or 2m.
    #[arg(long, default_value = "10s")]
    pub duration: Span,
    /// JSON body; `${index}`, `${int 1 9}` and `${words 5}` are replaced. Default: one that
    /// suits the built-in kind, else `{}`.
    #[arg(long, value_name = "JSON")]
    pub body: Option<String>,
    /// Flags of every command that sends.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `load replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// CSV with the header `timestamp_s,requests` and rows a fixed step apart.
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// Seconds of trace in a second of the run.
    #[arg(long, default_value_t = 60.0)]
    pub speed: f64,
    /// Mean requests per second over the replayed part.
    #[arg(long, default_value_t = 100.0)]
    pub mean_rate: f64,
    /// Kind to send to.
    #[arg(long, default_value = "echo")]
    pub kind: String,
    /// Longest run; the trace may end sooner.
    #[arg(long, default_value = "5m")]
    pub duration: Span,
    /// Where in the trace to begin, in the trace's own time, such as 12d or 36h.
    #[arg(long, default_value = "0s")]
    pub from: Span,
    /// JSON body, as in `load quick`.
    #[arg(long, value_name = "JSON")]
    pub body: Option<String>,
    /// Flags of every command that sends.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Form of the report that a command writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// One screen for people.
    #[default]
    Text,
    /// Everything, for programs.
    Json,
    /// The same on one line.
    JsonLine,
}

/// Flags of every command that sends.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Also write the full report, as JSON, to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Seed of arrivals and bodies; the scenario's own otherwise.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads that send; the scenario's own number otherwise.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: Option<u8>,
    /// Further threshold, such as 'p(99)<800'; may be repeated.
    #[arg(long = "threshold", value_name = "RULE")]
    pub thresholds: Vec<String>,
    /// Send to a machine other than this one. Without it only loopback addresses are
    /// accepted, because a load generator that is pointed at somebody else's service by a
    /// slip of the hand is an attack on it. Use it only where you may.
    #[arg(long)]
    pub allow_remote: bool,
}

/// What the program knows from its global flags, configuration and environment.
#[derive(Clone)]
pub struct Defaults {
    /// Address of the client API, such as `http://127.0.0.1:8700`.
    pub api_url: String,
    /// Address of the operator API; without it the pool is not watched.
    pub operator_url: Option<String>,
    /// Bearer token of the client API.
    pub api_token: Option<String>,
    /// Bearer token of the operator API.
    pub operator_token: Option<String>,
    /// Form of the report.
    pub output: Format,
}

impl fmt::Debug for Defaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |token: &Option<String>| token.as_ref().map(|_| "hidden");
        f.debug_struct("Defaults")
            .field("api_url", &self.api_url)
            .field("operator_url", &self.operator_url)
            .field("api_token", &shown(&self.api_token))
            .field("operator_token", &shown(&self.operator_token))
            .field("output", &self.output)
            .finish()
    }
}

/// Runs a command and writes its report to `out`. An interrupt (Ctrl-C) or a termination ends
/// the load and still gives the report of what was done.
///
/// # Errors
/// When there is nothing to report; [`Error::exit`] says how to end then.
pub async fn run(
    command: LoadCommand,
    defaults: Defaults,
    out: &mut dyn Write,
) -> Result<Exit, Error> {
    run_until(command, defaults, out, stop_signal()).await
}

/// As [`run`], but ends the load when `interrupt` completes.
///
/// # Errors
/// When there is nothing to report.
pub async fn run_until(
    command: LoadCommand,
    defaults: Defaults,
    out: &mut dyn Write,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Error> {
    let (scenario, common) = match command {
        LoadCommand::Run(args) => (Scenario::load(&args.scenario)?, args.common),
        LoadCommand::Quick(args) => (quick(&args)?, args.common),
        LoadCommand::Replay(args) => (replay(&args)?, args.common),
        LoadCommand::Scenarios => return list(out),
    };
    let scenario = adjusted(scenario, &common)?;
    let output = defaults.output;
    let (target, operator) = addresses(&common, defaults)?;
    let report = Box::pin(crate::run::run(scenario, &target, operator, interrupt)).await?;
    deliver(&report, output, common.report.as_deref(), out)?;
    Ok(report.exit())
}

fn list(out: &mut dyn Write) -> Result<Exit, Error> {
    for scenario in built_in()? {
        let duration = Span(scenario.plan.duration()).to_string();
        writeln!(
            out,
            "{:<10} {duration:>6}  {}",
            scenario.name, scenario.summary
        )
        .map_err(Error::Print)?;
    }
    Ok(Exit::Passed)
}

fn quick(args: &QuickArgs) -> Result<Scenario, Error> {
    let plan = RatePlan::new(&[Stage::constant(args.rate, args.duration.0)])
        .map_err(|e| Error::scenario("--rate, --duration", e))?;
    let mix = mix(&args.kind, args.body.as_deref())?;
    let summary = format!(
        "{} requests/s to {} for {}",
        args.rate, args.kind, args.duration
    );
    let mut scenario = Scenario::usual("quick", &summary, plan, mix, 1);
    scenario.thresholds = ["failed_rate==0", "dropped==0"]
        .into_iter()
        .filter_map(|rule| rule.parse().ok())
        .collect();
    Ok(scenario)
}

fn replay(args: &ReplayArgs) -> Result<Scenario, Error> {
    for (flag, value) in [("--speed", args.speed), ("--mean-rate", args.mean_rate)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::scenario(flag, "must be a number above 0"));
        }
    }
    let origin = args.trace.display().to_string();
    let wrong = |fault| Error::Trace {
        origin: origin.clone(),
        fault,
    };
    let text = read_text(&args.trace, TRACE_BYTES_MAX)?;
    let trace = Trace::parse(&text).map_err(wrong)?;
    let replay = Replay {
        speed: args.speed,
        mean_rate: args.mean_rate,
        from: args.from.0,
        duration: args.duration.0,
    };
    let plan = trace.plan(&replay).map_err(wrong)?;
    let mix = mix(&args.kind, args.body.as_deref())?;
    let name = args
        .trace
        .file_stem()
        .map_or_else(|| origin.clone(), |s| s.to_string_lossy().into());
    let (speed, mean_rate, from) = (args.speed, args.mean_rate, args.from);
    let summary =
        format!("recorded traffic from {from} on, {speed} times as fast, mean {mean_rate}/s");
    Ok(Scenario::usual(&name, &summary, plan, mix, 1))
}

fn mix(kind: &str, body: Option<&str>) -> Result<Mix, Error> {
    check_kind(kind).map_err(|e| Error::scenario("--kind", e))?;
    let body = match body {
        None => Body::usual(kind),
        Some(text) => {
            let input = serde_json::from_str(text).map_err(|e| Error::scenario("--body", e))?;
            Body::Json(JsonBody::new(kind, &input).map_err(|e| Error::scenario("--body", e))?)
        }
    };
    Ok(Mix::only(1, body))
}

fn adjusted(mut scenario: Scenario, common: &CommonArgs) -> Result<Scenario, Error> {
    if let Some(seed) = common.seed {
        scenario.seed = seed;
        scenario.mix = scenario.mix.with_seed(seed);
    }
    if let Some(threads) = common.threads {
        scenario.threads = usize::from(threads);
    }
    for rule in &common.thresholds {
        let threshold = rule
            .parse()
            .map_err(|e| Error::scenario("--threshold", e))?;
        scenario.thresholds.push(threshold);
    }
    Ok(scenario)
}

fn addresses(common: &CommonArgs, defaults: Defaults) -> Result<(Target, Option<Operator>), Error> {
    let read = |what, url: &str| address(what, url, common.allow_remote);
    let target = Target {
        api: read("the client API", &defaults.api_url)?,
        token: defaults.api_token,
    };
    let operator = defaults.operator_url.as_deref();
    let operator = operator
        .map(|url| read("the operator API", url))
        .transpose()?
        .map(|url| Operator {
            url,
            token: defaults.operator_token,
        });
    Ok((target, operator))
}

/// Reads an address; only this machine's own unless `allow_remote`.
fn address(what: &'static str, text: &str, allow_remote: bool) -> Result<Url, Error> {
    let wrong = |message: String| Error::Target {
        what,
        url: text.chars().take(200).collect(),
        message,
    };
    let url: Url = text.parse().map_err(|e| wrong(format!("{e}")))?;
    if url.scheme() != "http" {
        return Err(wrong("only http:// addresses are supported".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Target {
            what,
            url: "(hidden)".to_owned(),
            message: "put the token into the environment, not into the address".to_owned(),
        });
    }
    if !allow_remote && !is_loopback(&url) {
        let message = "this is not a loopback address; say --allow-remote if you may load it";
        return Err(wrong(message.to_owned()));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn deliver(
    report: &Report,
    output: Format,
    file: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    if let Some(path) = file {
        write_file(report, path)?;
    }
    match output {
        Format::Text => write!(out, "{report}"),
        Format::Json => serde_json::to_writer_pretty(&mut *out, report)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out)),
        Format::JsonLine => serde_json::to_writer(&mut *out, report)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out)),
    }
    .and_then(|()| out.flush())
    .map_err(Error::Print)
}

fn write_file(report: &Report, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let json = serde_json::to_vec_pretty(report).map_err(|e| failed(e.into()))?;
    std::fs::write(path, json).map_err(failed)
}

/// Completes on Ctrl-C or when asked to terminate.
async fn stop_signal() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = terminated => {}
        () = interrupted => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::time::Duration;

    #[derive(Parser)]
    struct Program {
        #[command(subcommand)]
        command: LoadCommand,
    }

    fn parse(line: &str) -> LoadCommand {
        let words = std::iter::once("load").chain(line.split(' '));
        Program::try_parse_from(words).unwrap().command
    }

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        Program::command().debug_assert();
    }

    #[test]
    fn quick_has_sane_defaults() {
        let LoadCommand::Quick(args) = parse("quick") else {
            panic!("not quick")
        };
        let scenario = quick(&args).unwrap();
        assert_eq!(scenario.plan.duration(), Duration::from_secs(10));
        assert!((scenario.plan.peak_rate() - 200.0).abs() < 1e-9);
        assert_eq!(scenario.mix.kinds(), ["echo"]);
        assert_eq!(scenario.thresholds.len(), 2);
        assert_eq!(scenario.warmup, Duration::from_secs(1));
    }

    #[test]
    fn wrong_flags_are_bad_scenarios() {
        for line in [
            "quick --rate -1",
            "quick --rate 0",
            "quick --kind ../x",
            "quick --body {",
            "quick --body \"${nope}\"",
        ] {
            let words = std::iter::once("load").chain(line.split(' '));
            let Ok(Program {
                command: LoadCommand::Quick(args),
            }) = Program::try_parse_from(words)
            else {
                continue;
            };
            assert_eq!(
                quick(&args).unwrap_err().exit(),
                Exit::BadScenario,
                "{line}"
            );
        }
    }

    #[test]
    fn only_this_machine_is_a_target_unless_allowed() {
        for url in [
            "http://127.0.0.1:8700",
            "http://localhost:8700",
            "http://[::1]:8700",
        ] {
            assert!(address("the client API", url, false).is_ok(), "{url}");
        }
        for url in [
            "http://10.0.0.1:8700",
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0:8700",
        ] {
            let error = address("the client API", url, false)
                .unwrap_err()
                .to_string();
            assert!(error.contains("--allow-remote"), "{url}: {error}");
            assert!(address("the client API", url, true).is_ok(), "{url}");
        }
        assert!(address("the client API", "https://127.0.0.1", false).is_err());
        assert!(address("the client API", "8700", false).is_err());
    }

    #[test]
    fn tokens_are_not_shown() {
        let defaults = Defaults {
            api_url: "http://127.0.0.1:1".to_owned(),
            operator_url: None,
            api_token: Some("s3cret".to_owned()),
            operator_token: None,
            output: Format::Text,
        };
        assert!(!format!("{defaults:?}").contains("s3cret"));
        let error = address("the client API", "http://me:s3cret@127.0.0.1", false).unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
    }
}
