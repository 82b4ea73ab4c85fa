//! The newest events in memory. Readers hold an id and ask for what comes after it.

use std::collections::VecDeque;
use std::sync::Arc;

use tidepool_core::EventId;

use crate::entry::Entry;
use crate::filter::Filter;

/// The newest events, oldest first, ids growing.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<Arc<Entry>>,
    len_max: usize,
    /// Newest id that is no longer here. Zero while nothing is missing.
    gone: EventId,
    /// How often the newest events were taken back, and up to where the last time.
    rewound: (u64, EventId),
}

/// What a reader gets next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Matching events.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Where the reader stands now.
    pub(crate) cursor: EventId,
    /// Whether events between the old cursor and these are gone.
    pub(crate) has_gap: bool,
}

impl Ring {
    pub(crate) fn new(len_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            len_max: len_max.max(1),
            gone: EventId::default(),
            rewound: (0, EventId::default()),
        }
    }

    /// Takes over events of the store, oldest first. `follows_on`: nothing is missing between what
    /// is here and these, apart from what `is_all` says of an empty ring.
    pub(crate) fn catch_up(&mut self, entries: Vec<Arc<Entry>>, follows_on: bool, is_all: bool) {
        let newest = self.newest();
        let mut newer: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.id > newest)
            .collect();
        if newest == EventId::default() {
            self.restore(newer, is_all);
        } else if follows_on {
            newer.drain(..).for_each(|entry| self.push(entry));
        } else if !newer.is_empty() {
            self.entries.clear();
            self.gone = newest;
            self.restore(newer, false);
        }
    }

    /// Takes back the events after `up_to`: the store has never seen them, so others never will
    /// under these ids.
    pub(crate) fn rewind(&mut self, up_to: EventId) -> Vec<Arc<Entry>> {
        let from = self.entries.partition_point(|entry| entry.id <= up_to);
        let taken: Vec<_> = self.entries.drain(from..).collect();
        if !taken.is_empty() {
            self.rewound = (self.rewound.0 + 1, up_to);
        }
        taken
    }

    /// How often the newest events were taken back, and up to where the last time.
    pub(crate) fn rewound(&self) -> (u64, EventId) {
        self.rewound
    }

    /// Fills a new ring with events of an earlier run. `is_all`: no older ones exist.
    pub(crate) fn restore(&mut self, entries: Vec<Arc<Entry>>, is_all: bool) {
        if let (false, Some(oldest)) = (is_all, entries.first()) {
            // Right before the oldest: a reader that stands there missed nothing.
            self.gone = EventId {
                ms: oldest.id.ms,
                seq: oldest.id.seq.saturating_sub(1),
            };
            if oldest.id.seq == 0 {
                self.gone = EventId {
                    ms: oldest.id.ms.saturating_sub(1),
                    seq: u64::MAX,
                };
            }
        }
        for entry in entries {
            self.push(entry);
        }
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        debug_assert!(entry.id > self.newest(), "ids grow");
        if self.entries.len() == self.len_max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.gone = oldest.id;
        }
        self.entries.push_back(entry);
    }

    /// Id of the newest event ever pushed.
    pub(crate) fn newest(&self) -> EventId {
        self.entries.back().map_or(self.gone, |entry| entry.id)
    }

    /// Id of the oldest event here, or the one that the first will be above.
    pub(crate) fn oldest(&self) -> EventId {
        self.entries.front().map_or(self.gone, |entry| entry.id)
    }

    /// Whether no event is missing here.
    pub(crate) fn is_all(&self) -> bool {
        self.gone == EventId::default()
    }

    /// Up to `scan_max` events after `cursor`, without those that do not match.
    pub(crate) fn next(&self, cursor: EventId, filter: &Filter, scan_max: usize) -> Next {
        let scanned = self.after(cursor).take(scan_max);
        let cursor_after = scanned.clone().last().map(|entry| entry.id);
        Next {
            entries: scanned
                .filter(|entry| filter.matches(entry))
                .cloned()
                .collect(),
            cursor: cursor_after.unwrap_or_else(|| cursor.max(self.gone)),
            has_gap: cursor < self.gone,
        }
    }

    /// The oldest matching events after `since`; nothing when some of them are gone.
    pub(crate) fn matching(
        &self,
        since: EventId,
        filter: &Filter,
        limit: usize,
    ) -> Option<Vec<Arc<Entry>>> {
        if since < self.gone {
            return None;
        }
        let matching = self.after(since).filter(|entry| filter.matches(entry));
        Some(matching.take(limit).cloned().collect())
    }

    /// The newest matching events, oldest first.
    pub(crate) fn newest_matching(&self, filter: &Filter, limit: usize) -> Vec<Arc<Entry>> {
        let newest_first = self.entries.iter().rev();
        let mut found: Vec<_> = newest_first
            .filter(|entry| filter.matches(entry))
            .take(limit)
            .cloned()
            .collect();
        found.reverse();
        found
    }

    fn after(&self, cursor: EventId) -> impl Iterator<Item = &Arc<Entry>> + Clone {
        let from = self.entries.partition_point(|entry| entry.id <= cursor);
        self.entries.range(from..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(n: u64) -> Arc<Entry> {
        Arc::new(Entry {
            id: EventId { ms: n, seq: 0 },
            kind: "io.tidepool.worker.ready".into(),
            pool: None,
            json: Default::default(),
        })
    }

    fn ids(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.id.ms).collect()
    }

    fn at(ms: u64) -> EventId {
        EventId { ms, seq: 0 }
    }

    proptest! {
        /// A reader that keeps up sees each event once and in order; one that does not is told.
        #[test]
        fn a_reader_misses_nothing_unnoticed(steps in prop::collection::vec((0_u64..8, 0_usize..8), 1..60)) {
            let mut ring = Ring::new(10);
            let (mut pushed, mut cursor, mut seen) = (0, EventId::default(), Vec::new());
            let mut is_told = false;
            for (push, scan) in steps {
                for _ in 0..push {
                    pushed += 1;
                    ring.push(entry(pushed));
                }
                let next = ring.next(cursor, &Filter::default(), scan);
                let expected = seen.last().copied().unwrap_or(0) + 1;
                is_told |= next.has_gap;
                if let Some(first) = next.entries.first() {
                    prop_assert_eq!(is_told, first.id.ms > expected);
                    is_told = false;
                }
                seen.extend(ids(&next.entries));
                prop_assert!(next.cursor >= cursor);
                prop_assert!(seen.is_sorted_by(|a, b| a < b), "{:?}", seen);
                cursor = next.cursor;
                // A gap is told once.
                prop_assert!(!ring.next(cursor, &Filter::default(), 1).has_gap);
            }
        }
    }

    #[test]
    fn tells_whether_something_after_a_position_is_gone() {
        let mut ring = Ring::new(3);
        (1..=5).for_each(|n| ring.push(entry(n)));
        let all = Filter::default();
        assert_eq!(ring.matching(at(1), &all, 9), None);
        assert_eq!(ids(&ring.matching(at(2), &all, 9).unwrap()), [3, 4, 5]);
        assert_eq!(ids(&ring.matching(at(2), &all, 2).unwrap()), [3, 4]);
        assert_eq!(ids(&ring.newest_matching(&all, 2)), [4, 5]);
    }

    #[test]
    fn what_the_store_never_saw_is_taken_back_and_counted() {
        let mut ring = Ring::new(9);
        (1..=5).for_each(|n| ring.push(entry(n)));
        assert_eq!(ids(&ring.rewind(at(3))), [4, 5]);
        assert_eq!((ring.newest(), ring.rewound()), (at(3), (1, at(3))));
        assert!(ring.rewind(at(3)).is_empty());
        assert_eq!(ring.rewound().0, 1);
    }

    #[test]
    fn a_gap_in_the_store_is_a_gap_for_readers() {
        let mut ring = Ring::new(9);
        ring.catch_up(vec![entry(1), entry(2)], true, true);
        ring.catch_up(vec![entry(2), entry(3)], true, true);
        let all = Filter::default();
        assert_eq!(ids(&ring.matching(at(0), &all, 9).unwrap()), [1, 2, 3]);
        ring.catch_up(vec![entry(7), entry(8)], false, false);
        let next = ring.next(at(3), &all, 9);
        assert!(next.has_gap);
        assert_eq!(ids(&next.entries), [7, 8]);
        ring.catch_up(Vec::new(), false, false);
        assert_eq!(ring.newest(), at(8));
    }

    #[test]
    fn a_restored_ring_knows_that_older_events_exist() {
        let mut ring = Ring::new(3);
        ring.restore(vec![entry(7), entry(8)], false);
        assert!(!ring.is_all());
        assert_eq!(ring.matching(at(5), &Filter::default(), 9), None);
        let mut ring = Ring::new(3);
        ring.restore(vec![entry(7), entry(8)], true);
        assert!(ring.matching(at(0), &Filter::default(), 9).is_some());
    }
}
