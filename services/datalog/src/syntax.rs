//! Clauses as values: terms, literals, rules. Names are numbers here; [`Names`] knows them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{ErrorKind, Position, ProgramError};

/// A constant. Ordered as a whole: integers by value, then texts by code points.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// An atom or a quoted text; there is no difference.
    Text(Arc<str>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Text(text) if is_atom(text) => f.write_str(text),
            Self::Text(text) => write_quoted(f, text),
        }
    }
}

/// Whether a text can be written without quotes.
fn is_atom(text: &str) -> bool {
    text != "not"
        && text
            .chars()
            .next()
            .is_some_and(|c| c.is_alphabetic() && !c.is_uppercase())
        && text.chars().all(is_name_char)
}

pub(crate) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// A number for a constant: an index into [`Names::constants`] in clauses, a rank among all
/// constants in a task.
pub(crate) type Constant = u32;

/// A number for a predicate.
pub(crate) type Predicate = usize;

/// An argument of an atom, or a side of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Term {
    pub(crate) kind: TermKind,
    pub(crate) at: Position,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TermKind {
    Constant(Constant),
    /// An index into the variables of the clause.
    Variable(usize),
    /// `_`
    Any,
}

impl Term {
    pub(crate) fn variable(&self) -> Option<usize> {
        match self.kind {
            TermKind::Variable(variable) => Some(variable),
            TermKind::Constant(_) | TermKind::Any => None,
        }
    }
}

/// A predicate and its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Atom {
    pub(crate) predicate: Predicate,
    pub(crate) terms: Vec<Term>,
    pub(crate) at: Position,
}

impl Atom {
    pub(crate) fn variables(&self) -> impl Iterator<Item = usize> {
        self.terms.iter().filter_map(Term::variable)
    }
}

/// How two constants are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) fn holds(self, left: Constant, right: Constant) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }

    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// One condition of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Literal {
    Holds(Atom),
    Absent(Atom),
    Compare {
        left: Term,
        comparison: Comparison,
        right: Term,
    },
}

impl Literal {
    /// The atom of a literal that is not a comparison.
    pub(crate) fn atom(&self) -> Option<&Atom> {
        match self {
            Self::Holds(atom) | Self::Absent(atom) => Some(atom),
            Self::Compare { .. } => None,
        }
    }

    /// The terms of the literal.
    pub(crate) fn terms(&self) -> Vec<Term> {
        match self {
            Self::Holds(atom) | Self::Absent(atom) => atom.terms.clone(),
            Self::Compare { left, right, .. } => vec![*left, *right],
        }
    }
}

/// A head that follows from a body.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) head: Atom,
    pub(crate) body: Vec<Literal>,
    /// Names of the variables.
    pub(crate) variables: Vec<Arc<str>>,
}

/// What is known of a predicate.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) name: Arc<str>,
    pub(crate) arity: usize,
    /// Where it was first used.
    pub(crate) at: Position,
}

/// The names in a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) predicates: Vec<Signature>,
    pub(crate) constants: Vec<Value>,
    predicate_numbers: HashMap<Arc<str>, Predicate>,
    constant_numbers: HashMap<Value, Constant>,
}

impl Names {
    /// The number of a predicate, which must have the same arity everywhere.
    pub(crate) fn predicate(
        &mut self,
        name: &str,
        arity: usize,
        at: Position,
    ) -> Result<Predicate, ProgramError> {
        if let Some(&number) = self.predicate_numbers.get(name) {
            self.predicates[number].expect_arity(arity, at)?;
            return Ok(number);
        }
        let name: Arc<str> = name.into();
        let number = self.predicates.len();
        self.predicate_numbers.insert(name.clone(), number);
        self.predicates.push(Signature { name, arity, at });
        Ok(number)
    }

    /// The number of a predicate, if it occurs.
    pub(crate) fn find_predicate(&self, name: &str) -> Option<Predicate> {
        self.predicate_numbers.get(name).copied()
    }

    /// The number of a constant.
    pub(crate) fn constant(&mut self, value: Value) -> Constant {
        if let Some(&number) = self.constant_numbers.get(&value) {
            return number;
        }
        let number = u32::try_from(self.constants.len()).unwrap_or(u32::MAX);
        self.constant_numbers.insert(value.clone(), number);
        self.constants.push(value);
        number
    }
}

impl Signature {
    pub(crate) fn expect_arity(&self, arity: usize, at: Position) -> Result<(), ProgramError> {
        if self.arity == arity {
            return Ok(());
        }
        let plural = if self.arity == 1 { "" } else { "s" };
        Err(ProgramError::new(
            ErrorKind::Arity,
            at,
            format!(
                "'{}' has {arity} here, but {} argument{plural} at line {}, column {}",
                self.name, self.arity, self.at.line, self.at.column
            ),
        ))
    }
}
