//! The stored part of the feed: the `events` stream. Ids grow along it, so a position is found by
//! bisection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tidepool_core::EventId;
use tidepool_store::{Epoch, Log, Position, StoreError};

use crate::entry::Entry;
use crate::filter::Filter;

/// Name of the stream.
const STREAM: &str = "events";
/// Records read at a time.
const CHUNK: u64 = 1_000;
/// The stream is trimmed after this many appended events, so it is longer than asked by as many.
const TRIM_EVERY: u64 = 1_000;

pub(crate) struct Archive {
    log: Arc<dyn Log>,
    retained_len: u64,
    appended_since_trim: AtomicU64,
}

/// The newest stored events.
pub(crate) struct Loaded {
    /// Goes on behind them.
    pub(crate) scan: Scan,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Whether there are no older ones.
    pub(crate) is_all: bool,
}

/// Stored events after some position.
pub(crate) struct Old {
    pub(crate) events: Vec<Arc<Entry>>,
    /// Everything up to here was looked at.
    pub(crate) scanned_to: EventId,
    /// Whether the store does not reach back to the asked position.
    pub(crate) is_incomplete: bool,
}

impl Archive {
    pub(crate) fn new(log: Arc<dyn Log>, retained_len: u64) -> Self {
        Self {
            log,
            retained_len,
            // Trims soon after a start, because an earlier run may have kept more.
            appended_since_trim: AtomicU64::new(TRIM_EVERY),
        }
    }

    /// Refuses all writers of older epochs from now on.
    pub(crate) async fn fence(&self, epoch: Epoch) -> Result<(), StoreError> {
        self.log.append(STREAM, epoch, Vec::new()).await.map(drop)
    }

    pub(crate) async fn append(&self, epoch: Epoch, records: Vec<Bytes>) -> Result<(), StoreError> {
        let count = records.len() as u64;
        let tail = self.log.append(STREAM, epoch, records).await?;
        if self.appended_since_trim.fetch_add(count, Ordering::Relaxed) + count >= TRIM_EVERY {
            self.appended_since_trim.store(0, Ordering::Relaxed);
            self.log.trim(STREAM, tail.back(self.retained_len)).await?;
        }
        Ok(())
    }

    /// The newest events, at most `len`.
    pub(crate) async fn newest(&self, len: usize) -> Result<Loaded, StoreError> {
        let tail = self.log.tail(STREAM).await?;
        let from = tail.back(len as u64);
        let mut scan = Scan::from(from, EventId::default());
        let mut entries = Vec::new();
        while scan.position < tail {
            let chunk = self.chunk(&mut scan).await?;
            if chunk.is_empty() {
                break;
            }
            entries.extend(chunk);
        }
        let is_all = entries.len() < len || from == Position::START;
        Ok(Loaded {
            scan,
            entries,
            is_all,
        })
    }

    /// The oldest matching events after `since`.
    pub(crate) async fn since(
        &self,
        since: EventId,
        filter: &Filter,
        limit: usize,
    ) -> Result<Old, StoreError> {
        let (mut scan, is_incomplete) = self.locate(since).await?;
        let mut events = Vec::new();
        while events.len() < limit {
            let chunk = self.chunk(&mut scan).await?;
            if chunk.is_empty() {
                break;
            }
            events.extend(chunk.into_iter().filter(|entry| filter.matches(entry)));
        }
        events.truncate(limit);
        Ok(Old {
            events,
            scanned_to: scan.last_id,
            is_incomplete,
        })
    }

    /// The newest matching events before the one with this id, oldest first.
    pub(crate) async fn before(
        &self,
        id: EventId,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let mut end = self.log.tail(STREAM).await?;
        let mut found: Vec<Arc<Entry>> = Vec::new();
        // The stream holds little more than what is retained, which bounds this loop.
        while found.len() < limit && end > Position::START {
            let from = end.back(CHUNK);
            // Records follow one another, but the first may have any position.
            let oldest = self.log.read(STREAM, from, 1).await?;
            if oldest.first().is_none_or(|(position, _)| *position > end) {
                break;
            }
            let mut scan = Scan::from(from, EventId::default());
            let mut chunk = Vec::new();
            while scan.position < end {
                let part = self.chunk(&mut scan).await?;
                if part.is_empty() {
                    break;
                }
                chunk.extend(part);
            }
            if chunk.is_empty() {
                break;
            }
            let older = found.first().map_or(id, |entry| entry.id);
            chunk.retain(|entry| entry.id < older && filter.matches(entry));
            chunk.append(&mut found);
            found = chunk;
            end = from;
        }
        let surplus = found.len().saturating_sub(limit);
        Ok(found.split_off(surplus))
    }

    /// A scan of what comes after an id, and whether the store does not reach back to it.
    pub(crate) async fn locate(&self, since: EventId) -> Result<(Scan, bool), StoreError> {
        let first = self.at(Position::START).await?;
        let is_incomplete = first.as_ref().is_none_or(|(_, entry)| since < entry.id);
        let after = match first {
            Some((position, _)) if !is_incomplete => self.bisect(position, since).await?,
            _ => Position::START,
        };
        Ok((Scan::from(after, since), is_incomplete))
    }

    /// The position of the last event whose id is at most `since`; `first` has such an id.
    async fn bisect(&self, first: Position, since: EventId) -> Result<Position, StoreError> {
        let (mut low, mut high) = (first.0, self.log.tail(STREAM).await?.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.at(Position(middle - 1)).await? {
                Some((_, entry)) if entry.id <= since => low = middle,
                _ => high = middle - 1,
            }
        }
        Ok(Position(low))
    }

    /// The first event after a position.
    async fn at(&self, after: Position) -> Result<Option<(Position, Entry)>, StoreError> {
        let records = self.log.read(STREAM, after, 1).await?;
        let first = records.into_iter().next();
        Ok(first.and_then(|(position, json)| Some((position, Entry::from_json(json)?))))
    }

    /// The next events of a scan; none at the end of the stream.
    pub(crate) async fn chunk(&self, scan: &mut Scan) -> Result<Vec<Arc<Entry>>, StoreError> {
        loop {
            let records = self.log.read(STREAM, scan.position, CHUNK as usize).await?;
            let is_end = records.is_empty();
            let mut entries = Vec::with_capacity(records.len());
            for (position, json) in records {
                let is_next = position.0 == scan.position.0 + 1;
                scan.has_gap |= !is_next && scan.position > Position::START;
                scan.position = position;
                // An append that was tried again after it had succeeded is there twice.
                if let Some(entry) = Entry::from_json(json)
                    && entry.id > scan.last_id
                {
                    scan.last_id = entry.id;
                    entries.push(Arc::new(entry));
                }
            }
            if is_end || !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}

/// How far a scan has got.
pub(crate) struct Scan {
    position: Position,
    last_id: EventId,
    /// Whether records were gone before they were reached.
    has_gap: bool,
}

impl Scan {
    fn from(position: Position, last_id: EventId) -> Self {
        Self {
            position,
            last_id,
            has_gap: false,
        }
    }

    pub(crate) fn note_gap(&mut self, has_gap: bool) {
        self.has_gap |= has_gap;
    }

    /// Whether records were gone since this was asked last.
    pub(crate) fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.has_gap)
    }
}
