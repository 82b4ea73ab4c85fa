//! `tidepool config ...`: whether the configuration is good, what is in effect, what there is.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::{ConfigCommand, GlobalArgs, Output};
use crate::client::report;
use crate::exit::Exit;
use crate::settings::{self, FILE_DEFAULT, InvalidSettings, Loaded};

/// Runs one of the commands.
pub(crate) fn run(global: &GlobalArgs, command: &ConfigCommand) -> Exit {
    if matches!(command, ConfigCommand::Schema) {
        return report(print_json(&settings::schema(), global.output));
    }
    let mut inputs = global.serving(std::env::vars_os().collect());
    let is_check = matches!(command, ConfigCommand::Check { .. });
    if let ConfigCommand::Check { file: Some(file) } = command {
        inputs.file = Some(file.clone());
    }
    match settings::load(&inputs) {
        Ok(loaded) if is_check => report(print_good(&loaded, global.output)),
        Ok(loaded) => report(print_effective(&loaded, global.output)),
        Err(invalid) => {
            if is_check && global.output != Output::Text {
                // Stderr tells the same; only a program reads this.
                let faults = json!({ "ok": false, "faults": invalid.0 });
                let _ = print_json(&faults, global.output);
            }
            refuse(&invalid)
        }
    }
}

/// Tells what is wrong with the configuration.
pub(crate) fn refuse(invalid: &InvalidSettings) -> Exit {
    // Nobody is left to tell when stderr is gone; the exit code says it all the same.
    let _ = writeln!(std::io::stderr().lock(), "tidepool: {invalid}");
    Exit::BadConfiguration
}

fn print_good(loaded: &Loaded, output: Output) -> anyhow::Result<()> {
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    if output != Output::Text {
        return print_json(&json!({ "ok": true, "file": file, "faults": [] }), output);
    }
    let read = file.unwrap_or_else(|| format!("no {FILE_DEFAULT} here; defaults and environment"));
    let pools = loaded.settings.pools.len();
    writeln!(std::io::stdout().lock(), "{read}: ok ({pools} pools)")?;
    Ok(())
}

fn print_effective(loaded: &Loaded, output: Output) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_json(&loaded.effective.to_json(), output);
    }
    let mut out = std::io::stdout().lock();
    match &loaded.file {
        Some(file) => writeln!(out, "# File: {}", file.display())?,
        None => writeln!(out, "# No file: there is no {FILE_DEFAULT} here.")?,
    }
    write!(out, "{}", loaded.effective.to_toml())?;
    Ok(())
}

fn print_json(value: &Value, output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if output == Output::Jsonl {
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "{value:#}")?;
    }
    Ok(())
}
