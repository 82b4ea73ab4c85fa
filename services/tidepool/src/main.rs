//! Tidepool: one program that serves, scales and explains.

mod cli;
mod client;
mod config_command;
mod exit;
mod serve;
#[allow(dead_code, reason = "the composition reads the rest")]
mod settings;
mod version;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, GlobalArgs};
use crate::exit::Exit;
use crate::settings::Loaded;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve(&global),
        Command::Config(command) => config_command::run(&global, &command),
        Command::Version => client::report(print_version(&global)),
        Command::Events(args) => client::run(&global, client::Call::Events(args)),
        Command::Explain { pool } => client::run(&global, client::Call::Explain(pool)),
        Command::Pools => client::run(&global, client::Call::Pools),
        Command::Workers => client::run(&global, client::Call::Workers),
        Command::Drain { id } => client::run(&global, client::Call::Drain(id)),
        Command::Health => client::run(&global, client::Call::Health),
    }
    .into()
}

fn serve(global: &GlobalArgs) -> Exit {
    match settings::load(&global.serving(std::env::vars_os().collect())) {
        Ok(Loaded { settings, .. }) => client::report(serve::run(settings)),
        Err(invalid) => config_command::refuse(&invalid),
    }
}

fn print_version(global: &GlobalArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (version, commit) = (version::VERSION, version::COMMIT);
    if global.output == cli::Output::Text {
        writeln!(out, "tidepool {version} ({commit})")?;
    } else {
        let version = serde_json::json!({ "version": version, "commit": commit });
        writeln!(out, "{version}")?;
    }
    Ok(())
}
