//! Which predicates depend on which, in what order they can be evaluated, and whether any
//! depends on its own negation.

use std::collections::VecDeque;

use crate::error::{ErrorKind, ProgramError};
use crate::syntax::{Literal, Names, Predicate, Rule};

/// Most predicates of a cycle that a message names.
const CYCLE_SHOWN_MAX: usize = 8;

/// For each predicate those that its rules use, and whether they are negated.
pub(crate) type Dependencies = Vec<Vec<(Predicate, bool)>>;

pub(crate) fn dependencies<'a>(
    predicates: usize,
    rules: impl IntoIterator<Item = &'a Rule>,
) -> Dependencies {
    let mut uses: Dependencies = vec![Vec::new(); predicates];
    for rule in rules {
        for literal in &rule.body {
            if let Some(atom) = literal.atom() {
                let negated = matches!(literal, Literal::Absent(_));
                uses[rule.head.predicate].push((atom.predicate, negated));
            }
        }
    }
    uses
}

/// The strongly connected components, each after all that it depends on.
#[derive(Debug)]
pub(crate) struct Components {
    /// The component of each predicate.
    pub(crate) of: Vec<usize>,
    /// All predicates, those of a component next to each other.
    order: Vec<Predicate>,
    /// Where in the order each component ends.
    ends: Vec<usize>,
}

impl Components {
    /// The predicates of each component.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Predicate]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(&start, &end)| &self.order[start..end])
    }

    /// Whether two predicates depend on each other.
    pub(crate) fn together(&self, a: Predicate, b: Predicate) -> bool {
        self.of[a] == self.of[b]
    }
}

const UNSEEN: usize = usize::MAX;

/// Finds components by Tarjan's method, with a stack of its own: chains of predicates may be
/// as long as a program.
pub(crate) fn components(uses: &Dependencies) -> Components {
    let mut search = Search {
        uses,
        seen_at: vec![UNSEEN; uses.len()],
        lowest: vec![0; uses.len()],
        open: Vec::new(),
        found: Components {
            of: vec![UNSEEN; uses.len()],
            order: Vec::new(),
            ends: Vec::new(),
        },
        seen: 0,
    };
    for root in 0..uses.len() {
        if search.seen_at[root] == UNSEEN {
            search.from(root);
        }
    }
    search.found
}

struct Search<'a> {
    uses: &'a Dependencies,
    seen_at: Vec<usize>,
    lowest: Vec<usize>,
    open: Vec<Predicate>,
    found: Components,
    seen: usize,
}

impl Search<'_> {
    fn from(&mut self, root: Predicate) {
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((predicate, next)) = path.last_mut() {
            let predicate = *predicate;
            if let Some(&(used, _)) = self.uses[predicate].get(*next) {
                *next += 1;
                if self.seen_at[used] == UNSEEN {
                    self.enter(used);
                    path.push((used, 0));
                } else if self.found.of[used] == UNSEEN {
                    self.lowest[predicate] = self.lowest[predicate].min(self.seen_at[used]);
                }
                continue;
            }
            path.pop();
            if let Some(&(user, _)) = path.last() {
                self.lowest[user] = self.lowest[user].min(self.lowest[predicate]);
            }
            if self.lowest[predicate] == self.seen_at[predicate] {
                self.close(predicate);
            }
        }
    }

    fn enter(&mut self, predicate: Predicate) {
        self.seen_at[predicate] = self.seen;
        self.lowest[predicate] = self.seen;
        self.seen += 1;
        self.open.push(predicate);
    }

    fn close(&mut self, predicate: Predicate) {
        let start = self.open.iter().rposition(|&open| open == predicate);
        for member in self.open.drain(start.unwrap_or(0)..) {
            self.found.of[member] = self.found.ends.len();
            self.found.order.push(member);
        }
        self.found.ends.push(self.found.order.len());
    }
}

/// Checks that no predicate depends on its own negation.
pub(crate) fn check(names: &Names, rules: &[Rule]) -> Result<(), ProgramError> {
    let uses = dependencies(names.predicates.len(), rules);
    let components = components(&uses);
    for rule in rules {
        for literal in &rule.body {
            if let Literal::Absent(atom) = literal
                && components.together(rule.head.predicate, atom.predicate)
            {
                let cycle = describe_cycle(names, &uses, rule.head.predicate, atom.predicate);
                return Err(ProgramError::new(
                    ErrorKind::Unstratified,
                    atom.at,
                    format!("negation in a cycle: {cycle}"),
                ));
            }
        }
    }
    Ok(())
}

/// `head -> not negated -> ... -> head`.
fn describe_cycle(
    names: &Names,
    uses: &Dependencies,
    head: Predicate,
    negated: Predicate,
) -> String {
    let path = shortest_path(uses, negated, head);
    let mut text = format!("{} -> not ", names.predicates[head].name);
    for (i, (predicate, is_negated)) in path.iter().enumerate() {
        if i == CYCLE_SHOWN_MAX {
            text.push_str(" -> ...");
            break;
        }
        if i > 0 {
            text.push_str(if *is_negated { " -> not " } else { " -> " });
        }
        text.push_str(&names.predicates[*predicate].name);
    }
    text
}

/// A shortest way from one predicate to another that it depends on; each step with its sign.
fn shortest_path(uses: &Dependencies, from: Predicate, to: Predicate) -> Vec<(Predicate, bool)> {
    let mut came: Vec<Option<(Predicate, bool)>> = vec![None; uses.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(predicate) = queue.pop_front() {
        if predicate == to {
            break;
        }
        for &(used, negated) in &uses[predicate] {
            if used != from && came[used].is_none() {
                came[used] = Some((predicate, negated));
                queue.push_back(used);
            }
        }
    }
    let mut path = Vec::new();
    let mut here = to;
    while here != from {
        let Some((before, negated)) = came[here] else {
            break;
        };
        path.push((here, negated));
        here = before;
    }
    path.push((from, true));
    path.reverse();
    path
}
