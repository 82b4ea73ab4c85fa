//! A query and what it needs of a program, in numbers: constants are ranks, so that comparing
//! numbers compares constants, and rules are those that the query can reach.

use std::sync::Arc;

use crate::budget::Role;
use crate::program::{Program, Query};
use crate::syntax::{Atom, Constant, Literal, Predicate, Rule, Term, TermKind, Value};

/// What is known of a predicate of a task.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) name: Arc<str>,
    pub(crate) arity: usize,
    pub(crate) role: Role,
    /// Whether facts of it may be written in the program.
    pub(crate) written: bool,
}

/// What is to be evaluated.
#[derive(Debug)]
pub(crate) struct Task {
    /// All constants, in their order.
    pub(crate) universe: Vec<Value>,
    /// The rank of each constant of the program.
    pub(crate) ranks: Vec<Constant>,
    /// Those of the program first, with the same numbers.
    pub(crate) predicates: Vec<Shape>,
    /// Whose facts are answers.
    pub(crate) answers: Predicate,
    pub(crate) rules: Vec<Rule>,
}

impl Task {
    /// The rules of each predicate.
    pub(crate) fn rules_by_head(&self) -> Vec<Vec<usize>> {
        let mut rules = vec![Vec::new(); self.predicates.len()];
        for (number, rule) in self.rules.iter().enumerate() {
            rules[rule.head.predicate].push(number);
        }
        rules
    }

    /// Adds a predicate.
    pub(crate) fn add_predicate(&mut self, name: Arc<str>, arity: usize, role: Role) -> Predicate {
        self.predicates.push(Shape {
            name,
            arity,
            role,
            written: false,
        });
        self.predicates.len() - 1
    }
}

/// Brings a program and a query together.
pub(crate) fn link(program: &Program, query: &Query) -> Task {
    let (universe, mut ranks) = rank(&program.names.constants, &query.names.constants);
    let query_ranks = ranks.split_off(program.names.constants.len());
    let mut task = Task {
        universe,
        ranks,
        predicates: shapes(program),
        answers: 0,
        rules: Vec::new(),
    };
    let numbers: Vec<Predicate> = query
        .names
        .predicates
        .iter()
        .enumerate()
        .map(|(number, signature)| {
            let name = signature.name.clone();
            if number == query.rule.head.predicate {
                return task.add_predicate(name, signature.arity, Role::Answer);
            }
            let known = program.names.find_predicate(&signature.name);
            known.unwrap_or_else(|| task.add_predicate(name, signature.arity, Role::Fact))
        })
        .collect();
    task.answers = numbers[query.rule.head.predicate];
    let rule = translate(&query.rule, &query_ranks, |number| numbers[number]);
    let reached = reach(program, &task, &rule);
    let relevant = program
        .rules
        .iter()
        .filter(|rule| reached[rule.head.predicate]);
    let rules = relevant.map(|rule| translate(rule, &task.ranks, |number| number));
    task.rules = rules.chain([rule]).collect();
    task
}

/// All constants in order, and the rank of each of the first and then of the second ones.
fn rank(first: &[Value], second: &[Value]) -> (Vec<Value>, Vec<Constant>) {
    let all = || first.iter().chain(second);
    let mut order: Vec<(&Value, usize)> = all().zip(0..).collect();
    order.sort_unstable();
    let mut universe: Vec<Value> = Vec::with_capacity(order.len());
    let mut ranks = vec![0; order.len()];
    for (value, number) in order {
        if universe.last() != Some(value) {
            universe.push(value.clone());
        }
        // Texts are bounded, so that their constants are fewer than 2^32.
        ranks[number] = (universe.len() - 1) as Constant;
    }
    (universe, ranks)
}

fn shapes(program: &Program) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = program
        .names
        .predicates
        .iter()
        .map(|signature| Shape {
            name: signature.name.clone(),
            arity: signature.arity,
            role: Role::Fact,
            written: false,
        })
        .collect();
    for fact in program.facts.iter() {
        shapes[fact.predicate].written = true;
    }
    shapes
}

fn translate(rule: &Rule, ranks: &[Constant], number: impl Fn(Predicate) -> Predicate) -> Rule {
    let term = |term: &Term| Term {
        kind: match term.kind {
            TermKind::Constant(constant) => TermKind::Constant(ranks[constant as usize]),
            kind @ (TermKind::Variable(_) | TermKind::Any) => kind,
        },
        at: term.at,
    };
    let atom = |atom: &Atom| Atom {
        predicate: number(atom.predicate),
        terms: atom.terms.iter().map(term).collect(),
        at: atom.at,
    };
    let literal = |literal: &Literal| match literal {
        Literal::Holds(holds) => Literal::Holds(atom(holds)),
        Literal::Absent(absent) => Literal::Absent(atom(absent)),
        Literal::Compare {
            left,
            comparison,
            right,
        } => Literal::Compare {
            left: term(left),
            comparison: *comparison,
            right: term(right),
        },
    };
    Rule {
        head: atom(&rule.head),
        body: rule.body.iter().map(literal).collect(),
        variables: rule.variables.clone(),
    }
}

/// The predicates that a rule depends on.
fn reach(program: &Program, task: &Task, rule: &Rule) -> Vec<bool> {
    let mut rules_of: Vec<Vec<&Rule>> = vec![Vec::new(); task.predicates.len()];
    for rule in &program.rules {
        rules_of[rule.head.predicate].push(rule);
    }
    let mut reached = vec![false; task.predicates.len()];
    let mut queue = vec![rule];
    while let Some(rule) = queue.pop() {
        for atom in rule.body.iter().filter_map(Literal::atom) {
            if !std::mem::replace(&mut reached[atom.predicate], true) {
                queue.extend(&rules_of[atom.predicate]);
            }
        }
    }
    reached
}
