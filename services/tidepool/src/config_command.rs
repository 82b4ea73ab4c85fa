//! `tidepool config ...`: whether the configuration is good, what is in effect, what there is.

use serde_json::json;

use crate::cli::{ConfigCommand, GlobalArgs, Output};
use crate::exit::{Exit, complain};
use crate::settings::{self, FILE_DEFAULT, InvalidSettings, Loaded};
use crate::terminal::stdout;

/// Runs one of the commands.
pub(crate) fn run(global: &GlobalArgs, command: &ConfigCommand) -> Exit {
    if matches!(command, ConfigCommand::Schema) {
        return Exit::of(
            stdout(global.output)
                .json(&settings::schema())
                .map_err(Into::into),
        );
    }
    let mut inputs = global.serving(std::env::vars_os().collect());
    let is_check = matches!(command, ConfigCommand::Check { .. });
    if let ConfigCommand::Check { file: Some(file) } = command {
        inputs.file = Some(file.clone());
    }
    match settings::load(&inputs) {
        Ok(loaded) if is_check => Exit::of(print_good(&loaded, global.output)),
        Ok(loaded) => Exit::of(print_effective(&loaded, global.output)),
        Err(invalid) => {
            if is_check && global.output != Output::Text {
                let faults = json!({ "ok": false, "faults": invalid.0 });
                // Stderr tells the same and so does the exit code; a closed pipe loses nothing.
                let _ = stdout(global.output).json(&faults);
            }
            refuse(&invalid)
        }
    }
}

/// Tells what is wrong with the configuration.
pub(crate) fn refuse(invalid: &InvalidSettings) -> Exit {
    complain(&invalid.to_string());
    Exit::BadConfiguration
}

fn print_good(loaded: &Loaded, output: Output) -> anyhow::Result<()> {
    let mut printer = stdout(output);
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    if output != Output::Text {
        return Ok(printer.json(&json!({ "ok": true, "file": file, "faults": [] }))?);
    }
    let read = file.unwrap_or_else(|| format!("no {FILE_DEFAULT} here; defaults and environment"));
    let pools = loaded.settings.pools.len();
    Ok(printer.line(&format!("{read}: ok ({pools} pools)"))?)
}

fn print_effective(loaded: &Loaded, output: Output) -> anyhow::Result<()> {
    let mut printer = stdout(output);
    if output != Output::Text {
        return Ok(printer.json(&loaded.effective.to_json())?);
    }
    let read = match &loaded.file {
        Some(file) => format!("# File: {}", file.display()),
        None => format!("# No file: there is no {FILE_DEFAULT} here."),
    };
    printer.line(&read)?;
    Ok(printer.line(loaded.effective.to_toml().trim_end())?)
}
