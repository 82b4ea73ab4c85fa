//! The facts of one predicate: rows in the order in which they were found, no two the same,
//! with indexes for the combinations of columns that joins ask for.
//!
//! The order is what makes evaluation semi-naive without copies: the first `old` rows are
//! those that all joins have seen, the rows up to `known` are new in this round, and rows
//! after that are being found in it.

use crate::budget::{Budget, Halt, Role};
use crate::syntax::Constant;
use crate::table::{NO_ROW, ROW_MAX, RowTable, hash};

/// A set of columns, as bits.
pub(crate) type Mask = u32;

/// How a row came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Written in the program at this line.
    Written { line: u32 },
    /// Derived; where in the derivations the rule and the rows of its premises stand.
    Derived { at: u32 },
}

/// How each row came to be, when somebody will ask.
#[derive(Debug, Default)]
struct Derivations {
    origins: Vec<Origin>,
    steps: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Relation {
    arity: usize,
    role: Role,
    seed: u64,
    constants: Vec<Constant>,
    len: u32,
    rows: RowTable,
    indexes: Vec<Index>,
    derivations: Option<Derivations>,
    /// Rows before this one have met all others.
    pub(crate) old: u32,
    /// Rows before this one are visible to joins.
    pub(crate) known: u32,
}

/// Rows with the same constants in some columns, chained from the oldest to the newest.
#[derive(Debug)]
struct Index {
    mask: Mask,
    columns: Vec<usize>,
    table: RowTable,
    groups: Vec<Group>,
    next: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first: u32,
    last: u32,
}

/// A premise of a derivation: a rule, and the rows that its positive literals matched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Derivation<'a> {
    pub(crate) rule: usize,
    pub(crate) rows: &'a [u32],
}

impl Relation {
    pub(crate) fn new(arity: usize, role: Role, seed: u64, remember: bool) -> Self {
        Self {
            arity,
            role,
            seed,
            constants: Vec::new(),
            len: 0,
            rows: RowTable::default(),
            indexes: Vec::new(),
            derivations: remember.then(Derivations::default),
            old: 0,
            known: 0,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    #[inline]
    pub(crate) fn row(&self, row: u32) -> &[Constant] {
        let start = row as usize * self.arity;
        &self.constants[start..start + self.arity]
    }

    /// Begins another round: what was new is old, what was found is known. Says whether there
    /// is anything new.
    pub(crate) fn begin_round(&mut self) -> bool {
        self.old = self.known;
        self.known = self.len;
        self.old < self.known
    }

    /// The row that equals a tuple.
    #[inline]
    pub(crate) fn find(&self, tuple: &[Constant]) -> Option<u32> {
        let hash = hash(self.seed, tuple.iter().copied());
        self.rows.find(hash, |row| self.row(row) == tuple)
    }

    /// Adds a fact that is written in the program.
    pub(crate) fn write(
        &mut self,
        tuple: &[Constant],
        line: u32,
        budget: &mut Budget<'_>,
    ) -> Result<(), Halt> {
        if self.add(tuple, budget)?
            && let Some(derivations) = &mut self.derivations
        {
            budget.reserve(&mut derivations.origins, 1)?;
            derivations.origins.push(Origin::Written { line });
        }
        Ok(())
    }

    /// Adds a tuple that follows from others. Only its first derivation is remembered: as its
    /// premises were there before it, derivations never run in circles.
    pub(crate) fn derive(
        &mut self,
        tuple: &[Constant],
        derivation: Derivation<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Halt> {
        if !self.add(tuple, budget)? {
            return Ok(());
        }
        budget.derive(self.role)?;
        let Some(derivations) = &mut self.derivations else {
            return Ok(());
        };
        let at = u32::try_from(derivations.steps.len()).map_err(|_| Halt::Memory)?;
        budget.reserve(&mut derivations.origins, 1)?;
        derivations.origins.push(Origin::Derived { at });
        budget.reserve(&mut derivations.steps, derivation.rows.len() + 1)?;
        // A task has far fewer than 2^32 rules.
        derivations.steps.push(derivation.rule as u32);
        derivations.steps.extend_from_slice(derivation.rows);
        Ok(())
    }

    fn add(&mut self, tuple: &[Constant], budget: &mut Budget<'_>) -> Result<bool, Halt> {
        debug_assert_eq!(tuple.len(), self.arity);
        let hash = hash(self.seed, tuple.iter().copied());
        if self.rows.find(hash, |row| self.row(row) == tuple).is_some() {
            return Ok(false);
        }
        if self.len == ROW_MAX {
            return Err(Halt::Memory);
        }
        budget.reserve(&mut self.constants, self.arity)?;
        self.rows.add(hash, self.len, budget)?;
        self.constants.extend_from_slice(tuple);
        self.len += 1;
        Ok(true)
    }

    /// How a row came to be, if derivations are remembered.
    pub(crate) fn origin(&self, row: u32) -> Option<Origin> {
        let derivations = self.derivations.as_ref()?;
        derivations.origins.get(row as usize).copied()
    }

    /// The rule and the first `rows` premises of a derivation.
    pub(crate) fn derivation(&self, at: u32) -> Option<(usize, &[u32])> {
        let steps = &self.derivations.as_ref()?.steps[at as usize..];
        let (rule, rows) = steps.split_first()?;
        Some((*rule as usize, rows))
    }

    /// The number of the index on some columns, which is made if there is none.
    pub(crate) fn index_on(&mut self, mask: Mask) -> usize {
        if let Some(found) = self.indexes.iter().position(|index| index.mask == mask) {
            return found;
        }
        self.indexes.push(Index {
            mask,
            columns: (0..self.arity).filter(|c| mask >> c & 1 == 1).collect(),
            table: RowTable::default(),
            groups: Vec::new(),
            next: Vec::new(),
        });
        self.indexes.len() - 1
    }

    /// Brings an index up to the last row.
    pub(crate) fn complete_index(
        &mut self,
        index: usize,
        budget: &mut Budget<'_>,
    ) -> Result<(), Halt> {
        let covered = self.indexes[index].next.len();
        let missing = self.len as usize - covered;
        if missing == 0 {
            return Ok(());
        }
        let (arity, constants) = (self.arity, &self.constants);
        let index = &mut self.indexes[index];
        budget.reserve(&mut index.next, missing)?;
        for row in covered as u32..self.len {
            budget.step()?;
            index.add(
                row,
                self.seed,
                |row| &constants[row as usize * arity..],
                budget,
            )?;
        }
        Ok(())
    }

    /// The oldest row whose indexed columns equal a key.
    #[inline]
    pub(crate) fn first(&self, index: usize, key: &[Constant]) -> u32 {
        let index = &self.indexes[index];
        let hash = hash(self.seed, key.iter().copied());
        let found = index.table.find(hash, |group| {
            let row = self.row(index.groups[group as usize].first);
            index.columns.iter().zip(key).all(|(&c, &k)| row[c] == k)
        });
        found.map_or(NO_ROW, |group| index.groups[group as usize].first)
    }

    /// The next newer row with the same key.
    #[inline]
    pub(crate) fn next(&self, index: usize, row: u32) -> u32 {
        self.indexes[index].next[row as usize]
    }
}

impl Index {
    fn add<'a>(
        &mut self,
        row: u32,
        seed: u64,
        at: impl Fn(u32) -> &'a [Constant],
        budget: &mut Budget<'_>,
    ) -> Result<(), Halt> {
        let tuple = at(row);
        let hash = hash(seed, self.columns.iter().map(|&c| tuple[c]));
        let found = self.table.find(hash, |group| {
            let first = at(self.groups[group as usize].first);
            self.columns.iter().all(|&c| first[c] == tuple[c])
        });
        self.next.push(NO_ROW);
        if let Some(group) = found {
            let group = &mut self.groups[group as usize];
            self.next[group.last as usize] = row;
            group.last = row;
            return Ok(());
        }
        // There are no more groups than rows, which are numbered by 32 bits.
        let group = self.groups.len() as u32;
        budget.reserve(&mut self.groups, 1)?;
        self.groups.push(Group {
            first: row,
            last: row,
        });
        self.table.add(hash, group, budget)
    }
}
