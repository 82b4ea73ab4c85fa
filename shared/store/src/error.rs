//! Why an operation of the store failed.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use crate::port::Epoch;

/// The error underneath; shared because one failed commit fails every operation in it.
type Cause = Arc<dyn Error + Send + Sync>;

/// An operation failed. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The writer was replaced: the stream or key has a newer epoch. It must stop writing.
    #[error("'{name}' is at epoch {current}, so a write of epoch {epoch} is refused")]
    Fenced {
        /// The stream or key.
        name: String,
        /// The epoch of the refused write.
        epoch: Epoch,
        /// The epoch of the stream or key.
        current: Epoch,
    },
    /// Something given is larger than the store takes.
    #[error("{what} has a size of {size}; the most is {max}")]
    TooLarge {
        /// What it is, such as `a record`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Something given can never be accepted.
    #[error("{what}: {reason}")]
    Invalid {
        /// What it is, such as `the name of a stream`.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another process uses the directory.
    #[error("the store in '{}' is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A newer release wrote the file.
    #[error(
        "'{}' has schema version {found}, this release knows up to {supported}: use a newer \
         release, or another directory",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Newest version that this release can read.
        supported: i64,
    },
    /// The file is damaged or not a database. It is left as it is.
    #[error(
        "'{}' is damaged or not a Tidepool database; it was left untouched: restore a backup, or \
         move it away to start empty",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: Cause,
    },
    /// No space left. Nothing of the operation was kept; it can be tried again.
    #[error("no space left for '{}'", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: Cause,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} '{}'", path.display())]
    Io {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: Cause,
    },
    /// The back end does not answer or refuses. A write may or may not have happened.
    #[error("{backend} is not available: {reason}")]
    Unavailable {
        /// `redis`.
        backend: &'static str,
        /// Why, for operators.
        reason: String,
    },
    /// The back end answers, but not as it is set up now: somebody has to change something.
    #[error("{backend} refuses: {reason}")]
    Refused {
        /// `redis`.
        backend: &'static str,
        /// Why, and what to do, for operators.
        reason: String,
    },
    /// A release that this one cannot follow has written there. Nothing is read or written.
    #[error("{backend} is not for this release: {reason}")]
    Incompatible {
        /// `redis`.
        backend: &'static str,
        /// Why, and what to do, for operators.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same operation may succeed later without anything else being changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. } | Self::Unavailable { .. } | Self::Io { .. }
        )
    }

    /// The error and everything beneath it in one line, for logs and health.
    #[must_use]
    pub fn full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
