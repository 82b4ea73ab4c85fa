//! In which order the literals of a body are best looked at: what narrows most comes first.

use std::cmp::Reverse;

use crate::relation::Mask;
use crate::safety::{bound_by_equality, is_known};
use crate::syntax::{Atom, Literal};

/// Takes literals one by one, while variables become bound.
pub(crate) struct Order<'a> {
    body: &'a [Literal],
    taken: Vec<bool>,
    /// Which variables have a value by now.
    pub(crate) bound: Vec<bool>,
}

impl<'a> Order<'a> {
    pub(crate) fn new(body: &'a [Literal], variables: usize) -> Self {
        Self {
            body,
            taken: vec![false; body.len()],
            bound: vec![false; variables],
        }
    }

    /// Binds the variables of an atom.
    pub(crate) fn bind(&mut self, atom: &Atom) {
        for variable in atom.variables() {
            self.bound[variable] = true;
        }
    }

    /// Takes a literal, and binds what it binds.
    pub(crate) fn take(&mut self, literal: usize) {
        self.taken[literal] = true;
        match &self.body[literal] {
            Literal::Holds(atom) => self.bind(atom),
            Literal::Absent(_) => {}
            compare @ Literal::Compare { .. } => {
                if let Some(variable) = bound_by_equality(compare, &self.bound) {
                    self.bound[variable] = true;
                }
            }
        }
    }

    /// The columns of an atom that have a value by now.
    pub(crate) fn mask(&self, atom: &Atom) -> Mask {
        let columns = atom.terms.iter().enumerate();
        columns.fold(0, |mask, (column, term)| {
            mask | Mask::from(is_known(term, &self.bound)) << column
        })
    }

    /// The literal to take next: a filter as soon as it can be decided; else the atom that is
    /// most bound, and of those the one with the least cost.
    pub(crate) fn best(&self, cost: impl Fn(usize, &Atom) -> u64) -> Option<usize> {
        let left = || (0..self.body.len()).filter(|&literal| !self.taken[literal]);
        left()
            .find(|&literal| self.is_decidable(literal))
            .or_else(|| {
                left().min_by_key(|&literal| match &self.body[literal] {
                    Literal::Holds(atom) => {
                        let bound = self.mask(atom).count_ones();
                        let open = bound as usize != atom.terms.len();
                        (false, open, Reverse(bound), cost(literal, atom))
                    }
                    // Never before an atom; the safety check has it decidable in the end.
                    Literal::Absent(_) | Literal::Compare { .. } => (true, true, Reverse(0), 0),
                })
            })
    }

    fn is_decidable(&self, literal: usize) -> bool {
        match &self.body[literal] {
            Literal::Holds(_) => false,
            Literal::Absent(atom) => atom.variables().all(|variable| self.bound[variable]),
            compare @ Literal::Compare { left, right, .. } => {
                let known = is_known(left, &self.bound) && is_known(right, &self.bound);
                known || bound_by_equality(compare, &self.bound).is_some()
            }
        }
    }
}
