//! The command line: what can be typed, and nothing of what it does.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::{Inputs, LogFormat, Override};

/// Turns request handlers into a service that scales itself, and tells why.
#[derive(Debug, Parser)]
#[command(name = "tidepool", version, max_term_width = 100)]
#[command(after_help = "Without a command, tidepool serves.\n\
    Flags win over TIDEPOOL_SECTION__KEY in the environment, that over tidepool.toml, and that \
    over the defaults; `tidepool config show` tells which one won.")]
pub(crate) struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The command; `serve` when there is none.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Configuration file [default: ./tidepool.toml if it is there]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Form of what goes to stdout
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM"
    )]
    pub(crate) output: Output,
    /// Form of log lines on stderr
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: off, error, warn, info, debug, trace, or MODULE=LEVEL,...
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Address of the client API, IP:PORT
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) api_addr: Option<String>,
    /// Address of the operator API: IP:PORT to serve on, HOST:PORT or a URL to call
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) operator_addr: Option<String>,
}

/// Form of what goes to stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document; one a line where the output does not end.
    Json,
    /// One JSON document a line for every item.
    Jsonl,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve requests, scale the pools, show what happens (default)
    Serve,
    /// Serve clients as one of several processes: queue requests and hand them to nodes
    Balancer,
    /// Run workers as one of several processes, for balancers elsewhere
    Node,
    /// Decide how many workers there are and where, as one of several processes
    Controller,
    /// Show what happened, or follow what happens
    Events(EventsArgs),
    /// Tell why a pool has the size it has
    Explain {
        /// The pool; every pool without it
        pool: Option<String>,
    },
    /// List the pools
    Pools,
    /// List the workers
    Workers,
    /// List the nodes
    Nodes,
    /// Hold a pool at the size it has
    Pause(HoldArgs),
    /// Let a paused or pinned pool scale by itself again
    Resume {
        /// The pool
        pool: String,
        /// Why, for the feed
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Hold a pool at a number of workers
    Pin(PinArgs),
    /// Change the least and the most workers of a pool
    Bounds(BoundsArgs),
    /// Show the learned hours of the week of a pool, export or import them
    Pattern(PatternArgs),
    /// Decide everything in the decision log again: exit 0 if it comes out the same, 1 if not
    Replay(ReplayArgs),
    /// Let a worker finish what it has and stop, or move all workers off a node
    Drain {
        /// The worker or node, as `tidepool workers` or `tidepool nodes` lists it
        id: String,
        /// Let the node take workers again
        #[arg(long)]
        undo: bool,
    },
    /// Check, show or describe the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Send load to a running process and judge what comes back
    #[command(subcommand)]
    Load(tidepool_loadtests::LoadCommand),
    /// Simulate autoscalers on a recorded load, against the least that it could cost
    Simulate(Box<crate::simulate::SimulateArgs>),
    /// Ask the running process whether it is ready: exit 0 if it is, 1 if not
    Health,
    /// Print the version
    Version,
}

/// What a pause or pin needs.
#[derive(Debug, Clone, Args)]
pub(crate) struct HoldArgs {
    /// The pool
    pub(crate) pool: String,
    /// For how long, such as 30m or 1d12h; at most 7d
    #[arg(long = "for", value_name = "DURATION", default_value = "30m")]
    pub(crate) duration: String,
    /// Why, for the feed and for `explain`
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// What a pin needs.
#[derive(Debug, Clone, Args)]
pub(crate) struct PinArgs {
    /// What every hold needs.
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
    /// How many workers; as many as are wanted now without it
    pub(crate) workers: Option<u32>,
}

/// What to do with what was learned of a pool.
#[derive(Debug, Clone, Args)]
pub(crate) struct PatternArgs {
    /// The pool
    pub(crate) pool: String,
    /// Write it to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// Replace it by that of this file
    #[arg(long, value_name = "FILE", conflicts_with = "export")]
    pub(crate) import: Option<PathBuf>,
}

/// Which decisions to make again.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// Only those of this pool
    #[arg(long, value_parser = crate::replay_command::pool_name)]
    pub(crate) pool: Option<tidepool_core::PoolName>,
    /// Only those since this time: RFC 3339, or how long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Folder of the log [default: decisions, in store.path]
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
}

/// New bounds of a pool.
#[derive(Debug, Clone, Args)]
pub(crate) struct BoundsArgs {
    /// The pool
    pub(crate) pool: String,
    /// Fewest workers
    #[arg(long)]
    pub(crate) min: Option<u32>,
    /// Most workers
    #[arg(long)]
    pub(crate) max: Option<u32>,
    /// Go back to what the configuration says, except for what is given here
    #[arg(long, required_unless_present_any = ["min", "max"])]
    pub(crate) reset: bool,
    /// For how long; until they are taken back without it
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<String>,
    /// Why, for the feed
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Which events to show.
#[derive(Debug, Clone, Args)]
pub(crate) struct EventsArgs {
    /// Keep following, also across restarts of the server
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only events of this type, such as `scaling.decided`
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only events of this pool
    #[arg(long)]
    pub(crate) pool: Option<String>,
    /// Only events after this id, as `-o json` shows it
    #[arg(long, value_name = "ID")]
    pub(crate) since: Option<tidepool_core::EventId>,
    /// At most this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: Option<u32>,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a file together with the environment, and report every fault
    Check {
        /// The file; that of --config without it
        file: Option<PathBuf>,
    },
    /// Show what is in effect and where it was set, with secrets masked
    Show,
    /// Print the JSON Schema of the file
    Schema,
}

impl GlobalArgs {
    /// What configures this process, when addresses of the command line are meant to be served on.
    pub(crate) fn serving(&self, variables: Vec<(OsString, OsString)>) -> Inputs {
        let mut inputs = self.calling(variables);
        let addresses = [
            ("--api-addr", "http.api_addr", &self.api_addr),
            ("--operator-addr", "http.operator_addr", &self.operator_addr),
        ];
        inputs.overrides.extend(overrides(addresses));
        inputs
    }

    /// What configures this process, when addresses of the command line are those of another.
    pub(crate) fn calling(&self, variables: Vec<(OsString, OsString)>) -> Inputs {
        let log_format = self.log_format.map(|format| format.as_str().to_owned());
        let flags = [
            ("--log-format", "telemetry.log_format", &log_format),
            ("--log-level", "telemetry.log_level", &self.log_level),
        ];
        Inputs {
            file: self.config.clone(),
            variables,
            overrides: overrides(flags).collect(),
        }
    }
}

fn overrides<'a>(
    flags: [(&'static str, &'static str, &'a Option<String>); 2],
) -> impl Iterator<Item = Override> + 'a {
    flags.into_iter().filter_map(|(flag, key, value)| {
        let value = value.clone()?;
        Some(Override { flag, key, value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_the_default_and_global_flags_stand_anywhere() {
        let cli = Cli::try_parse_from(["tidepool"]).unwrap();
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["tidepool", "pools", "-o", "jsonl", "-c", "x"]).unwrap();
        assert_eq!(cli.global.output, Output::Jsonl);
        assert_eq!(cli.global.config, Some(PathBuf::from("x")));
    }

    #[test]
    fn orders_name_a_pool_and_what_to_do_with_it() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["tidepool"], args].concat());
        for good in [
            &["pause", "echo"][..],
            &["pin", "echo", "3", "--for", "2h"],
            &["pin", "echo"],
            &["resume", "echo"],
            &["bounds", "echo", "--max", "9"],
            &["bounds", "echo", "--reset"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["pause"][..],
            &["pin", "echo", "many"],
            &["bounds", "echo"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_configure_only_who_serves() {
        let cli = Cli::try_parse_from(["tidepool", "--operator-addr", "h:1"]).unwrap();
        let keys = |inputs: Inputs| inputs.overrides.iter().map(|o| o.key).collect::<Vec<_>>();
        assert_eq!(keys(cli.global.serving(vec![])), ["http.operator_addr"]);
        assert!(keys(cli.global.calling(vec![])).is_empty());
    }
}
