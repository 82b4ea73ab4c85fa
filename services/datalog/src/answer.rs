//! Answers: the first ones in the order of constants, and their proofs.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::budget::{Budget, Halt, Limits};
use crate::evaluate::derived_facts;
use crate::proof::{Proof, Prover};
use crate::relation::Relation;
use crate::syntax::{Constant, TermKind, Value};
use crate::task::Task;

/// What follows from a program for a query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answers {
    /// The variables of the query, in the order of their first occurrence.
    pub variables: Vec<Arc<str>>,
    /// For each answer the values of the variables; no two the same, and in order, up to the
    /// number that was asked for. A query without variables has one empty answer when it holds, and none when it does not.
    pub rows: Vec<Vec<Value>>,
    /// How many answers there are, whether returned or not.
    pub count: usize,
    /// How many facts rules have derived on the way. Facts that the query does not need are
    /// not derived.
    pub derived_facts: u64,
    /// One proof for each answer, when asked for.
    pub proofs: Option<Vec<Proof>>,
}

impl Answers {
    /// Whether there are more answers than were returned.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.count > self.rows.len()
    }
}

/// An answer and the row where it stands.
type Ranked<'a> = (&'a [Constant], u32);

pub(crate) fn collect(
    task: &Task,
    relations: &[Relation],
    limits: &Limits,
    budget: &mut Budget<'_>,
) -> Result<Answers, Halt> {
    let relation = &relations[task.answers];
    let first = smallest(relation, limits.answers_max, budget)?;
    let value = |constant: &Constant| task.universe[*constant as usize].clone();
    let row = |(tuple, _): &Ranked<'_>| tuple.iter().map(value).collect();
    let proofs = limits.proofs.map(|proof_limits| {
        let mut prover = Prover::new(task, relations, proof_limits);
        let rows = first.iter().map(|&(_, row)| row);
        rows.map(|row| prover.prove_answer(row)).collect()
    });
    Ok(Answers {
        variables: variables(task),
        rows: first.iter().map(row).collect(),
        count: relation.len() as usize,
        derived_facts: derived_facts(budget),
        proofs,
    })
}

/// The names of the columns of answers.
fn variables(task: &Task) -> Vec<Arc<str>> {
    let rule = task
        .rules
        .iter()
        .find(|rule| rule.head.predicate == task.answers);
    let Some(rule) = rule else { return Vec::new() };
    let name = |kind: TermKind| match kind {
        TermKind::Variable(variable) => Some(rule.variables[variable].clone()),
        TermKind::Constant(_) | TermKind::Any => None,
    };
    let terms = rule.head.terms.iter();
    terms.filter_map(|term| name(term.kind)).collect()
}

/// The smallest rows, in order. Keeps no more than are wanted, so that a small limit on
/// millions of answers costs one pass.
fn smallest<'a>(
    relation: &'a Relation,
    count: usize,
    budget: &mut Budget<'_>,
) -> Result<Vec<Ranked<'a>>, Halt> {
    let mut kept: BinaryHeap<Ranked<'a>> = BinaryHeap::new();
    for row in 0..relation.len() {
        budget.step()?;
        let ranked = (relation.row(row), row);
        if kept.len() < count {
            kept.push(ranked);
        } else if let Some(mut largest) = kept.peek_mut()
            && *largest > ranked
        {
            *largest = ranked;
        }
    }
    Ok(kept.into_sorted_vec())
}
