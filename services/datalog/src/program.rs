//! Programs and queries that have been read and checked, and can be trusted after.

use crate::error::ProgramError;
use crate::parser::Parser;
use crate::safety;
use crate::strata;
use crate::syntax::{Constant, Names, Predicate, Rule};

/// Facts as they were written, without a heap allocation for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    facts: Vec<(Predicate, u32, u32)>,
    constants: Vec<Constant>,
}

/// One fact of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact<'a> {
    pub(crate) predicate: Predicate,
    pub(crate) constants: &'a [Constant],
    pub(crate) line: u32,
}

impl Facts {
    pub(crate) fn push(
        &mut self,
        predicate: Predicate,
        constants: impl Iterator<Item = Constant>,
        line: u32,
    ) {
        self.constants.extend(constants);
        // The text is bounded far below 4 GiB, and a constant takes a byte of it.
        let end = u32::try_from(self.constants.len()).unwrap_or(u32::MAX);
        self.facts.push((predicate, end, line));
    }

    pub(crate) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Fact<'_>> {
        let mut start = 0;
        self.facts.iter().map(move |&(predicate, end, line)| {
            let constants = &self.constants[start..end as usize];
            start = end as usize;
            Fact {
                predicate,
                constants,
                line,
            }
        })
    }
}

/// A program: facts and rules, safe and stratified.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) names: Names,
    pub(crate) facts: Facts,
    pub(crate) rules: Vec<Rule>,
}

impl Program {
    /// Reads and checks a program.
    ///
    /// # Errors
    /// With a place, when the text is no program, a predicate is used with different numbers of
    /// arguments, a variable is not bound, or a predicate depends on its own negation.
    pub fn parse(text: &str) -> Result<Self, ProgramError> {
        let mut parser = Parser::new(text)?;
        let (facts, rules) = parser.clauses()?;
        let names = parser.names;
        for rule in &rules {
            safety::check(rule)?;
        }
        strata::check(&names, &rules)?;
        Ok(Self {
            names,
            facts,
            rules,
        })
    }

    /// How many facts were written.
    #[must_use]
    pub fn fact_count(&self) -> usize {
        self.facts.len()
    }

    /// How many rules were written.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }
}

/// A query: a body whose variables are wanted.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) names: Names,
    /// A rule whose head has the variables that answers show.
    pub(crate) rule: Rule,
}

impl Query {
    /// Reads and checks a query: one literal or several with commas between, such as
    /// `ancestor(ann, W), not parent(ann, W)`. `?-` before and `.` or `?` after it are allowed.
    ///
    /// # Errors
    /// With a place, when the text is no query or a variable is not bound.
    pub fn parse(text: &str) -> Result<Self, ProgramError> {
        let query = Parser::new(text)?.query()?;
        safety::check(&query.rule)?;
        Ok(query)
    }

    /// Whether the rest of the query fits a program: the same predicates, the same arities.
    pub(crate) fn check_against(&self, program: &Program) -> Result<(), ProgramError> {
        for atom in self.rule.body.iter().filter_map(|literal| literal.atom()) {
            let signature = &self.names.predicates[atom.predicate];
            if let Some(known) = program.names.find_predicate(&signature.name) {
                program.names.predicates[known].expect_arity(signature.arity, atom.at)?;
            }
        }
        Ok(())
    }
}
