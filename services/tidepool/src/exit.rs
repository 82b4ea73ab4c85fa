//! How the process ends, and how it says why.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// How a command ended. Usage errors end with 2 while the command line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or stopped on request.
    Ok,
    /// It did not work.
    Failure,
    /// The configuration is bad.
    BadConfiguration,
    /// A load run ended with a code of its own, such as 99 for a missed threshold.
    OfLoad(u8),
}

impl Exit {
    /// Ends a command: an error goes to stderr with its causes. A reader that closed the pipe has
    /// seen enough, as `head` does, and that is no error.
    pub(crate) fn of(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(error) if is_broken_pipe(&error) => Self::Ok,
            Err(error) => {
                complain(&format!("{error:#}"));
                Self::Failure
            }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Tells the person at the terminal. Nobody is left to tell when stderr is gone.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tidepool: {message}");
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            // EX_CONFIG of sysexits.h.
            Exit::BadConfiguration => Self::from(78),
            Exit::OfLoad(code) => Self::from(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = || std::io::Error::from(ErrorKind::BrokenPipe);
        assert_eq!(Exit::of(Err(closed().into())), Exit::Ok);
        let wrapped = anyhow::Error::from(closed()).context("while printing");
        assert_eq!(Exit::of(Err(wrapped)), Exit::Ok);
        let full = std::io::Error::from(ErrorKind::StorageFull);
        assert_eq!(Exit::of(Err(full.into())), Exit::Failure);
    }
}
