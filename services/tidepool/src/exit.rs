//! How the process ends.

use std::process::ExitCode;

/// Exit codes of every command but `load`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or stopped on request.
    Ok,
    /// It did not work.
    Failure,
    /// The configuration is bad.
    BadConfiguration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            // EX_CONFIG of sysexits.h.
            Exit::BadConfiguration => Self::from(78),
        }
    }
}
