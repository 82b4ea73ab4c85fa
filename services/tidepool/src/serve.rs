//! Starts everything and waits until it has stopped.

use crate::settings::Settings;

/// Serves until told to stop.
///
/// # Errors
/// When a part cannot be started.
pub(crate) fn run(_settings: Settings) -> anyhow::Result<()> {
    anyhow::bail!("not composed yet")
}
