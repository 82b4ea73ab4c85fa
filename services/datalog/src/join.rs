//! A nested-loop join over indexes, with a stack of its own. Every row that is looked at
//! spends a step of the budget, so that one join over anything ends when it must.

use crate::budget::{Budget, Halt};
use crate::plan::{Access, Column, Plan, Range, Source, Step};
use crate::relation::{Derivation, Relation};
use crate::syntax::Constant;
use crate::table::NO_ROW;

/// Where a step stands.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The row to look at next.
    next: u32,
    /// The first row that is not visible.
    end: u32,
    /// The row that matched.
    matched: u32,
}

/// Derives all that follows by a plan from the rows that its steps see.
pub(crate) fn run(
    plan: &Plan,
    relations: &mut [Relation],
    budget: &mut Budget<'_>,
) -> Result<(), Halt> {
    complete_indexes(plan, relations, budget)?;
    let cursor = Cursor {
        next: NO_ROW,
        end: 0,
        matched: NO_ROW,
    };
    let mut join = Join {
        plan,
        slots: vec![0; plan.slots],
        cursors: vec![cursor; plan.steps.len()],
        key: Vec::new(),
        premises: Vec::new(),
    };
    join.run(relations, budget)
}

fn complete_indexes(
    plan: &Plan,
    relations: &mut [Relation],
    budget: &mut Budget<'_>,
) -> Result<(), Halt> {
    for step in &plan.steps {
        if let Step::Match {
            predicate,
            access: Access::Probe { index, .. },
            ..
        }
        | Step::Absent {
            predicate,
            access: Access::Probe { index, .. },
        } = step
        {
            relations[*predicate].complete_index(*index, budget)?;
        }
    }
    Ok(())
}

struct Join<'a> {
    plan: &'a Plan,
    slots: Vec<Constant>,
    cursors: Vec<Cursor>,
    key: Vec<Constant>,
    premises: Vec<u32>,
}

impl Join<'_> {
    fn run(&mut self, relations: &mut [Relation], budget: &mut Budget<'_>) -> Result<(), Halt> {
        let last = self.plan.steps.len();
        let mut depth = 0;
        let mut entering = true;
        loop {
            budget.step()?;
            if depth == last {
                self.derive(relations, budget)?;
                entering = false;
            } else {
                let found = if entering {
                    self.enter(depth, relations, budget)?
                } else {
                    self.advance(depth, relations, budget)?
                };
                if found {
                    depth += 1;
                    entering = true;
                    continue;
                }
                entering = false;
            }
            if depth == 0 {
                return Ok(());
            }
            depth -= 1;
        }
    }

    #[inline]
    fn value(&self, source: Source) -> Constant {
        match source {
            Source::Constant(constant) => constant,
            Source::Slot(slot) => self.slots[slot],
        }
    }

    /// Starts a step with what the steps before it have bound; says whether it matches.
    fn enter(
        &mut self,
        depth: usize,
        relations: &[Relation],
        budget: &mut Budget<'_>,
    ) -> Result<bool, Halt> {
        match &self.plan.steps[depth] {
            Step::Match {
                predicate,
                access,
                range,
                ..
            } => {
                let relation = &relations[*predicate];
                let (start, end) = match range {
                    Range::Old => (0, relation.old),
                    Range::New => (relation.old, relation.known),
                    Range::Known => (0, relation.known),
                };
                let next = match access {
                    Access::Scan => start,
                    found => self.find(found, relation),
                };
                self.cursors[depth].next = next;
                self.cursors[depth].end = end;
                self.advance(depth, relations, budget)
            }
            Step::Absent { predicate, access } => {
                let relation = &relations[*predicate];
                Ok(match access {
                    Access::Scan => relation.len() == 0,
                    found => self.find(found, relation) == NO_ROW,
                })
            }
            Step::Compare {
                left,
                comparison,
                right,
            } => Ok(comparison.holds(self.value(*left), self.value(*right))),
            Step::Assign { slot, source } => {
                self.slots[*slot] = self.value(*source);
                Ok(true)
            }
        }
    }

    /// The first row for the key of an access.
    #[inline]
    fn find(&mut self, access: &Access, relation: &Relation) -> u32 {
        let (Access::Lookup { key } | Access::Probe { key, .. }) = access else {
            return NO_ROW;
        };
        self.key.clear();
        for source in key {
            let value = self.value(*source);
            self.key.push(value);
        }
        match access {
            Access::Probe { index, .. } => relation.first(*index, &self.key),
            _ => relation.find(&self.key).unwrap_or(NO_ROW),
        }
    }

    /// Moves a step to its next match.
    fn advance(
        &mut self,
        depth: usize,
        relations: &[Relation],
        budget: &mut Budget<'_>,
    ) -> Result<bool, Halt> {
        let plan = self.plan;
        let Step::Match {
            predicate,
            access,
            columns,
            once,
            ..
        } = &plan.steps[depth]
        else {
            // A filter has let through what it lets through.
            return Ok(false);
        };
        let relation = &relations[*predicate];
        let cursor = &mut self.cursors[depth];
        // Chains and scans both run from old to new, so that the first invisible row ends them.
        while cursor.next < cursor.end {
            budget.step()?;
            let row = cursor.next;
            cursor.next = match access {
                Access::Scan => row + 1,
                Access::Probe { index, .. } => relation.next(*index, row),
                Access::Lookup { .. } => NO_ROW,
            };
            if fits(&mut self.slots, columns, relation.row(row)) {
                cursor.matched = row;
                if *once {
                    cursor.next = NO_ROW;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All steps match: the head follows.
    fn derive(&mut self, relations: &mut [Relation], budget: &mut Budget<'_>) -> Result<(), Halt> {
        self.key.clear();
        for source in &self.plan.head_terms {
            let value = self.value(*source);
            self.key.push(value);
        }
        self.premises.clear();
        let rows = self.plan.premises.iter();
        self.premises
            .extend(rows.map(|&step| self.cursors[step].matched));
        let derivation = Derivation {
            rule: self.plan.rule,
            rows: &self.premises,
        };
        relations[self.plan.head].derive(&self.key, derivation, budget)
    }
}

#[inline]
fn fits(slots: &mut [Constant], columns: &[Column], row: &[Constant]) -> bool {
    columns.iter().all(|column| match *column {
        Column::Bind { column, slot } => {
            slots[slot] = row[column];
            true
        }
        Column::Check { column, source } => match source {
            Source::Constant(constant) => row[column] == constant,
            Source::Slot(slot) => row[column] == slots[slot],
        },
    })
}
