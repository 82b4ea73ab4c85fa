//! How a load run can end, as exit codes that CI understands.

use std::io;
use std::path::PathBuf;

use crate::trace::TraceError;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// All thresholds were met.
    Passed,
    /// The run could not be made or its results not be written.
    Failed,
    /// At least one threshold was missed, or could not be measured.
    ThresholdMissed,
    /// The scenario or the trace is wrong.
    BadScenario,
    /// The run was interrupted; the report covers what was done until then.
    Interrupted,
}

impl Exit {
    /// The exit code of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::ThresholdMissed => 99,
            Self::BadScenario => 104,
            Self::Interrupted => 105,
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scenario or a flag that shapes it is wrong.
    #[error("{origin}: {message}")]
    Scenario {
        /// The file, the built-in name or the flag.
        origin: String,
        /// What is wrong, where, and what is allowed.
        message: String,
    },
    /// The trace is wrong.
    #[error("{origin}: {fault}")]
    Trace {
        /// The file.
        origin: String,
        /// The line and what is wrong there.
        fault: TraceError,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An address cannot be used.
    #[error("the address of {what}, {url}: {message}")]
    Target {
        /// What it is the address of.
        what: &'static str,
        /// The address as given.
        url: String,
        /// Why not.
        message: String,
    },
    /// Nothing answers at the address of the API.
    #[error("nothing answers at {url}: is `tidepool` running there? ({reason})")]
    Unreachable {
        /// The address.
        url: String,
        /// What was tried and happened.
        reason: String,
    },
    /// A thread or runtime of the generator could not be started, or stopped early.
    #[error("the generator stopped: {0}")]
    Generator(String),
    /// The report could not be printed.
    #[error("cannot print the report")]
    Print(#[source] io::Error),
}

impl Error {
    /// A fault of the scenario named `origin`.
    pub(crate) fn scenario(origin: impl Into<String>, message: impl ToString) -> Self {
        Self::Scenario {
            origin: origin.into(),
            message: message.to_string(),
        }
    }

    /// The exit that this error stands for.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Scenario { .. } | Self::Trace { .. } => Exit::BadScenario,
            Self::File { .. }
            | Self::Target { .. }
            | Self::Unreachable { .. }
            | Self::Generator(_)
            | Self::Print(_) => Exit::Failed,
        }
    }
}
