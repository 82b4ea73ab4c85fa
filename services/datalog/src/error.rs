//! What can be wrong with a program or a query, and why an evaluation ended without answers.

use crate::budget::{Halt, Limits, Stop};

/// A place in a text, counted from 1; columns count Unicode scalar values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// What sort of mistake a program has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Longer than the engine reads: the text, a clause or a name.
    Size,
    /// Not of the language.
    Syntax,
    /// A predicate used with different numbers of arguments.
    Arity,
    /// A variable that nothing binds, so that infinitely many values would do.
    Unsafe,
    /// A predicate that depends on its own negation.
    Unstratified,
}

/// A mistake in a program or a query, and where it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ProgramError {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in Unicode scalar values.
    pub column: u32,
    /// The sort of mistake.
    pub kind: ErrorKind,
    /// What is wrong and, where it can be told, what to write instead.
    pub message: String,
}

impl ProgramError {
    pub(crate) fn new(kind: ErrorKind, at: Position, message: impl Into<String>) -> Self {
        Self {
            line: at.line,
            column: at.column,
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn syntax(at: Position, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Syntax, at, message)
    }
}

/// Why an evaluation ended without answers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The query does not fit the program.
    #[error(transparent)]
    Query(ProgramError),
    /// More facts follow from the program than were allowed.
    #[error("more than {facts_max} facts follow from the program")]
    Facts {
        /// The limit.
        facts_max: u64,
    },
    /// The facts need more memory than was allowed.
    #[error("the derived facts need more than {memory_bytes_max} bytes of memory")]
    Memory {
        /// The limit.
        memory_bytes_max: usize,
    },
    /// The caller of the engine asked it to stop.
    #[error("stopped before the evaluation was complete")]
    Stopped(Stop),
}

impl EvaluateError {
    pub(crate) fn from_halt(halt: Halt, limits: &Limits) -> Self {
        match halt {
            Halt::Facts => Self::Facts {
                facts_max: limits.facts_max,
            },
            Halt::Memory => Self::Memory {
                memory_bytes_max: limits.memory_bytes_max,
            },
            Halt::Stopped(stop) => Self::Stopped(stop),
        }
    }
}
