//! `tidepool load`: the load generator, aimed at the process that the configuration names.

use std::io::Write;

use anyhow::Context;
use tidepool_loadtests::{Defaults, Error, Format, LoadCommand};

use super::address::base_url;
use super::runtime;
use crate::cli::{GlobalArgs, Output};
use crate::config_command::refuse;
use crate::exit::Exit;
use crate::settings::{self, Settings};

/// Runs a load command.
pub(crate) fn run(global: &GlobalArgs, command: LoadCommand) -> Exit {
    let inputs = global.calling(std::env::vars_os().collect());
    match settings::load(&inputs) {
        Ok(loaded) => aim(global, &loaded.settings)
            .and_then(|defaults| generate(command, defaults))
            .unwrap_or_else(|error| Exit::of(Err(error))),
        Err(invalid) => refuse(&invalid),
    }
}

fn aim(global: &GlobalArgs, settings: &Settings) -> anyhow::Result<Defaults> {
    let http = &settings.http;
    let api = base_url(global.api_addr.as_deref(), http.api_addr)?;
    let operator = base_url(global.operator_addr.as_deref(), http.operator_addr)?;
    let token = |token: &Option<settings::Secret>| token.as_ref().map(|t| t.expose().to_owned());
    Ok(Defaults {
        api_url: api.into(),
        operator_url: Some(operator.into()),
        api_token: token(&http.api_token),
        operator_token: token(&http.operator_token),
        output: match global.output {
            Output::Text => Format::Text,
            Output::Json => Format::Json,
            Output::Jsonl => Format::JsonLine,
        },
    })
}

fn generate(command: LoadCommand, defaults: Defaults) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout();
    let run = tidepool_loadtests::run(command, defaults, &mut out);
    let ended = runtime()?.block_on(Box::pin(run));
    out.flush()?;
    match ended {
        Ok(exit) => Ok(Exit::OfLoad(exit.code())),
        // A closed pipe is judged where all commands end.
        Err(Error::Print(error)) => Err(error).context("cannot print the report"),
        Err(error) => {
            let exit = Exit::OfLoad(error.exit().code());
            crate::exit::complain(&format!("{:#}", anyhow::Error::from(error)));
            Ok(exit)
        }
    }
}
