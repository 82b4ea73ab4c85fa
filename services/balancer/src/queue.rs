//! The requests that wait for a slot: three classes by urgency, each in order of arrival.
//!
//! Classes share the slots that come free by deficit round robin 8:4:1, so urgent requests go
//! first and no class starves. Any waiter can leave at any time.

use std::collections::BTreeMap;
use std::time::Instant;

use tidepool_core::ids::PRIORITY_CLASSES;
use tidepool_core::{Deadline, Priority};

/// Grants that each class gets in a round while all of them have waiters.
const WEIGHTS: [u32; PRIORITY_CLASSES] = [8, 4, 1];

/// Names a waiter until it is served or leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaiterKey {
    class: usize,
    order: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    pub(crate) token: T,
    pub(crate) since: Instant,
    pub(crate) deadline: Deadline,
    pub(crate) bytes: usize,
}

/// Waiting requests, bounded by those who push.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    classes: [BTreeMap<u64, Waiter<T>>; PRIORITY_CLASSES],
    credits: [u32; PRIORITY_CLASSES],
    next_order: u64,
    bytes: usize,
}

impl<T> WaitQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            classes: std::array::from_fn(|_| BTreeMap::new()),
            credits: WEIGHTS,
            next_order: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(BTreeMap::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.iter().all(BTreeMap::is_empty)
    }

    /// Bytes of all that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waiters that a newcomer of this priority would find before it, roughly: those of its own
    /// and of more urgent classes.
    pub(crate) fn ahead_of(&self, priority: Priority) -> usize {
        self.classes
            .iter()
            .take(priority.class() + 1)
            .map(BTreeMap::len)
            .sum()
    }

    /// When the longest waiter came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.classes
            .iter()
            .filter_map(|c| c.values().next())
            .map(|w| w.since)
            .min()
    }

    pub(crate) fn push(&mut self, priority: Priority, waiter: Waiter<T>) -> WaiterKey {
        let key = WaiterKey {
            class: priority.class(),
            order: self.next_order,
        };
        self.next_order += 1;
        self.bytes += waiter.bytes;
        self.classes[key.class].insert(key.order, waiter);
        key
    }

    /// Takes a waiter out; nothing when it was served already.
    pub(crate) fn remove(&mut self, key: WaiterKey) -> Option<Waiter<T>> {
        let waiter = self.classes[key.class].remove(&key.order)?;
        self.bytes -= waiter.bytes;
        Some(waiter)
    }

    /// The waiter whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Waiter<T>> {
        if self.is_empty() {
            return None;
        }
        let has_turn = |queue: &Self, class: usize| {
            queue.credits[class] > 0 && !queue.classes[class].is_empty()
        };
        let class = match (0..PRIORITY_CLASSES).find(|class| has_turn(self, *class)) {
            Some(class) => class,
            None => {
                self.credits = WEIGHTS;
                (0..PRIORITY_CLASSES).find(|class| has_turn(self, *class))?
            }
        };
        self.credits[class] -= 1;
        let (_, waiter) = self.classes[class].pop_first()?;
        self.bytes -= waiter.bytes;
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn waiter(token: u32, now: Instant) -> Waiter<u32> {
        let deadline = Deadline::from_now(now, Duration::from_secs(1));
        Waiter {
            token,
            since: now,
            deadline,
            bytes: 10,
        }
    }

    #[test]
    fn shares_slots_eight_four_one() {
        let now = Instant::now();
        let mut queue = WaitQueue::new();
        for urgency in [0, 3, 7] {
            (0..100).for_each(|_| {
                queue.push(Priority::new(urgency), waiter(u32::from(urgency), now));
            });
        }
        let mut served = [0; 8];
        for _ in 0..26 {
            served[queue.pop().unwrap().token as usize] += 1;
        }
        assert_eq!((served[0], served[3], served[7]), (16, 8, 2));
    }

    #[test]
    fn keeps_the_order_of_arrival_within_a_class() {
        let now = Instant::now();
        let mut queue = WaitQueue::new();
        for token in 0..50 {
            queue.push(Priority::new(2 + (token % 3) as u8), waiter(token, now));
        }
        let served: Vec<u32> = std::iter::from_fn(|| queue.pop())
            .map(|w| w.token)
            .collect();
        assert_eq!(served, (0..50).collect::<Vec<_>>());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop,
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..8).prop_map(Step::Push),
            2 => Just(Step::Pop),
            1 => any::<usize>().prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn every_waiter_leaves_exactly_once_and_none_starves(steps in steps()) {
            let now = Instant::now();
            let mut queue = WaitQueue::new();
            let mut waiting: Vec<(u32, WaiterKey)> = Vec::new();
            let mut passed_over = std::collections::HashMap::<u32, u32>::new();
            for (token, step) in (0..).zip(steps) {
                match step {
                    Step::Push(urgency) => {
                        let key = queue.push(Priority::new(urgency), waiter(token, now));
                        waiting.push((token, key));
                    }
                    Step::Pop => {
                        let popped = queue.pop().map(|w| w.token);
                        prop_assert_eq!(popped.is_some(), !waiting.is_empty());
                        let at = waiting.iter().position(|(t, _)| Some(*t) == popped);
                        prop_assert_eq!(at.is_some(), popped.is_some());
                        if let Some(at) = at {
                            let (_, key) = waiting.remove(at);
                            prop_assert!(queue.remove(key).is_none());
                        }
                        // The head of each class is passed over for less than two rounds.
                        for class in 0..PRIORITY_CLASSES {
                            if let Some((head, _)) = waiting.iter().find(|(_, k)| k.class == class) {
                                let count = passed_over.entry(*head).or_insert(0);
                                *count += 1;
                                prop_assert!(*count <= 26, "class {} starves", class);
                            }
                        }
                    }
                    Step::Leave(index) if !waiting.is_empty() => {
                        let (token, key) = waiting.remove(index % waiting.len());
                        prop_assert_eq!(queue.remove(key).map(|w| w.token), Some(token));
                        prop_assert!(queue.remove(key).is_none());
                    }
                    Step::Leave(_) => {}
                }
                prop_assert_eq!(queue.len(), waiting.len());
                prop_assert_eq!(queue.bytes(), waiting.len() * 10);
            }
        }
    }
}
