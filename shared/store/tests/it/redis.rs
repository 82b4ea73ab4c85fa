//! What is particular to the Redis store: it can go away, freeze and come back empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_store::{Epoch, Lease, Log, Position, RedisStore, StoreError, StoreFuture, wait};
use tidepool_testing::RedisServer;

use crate::conformance::conformance;
use crate::ports::Ports;
use crate::server::{RIGHTS, command, with_rights};

const PROMISED: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::from_millis(50);

/// Everything works with no more than the rights that are asked for.
async fn ports() -> Ports {
    let (server, url) = with_rights(RIGHTS);
    let store = RedisStore::connect(&url).await.unwrap();
    Ports {
        log: Arc::new(store.clone()),
        kv: Arc::new(store.clone()),
        lease: Arc::new(store.clone()),
        roster: Arc::new(store),
        time: None,
        _keep: Box::new(server),
    }
}

conformance!(ports);

pub(crate) async fn append(store: &RedisStore) -> Result<Position, StoreError> {
    store.append("s", Epoch::UNFENCED, vec!["x".into()]).await
}

async fn assert_fails_in_time(store: &RedisStore) {
    let begin = Instant::now();
    let error = append(store).await.unwrap_err();
    assert!(begin.elapsed() <= PROMISED, "{:?}", begin.elapsed());
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(store.health().state, "down");
}

/// Waits until an append succeeds, and asserts that this did not take too long.
pub(crate) async fn assert_recovers(store: &RedisStore) -> Position {
    let begin = Instant::now();
    loop {
        match append(store).await {
            Ok(position) => {
                let elapsed = begin.elapsed();
                eprintln!("back after {elapsed:?}");
                assert!(elapsed <= RECOVERY, "{elapsed:?}");
                assert_eq!(store.health().state, "ok");
                return position;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fails_in_time_while_the_server_is_gone_and_recovers() {
    let mut server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let before = append(&store).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let epoch = store.acquire("l", "a", hour).await.unwrap().unwrap();
    server.kill();
    for _ in 0..3 {
        assert_fails_in_time(&store).await;
    }
    server.restart();
    // The server lost everything. Still no position and no epoch comes twice.
    assert!(assert_recovers(&store).await > before);
    let next = store.acquire("l", "b", hour).await.unwrap().unwrap();
    assert!(next > epoch, "{next} after {epoch}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fails_in_time_while_the_server_is_frozen_and_recovers() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    append(&store).await.unwrap();
    server.signal("STOP");
    for _ in 0..3 {
        assert_fails_in_time(&store).await;
    }
    server.signal("CONT");
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_to_a_silent_server_does_not_wait_as_long_again() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    append(&store).await.unwrap();
    server.signal("STOP");
    let ended = |tail: StoreFuture<Position>| {
        tokio::spawn(async move {
            assert!(tail.await.is_err());
            Instant::now()
        })
    };
    let first = ended(store.tail("s"));
    tokio::time::sleep(PROMISED / 2).await;
    let second = ended(store.tail("s"));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    // On its own it would wait for half a second longer than the first.
    let longer = second.saturating_duration_since(first);
    assert!(longer < PROMISED * 2 / 5, "{longer:?}");
    server.signal("CONT");
    assert_recovers(&store).await;
}

/// Once it is known that the server is away nobody waits for it.
async fn assert_fails_at_once(store: &RedisStore) {
    let begin = Instant::now();
    let error = append(store).await.unwrap_err();
    assert!(begin.elapsed() <= AT_ONCE, "{:?}", begin.elapsed());
    assert!(error.to_string().contains("away since"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_waits_longer_however_many_there_are() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    append(&store).await.unwrap();
    server.signal("STOP");
    let begin = Instant::now();
    let callers: Vec<_> = (0..20_000).map(|_| tokio::spawn(store.tail("s"))).collect();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    // The promise, and some time to make and to end that many tasks.
    assert!(begin.elapsed() <= 2 * PROMISED, "{:?}", begin.elapsed());
    assert_fails_at_once(&store).await;
    server.signal("CONT");
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_before_the_server_and_finds_it() {
    let mut server = RedisServer::start();
    server.kill();
    let store = RedisStore::open(&server.url()).unwrap();
    assert_fails_in_time(&store).await;
    assert_fails_at_once(&store).await;
    let health = store.health();
    assert!(health.detail.contains("away since 2"), "{health:?}");
    server.restart();
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_each_time_the_server_is_killed() {
    let mut server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut last = append(&store).await.unwrap();
    for _ in 0..5 {
        server.kill();
        assert_fails_in_time(&store).await;
        server.restart();
        let position = assert_recovers(&store).await;
        assert!(position > last);
        last = position;
    }
}

#[tokio::test]
async fn refuses_to_start_without_a_server_in_time() {
    let mut server = RedisServer::start();
    server.kill();
    let begin = Instant::now();
    let refused = RedisStore::connect(&server.url()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    assert!(begin.elapsed() <= PROMISED);
    let invalid = RedisStore::connect("not a url").await;
    assert!(matches!(invalid, Err(StoreError::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_thread_can_wait_for_it() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let waiting = std::thread::spawn(move || wait(store.tail("s")));
    let tail = tokio::task::spawn_blocking(move || waiting.join().unwrap());
    assert_eq!(tail.await.unwrap().unwrap(), Position::START);
}

/// What a lease looks like after the clock of its server was set back by two hours: Redis keeps
/// the moment of the end, not the time until it.
async fn as_if_set_back(server: &RedisServer) {
    command(server, &["PEXPIRE", "tidepool:{l}:lease", "7200000"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_back_does_not_keep_the_lease_of_the_dead() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let ttl = Duration::from_millis(600);
    let dead = store.acquire("l", "dead", ttl).await.unwrap().unwrap();
    as_if_set_back(&server).await;
    let held = store.current("l").await.unwrap().unwrap();
    assert!(held.remaining <= ttl, "{held:?}");
    let begin = Instant::now();
    let epoch = loop {
        if let Some(epoch) = store.acquire("l", "heir", ttl).await.unwrap() {
            break epoch;
        }
        assert!(begin.elapsed() < 10 * ttl, "the dead one still has it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // Not before the dead one, if it only slept, had its time.
    assert!(begin.elapsed() >= ttl - Duration::from_millis(50));
    assert!(epoch > dead, "{epoch} after {dead}");
    assert!(!store.renew("l", "dead", dead, ttl).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_back_takes_no_lease_from_the_living() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (ttl, hour) = (Duration::from_millis(600), Duration::from_secs(3_600));
    let epoch = store.acquire("l", "alive", ttl).await.unwrap().unwrap();
    as_if_set_back(&server).await;
    let begin = Instant::now();
    while begin.elapsed() < 3 * ttl {
        assert!(store.renew("l", "alive", epoch, ttl).await.unwrap());
        assert_eq!(store.acquire("l", "heir", ttl).await.unwrap(), None);
        tokio::time::sleep(ttl / 6).await;
    }
    // Nor a long one, because somebody else wants a short one.
    assert!(store.renew("l", "alive", epoch, hour).await.unwrap());
    assert_eq!(store.acquire("l", "heir", ttl).await.unwrap(), None);
    let held = store.current("l").await.unwrap().unwrap();
    assert!(held.remaining > hour / 2, "{held:?}");
}

#[tokio::test]
async fn who_stood_still_does_not_take_the_server_for_silent() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let tail = append(&store).await.unwrap();
    server.signal("STOP");
    let asked: Vec<_> = (0..10).map(|_| tokio::spawn(store.tail("s"))).collect();
    // Everything is written; the answers come while nothing of this process runs.
    tokio::time::sleep(PROMISED / 10).await;
    server.signal("CONT");
    std::thread::sleep(2 * PROMISED);
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap(), tail);
    }
    assert_eq!(store.health().state, "ok");
}
