//! A rule as a sequence of steps that a join walks through.

use crate::order::Order;
use crate::relation::{Mask, Relation};
use crate::safety::{bound_by_equality, is_known};
use crate::syntax::{Atom, Comparison, Constant, Literal, Predicate, Rule, Term, TermKind};

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Constant(Constant),
    /// A variable of the rule.
    Slot(usize),
}

/// Which rows of a relation a step sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Range {
    /// Those that were known before this round.
    Old,
    /// Those that are new in this round.
    New,
    /// Both.
    Known,
}

/// How a step finds rows.
#[derive(Debug)]
pub(crate) enum Access {
    /// All of them.
    Scan,
    /// The one that equals a key.
    Lookup { key: Vec<Source> },
    /// Those that an index has for a key.
    Probe { index: usize, key: Vec<Source> },
}

/// What to do with a column of a row that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Its value becomes that of a variable.
    Bind { column: usize, slot: usize },
    /// It must have this value.
    Check { column: usize, source: Source },
}

#[derive(Debug)]
pub(crate) enum Step {
    Match {
        predicate: Predicate,
        access: Access,
        range: Range,
        columns: Vec<Column>,
        /// No later step can tell two matches apart: the first one will do.
        once: bool,
    },
    Absent {
        predicate: Predicate,
        access: Access,
    },
    Compare {
        left: Source,
        comparison: Comparison,
        right: Source,
    },
    Assign {
        slot: usize,
        source: Source,
    },
}

/// A rule, ready to be joined.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rule: usize,
    pub(crate) head: Predicate,
    pub(crate) head_terms: Vec<Source>,
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: usize,
    /// The steps of the positive literals, in the order of the body.
    pub(crate) premises: Vec<usize>,
}

impl Plan {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let columns = |step: &Step| match step {
            Step::Match { columns, .. } => columns.len(),
            Step::Absent { .. } | Step::Compare { .. } | Step::Assign { .. } => 0,
        };
        let columns: usize = self.steps.iter().map(columns).sum();
        size_of::<Self>() + self.steps.len() * size_of::<Step>() * 2 + columns * 48
    }
}

/// What a rule is compiled for.
pub(crate) struct Compile<'a> {
    pub(crate) number: usize,
    pub(crate) rule: &'a Rule,
    /// The literal that sees only new rows, which is then the first step.
    pub(crate) new: Option<usize>,
    /// Whether a predicate is still growing.
    pub(crate) grows: &'a dyn Fn(Predicate) -> bool,
}

impl Compile<'_> {
    /// Chooses the order and the indexes.
    pub(crate) fn plan(&self, relations: &mut [Relation]) -> Plan {
        let body = &self.rule.body;
        let mut order = Order::new(body, self.rule.variables.len());
        let mut steps = Vec::with_capacity(body.len());
        let mut step_of = vec![0; body.len()];
        let mut next = self.new.or_else(|| self.best(&order, relations));
        while let Some(literal) = next {
            step_of[literal] = steps.len();
            steps.push(self.step(literal, &order.bound, relations));
            order.take(literal);
            next = self.best(&order, relations);
        }
        let head_terms: Vec<Source> = self.rule.head.terms.iter().filter_map(source).collect();
        mark_once(&mut steps, &head_terms, self.rule.variables.len());
        let positive = |literal: &usize| matches!(body[*literal], Literal::Holds(_));
        Plan {
            rule: self.number,
            head: self.rule.head.predicate,
            head_terms,
            steps,
            slots: self.rule.variables.len(),
            premises: (0..body.len())
                .filter(positive)
                .map(|literal| step_of[literal])
                .collect(),
        }
    }

    /// Of equally bound atoms, the one with fewer rows; those of growing relations are not
    /// known yet, unless this is the first round.
    fn best(&self, order: &Order<'_>, relations: &[Relation]) -> Option<usize> {
        order.best(|_, atom| {
            if self.new.is_some() && (self.grows)(atom.predicate) {
                u64::MAX
            } else {
                u64::from(relations[atom.predicate].len())
            }
        })
    }

    fn step(&self, literal: usize, bound: &[bool], relations: &mut [Relation]) -> Step {
        match &self.rule.body[literal] {
            Literal::Holds(atom) => {
                let is_new = self.new == Some(literal);
                let (access, columns) = if is_new {
                    (Access::Scan, columns(atom, bound, true))
                } else {
                    let access = access(atom, bound, &mut relations[atom.predicate]);
                    (access, columns(atom, bound, false))
                };
                Step::Match {
                    predicate: atom.predicate,
                    access,
                    range: self.range(literal, atom.predicate),
                    columns,
                    once: false,
                }
            }
            Literal::Absent(atom) => Step::Absent {
                predicate: atom.predicate,
                access: access(atom, bound, &mut relations[atom.predicate]),
            },
            compare @ Literal::Compare {
                left,
                comparison,
                right,
            } => compare_step(compare, (left, *comparison, right), bound),
        }
    }

    /// Each combination with something new is found once: by its first new literal.
    fn range(&self, literal: usize, predicate: Predicate) -> Range {
        match self.new {
            Some(new) if literal == new => Range::New,
            Some(new) if literal < new && (self.grows)(predicate) => Range::Old,
            _ => Range::Known,
        }
    }
}

fn source(term: &Term) -> Option<Source> {
    match term.kind {
        TermKind::Constant(constant) => Some(Source::Constant(constant)),
        TermKind::Variable(slot) => Some(Source::Slot(slot)),
        TermKind::Any => None,
    }
}

fn access(atom: &Atom, bound: &[bool], relation: &mut Relation) -> Access {
    let known: Vec<(usize, Source)> = atom
        .terms
        .iter()
        .enumerate()
        .filter(|(_, term)| is_known(term, bound))
        .filter_map(|(column, term)| Some((column, source(term)?)))
        .collect();
    let key = known.iter().map(|(_, source)| *source).collect();
    if known.len() == atom.terms.len() {
        return Access::Lookup { key };
    }
    if known.is_empty() {
        return Access::Scan;
    }
    let mask = known
        .iter()
        .fold(0, |mask: Mask, (column, _)| mask | 1 << column);
    Access::Probe {
        index: relation.index_on(mask),
        key,
    }
}

/// What to do with the columns that the access does not already decide.
fn columns(atom: &Atom, bound: &[bool], scanned: bool) -> Vec<Column> {
    let mut bound = bound.to_vec();
    let mut columns = Vec::new();
    for (column, term) in atom.terms.iter().enumerate() {
        let Some(source) = source(term) else { continue };
        match source {
            Source::Slot(slot) if !bound[slot] => {
                columns.push(Column::Bind { column, slot });
                bound[slot] = true;
            }
            // A variable that this very atom has bound before is part of no key.
            Source::Slot(slot) if scanned || columns.iter().any(|c| binds(c, slot)) => {
                columns.push(Column::Check { column, source });
            }
            Source::Constant(_) if scanned => columns.push(Column::Check { column, source }),
            Source::Slot(_) | Source::Constant(_) => {}
        }
    }
    columns
}

fn binds(column: &Column, wanted: usize) -> bool {
    matches!(column, Column::Bind { slot, .. } if *slot == wanted)
}

fn compare_step(
    literal: &Literal,
    (left, comparison, right): (&Term, Comparison, &Term),
    bound: &[bool],
) -> Step {
    // The safety check leaves no `_` in a comparison.
    let value = |term: &Term| source(term).unwrap_or(Source::Constant(0));
    match bound_by_equality(literal, bound) {
        Some(slot) => {
            let known = if left.variable() == Some(slot) {
                right
            } else {
                left
            };
            Step::Assign {
                slot,
                source: value(known),
            }
        }
        None => Step::Compare {
            left: value(left),
            comparison,
            right: value(right),
        },
    }
}

/// Finds the steps of which one match is as good as all: what they bind, nobody uses.
fn mark_once(steps: &mut [Step], head: &[Source], slots: usize) {
    let mut used = vec![false; slots];
    let uses = |used: &mut Vec<bool>, source: &Source| {
        if let Source::Slot(slot) = source {
            used[*slot] = true;
        }
    };
    head.iter().for_each(|source| uses(&mut used, source));
    for step in steps.iter_mut().rev() {
        match step {
            Step::Match {
                access,
                columns,
                once,
                ..
            } => {
                *once = !columns
                    .iter()
                    .any(|column| matches!(column, Column::Bind { slot, .. } if used[*slot]));
                for column in columns.iter() {
                    if let Column::Check { source, .. } = column {
                        uses(&mut used, source);
                    }
                }
                key(access)
                    .iter()
                    .for_each(|source| uses(&mut used, source));
            }
            Step::Absent { access, .. } => {
                key(access)
                    .iter()
                    .for_each(|source| uses(&mut used, source));
            }
            Step::Compare { left, right, .. } => {
                uses(&mut used, left);
                uses(&mut used, right);
            }
            Step::Assign { source, .. } => uses(&mut used, source),
        }
    }
}

fn key(access: &Access) -> &[Source] {
    match access {
        Access::Scan => &[],
        Access::Lookup { key } | Access::Probe { key, .. } => key,
    }
}
