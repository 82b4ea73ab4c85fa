//! A hash table of row numbers. The rows stay where they are; the table only finds them, and
//! keeps their hashes so that growing reads nothing else.

use crate::budget::{Budget, Halt};

/// Largest row number; the one above marks an empty slot and the end of a chain.
pub(crate) const ROW_MAX: u32 = u32::MAX - 1;
/// No row.
pub(crate) const NO_ROW: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    row: u32,
}

const EMPTY: Slot = Slot {
    hash: 0,
    row: NO_ROW,
};

/// Open addressing with linear probing, at most three quarters full.
#[derive(Debug, Default)]
pub(crate) struct RowTable {
    slots: Vec<Slot>,
    used: usize,
}

/// Hashes constants. The seed differs from run to run, so that nobody can write a program
/// whose constants collide.
#[inline]
pub(crate) fn hash(seed: u64, constants: impl Iterator<Item = u32>) -> u32 {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
    let mut state = seed;
    for constant in constants {
        let product = u128::from(state ^ u64::from(constant)) * FACTOR;
        state = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
    (state ^ (state >> 32)) as u32
}

impl RowTable {
    /// The row with this hash that `is` the one looked for.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.row == NO_ROW {
                return None;
            }
            if slot.hash == hash && is(slot.row) {
                return Some(slot.row);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a row that is not there yet.
    pub(crate) fn add(&mut self, hash: u32, row: u32, budget: &mut Budget<'_>) -> Result<(), Halt> {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow(budget)?;
        }
        self.place(Slot { hash, row });
        self.used += 1;
        Ok(())
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].row != NO_ROW {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn grow(&mut self, budget: &mut Budget<'_>) -> Result<(), Halt> {
        let len = (self.slots.len() * 2).max(8);
        let old = budget.replace(&mut self.slots, len, EMPTY)?;
        for slot in old {
            budget.step()?;
            if slot.row != NO_ROW {
                self.place(slot);
            }
        }
        Ok(())
    }
}
