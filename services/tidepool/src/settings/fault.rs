//! What is wrong with a configuration: every fault with its key, its origin and the way out.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Longest value that a message repeats, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// Where a value was set. A value that nobody set comes from the defaults and has no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line, counted from one.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Origin {
    /// Whether values come as text that still has to be read as a number or a list.
    pub(crate) fn is_textual(&self) -> bool {
        !matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// Path of the key, such as `pools.echo.max`; empty for the configuration as a whole.
    pub(crate) key: String,
    /// The value as it was given; absent for secrets and for what was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// Where it was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    /// What is wrong with it, and what is allowed.
    pub(crate) problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = &self.origin {
            let space = if self.key.is_empty() { "" } else { " " };
            write!(f, "{space}({origin})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Shortens a value for a message and takes control characters out of it.
pub(crate) fn abridge(value: &str) -> String {
    let mut short: String = value
        .chars()
        .take(VALUE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if value.chars().nth(VALUE_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Everything that is wrong with a configuration; at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct InvalidSettings(pub(crate) Vec<Fault>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        write!(f, "the configuration has {count} {noun}:")?;
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}
