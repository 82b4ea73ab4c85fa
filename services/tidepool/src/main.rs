//! Tidepool: one program that serves, scales and explains.

mod cli;
mod client;
mod config_command;
mod exit;
mod replay_command;
mod serve;
mod settings;
mod simulate;
mod terminal;
mod version;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, GlobalArgs, Output};
use crate::client::{Call, Order};
use crate::exit::Exit;
use crate::serve::Role;
use crate::settings::{Fault, InvalidSettings, Loaded};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve(&global, Role::All),
        Command::Balancer => serve(&global, Role::Balancer),
        Command::Node => serve(&global, Role::Node),
        Command::Controller => serve(&global, Role::Controller),
        Command::Config(command) => config_command::run(&global, &command),
        Command::Version => Exit::of(print_version(&global)),
        Command::Events(args) => client::run(&global, &Call::Events(args)),
        Command::Explain { pool } => client::run(&global, &Call::Explain(pool)),
        Command::Pools => client::run(&global, &Call::Pools),
        Command::Workers => client::run(&global, &Call::Workers),
        Command::Nodes => client::run(&global, &Call::Nodes),
        Command::Pause(args) => order(&global, Order::Pause(args)),
        Command::Resume { pool, reason } => order(&global, Order::Resume { pool, reason }),
        Command::Pin(args) => order(&global, Order::Pin(args)),
        Command::Bounds(args) => order(&global, Order::Bounds(args)),
        Command::Pattern(args) => client::run(&global, &Call::Pattern(args)),
        Command::Replay(args) => replay_command::run(&global, &args),
        Command::Drain { id, undo } => client::run(&global, &Call::Drain { id, undo }),
        Command::Load(command) => client::load::run(&global, command),
        Command::Simulate(args) => simulate::run(&global, &args),
        Command::Health => client::run(&global, &Call::Health),
    }
    .into()
}

fn order(global: &GlobalArgs, order: Order) -> Exit {
    client::run(global, &Call::Order(order))
}

fn serve(global: &GlobalArgs, role: Role) -> Exit {
    match settings::load(&global.serving(std::env::vars_os().collect())) {
        Ok(Loaded { settings, .. }) => match serve::fault(role, &settings) {
            Some(problem) => config_command::refuse(&unfit_store(problem)),
            None => Exit::of(serve::run(settings, role, global.output)),
        },
        Err(invalid) => config_command::refuse(&invalid),
    }
}

/// Good for a single process, and not for the one that was asked for.
fn unfit_store(problem: String) -> InvalidSettings {
    InvalidSettings(vec![Fault {
        key: "store.kind".to_owned(),
        value: Some("\"embedded\"".to_owned()),
        origin: None,
        problem,
    }])
}

fn print_version(global: &GlobalArgs) -> anyhow::Result<()> {
    let (version, commit) = (version::VERSION, version::COMMIT);
    let mut printer = terminal::stdout(global.output);
    if global.output == Output::Text {
        printer.line(&format!("tidepool {version} ({commit})"))?;
    } else {
        printer.json(&serde_json::json!({ "version": version, "commit": commit }))?;
    }
    Ok(())
}
