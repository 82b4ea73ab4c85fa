use tidepool_store::{Epoch, Position, StoreError, StoreFuture, wait};

use super::*;

#[test]
fn an_instance_sees_what_another_stored_and_forgot() {
    let log = store();
    let one = instance_on(log.clone());
    let other = instance_on(log);
    for round in 0..5 {
        let id = round.to_string();
        let version = keep(&one, "n", json!([{ "id": id, "text": "ship" }]))["version"].clone();
        let found = recall(&other, "n", "ship");
        assert_eq!(ids(&found).len(), round + 1);
        assert_eq!(found["version"], version);
        assert_eq!(found["plan"]["caught_up_to"], version);
    }
    assert_eq!(forget(&other, "n", json!({ "ids": ["0"] }))["forgotten"], 1);
    assert_eq!(ids(&recall(&one, "n", "ship")).len(), 4);
    assert_eq!(forget(&other, "n", json!({ "all": true }))["forgotten"], 4);
    keep(&other, "n", json!([{ "id": "new", "text": "ship" }]));
    assert_eq!(ids(&recall(&one, "n", "ship")), ["new"]);
}

#[test]
fn ten_thousand_passages_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let words = [
        "harbour", "tide", "lantern", "rope", "gull", "salt", "quay", "keel",
    ];
    let first = instance_on(Arc::new(EmbeddedStore::open(directory.path()).unwrap()));
    for part in 0..10 {
        let items: Vec<_> = (part * 1_000..(part + 1) * 1_000)
            .map(|n: usize| {
                let word = |at: usize| words[(n / at) % words.len()];
                let text = format!(
                    "passage {n} about the {} and the {} of x{n}x",
                    word(1),
                    word(8)
                );
                json!({ "id": n.to_string(), "text": text })
            })
            .collect();
        keep(&first, "n", json!(items));
    }
    let before = recall(&first, "n", "gull harbour");
    drop(first);

    let second = instance_on(Arc::new(EmbeddedStore::open(directory.path()).unwrap()));
    let after = recall(&second, "n", "gull harbour");
    assert_eq!(after["plan"]["caught_up_from"], 0);
    assert_eq!(after["matches"], before["matches"]);
    assert_eq!(ids(&recall(&second, "n", "x7777x")), ["7777"]);
    assert_eq!(stats(&second, "n")["items"], 10_000);
}

#[test]
fn a_namespace_that_was_dropped_from_memory_is_read_again() {
    let mut config = MemoryConfig::new(store());
    config.open_max = 2;
    let instance = memory(config).start().unwrap();
    for name in ["a", "b", "c"] {
        keep_texts(&instance, name, &[&format!("ship {name}"), "other"]);
        recall(&instance, name, "ship");
    }
    let rebuilt = recall(&instance, "a", "ship");
    assert_eq!(rebuilt["plan"]["caught_up_from"], 0);
    assert_eq!(rebuilt["matches"][0]["text"], "ship a");
    let warm = recall(&instance, "a", "ship");
    assert_eq!(warm["plan"]["caught_up_from"], warm["plan"]["caught_up_to"]);
    assert_eq!(warm["matches"], rebuilt["matches"]);
}

#[test]
fn unreadable_records_are_skipped() {
    let log = store();
    let one = instance_on(log.clone());
    keep_texts(&one, "n", &["red ship"]);
    let junk = [
        &b""[..],
        b"\xc1",
        b"not messagepack at all",
        b"\x81\xa5other\x90",
    ];
    let records = junk
        .iter()
        .map(|record| bytes::Bytes::from_static(record))
        .collect();
    let position = wait(log.append("memory/n", Epoch::UNFENCED, records)).unwrap();
    keep(&one, "n", json!([{ "id": "later", "text": "blue ship" }]));
    for instance in [one, instance_on(log)] {
        let found = recall(&instance, "n", "ship");
        assert_eq!(ids(&found).len(), 2);
        assert_eq!(found["version"], position.0 + 1);
    }
}

#[test]
fn a_full_namespace_takes_replacements_but_nothing_new() {
    let mut config = MemoryConfig::new(store());
    config.items_max = 3;
    let instance = memory(config).start().unwrap();
    keep_texts(&instance, "n", &["red", "green", "blue"]);
    let more = json!({ "op": "store", "namespace": "n", "items": [{ "text": "pink" }] });
    let refused = run(&*instance, json_call(more.to_string()));
    assert!(
        matches!(refused, Err(Failure::LimitExceeded { .. })),
        "{refused:?}"
    );
    keep_texts(&instance, "n", &["black"]);
    assert_eq!(ids(&recall(&instance, "n", "black")), ["0"]);
    forget(&instance, "n", json!({ "ids": ["0"] }));
    answer_of(&*instance, &more);
    assert_eq!(stats(&instance, "n")["items"], 3);
    keep(&instance, "other", json!([{ "text": "not affected" }]));
}

#[test]
fn a_log_of_many_changes_is_shortened_and_tells_the_same() {
    let log = store();
    let instance = instance_on(log.clone());
    let warm = instance_on(log.clone());
    recall(&warm, "n", "ship");
    for round in 0..12 {
        let items: Vec<_> = (0..1_000)
            .map(|id| json!({ "id": format!("{id}"), "text": format!("ship round{round}") }))
            .collect();
        keep(&instance, "n", json!(items));
        forget(
            &instance,
            "n",
            json!({ "ids": (100..600).map(|id| id.to_string()).collect::<Vec<_>>() }),
        );
    }
    let len = |log: &EmbeddedStore| {
        wait(log.read("memory/n", Position::START, 10_000))
            .unwrap()
            .len()
    };
    assert!(len(&log) < 24, "{}", len(&log));
    for instance in [instance, warm, instance_on(log.clone())] {
        assert_eq!(stats(&instance, "n")["items"], 500);
        assert_eq!(recall(&instance, "n", "round11")["plan"]["admitted"], 500);
        assert_eq!(recall(&instance, "n", "round10")["plan"]["admitted"], 0);
    }
}

#[test]
fn forgetting_everything_empties_the_log() {
    let log = store();
    let instance = instance_on(log.clone());
    for _ in 0..20 {
        keep(&instance, "n", json!([{ "text": "secret" }]));
    }
    forget(&instance, "n", json!({ "all": true }));
    let records = wait(log.read("memory/n", Position::START, 100)).unwrap();
    assert_eq!(records.len(), 1);
    assert!(!records[0].1.windows(6).any(|bytes| bytes == b"secret"));
}

/// A log that cannot do what it is asked for.
struct Broken;

fn full<T: Send + 'static>() -> StoreFuture<T> {
    let error = StoreError::DiskFull {
        path: "tidepool.db".into(),
        source: Arc::new(std::io::Error::other("no space")),
    };
    Box::pin(std::future::ready(Err(error)))
}

impl Log for Broken {
    fn append(&self, _: &str, _: Epoch, _: Vec<bytes::Bytes>) -> StoreFuture<Position> {
        full()
    }
    fn append_at(
        &self,
        _: &str,
        _: Epoch,
        _: Position,
        _: Vec<bytes::Bytes>,
    ) -> StoreFuture<tidepool_store::Appended> {
        full()
    }
    fn read(&self, _: &str, _: Position, _: usize) -> StoreFuture<tidepool_store::Records> {
        Box::pin(std::future::ready(Ok(vec![])))
    }
    fn tail(&self, _: &str) -> StoreFuture<Position> {
        full()
    }
    fn trim(&self, _: &str, _: Position) -> StoreFuture<()> {
        full()
    }
    fn erase(&self, _: &str) -> StoreFuture<()> {
        full()
    }
    fn streams(&self, _: &str, _: usize) -> StoreFuture<Vec<String>> {
        full()
    }
}

#[test]
fn nothing_is_acknowledged_that_the_store_did_not_take() {
    let instance = instance_on(Arc::new(Broken));
    for input in [
        json!({ "op": "store", "namespace": "n", "items": [{ "text": "ship" }] }),
        json!({ "op": "forget", "namespace": "n", "all": true }),
    ] {
        let reply = run(&*instance, json_call(input.to_string()));
        let Err(Failure::Dependency { dependency, cause }) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(dependency, "store");
        assert!(cause.contains("no space left"), "{cause}");
    }
    assert_eq!(stats(&instance, "n")["items"], 0);
}

#[test]
fn concurrent_requests_of_one_namespace_all_succeed() {
    let log = store();
    let instances = [instance_on(log.clone()), instance_on(log)];
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let instance = &instances[thread % 2];
            scope.spawn(move || {
                for n in 0..25 {
                    keep(
                        instance,
                        "n",
                        json!([{ "id": format!("{thread}-{n}"), "text": "ship" }]),
                    );
                    let found = recall_with(instance, "n", "ship", json!({ "limit": 100 }));
                    assert!(ids(&found).contains(&format!("{thread}-{n}").as_str()));
                }
            });
        }
    });
    for instance in &instances {
        assert_eq!(stats(instance, "n")["items"], 100);
    }
}
