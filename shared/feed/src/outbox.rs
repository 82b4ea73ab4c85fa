//! Events of a process that does not lead, on their way to the one that does.

use std::collections::VecDeque;

use bytes::Bytes;

/// Events that wait, numbered from the first ever. When there are too many the oldest go.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Bytes>,
    first: u64,
    len_max: usize,
}

impl Outbox {
    pub(crate) fn new(len_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            first: 0,
            len_max: len_max.max(1),
        }
    }

    /// Adds an event. False when another one had to go for it.
    pub(crate) fn push(&mut self, event: Bytes) -> bool {
        let has_room = self.waiting.len() < self.len_max;
        if !has_room {
            self.waiting.pop_front();
            self.first += 1;
        }
        self.waiting.push_back(event);
        has_room
    }

    /// The oldest, and up to where [`Self::done`] says that they need not wait any more.
    pub(crate) fn oldest(&self, len_max: usize) -> (Vec<Bytes>, u64) {
        let batch: Vec<_> = self.waiting.iter().take(len_max).cloned().collect();
        let end = self.first + batch.len() as u64;
        (batch, end)
    }

    /// Forgets everything before a number.
    pub(crate) fn done(&mut self, end: u64) {
        while self.first < end && self.waiting.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Everything that waits; it need not any more.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.first = self.end();
        self.waiting.drain(..).collect()
    }

    /// Number of the oldest that waits, or of the next to come.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Number of the next to come.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_knows_what_is_done() {
        let mut outbox = Outbox::new(3);
        for text in ["a", "b", "c"] {
            assert!(outbox.push(text.into()));
        }
        let (batch, end) = outbox.oldest(2);
        assert_eq!((batch, end), (vec!["a".into(), "b".into()], 2));
        // The oldest goes while it is being sent; what is done is not taken for another.
        assert!(!outbox.push("d".into()));
        outbox.done(end);
        assert_eq!(outbox.oldest(9), (vec!["c".into(), "d".into()], 4));
        assert_eq!(outbox.take().len(), 2);
        assert_eq!((outbox.first(), outbox.end()), (4, 4));
        outbox.done(9);
        assert_eq!(outbox.first(), 4);
    }
}
