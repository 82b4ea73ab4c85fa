//! Structured logs on stderr; stdout belongs to data.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::spans::TelemetryError;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to stderr. `level` is a `tracing` filter such as `info` or `info,actix_server=warn`.
///
/// # Errors
/// When the filter cannot be parsed or logging has been set up before.
pub fn init_logs(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(level).map_err(|e| TelemetryError::LogLevel(e.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => {
            let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(color).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|e| TelemetryError::Logs(e.to_string()))
}
