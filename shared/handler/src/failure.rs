//! Why a handler did not answer: what the caller may know, and what only the operator may.

use std::borrow::Cow;

use tidepool_wire::{DecodeError, EncodeError, Fault};

/// Why a request got no answer from its handler.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The body is no value of its format (400).
    #[error("{detail}")]
    Malformed {
        /// What is wrong, with a position.
        detail: String,
    },
    /// A well-formed input that does not fit the kind (422).
    #[error("the input does not fit the kind")]
    Invalid {
        /// Each fault that was found.
        faults: Vec<Fault>,
    },
    /// A limit of the kind stopped the work (422 `limit_exceeded`).
    #[error("{detail}")]
    LimitExceeded {
        /// Which limit, and what to do.
        detail: String,
    },
    /// The deadline passed while the work ran (504).
    #[error("the deadline passed while the request was running")]
    DeadlineExceeded,
    /// The caller went away; nobody reads this.
    #[error("cancelled")]
    Cancelled,
    /// Something the handler depends on failed (503): no reason to start more workers.
    #[error("a dependency is not available: {dependency}")]
    Dependency {
        /// Its name, safe to show.
        dependency: Cow<'static, str>,
        /// The cause, for the operator's log only.
        cause: String,
    },
    /// A defect or an unforeseen condition (500).
    #[error("the handler failed")]
    Internal {
        /// The cause, for the operator's log only.
        cause: String,
    },
}

impl Failure {
    /// An input with one fault.
    #[must_use]
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            faults: vec![Fault::at(pointer, message)],
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed { .. } => Self::Malformed {
                detail: error.to_string(),
            },
            DecodeError::Invalid(fault) => Self::Invalid {
                faults: vec![fault],
            },
        }
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        Self::Internal {
            cause: error.to_string(),
        }
    }
}
