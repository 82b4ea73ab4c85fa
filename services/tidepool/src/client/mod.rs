//! Placeholder.
use crate::cli::*;
use crate::exit::Exit;
pub(crate) enum Call {
    Events(EventsArgs),
    Explain(Option<String>),
    Pools,
    Workers,
    Drain(String),
    Health,
}
pub(crate) fn run(_g: &GlobalArgs, _c: Call) -> Exit {
    Exit::Ok
}
pub(crate) fn report(result: anyhow::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Ok,
        Err(e) => {
            eprintln!("tidepool: {e:#}");
            Exit::Failure
        }
    }
}
