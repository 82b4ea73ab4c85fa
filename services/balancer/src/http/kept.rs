//! Answers that are kept in the store, and a bound on all of them together.
//!
//! Every record runs out by itself. That alone would let a busy day fill the disk, so a ledger
//! notes what was kept, in the order of time, and takes the oldest away when there are too many
//! or they are too large. The ledger is a stream of the store: it outlives the process, and
//! processes that share a store share it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidepool_handler::{Fault, Format, Payload};
use tidepool_store::{Epoch, Kv, Log, Position, StoreError};
use tokio::sync::Mutex;

use super::problem::{Code, Problem};

/// Entries of the ledger that are read at a time.
const READ_MAX: usize = 4_096;

/// How far a request has come, as the store knows it.
#[derive(Serialize, Deserialize)]
pub(crate) enum State {
    Running,
    Answered {
        msgpack: bool,
        body: Bytes,
    },
    Refused {
        code: String,
        detail: String,
        faults: Vec<(String, String)>,
    },
}

impl State {
    /// The state of a request that has ended like this.
    pub(crate) fn of(result: &Result<Payload, Problem>) -> Self {
        match result {
            Ok(payload) => Self::Answered {
                msgpack: payload.format == Format::MsgPack,
                body: payload.bytes.clone(),
            },
            Err(problem) => Self::Refused {
                code: problem.code.as_str().to_owned(),
                detail: problem.detail.clone(),
                faults: problem
                    .faults
                    .iter()
                    .map(|fault| (fault.pointer.clone(), fault.message.clone()))
                    .collect(),
            },
        }
    }

    /// How the request ended, if it has.
    pub(crate) fn into_result(self) -> Option<Result<Payload, Problem>> {
        match self {
            Self::Running => None,
            Self::Answered { msgpack, body } => {
                let format = if msgpack {
                    Format::MsgPack
                } else {
                    Format::Json
                };
                Some(Ok(Payload::new(format, body)))
            }
            Self::Refused {
                code,
                detail,
                faults,
            } => {
                let code = Code::from_name(&code).unwrap_or(Code::InvalidInput);
                let faults = faults
                    .into_iter()
                    .map(|(at, what)| Fault::at(at, what))
                    .collect();
                let retry_after_s = code.retryable().then_some(1);
                Some(Err(Problem {
                    faults,
                    retry_after_s,
                    ..Problem::new(code, detail)
                }))
            }
        }
    }
}

/// Bounds of everything that one ledger has noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most records.
    pub(crate) count_max: usize,
    /// Most bytes of records.
    pub(crate) bytes_max: u64,
}

/// What is kept, oldest first.
pub(crate) struct Ledger {
    kv: Arc<dyn Kv>,
    log: Arc<dyn Log>,
    stream: &'static str,
    limits: Limits,
    book: Mutex<Book>,
}

/// The stream as far as it has been read.
#[derive(Default)]
struct Book {
    entries: VecDeque<(Position, Entry)>,
    bytes: u64,
    read_to: Position,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    /// When it runs out by itself, in milliseconds since 1970.
    ends_ms: u64,
}

impl Ledger {
    pub(crate) fn new(
        kv: Arc<dyn Kv>,
        log: Arc<dyn Log>,
        stream: &'static str,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            kv,
            log,
            stream,
            limits,
            book: Mutex::default(),
        })
    }

    /// Where the records are.
    pub(crate) fn kv(&self) -> &Arc<dyn Kv> {
        &self.kv
    }

    /// Notes a record that is about to be kept for `keep`, and takes away the oldest ones beyond
    /// the limits. A store that fails here costs the bound, not the request.
    pub(crate) async fn note(&self, name: &str, bytes: usize, keep: Duration) {
        let now_ms = unix_ms(SystemTime::now());
        let entry = Entry {
            name: name.to_owned(),
            bytes: bytes as u64,
            ends_ms: now_ms.saturating_add(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
        };
        if let Err(error) = self.enter(entry, now_ms).await {
            tracing::warn!(%error, stream = self.stream, "what is kept could not be bounded");
        }
    }

    async fn enter(&self, entry: Entry, now_ms: u64) -> Result<(), StoreError> {
        let record = rmp_serde::to_vec(&entry).unwrap_or_default();
        let record = vec![Bytes::from(record)];
        let appended = self.log.append(self.stream, Epoch::UNFENCED, record);
        let at = appended.await?;
        let mut book = self.book.lock().await;
        if at.back(1) == book.read_to && book.read_to != Position::START {
            book.push(at, entry);
        } else {
            // Others wrote meanwhile, or have read this entry already.
            self.catch_up(&mut book, at).await?;
        }
        let (gone, up_to) = book.beyond(self.limits, now_ms);
        drop(book);
        for name in gone {
            self.kv.delete(&name).await?;
        }
        match up_to {
            Some(up_to) => self.log.trim(self.stream, up_to).await,
            None => Ok(()),
        }
    }

    /// Reads what others wrote meanwhile, or what was there before this process.
    async fn catch_up(&self, book: &mut Book, to: Position) -> Result<(), StoreError> {
        while book.read_to < to {
            let records = self.log.read(self.stream, book.read_to, READ_MAX).await?;
            if records.is_empty() {
                book.read_to = to;
            }
            for (at, record) in records {
                match rmp_serde::from_slice(&record) {
                    Ok(entry) => book.push(at, entry),
                    Err(error) => {
                        tracing::warn!(%error, "an entry of the ledger is broken");
                        book.read_to = at;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Book {
    fn push(&mut self, at: Position, entry: Entry) {
        self.bytes += entry.bytes;
        self.entries.push_back((at, entry));
        self.read_to = at;
    }

    /// Takes out what ran out and what is too much: the names to delete, and up to where the
    /// stream is of no use any more.
    fn beyond(&mut self, limits: Limits, now_ms: u64) -> (Vec<String>, Option<Position>) {
        let (mut gone, mut up_to) = (Vec::new(), None);
        while let Some((at, oldest)) = self.entries.front() {
            let has_ended = oldest.ends_ms <= now_ms;
            let is_too_much =
                self.entries.len() > limits.count_max || self.bytes > limits.bytes_max;
            if !has_ended && !is_too_much {
                break;
            }
            up_to = Some(*at);
            if let Some((_, oldest)) = self.entries.pop_front() {
                self.bytes -= oldest.bytes;
                // What has ended may be another record of the same name by now.
                if !has_ended {
                    gone.push(oldest.name);
                }
            }
        }
        (gone, up_to)
    }
}

pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tidepool_store::EmbeddedStore;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    async fn keep(ledger: &Ledger, name: &str, bytes: usize) {
        ledger.note(name, bytes, HOUR).await;
        let value = Bytes::from(vec![0; bytes]);
        ledger.kv.put(name, value, Some(HOUR)).await.unwrap();
    }

    async fn kept(ledger: &Ledger, names: &[&str]) -> Vec<bool> {
        let mut there = Vec::new();
        for name in names {
            there.push(ledger.kv.get(name).await.unwrap().is_some());
        }
        there
    }

    fn ledger(store: &Arc<EmbeddedStore>, count_max: usize, bytes_max: u64) -> Arc<Ledger> {
        let limits = Limits {
            count_max,
            bytes_max,
        };
        Ledger::new(store.clone(), store.clone(), "kept/test", limits)
    }

    #[tokio::test]
    async fn the_oldest_go_first_when_there_are_too_many_or_too_large_ones() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let by_count = ledger(&store, 2, u64::MAX);
        for name in ["a", "b", "c"] {
            keep(&by_count, name, 10).await;
        }
        assert_eq!(kept(&by_count, &["a", "b", "c"]).await, [false, true, true]);
        // A second one over the same store stands for the process after a restart.
        let by_bytes = ledger(&store, 100, 25);
        keep(&by_bytes, "d", 15).await;
        assert_eq!(kept(&by_bytes, &["b", "c", "d"]).await, [false, true, true]);
        // The first one learns what the second one kept.
        keep(&by_count, "e", 1).await;
        assert_eq!(kept(&by_count, &["c", "d", "e"]).await, [false, true, true]);
    }

    #[test]
    fn what_ran_out_is_forgotten_and_not_deleted() {
        let mut book = Book::default();
        let entry = |name: &str, ends_ms| Entry {
            name: name.to_owned(),
            bytes: 1,
            ends_ms,
        };
        book.push(Position(1), entry("old", 10));
        book.push(Position(2), entry("new", 1_000));
        let limits = Limits {
            count_max: 5,
            bytes_max: 5,
        };
        let (gone, up_to) = book.beyond(limits, 10);
        assert!(gone.is_empty());
        assert_eq!(
            (up_to, book.entries.len(), book.bytes),
            (Some(Position(1)), 1, 1)
        );
    }
}
