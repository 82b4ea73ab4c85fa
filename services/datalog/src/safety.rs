//! Safety: every variable whose value matters gets it from something finite.

use crate::error::{ErrorKind, ProgramError};
use crate::syntax::{Comparison, Literal, Rule, Term, TermKind};

/// Checks a rule.
pub(crate) fn check(rule: &Rule) -> Result<(), ProgramError> {
    let bound = bound_variables(rule);
    let require = |term: &Term, place: &str| {
        let name = match term.kind {
            TermKind::Constant(_) => return Ok(()),
            TermKind::Variable(variable) if bound[variable] => return Ok(()),
            TermKind::Variable(variable) => &*rule.variables[variable],
            TermKind::Any => "_",
        };
        Err(ProgramError::new(
            ErrorKind::Unsafe,
            term.at,
            format!("'{name}' in {place} is not bound by a positive literal of the body"),
        ))
    };
    for literal in &rule.body {
        match literal {
            Literal::Holds(_) => {}
            Literal::Absent(atom) => {
                // `_` asks that there be no such fact at all, which needs no binding.
                let named = atom.terms.iter().filter(|term| term.kind != TermKind::Any);
                for term in named {
                    require(term, "a negation")?;
                }
            }
            Literal::Compare { left, right, .. } => {
                require(left, "a comparison")?;
                require(right, "a comparison")?;
            }
        }
    }
    // Last, as the head of a query repeats what stands in its body.
    for term in &rule.head.terms {
        require(term, "the head")?;
    }
    Ok(())
}

/// The variables that positive literals bind, and `=` after them.
fn bound_variables(rule: &Rule) -> Vec<bool> {
    let mut bound = vec![false; rule.variables.len()];
    for literal in &rule.body {
        if let Literal::Holds(atom) = literal {
            atom.variables().for_each(|variable| bound[variable] = true);
        }
    }
    // Each round binds another variable, and a body has few literals.
    loop {
        let newly = rule
            .body
            .iter()
            .find_map(|literal| bound_by_equality(literal, &bound));
        match newly {
            Some(variable) => bound[variable] = true,
            None => return bound,
        }
    }
}

/// The variable that an equality with a known other side binds.
pub(crate) fn bound_by_equality(literal: &Literal, bound: &[bool]) -> Option<usize> {
    let Literal::Compare {
        left,
        comparison: Comparison::Equal,
        right,
    } = literal
    else {
        return None;
    };
    let known = |term: &Term| is_known(term, bound);
    match (left.kind, right.kind) {
        (TermKind::Variable(variable), _) if !known(left) && known(right) => Some(variable),
        (_, TermKind::Variable(variable)) if !known(right) && known(left) => Some(variable),
        _ => None,
    }
}

/// Whether a term has a value.
pub(crate) fn is_known(term: &Term, bound: &[bool]) -> bool {
    match term.kind {
        TermKind::Constant(_) => true,
        TermKind::Variable(variable) => bound[variable],
        TermKind::Any => false,
    }
}
