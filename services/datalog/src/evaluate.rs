//! Evaluation: components of the task one after the other, each in rounds that join only what
//! the round before found with all that is known, until nothing new is found.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::answer::{self, Answers};
use crate::budget::{Budget, Halt, Limits, Role, Stop};
use crate::demand;
use crate::error::EvaluateError;
use crate::join;
use crate::plan::{Compile, Plan};
use crate::program::{Program, Query};
use crate::relation::Relation;
use crate::strata::{self, Components};
use crate::syntax::{Literal, Predicate, Rule};
use crate::task::{self, Task};

/// Answers a query.
///
/// `stop` is asked about every thousand steps of the innermost loops, also inside one join;
/// when it names a reason, the evaluation ends. The same program, query and limits always give
/// the same answers in the same order, unless they are stopped.
///
/// # Errors
/// When the query does not fit the program, a limit is reached, or `stop` says so.
pub fn evaluate(
    program: &Program,
    query: &Query,
    limits: &Limits,
    stop: &mut dyn FnMut() -> Option<Stop>,
) -> Result<Answers, EvaluateError> {
    query.check_against(program).map_err(EvaluateError::Query)?;
    let task = demand::restrict(task::link(program, query), limits.proofs.is_none());
    let mut budget = Budget::new(limits, stop);
    run(program, &task, limits, &mut budget).map_err(|halt| EvaluateError::from_halt(halt, limits))
}

fn run(
    program: &Program,
    task: &Task,
    limits: &Limits,
    budget: &mut Budget<'_>,
) -> Result<Answers, Halt> {
    let mut relations = load(program, task, limits.proofs.is_some(), budget)?;
    let uses = strata::dependencies(task.predicates.len(), &task.rules);
    let components = strata::components(&uses);
    let rules_of = task.rules_by_head();
    for members in components.iter() {
        let rules: Vec<usize> = members
            .iter()
            .flat_map(|&m| &rules_of[m])
            .copied()
            .collect();
        let mut component = Component {
            task,
            components: &components,
            members,
            rules,
            plans: HashMap::new(),
        };
        component.evaluate(&mut relations, budget)?;
    }
    answer::collect(task, &relations, limits, budget)
}

/// The facts of the program that the task uses.
fn load(
    program: &Program,
    task: &Task,
    remember: bool,
    budget: &mut Budget<'_>,
) -> Result<Vec<Relation>, Halt> {
    budget.charge(task.predicates.len() * size_of::<Relation>())?;
    let seed = RandomState::new().hash_one(0);
    let shapes = task.predicates.iter();
    let mut relations: Vec<Relation> = shapes
        .map(|shape| Relation::new(shape.arity, shape.role, seed, remember))
        .collect();
    let mut tuple = Vec::new();
    for fact in program.facts.iter() {
        budget.step()?;
        if let Some(&number) = task.numbers.get(&fact.predicate) {
            tuple.clear();
            tuple.extend(fact.constants.iter().map(|&c| task.ranks[c as usize]));
            relations[number].write(&tuple, fact.line, budget)?;
        }
    }
    Ok(relations)
}

/// Predicates that depend on each other.
struct Component<'a> {
    task: &'a Task,
    components: &'a Components,
    members: &'a [Predicate],
    rules: Vec<usize>,
    /// By rule and by the literal that sees what is new.
    plans: HashMap<(usize, usize), Plan>,
}

impl Component<'_> {
    fn evaluate(
        &mut self,
        relations: &mut [Relation],
        budget: &mut Budget<'_>,
    ) -> Result<(), Halt> {
        self.begin_round(relations);
        for rule in self.rules.clone() {
            let plan = self.compile(rule, None, relations);
            budget.step()?;
            join::run(&plan, relations, budget)?;
        }
        let recursive = self.recursive_literals();
        while self.begin_round(relations) {
            for &(rule, literal, predicate) in &recursive {
                if relations[predicate].old == relations[predicate].known {
                    continue;
                }
                if !self.plans.contains_key(&(rule, literal)) {
                    let plan = self.compile(rule, Some(literal), relations);
                    budget.charge(plan.bytes())?;
                    self.plans.insert((rule, literal), plan);
                }
                join::run(&self.plans[&(rule, literal)], relations, budget)?;
            }
        }
        Ok(())
    }

    /// Makes what the last round found visible; says whether that was anything.
    fn begin_round(&self, relations: &mut [Relation]) -> bool {
        let mut any = false;
        for &member in self.members {
            any |= relations[member].begin_round();
        }
        any
    }

    fn compile(&self, number: usize, new: Option<usize>, relations: &mut [Relation]) -> Plan {
        let member = self.members[0];
        let grows = |predicate| self.components.together(predicate, member);
        let compile = Compile {
            number,
            rule: self.rule(number),
            new,
            grows: &grows,
        };
        compile.plan(relations)
    }

    fn rule(&self, number: usize) -> &Rule {
        &self.task.rules[number]
    }

    /// The literals through which the component depends on itself: rule, literal, predicate.
    fn recursive_literals(&self) -> Vec<(usize, usize, Predicate)> {
        let mut found = Vec::new();
        for &rule in &self.rules {
            for (literal, atom) in self.rule(rule).body.iter().enumerate() {
                if let Literal::Holds(atom) = atom
                    && self.components.together(atom.predicate, self.members[0])
                {
                    found.push((rule, literal, atom.predicate));
                }
            }
        }
        found
    }
}

/// How many facts the rules of a program have derived.
pub(crate) fn derived_facts(budget: &Budget<'_>) -> u64 {
    budget.derived(Role::Fact)
}
