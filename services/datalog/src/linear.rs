//! Chains: `ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z)` asked for one known X.
//!
//! Demand alone would derive `ancestor` for everybody below X, which is the square of what was
//! asked. But such a rule hands its last column on untouched, so that whatever is found for
//! anybody on the way is an answer for X itself. So the way is walked by the demand, and what
//! the other rules find at any point of it is put down for X at once.
//!
//! This holds for a predicate that one place asks for, with constants, and whose rules either
//! do not use it, or use it once and hand all other columns on. Its written facts would have
//! to be told apart from its derived ones; such predicates are left alone.

use crate::demand::Demands;
use crate::relation::Mask;
use crate::strata::{self, Components};
use crate::syntax::{Atom, Literal, Predicate, Rule, Term, TermKind};
use crate::task::Task;

/// A predicate that can be walked.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) predicate: Predicate,
    mask: Mask,
    /// Where the walk begins: the known columns of the only place that asks.
    start: Vec<Term>,
}

impl Chain {
    /// The head of what was found on the way, put down for the start.
    pub(crate) fn answer(&self, head: &Atom) -> Atom {
        let mut start = self.start.iter();
        let columns = head.terms.iter().enumerate();
        let terms = columns.map(|(column, term)| {
            let known = self.mask >> column & 1 == 1;
            let put = if known { start.next() } else { None };
            *put.unwrap_or(term)
        });
        Atom {
            predicate: head.predicate,
            terms: terms.collect(),
            at: head.at,
        }
    }
}

/// The predicates of a task that can be walked.
pub(crate) fn find(task: &Task, demands: &Demands) -> Vec<Chain> {
    let uses = strata::dependencies(task.predicates.len(), &task.rules);
    let components = strata::components(&uses);
    let rules_of = task.rules_by_head();
    let mut askers: Vec<Vec<&Atom>> = vec![Vec::new(); task.predicates.len()];
    for rule in &task.rules {
        for atom in rule.body.iter().filter_map(Literal::atom) {
            if atom.predicate != rule.head.predicate {
                askers[atom.predicate].push(atom);
            }
        }
    }
    let chain = |predicate: Predicate| {
        let mask = demands.mask(predicate);
        let [asker] = askers[predicate][..] else {
            return None;
        };
        let start = known_terms(asker, mask);
        let constant = |term: &Term| matches!(term.kind, TermKind::Constant(_));
        let fits = mask != 0
            && !task.predicates[predicate].written
            && start.iter().all(constant)
            && rules_of[predicate]
                .iter()
                .all(|&rule| hands_on(&task.rules[rule], mask, &components));
        fits.then_some(Chain {
            predicate,
            mask,
            start,
        })
    };
    (0..task.predicates.len()).filter_map(chain).collect()
}

fn known_terms(atom: &Atom, mask: Mask) -> Vec<Term> {
    let columns = atom.terms.iter().enumerate();
    let known = columns.filter(|(column, _)| mask >> column & 1 == 1);
    known.map(|(_, term)| *term).collect()
}

/// The literal by which a rule uses its own predicate.
pub(crate) fn recursive_literal(rule: &Rule) -> Option<usize> {
    let own = rule.head.predicate;
    rule.body
        .iter()
        .position(|literal| literal.atom().is_some_and(|atom| atom.predicate == own))
}

/// Whether a rule does not use its predicate, or hands on the columns that are not known.
fn hands_on(rule: &Rule, mask: Mask, components: &Components) -> bool {
    let own = rule.head.predicate;
    let mut recursive = rule
        .body
        .iter()
        .filter_map(Literal::atom)
        .filter(|atom| components.together(atom.predicate, own));
    let Some(call) = recursive.next() else {
        return true;
    };
    if call.predicate != own || recursive.next().is_some() {
        return false;
    }
    let handed = |column: usize| mask >> column & 1 == 0;
    (0..call.terms.len())
        .filter(|&column| handed(column))
        .all(|column| {
            let (given, taken) = (rule.head.terms[column], call.terms[column]);
            // Once in the head, once in the call, and nowhere else.
            given.variable().is_some()
                && given.variable() == taken.variable()
                && occurrences(rule, given.variable()) == 2
        })
}

fn occurrences(rule: &Rule, variable: Option<usize>) -> usize {
    let body = rule.body.iter().flat_map(Literal::terms);
    let all = rule.head.terms.iter().copied().chain(body);
    all.filter(|term| term.variable() == variable).count()
}
