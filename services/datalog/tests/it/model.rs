//! A second evaluator to compare with: it knows no indexes, no rounds, no demand. It tries all
//! values for all variables until nothing new follows, stratum by stratum.

use std::collections::BTreeSet;
use std::fmt;

/// Constants are small integers.
pub(crate) type Constant = u8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Term {
    Constant(Constant),
    Variable(u8),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Atom {
    pub(crate) predicate: String,
    pub(crate) terms: Vec<Term>,
}

#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Holds(Atom),
    Absent(Atom),
    Compare(Term, &'static str, Term),
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) stratum: usize,
    pub(crate) head: Atom,
    pub(crate) body: Vec<Literal>,
}

/// Facts as predicate and constants.
pub(crate) type Facts = BTreeSet<(String, Vec<Constant>)>;

type Values = Vec<Constant>;

/// Everything that follows.
pub(crate) fn closure(facts: &Facts, rules: &[Rule], constants: Constant) -> Facts {
    let mut known = facts.clone();
    for stratum in 0..=rules.iter().map(|rule| rule.stratum).max().unwrap_or(0) {
        loop {
            let before = known.len();
            for rule in rules.iter().filter(|rule| rule.stratum == stratum) {
                for values in solutions(&known, &rule.body, constants) {
                    known.insert(ground(&rule.head, &values));
                }
            }
            if known.len() == before {
                break;
            }
        }
    }
    known
}

/// All values of all variables for which a body holds. A variable that does not occur is 0.
pub(crate) fn solutions(known: &Facts, body: &[Literal], constants: Constant) -> Vec<Values> {
    let count = body
        .iter()
        .flat_map(variables)
        .max()
        .map_or(0, |most| most + 1);
    let mut found = Vec::new();
    let mut values = vec![0; usize::from(count)];
    loop {
        if body.iter().all(|literal| holds(known, literal, &values)) {
            found.push(values.clone());
        }
        // Counts up, as on an odometer.
        let Some(at) = values.iter().rposition(|&value| value + 1 < constants) else {
            return found;
        };
        values[at] += 1;
        values[at + 1..].fill(0);
    }
}

pub(crate) fn variables(literal: &Literal) -> Vec<u8> {
    let terms = match literal {
        Literal::Holds(atom) | Literal::Absent(atom) => atom.terms.clone(),
        Literal::Compare(left, _, right) => vec![*left, *right],
    };
    let variable = |term: Term| match term {
        Term::Variable(variable) => Some(variable),
        Term::Constant(_) => None,
    };
    terms.into_iter().filter_map(variable).collect()
}

fn value(term: Term, values: &Values) -> Constant {
    match term {
        Term::Constant(constant) => constant,
        Term::Variable(variable) => values[usize::from(variable)],
    }
}

fn ground(atom: &Atom, values: &Values) -> (String, Vec<Constant>) {
    let terms = atom.terms.iter().map(|&term| value(term, values));
    (atom.predicate.clone(), terms.collect())
}

fn holds(known: &Facts, literal: &Literal, values: &Values) -> bool {
    match literal {
        Literal::Holds(atom) => known.contains(&ground(atom, values)),
        Literal::Absent(atom) => !known.contains(&ground(atom, values)),
        Literal::Compare(left, sign, right) => {
            let (left, right) = (value(*left, values), value(*right, values));
            match *sign {
                "=" => left == right,
                "!=" => left != right,
                "<" => left < right,
                "<=" => left <= right,
                ">" => left > right,
                _ => left >= right,
            }
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(constant) => write!(f, "{constant}"),
            Self::Variable(variable) => write!(f, "V{variable}"),
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.terms.iter().map(ToString::to_string).collect();
        write!(f, "{}({})", self.predicate, terms.join(", "))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(atom) => write!(f, "{atom}"),
            Self::Absent(atom) => write!(f, "not {atom}"),
            Self::Compare(left, sign, right) => write!(f, "{left} {sign} {right}"),
        }
    }
}

/// A body as text.
pub(crate) fn body_text(body: &[Literal]) -> String {
    let literals: Vec<String> = body.iter().map(ToString::to_string).collect();
    literals.join(", ")
}

/// A program as text.
pub(crate) fn program_text(facts: &Facts, rules: &[Rule]) -> String {
    let mut text = String::new();
    for (predicate, constants) in facts {
        text.push_str(&format!("{}.\n", fact_text(predicate, constants)));
    }
    for rule in rules {
        text.push_str(&format!("{} :- {}.\n", rule.head, body_text(&rule.body)));
    }
    text
}

pub(crate) fn fact_text(predicate: &str, constants: &[Constant]) -> String {
    let constants: Vec<String> = constants.iter().map(ToString::to_string).collect();
    format!("{predicate}({})", constants.join(", "))
}
