//! Demand: `ancestor(ann, W)` asks for the descendants of ann and for nobody else's.
//!
//! For each predicate that is only ever asked for with some columns known, a second predicate
//! holds the combinations that somebody asked for. Rules get it as their first literal, and
//! each place that asks becomes a rule for it (known as magic sets).
//!
//! Two choices keep this simple. A predicate has one demand, on the columns that are known at
//! all places that ask; there are no copies of rules for different askers. And whatever a
//! negation needs, directly or not, is derived whole: so a demand never gets between a
//! predicate and its negation, and a stratified program stays one.

use crate::budget::Role;
use crate::linear;
use crate::order::Order;
use crate::parser::LITERALS_MAX;
use crate::relation::Mask;
use crate::strata;
use crate::syntax::{Atom, Literal, Predicate, Rule, Term};
use crate::task::Task;

/// The same task, deriving less. With `short_cuts`, rules may be rewritten so that answers can
/// no longer be proved from the rules as written.
pub(crate) fn restrict(mut task: Task, short_cuts: bool) -> Task {
    let demands = Demands::of(&task);
    let chains = if short_cuts {
        linear::find(&task, &demands)
    } else {
        Vec::new()
    };
    let names: Vec<Option<Predicate>> = (0..demands.masks.len())
        .map(|predicate| {
            let mask = demands.mask(predicate);
            let name = task.predicates[predicate].name.clone();
            (mask != 0).then(|| task.add_predicate(name, mask.count_ones() as usize, Role::Demand))
        })
        .collect();
    let rewriter = Rewriter {
        demands: &demands,
        names,
    };
    let mut rules = Vec::new();
    let mut literals = 0;
    for rule in &task.rules {
        let chain = chains.iter().find(|c| c.predicate == rule.head.predicate);
        let rewritten = match chain {
            Some(chain) => rewriter.chained(chain, rule),
            None => rewriter.rewrite(rule),
        };
        literals += rewritten.iter().map(|rule| rule.body.len()).sum::<usize>();
        rules.extend(rewritten);
        // Long bodies with many calls multiply: better too many facts than too many rules.
        if literals > LITERALS_MAX {
            return task;
        }
    }
    Task { rules, ..task }
}

/// Which columns are known wherever a predicate is asked for.
pub(crate) struct Demands {
    /// By predicate; none when nobody asks.
    masks: Vec<Option<Mask>>,
    has_rules: Vec<bool>,
}

impl Demands {
    fn of(task: &Task) -> Self {
        let rules_of = task.rules_by_head();
        let mut demands = Self {
            masks: vec![None; task.predicates.len()],
            has_rules: rules_of.iter().map(|rules| !rules.is_empty()).collect(),
        };
        demands.masks[task.answers] = Some(0);
        for predicate in needed_whole(task) {
            demands.masks[predicate] = Some(0);
        }
        // A mask only ever loses columns, so that each predicate comes here a few times.
        let mut queue = vec![task.answers];
        while let Some(asking) = queue.pop() {
            for &rule in &rules_of[asking] {
                for (literal, mask) in demands.calls(&task.rules[rule]) {
                    let Some(atom) = task.rules[rule].body[literal].atom() else {
                        continue;
                    };
                    let before = demands.masks[atom.predicate];
                    let after = before.map_or(mask, |before| before & mask);
                    if before != Some(after) {
                        demands.masks[atom.predicate] = Some(after);
                        queue.push(atom.predicate);
                    }
                }
            }
        }
        demands
    }

    /// The columns of the demand of a predicate; none when it is derived whole.
    pub(crate) fn mask(&self, predicate: Predicate) -> Mask {
        let mask = self.masks.get(predicate).copied().flatten().unwrap_or(0);
        if self.has_rules[predicate] { mask } else { 0 }
    }

    /// The body of a rule, or a part of it, in the order in which knowledge flows through it,
    /// and the columns that are known of each positive literal at its turn.
    fn flow(&self, rule: &Rule, body: &[Literal]) -> Vec<(usize, Mask)> {
        let mut order = Order::new(body, rule.variables.len());
        order.bind(&part(&rule.head, self.mask(rule.head.predicate)));
        let mut flow = Vec::with_capacity(body.len());
        while let Some(literal) = order.best(|_, atom| u64::from(self.has_rules[atom.predicate])) {
            let mask = match &body[literal] {
                Literal::Holds(atom) => order.mask(atom),
                Literal::Absent(_) | Literal::Compare { .. } => 0,
            };
            flow.push((literal, mask));
            order.take(literal);
        }
        flow
    }

    /// The literals of a rule that ask for a derived predicate, with the columns known.
    fn calls(&self, rule: &Rule) -> Vec<(usize, Mask)> {
        let mut calls = self.flow(rule, &rule.body);
        calls.retain(|&(literal, _)| match &rule.body[literal] {
            Literal::Holds(atom) => self.has_rules[atom.predicate],
            Literal::Absent(_) | Literal::Compare { .. } => false,
        });
        calls
    }
}

/// The predicates that a negation needs, directly or not.
fn needed_whole(task: &Task) -> Vec<Predicate> {
    let uses = strata::dependencies(task.predicates.len(), &task.rules);
    let mut queue: Vec<Predicate> = uses
        .iter()
        .flatten()
        .filter(|(_, negated)| *negated)
        .map(|(predicate, _)| *predicate)
        .collect();
    let mut whole = vec![false; uses.len()];
    while let Some(predicate) = queue.pop() {
        if !std::mem::replace(&mut whole[predicate], true) {
            queue.extend(uses[predicate].iter().map(|(used, _)| *used));
        }
    }
    (0..whole.len())
        .filter(|&predicate| whole[predicate])
        .collect()
}

/// An atom with the columns of a mask only.
fn part(atom: &Atom, mask: Mask) -> Atom {
    let columns = atom.terms.iter().enumerate();
    let terms: Vec<Term> = columns
        .filter(|(column, _)| *column < Mask::BITS as usize && mask >> column & 1 == 1)
        .map(|(_, term)| *term)
        .collect();
    Atom {
        predicate: atom.predicate,
        terms,
        at: atom.at,
    }
}

struct Rewriter<'a> {
    demands: &'a Demands,
    /// The predicate that holds the demand of a predicate.
    names: Vec<Option<Predicate>>,
}

impl Rewriter<'_> {
    /// The demand for an atom, unless its predicate is derived whole.
    fn demand(&self, atom: &Atom) -> Option<Atom> {
        let predicate = self.names[atom.predicate]?;
        Some(Atom {
            predicate,
            ..part(atom, self.demands.mask(atom.predicate))
        })
    }

    /// A rule that waits for demand, and the rules by which it asks others.
    fn rewrite(&self, rule: &Rule) -> Vec<Rule> {
        let waits = self.demand(&rule.head).map(Literal::Holds);
        let mut rules = self.asking(rule, &rule.body, waits.as_ref());
        rules.push(Rule {
            body: waits.into_iter().chain(rule.body.iter().cloned()).collect(),
            ..rule.clone()
        });
        rules
    }

    /// For each literal that asks: what is known before it is the demand for it.
    fn asking(&self, rule: &Rule, body: &[Literal], waits: Option<&Literal>) -> Vec<Rule> {
        let mut before: Vec<Literal> = waits.into_iter().cloned().collect();
        let mut rules = Vec::new();
        for (literal, _) in self.demands.flow(rule, body) {
            if let Literal::Holds(atom) = &body[literal]
                && let Some(head) = self.demand(atom)
                && before != [Literal::Holds(head.clone())]
            {
                rules.push(Rule {
                    head,
                    body: before.clone(),
                    variables: rule.variables.clone(),
                });
            }
            before.push(body[literal].clone());
        }
        rules
    }

    /// A rule of a chain, as [`linear`] tells it: one that uses its own predicate becomes a
    /// step of the walk, any other one puts down what it finds for the start.
    fn chained(&self, chain: &linear::Chain, rule: &Rule) -> Vec<Rule> {
        let mut rest = rule.clone();
        let call = linear::recursive_literal(rule).map(|literal| rest.body.remove(literal));
        let next = call.and_then(|literal| self.demand(literal.atom()?));
        rest.head = next.unwrap_or_else(|| chain.answer(&rule.head));
        let waits = self.demand(&rule.head).map(Literal::Holds);
        // What the other literals ask for is known without the call, which only hands on.
        let mut rules = self.asking(rule, &rest.body, waits.as_ref());
        rest.body.splice(0..0, waits);
        rules.push(rest);
        rules
    }
}
