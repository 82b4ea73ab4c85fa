//! What is particular to the Redis store: it can go away, freeze and come back empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_store::{Epoch, Lease, Log, Position, RedisStore, StoreError, wait};

use crate::conformance::{Ports, conformance};
use crate::server::Server;

const PROMISED: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(2);

async fn ports() -> Ports {
    let server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    Ports {
        log: Arc::new(store.clone()),
        kv: Arc::new(store.clone()),
        lease: Arc::new(store),
        time: None,
        _keep: Box::new(server),
    }
}

conformance!(ports);

async fn append(store: &RedisStore) -> Result<Position, StoreError> {
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
async fn assert_recovers(store: &RedisStore) -> Position {
    let begin = Instant::now();
    loop {
        match append(store).await {
            Ok(position) => {
                assert!(begin.elapsed() <= RECOVERY, "{:?}", begin.elapsed());
                assert_eq!(store.health().state, "ok");
                return position;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fails_in_time_while_the_server_is_gone_and_recovers() {
    let mut server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let before = append(&store).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let epoch = store.acquire("l", "a", hour).await.unwrap().unwrap();
    server.kill();
    for _ in 0..3 {
        assert_fails_in_time(&store).await;
    }
    server.restart().await;
    // The server lost everything. Still no position and no epoch comes twice.
    assert!(assert_recovers(&store).await > before);
    let next = store.acquire("l", "b", hour).await.unwrap().unwrap();
    assert!(next > epoch, "{next} after {epoch}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fails_in_time_while_the_server_is_frozen_and_recovers() {
    let server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    append(&store).await.unwrap();
    server.signal("STOP");
    for _ in 0..3 {
        assert_fails_in_time(&store).await;
    }
    server.signal("CONT");
    assert_recovers(&store).await;
}

#[tokio::test]
async fn refuses_to_start_without_a_server_in_time() {
    let mut server = Server::start().await;
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
    let server = Server::start().await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let waiting = std::thread::spawn(move || wait(store.tail("s")));
    let tail = tokio::task::spawn_blocking(move || waiting.join().unwrap());
    assert_eq!(tail.await.unwrap().unwrap(), Position::START);
}
