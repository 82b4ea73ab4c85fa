//! A query and what it needs of a program, in numbers: constants are ranks, so that comparing
//! numbers compares constants, and rules are those that the query can reach.

use std::collections::HashMap;
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
    /// The number here of each predicate of the program that matters.
    pub(crate) numbers: HashMap<Predicate, Predicate>,
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
        numbers: HashMap::new(),
        predicates: Vec::new(),
        answers: 0,
        rules: Vec::new(),
    };
    let mut numbers = Vec::with_capacity(query.names.predicates.len());
    let mut asked = Vec::new();
    for (number, signature) in query.names.predicates.iter().enumerate() {
        let is_head = number == query.rule.head.predicate;
        let role = if is_head { Role::Answer } else { Role::Fact };
        let added = task.add_predicate(signature.name.clone(), signature.arity, role);
        numbers.push(added);
        if let Some(known) = program.names.find_predicate(&signature.name) {
            task.numbers.insert(known, added);
            asked.push(known);
        }
    }
    task.answers = numbers[query.rule.head.predicate];
    let relevant = reach(program, asked, &mut task);
    let number = |predicate| task.numbers[&predicate];
    let rules = relevant
        .into_iter()
        .map(|rule| translate(rule, &task.ranks, number));
    let rule = translate(&query.rule, &query_ranks, |predicate| numbers[predicate]);
    task.rules = rules.chain([rule]).collect();
    for fact in program.facts.iter() {
        if let Some(&number) = task.numbers.get(&fact.predicate) {
            task.predicates[number].written = true;
        }
    }
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

/// Gives numbers to all predicates that the given ones depend on; returns their rules.
fn reach<'a>(program: &'a Program, mut queue: Vec<Predicate>, task: &mut Task) -> Vec<&'a Rule> {
    let mut rules_of: HashMap<Predicate, Vec<&Rule>> = HashMap::new();
    for rule in &program.rules {
        rules_of.entry(rule.head.predicate).or_default().push(rule);
    }
    let mut reached = Vec::new();
    while let Some(predicate) = queue.pop() {
        for rule in rules_of.remove(&predicate).unwrap_or_default() {
            reached.push(rule);
            for atom in rule.body.iter().filter_map(Literal::atom) {
                if !task.numbers.contains_key(&atom.predicate) {
                    let signature = &program.names.predicates[atom.predicate];
                    let name = signature.name.clone();
                    let number = task.add_predicate(name, signature.arity, Role::Fact);
                    task.numbers.insert(atom.predicate, number);
                    queue.push(atom.predicate);
                }
            }
        }
    }
    reached
}
