//! Threads of one process that write one namespace at a time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{ScopedJoinHandle, spawn, yield_now};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tidepool_handler::CallContext;
use tidepool_store::{Appended, Epoch, Position, Records, StoreFuture, wait};

use super::nodes::{Meddler, Sleeper};
use super::*;
use crate::memory::namespaces::{Namespaces, encode};
use crate::memory::operation::{Item, Operation};
use crate::memory::writers::{Change, Room};

fn item(id: &str) -> Vec<Item> {
    let item = json!({ "id": id, "text": "ship", "tags": [], "at_us": 0 });
    vec![serde_json::from_value(item).unwrap()]
}

fn context() -> CallContext {
    json_call("").context
}

/// Until so many wait behind the one who appends.
fn until_waiting(namespaces: &Namespaces, count: usize) {
    let begin = Instant::now();
    while namespaces.waiting("n") != count {
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody waits");
        yield_now();
    }
}

/// An append that waits until it is let go on.
struct Gate {
    reached: Receiver<()>,
    open: Sender<()>,
}

impl Gate {
    fn new() -> (Self, Meddler) {
        let (arrive, reached) = channel();
        let (open, opened) = channel();
        let pass = Box::new(move || {
            arrive.send(()).unwrap();
            opened.recv().unwrap();
        });
        (Self { reached, open }, pass)
    }
}

fn stored(log: &EmbeddedStore) -> usize {
    wait(log.read("memory/n", Position::START, 100))
        .unwrap()
        .len()
}

type Stored<'a> = ScopedJoinHandle<'a, Result<Position, Failure>>;

#[test]
fn those_who_wait_for_one_another_share_an_append() {
    let store = store();
    let log = Sleeper::on(&store);
    let namespaces = &Namespaces::new(MemoryConfig::new(log.clone()));
    let (gate, held) = Gate::new();
    let appends = Arc::new(Mutex::new(0));
    let counted = (0..20).map(|_| {
        let appends = Arc::clone(&appends);
        Box::new(move || *appends.lock() += 1) as Meddler
    });
    log.let_happen([held].into_iter().chain(counted));
    let mut versions: Vec<Position> = std::thread::scope(|scope| {
        let store = |n: usize| -> Stored<'_> {
            scope.spawn(move || namespaces.store("n", item(&n.to_string()), &context()))
        };
        let first = store(0);
        gate.reached.recv().unwrap();
        let others: Vec<_> = (1..8).map(store).collect();
        until_waiting(namespaces, 7);
        gate.open.send(()).unwrap();
        let threads = [first].into_iter().chain(others);
        threads
            .map(|thread| thread.join().unwrap().unwrap())
            .collect()
    });
    assert_eq!(*appends.lock(), 1, "the seven share one");
    versions.sort();
    versions.dedup();
    assert_eq!((versions.len(), stored(&store)), (8, 8));
    let counted = namespaces.count("n", &context()).unwrap();
    assert_eq!(
        (counted.items, Some(&counted.version)),
        (8, versions.last())
    );
}

#[test]
fn they_share_the_room_too_and_each_ends_on_its_own() {
    let store = store();
    let log = Sleeper::on(&store);
    let mut config = MemoryConfig::new(log.clone());
    config.items_max = 3;
    let namespaces = &Namespaces::new(config);
    let (gate, held) = Gate::new();
    log.let_happen([held]);
    let ends: Vec<Result<Position, Failure>> = std::thread::scope(|scope| {
        let store = |n: usize| -> Stored<'_> {
            scope.spawn(move || namespaces.store("n", item(&n.to_string()), &context()))
        };
        let first = store(0);
        gate.reached.recv().unwrap();
        let others: Vec<_> = (1..6).map(store).collect();
        until_waiting(namespaces, 5);
        gate.open.send(()).unwrap();
        let threads = [first].into_iter().chain(others);
        threads.map(|thread| thread.join().unwrap()).collect()
    });
    let is_full =
        |end: &&Result<Position, Failure>| matches!(end, Err(Failure::LimitExceeded { .. }));
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 3, "{ends:?}");
    assert_eq!(ends.iter().filter(is_full).count(), 3, "{ends:?}");
    assert_eq!(stored(&store), 3);
}

#[test]
fn who_has_gone_is_left_out_and_keeps_nobody_from_going_on() {
    let store = store();
    let log = Sleeper::on(&store);
    let namespaces = Namespaces::new(MemoryConfig::new(log.clone()));
    let elsewhere = instance_on(store.clone());
    let going = context();
    let goes = going.clone();
    // Who appends for both comes too late by more than it is told at once, has to read, and goes.
    let overtaken = Box::new(move || {
        for _ in 0..40 {
            keep(&elsewhere, "n", json!([{ "text": "ship" }]));
        }
        goes.cancel();
    });
    log.let_happen([overtaken as Meddler]);
    let items = item("stays");
    let operation = Operation::Store { items };
    let records = vec![encode(&operation).unwrap()];
    let stays = Change::new(vec![operation], records, Room::default(), &context());
    namespaces.join("n", &stays);
    let gone = namespaces.store("n", item("goes"), &going);
    assert_eq!(gone, Err(Failure::Cancelled));
    assert_eq!((namespaces.waiting("n"), stays.end()), (1, None));
    // Whoever comes next takes it along.
    namespaces.store("n", item("next"), &context()).unwrap();
    assert!(stays.end().unwrap().is_ok());
    assert_eq!(stored(&store), 42);
}

#[test]
fn a_caller_whose_time_is_over_waits_no_longer() {
    let store = store();
    let log = Sleeper::on(&store);
    let namespaces = Arc::new(Namespaces::new(MemoryConfig::new(log.clone())));
    let (gate, held) = Gate::new();
    log.let_happen([held]);
    let first = {
        let namespaces = Arc::clone(&namespaces);
        spawn(move || namespaces.store("n", item("first"), &context()))
    };
    gate.reached.recv().unwrap();
    let short = call_within(Format::Json, "", Duration::from_millis(20)).context;
    let late = namespaces.store("n", item("late"), &short);
    assert_eq!(late, Err(Failure::DeadlineExceeded));
    assert_eq!(namespaces.waiting("n"), 0);
    gate.open.send(()).unwrap();
    assert!(first.join().unwrap().is_ok());
    assert_eq!(stored(&store), 1);
}

/// A log that is read record by record, where a caller goes as soon as it was given one.
struct Impatient {
    inner: Arc<EmbeddedStore>,
    caller: CallContext,
}

impl Log for Impatient {
    fn append(&self, stream: &str, epoch: Epoch, records: Vec<Bytes>) -> StoreFuture<Position> {
        self.inner.append(stream, epoch, records)
    }
    fn append_at(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Position,
        records: Vec<Bytes>,
    ) -> StoreFuture<Appended> {
        self.inner.append_at(stream, epoch, expected, records)
    }
    fn read(&self, stream: &str, after: Position, _limit: usize) -> StoreFuture<Records> {
        self.caller.cancel();
        self.inner.read(stream, after, 1)
    }
    fn tail(&self, stream: &str) -> StoreFuture<Position> {
        self.inner.tail(stream)
    }
    fn trim(&self, stream: &str, up_to: Position) -> StoreFuture<()> {
        self.inner.trim(stream, up_to)
    }
    fn erase(&self, stream: &str) -> StoreFuture<()> {
        self.inner.erase(stream)
    }
    fn streams(&self, prefix: &str, limit: usize) -> StoreFuture<Vec<String>> {
        self.inner.streams(prefix, limit)
    }
}

#[test]
fn who_has_gone_says_nothing_of_the_end_of_a_log_that_was_half_read() {
    let store = store();
    let old = wait(store.append("memory/n", Epoch::UNFENCED, vec!["old".into()])).unwrap();
    // A snapshot in two parts, and nothing left of what it was made from.
    for id in ["one", "two"] {
        let (as_of, items) = (old.0, item(id));
        let part = encode(&Operation::Snapshot { as_of, items }).unwrap();
        wait(store.append("memory/n", Epoch::UNFENCED, vec![part])).unwrap();
    }
    wait(store.trim("memory/n", old)).unwrap();
    let caller = context();
    let log = Arc::new(Impatient {
        inner: store,
        caller: caller.clone(),
    });
    let namespaces = Namespaces::new(MemoryConfig::new(log));
    let half_read = namespaces.count("n", &caller).map(|counted| counted.items);
    assert_eq!(half_read, Err(Failure::Cancelled));
    let changed = namespaces.store("n", item("late"), &caller);
    assert_eq!(changed, Err(Failure::Cancelled));
    assert_eq!(namespaces.count("n", &context()).unwrap().items, 2);
}
