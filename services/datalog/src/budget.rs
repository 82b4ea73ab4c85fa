//! What an evaluation may use. Every loop that a program can make long spends from here, so
//! that nothing runs for more than a thousand steps without somebody looking.

use crate::proof::ProofLimits;

/// Steps of the innermost loops between two looks at the clock; some 10 to 100 us.
const STEPS_PER_LOOK: u32 = 1024;

/// What one evaluation may use at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Facts that rules may derive. The demands that steer the evaluation, and the answers, are
    /// held to the same number, each on their own.
    pub facts_max: u64,
    /// Bytes for facts, their indexes and derivations, by the sizes of the buffers.
    pub memory_bytes_max: usize,
    /// Answers to return; the first ones in the order of constants.
    pub answers_max: usize,
    /// Whether to prove the answers, and how large proofs may be. Remembering derivations
    /// costs memory, and rules out a short cut for right-recursive rules.
    pub proofs: Option<ProofLimits>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            facts_max: 1_000_000,
            memory_bytes_max: 256 << 20,
            answers_max: 1_000,
            proofs: None,
        }
    }
}

/// Why the caller of the engine wants it to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Nobody waits for the answers any more.
    Cancelled,
    /// The time is up.
    Deadline,
}

/// Why an evaluation must end now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    Facts,
    Memory,
    Stopped(Stop),
}

/// What a derived tuple is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A fact of a predicate of the program.
    Fact,
    /// A wish for facts, which keeps rules from deriving what nobody asked for.
    Demand,
    /// An answer to the query.
    Answer,
}

/// What is left of the limits.
pub(crate) struct Budget<'a> {
    stop: &'a mut dyn FnMut() -> Option<Stop>,
    steps_until_look: u32,
    facts_max: u64,
    derived: [u64; 3],
    bytes: usize,
    bytes_max: usize,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &Limits, stop: &'a mut dyn FnMut() -> Option<Stop>) -> Self {
        Self {
            stop,
            // The first step looks, so that work that is late already ends at once.
            steps_until_look: 1,
            facts_max: limits.facts_max,
            derived: [0; 3],
            bytes: 0,
            bytes_max: limits.memory_bytes_max,
        }
    }

    /// Spends one step of an inner loop.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<(), Halt> {
        self.steps_until_look -= 1;
        if self.steps_until_look == 0 {
            self.look()
        } else {
            Ok(())
        }
    }

    #[cold]
    fn look(&mut self) -> Result<(), Halt> {
        self.steps_until_look = STEPS_PER_LOOK;
        match (self.stop)() {
            Some(stop) => Err(Halt::Stopped(stop)),
            None => Ok(()),
        }
    }

    /// Counts a derived tuple.
    pub(crate) fn derive(&mut self, role: Role) -> Result<(), Halt> {
        let count = &mut self.derived[role as usize];
        if *count >= self.facts_max {
            return Err(Halt::Facts);
        }
        *count += 1;
        Ok(())
    }

    /// How many tuples of a role were derived.
    pub(crate) fn derived(&self, role: Role) -> u64 {
        self.derived[role as usize]
    }

    /// Pays for bytes that stay until the evaluation ends.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Halt> {
        let total = self.bytes.saturating_add(bytes);
        if total > self.bytes_max {
            return Err(Halt::Memory);
        }
        self.bytes = total;
        Ok(())
    }

    /// Makes room for `extra` more elements. The old and the new buffer are both paid for
    /// until the old one is gone.
    #[inline]
    pub(crate) fn reserve<T>(&mut self, buffer: &mut Vec<T>, extra: usize) -> Result<(), Halt> {
        if buffer.capacity() - buffer.len() >= extra {
            return Ok(());
        }
        self.grow(buffer, extra)
    }

    #[cold]
    fn grow<T>(&mut self, buffer: &mut Vec<T>, extra: usize) -> Result<(), Halt> {
        let before = buffer.capacity();
        let after = (before * 2).max(buffer.len() + extra).max(4);
        self.charge(after * size_of::<T>())?;
        buffer.reserve_exact(after - buffer.len());
        self.bytes -= before * size_of::<T>();
        Ok(())
    }

    /// A buffer of `len` times the same element, in place of one that is given up.
    pub(crate) fn replace<T: Clone>(
        &mut self,
        buffer: &mut Vec<T>,
        len: usize,
        element: T,
    ) -> Result<Vec<T>, Halt> {
        self.charge(len * size_of::<T>())?;
        let old = std::mem::replace(buffer, vec![element; len]);
        self.bytes -= old.len() * size_of::<T>();
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_the_first_step_and_every_thousand_after() {
        let mut looks = 0;
        let mut count = || {
            looks += 1;
            None
        };
        let mut budget = Budget::new(&Limits::default(), &mut count);
        for _ in 0..=STEPS_PER_LOOK * 3 {
            budget.step().unwrap();
        }
        assert_eq!(looks, 4);
    }

    #[test]
    fn a_buffer_never_grows_past_the_memory_limit() {
        let limits = Limits {
            memory_bytes_max: 1000,
            ..Limits::default()
        };
        let mut never = || None;
        let mut budget = Budget::new(&limits, &mut never);
        let mut buffer: Vec<u64> = Vec::new();
        let halt = loop {
            match budget.reserve(&mut buffer, 1) {
                Ok(()) => buffer.push(0),
                Err(halt) => break halt,
            }
        };
        assert_eq!(halt, Halt::Memory);
        assert!(buffer.capacity() * 8 <= 1000);
    }
}
