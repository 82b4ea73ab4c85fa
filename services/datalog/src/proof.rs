//! Proofs: for an answer, the tree of facts and rules that it was first derived by.

use std::fmt::Write as _;

use crate::budget::Role;
use crate::relation::{Origin, Relation};
use crate::syntax::{Atom, Comparison, Constant, Literal, Predicate, Rule, Term, TermKind};
use crate::task::Task;

/// How large proofs may be; what is beyond is [`Ground::Omitted`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofLimits {
    /// Levels of one proof.
    pub depth_max: usize,
    /// Conclusions in all proofs together.
    pub nodes_max: usize,
}

impl Default for ProofLimits {
    fn default() -> Self {
        Self {
            depth_max: 40,
            nodes_max: 10_000,
        }
    }
}

/// Why a conclusion holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// It is written in the program.
    Fact,
    /// It follows by a rule from the premises.
    Rule,
    /// It is the query, and each premise one literal of it.
    Query,
    /// No such fact follows from the program.
    Absence,
    /// The constants compare so.
    Comparison,
    /// It was derived, but the proof would exceed a limit.
    Omitted,
}

/// A conclusion and why it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// What holds, as one would write it in a program.
    pub conclusion: String,
    /// Why.
    pub ground: Ground,
    /// The line of the fact or of the rule, from 1.
    pub line: Option<u32>,
    /// What it follows from, in the order of the body.
    pub premises: Vec<Proof>,
}

/// A body in which each variable has a value.
type Values = Vec<Option<Constant>>;

pub(crate) struct Prover<'a> {
    task: &'a Task,
    relations: &'a [Relation],
    depth_max: usize,
    nodes_left: usize,
}

impl<'a> Prover<'a> {
    pub(crate) fn new(task: &'a Task, relations: &'a [Relation], limits: ProofLimits) -> Self {
        Self {
            task,
            relations,
            depth_max: limits.depth_max,
            nodes_left: limits.nodes_max,
        }
    }

    /// Proves an answer. A query of one positive literal is proved by what proves the literal.
    pub(crate) fn prove_answer(&mut self, row: u32) -> Proof {
        let mut proof = self.prove(self.task.answers, row, 0);
        if proof.premises.len() == 1
            && let Some(only) = proof.premises.pop_if(|only| is_fact_or_rule(only.ground))
        {
            return only;
        }
        proof
    }

    fn prove(&mut self, predicate: Predicate, row: u32, depth: usize) -> Proof {
        let relation = &self.relations[predicate];
        let derivation = match relation.origin(row) {
            Some(Origin::Derived { at }) => relation.derivation(at),
            Some(Origin::Written { .. }) | None => None,
        };
        let derivation = derivation.map(|(rule, rows)| {
            let rule = &self.task.rules[rule];
            (rule, rows, self.values(rule, rows))
        });
        let is_answer = relation.role() == Role::Answer;
        let mut proof = Proof {
            conclusion: match &derivation {
                Some((rule, _, values)) if is_answer => self.body(rule, values),
                _ => self.fact(predicate, relation.row(row)),
            },
            ground: Ground::Omitted,
            line: None,
            premises: Vec::new(),
        };
        let too_deep = derivation.is_some() && depth >= self.depth_max;
        if self.nodes_left == 0 || too_deep {
            return proof;
        }
        self.nodes_left -= 1;
        if let Some((rule, rows, values)) = derivation {
            proof.ground = if is_answer {
                Ground::Query
            } else {
                Ground::Rule
            };
            proof.line = (!is_answer).then_some(rule.head.at.line);
            proof.premises = self.premises(rule, rows, &values, depth + 1);
        } else if let Some(Origin::Written { line }) = relation.origin(row) {
            proof.ground = Ground::Fact;
            proof.line = Some(line);
        }
        proof
    }

    fn premises(&mut self, rule: &Rule, rows: &[u32], values: &Values, depth: usize) -> Vec<Proof> {
        let mut rows = rows.iter();
        let mut premises = Vec::with_capacity(rule.body.len());
        for literal in &rule.body {
            match literal {
                Literal::Holds(atom) => {
                    let Some(&row) = rows.next() else { continue };
                    if !self.is_demand(atom) {
                        premises.push(self.prove(atom.predicate, row, depth));
                    }
                }
                Literal::Absent(_) => premises.push(self.leaf(literal, values, Ground::Absence)),
                Literal::Compare { .. } => {
                    premises.push(self.leaf(literal, values, Ground::Comparison));
                }
            }
        }
        premises
    }

    fn is_demand(&self, atom: &Atom) -> bool {
        self.relations[atom.predicate].role() == Role::Demand
    }

    fn leaf(&mut self, literal: &Literal, values: &Values, ground: Ground) -> Proof {
        self.nodes_left = self.nodes_left.saturating_sub(1);
        Proof {
            conclusion: self.literal(literal, values),
            ground,
            line: None,
            premises: Vec::new(),
        }
    }

    /// The values that the variables of a rule had in a derivation.
    fn values(&self, rule: &Rule, rows: &[u32]) -> Values {
        let mut values: Values = vec![None; rule.variables.len()];
        let atoms = rule.body.iter().filter_map(|literal| match literal {
            Literal::Holds(atom) => Some(atom),
            Literal::Absent(_) | Literal::Compare { .. } => None,
        });
        for (atom, &row) in atoms.zip(rows) {
            let tuple = self.relations[atom.predicate].row(row);
            for (term, &constant) in atom.terms.iter().zip(tuple) {
                if let Some(variable) = term.variable() {
                    values[variable] = Some(constant);
                }
            }
        }
        while assign_equal(rule, &mut values) {}
        values
    }

    fn body(&self, rule: &Rule, values: &Values) -> String {
        let literals = rule.body.iter().filter(|literal| {
            let demand = literal.atom().is_some_and(|atom| self.is_demand(atom));
            !demand
        });
        let texts: Vec<String> = literals
            .map(|literal| self.literal(literal, values))
            .collect();
        texts.join(", ")
    }

    fn literal(&self, literal: &Literal, values: &Values) -> String {
        match literal {
            Literal::Holds(atom) => self.atom(atom, values),
            Literal::Absent(atom) => format!("not {}", self.atom(atom, values)),
            Literal::Compare {
                left,
                comparison,
                right,
            } => {
                let (left, right) = (self.term(left, values), self.term(right, values));
                format!("{left} {} {right}", Comparison::sign(*comparison))
            }
        }
    }

    fn atom(&self, atom: &Atom, values: &Values) -> String {
        let terms = atom.terms.iter().map(|term| self.term(term, values));
        self.applied(atom.predicate, terms)
    }

    fn fact(&self, predicate: Predicate, row: &[Constant]) -> String {
        self.applied(
            predicate,
            row.iter().map(|&constant| self.constant(constant)),
        )
    }

    fn applied(&self, predicate: Predicate, terms: impl Iterator<Item = String>) -> String {
        let mut text = self.task.predicates[predicate].name.to_string();
        for (i, term) in terms.enumerate() {
            let before = if i == 0 { "(" } else { ", " };
            // Writing to a text cannot fail.
            let _ = write!(text, "{before}{term}");
        }
        if text.contains('(') {
            text.push(')');
        }
        text
    }

    fn term(&self, term: &Term, values: &Values) -> String {
        match term.kind {
            TermKind::Constant(constant) => self.constant(constant),
            TermKind::Variable(variable) => {
                values[variable].map_or_else(|| "_".into(), |constant| self.constant(constant))
            }
            TermKind::Any => "_".into(),
        }
    }

    fn constant(&self, constant: Constant) -> String {
        self.task.universe[constant as usize].to_string()
    }
}

fn is_fact_or_rule(ground: Ground) -> bool {
    matches!(ground, Ground::Fact | Ground::Rule | Ground::Omitted)
}

/// Gives a variable the value that an equality wants; says whether there was one to give.
fn assign_equal(rule: &Rule, values: &mut Values) -> bool {
    for literal in &rule.body {
        let Literal::Compare {
            left,
            comparison: Comparison::Equal,
            right,
        } = literal
        else {
            continue;
        };
        let value = |term: &Term| match term.kind {
            TermKind::Constant(constant) => Some(constant),
            TermKind::Variable(variable) => values[variable],
            TermKind::Any => None,
        };
        let given = match (left.variable(), value(left), right.variable(), value(right)) {
            (Some(variable), None, _, Some(constant)) => (variable, constant),
            (_, Some(constant), Some(variable), None) => (variable, constant),
            _ => continue,
        };
        values[given.0] = Some(given.1);
        return true;
    }
    false
}
