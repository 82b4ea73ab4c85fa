//! Datalog that always stops: facts and rules of a caller who is not trusted, answered within a
//! number of facts, an amount of memory and a moment in time.
//!
//! Why an engine of our own: a limit is only worth something if it is looked at inside the join.
//! Engines that look between rounds of a fixed point let one explosive rule run for seconds past
//! its limit and fill the memory meanwhile; those that do stop in time know no recursion; and
//! those that are fast want the rules when the program is compiled. What was needed is small:
//! recursion, stratified negation, comparisons, budgets in the innermost loop, and proofs.
//!
//! A program goes one way: text is read into clauses ([`Program::parse`]), which are checked for
//! safety and stratification; a query turns the clauses that matter into a task (only what the
//! query can demand is derived); components of the task are evaluated bottom-up and
//! semi-naively, each join by an explicit stack, so that depth of recursion costs no stack.
//!
//! # Language
//!
//! ```text
//! parent(ann, bob).                                % a fact; also # and // start comments
//! age(bob, 42). name(bob, "Bob the builder").      % integers (i64) and texts
//! ancestor(X, Y) :- parent(X, Y).                  % rules; variables begin upper-case or with _
//! ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).
//! childless(X)   :- person(X), not parent(X, _).   % also \+ and !; _ in a negation: "no such"
//! older(X, Y)    :- age(X, A), age(Y, B), A > B.   % = != < <= > >=
//! ```
//!
//! An atom is a text that needs no quotes: `bob` and `"bob"` are the same constant. Constants
//! are ordered as a whole: integers by value, then texts by their code points. So `1 < 10`,
//! `"10" < "9"`, and every integer is less than every text. A predicate without facts and rules
//! has no facts. Variables whose names begin with `_` are not part of answers.

mod answer;
mod budget;
mod demand;
mod error;
mod evaluate;
mod join;
mod lexer;
mod linear;
mod order;
mod parser;
mod plan;
mod program;
mod proof;
mod relation;
mod safety;
mod strata;
mod syntax;
mod table;
mod task;

pub use answer::Answers;
pub use budget::{Limits, Stop};
pub use error::{ErrorKind, EvaluateError, ProgramError};
pub use evaluate::evaluate;
pub use program::{Program, Query};
pub use proof::{Ground, Proof, ProofLimits};
pub use syntax::Value;
