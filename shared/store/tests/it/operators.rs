//! What operators can get wrong about a Redis server, and what they are told.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidepool_core::status::ComponentHealth;
use tidepool_store::{Epoch, Kv, Lease, Log, Position, RedisStore, Roster, StoreError};
use tidepool_testing::RedisServer;

use crate::ports::{LONG, PATIENCE};
use crate::redis::{append, assert_recovers};
use crate::server::{PASSWORD, RIGHTS, command, with_rights, with_tls};

/// Waits until the health is as wanted.
async fn health_of(store: &RedisStore, is_wanted: impl Fn(&ComponentHealth) -> bool) {
    let begin = Instant::now();
    loop {
        let health = store.health();
        if is_wanted(&health) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{health:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn assert_says(error: &StoreError, words: &[&str]) {
    let text = error.full();
    for word in words {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn settings_that_lose_data_are_told() {
    let server = RedisServer::start_with("maxmemory 100mb\nmaxmemory-policy allkeys-lru");
    let store = RedisStore::connect(&server.url()).await.unwrap();
    health_of(&store, |health| {
        let is_told = |word| health.detail.contains(word);
        health.state == "ok" && is_told("allkeys-lru") && is_told("appendonly is off")
    })
    .await;
    let late = RedisServer::start_with("appendonly yes\nappendfsync everysec");
    let store = RedisStore::connect(&late.url()).await.unwrap();
    health_of(&store, |health| {
        health.detail.contains("appendfsync is everysec") && health.detail.contains("always")
    })
    .await;
    let safe = RedisServer::start_with("appendonly yes\nappendfsync always");
    let store = RedisStore::connect(&safe.url()).await.unwrap();
    let expected = format!("connected to 127.0.0.1:{}", safe.port());
    health_of(&store, |health| health.detail == expected).await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_the_password_is_not() {
    let rights = RIGHTS.replace("+xadd", "");
    let (_server, url) = with_rights(&rights);
    let store = RedisStore::connect(&url).await.unwrap();
    let error = append(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert_says(&error, &["NOPERM", "shared/README.md"]);
    assert!(!error.is_retryable());
    let health = store.health();
    assert_eq!(health.state, "degraded");
    assert!(!health.detail.contains(PASSWORD), "{health:?}");
    // The rest works.
    store.put("k", "v".into(), None).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_and_none_are_told_apart() {
    let (server, url) = with_rights(RIGHTS);
    let wrong = url.replace(PASSWORD, "not-to-be-told-either");
    let error = RedisStore::connect(&wrong).await.unwrap_err();
    assert_says(&error, &["WRONGPASS", "correct them in the URL"]);
    assert!(!error.to_string().contains("not-to-be-told"), "{error}");
    let none = server.url();
    let error = RedisStore::connect(&none).await.unwrap_err();
    assert_says(&error, &["NOAUTH", "password"]);
    // Somebody corrects it on the server's side.
    let store = RedisStore::open(&wrong).unwrap();
    health_of(&store, |health| health.state == "down").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_refuses_writes_until_it_is_the_primary() {
    let primary = RedisServer::start();
    let config = format!("replicaof 127.0.0.1 {}", primary.port());
    let replica = RedisServer::start_with(&config);
    let store = RedisStore::connect(&replica.url()).await.unwrap();
    health_of(&store, |health| health.detail.contains("this is a replica")).await;
    let error = append(&store).await.unwrap_err();
    assert_says(&error, &["READONLY", "point the URL at the primary"]);
    assert_eq!(store.health().state, "degraded");
    assert_eq!(
        store.tail("s").await.unwrap(),
        Position::START,
        "it can be read"
    );
    command(&replica, &["REPLICAOF", "NO", "ONE"]).await;
    append(&store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_primary_counts_as_away() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    command(
        &server,
        &["CONFIG", "SET", "replica-serve-stale-data", "no"],
    )
    .await;
    command(&server, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = store.tail("s").await.unwrap_err();
    assert_says(&error, &["MASTERDOWN", "primary"]);
    health_of(&store, |health| {
        health.state == "down" && health.detail.contains("MASTERDOWN")
    })
    .await;
    command(&server, &["REPLICAOF", "NO", "ONE"]).await;
    assert_recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_is_told_and_reads_go_on() {
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let tail = append(&store).await.unwrap();
    command(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = append(&store).await.unwrap_err();
    assert_says(&error, &["OOM", "raise maxmemory"]);
    assert!(error.is_retryable());
    assert_eq!(store.tail("s").await.unwrap(), tail);
    command(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    append(&store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_told_apart_and_every_script_stays_in_one_slot() {
    let server = RedisServer::start_with("cluster-enabled yes");
    let store = RedisStore::open(&server.url()).unwrap();
    let error = store.tail("s").await.unwrap_err();
    assert_says(&error, &["CLUSTERDOWN", "does not serve all slots"]);
    // One node that serves everything still refuses whatever is spread over slots.
    command(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    // The server itself waits for two seconds before it believes that.
    let begin = Instant::now();
    while append(&store).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "{:?}", store.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (epoch, text) = (Epoch(1), || Bytes::from("x"));
    store.read("s", Position::START, 9).await.unwrap();
    store.trim("s", Position(1)).await.unwrap();
    store.erase("s").await.unwrap();
    store.streams("", 9).await.unwrap();
    store.put("k", text(), None).await.unwrap();
    store
        .compare_and_set("k", None, text(), None)
        .await
        .unwrap();
    store.fence("k", epoch).await.unwrap();
    store.put_fenced("k", epoch, text(), None).await.unwrap();
    store
        .compare_and_set_fenced("k", epoch, None, text(), None)
        .await
        .unwrap();
    store.delete_fenced("k", epoch).await.unwrap();
    let held = store.acquire("l", "me", LONG).await.unwrap().unwrap();
    assert!(store.renew("l", "me", held, LONG).await.unwrap());
    assert!(store.current("l").await.unwrap().is_some());
    assert!(store.release("l", "me", held).await.unwrap());
    store.announce("g", "me", text(), LONG).await.unwrap();
    assert_eq!(store.members("g").await.unwrap().len(), 1);
    assert!(store.withdraw("g", "me").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn talks_tls_with_whom_it_knows_only() {
    let directory = tempfile::tempdir().unwrap();
    make_certificates(directory.path());
    let (server, url) = with_tls(directory.path());
    let store = RedisStore::connect(&url).await.unwrap();
    append(&store).await.unwrap();
    // The certificates of the system do not include this one.
    let unknown = url.split('?').next().unwrap().to_owned();
    let error = RedisStore::connect(&unknown).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_says(&error, &["ertificate"]);
    assert!(RedisStore::connect(&server.url()).await.is_err());
}

/// An authority, and a certificate of it for this address.
fn make_certificates(directory: &Path) {
    let run = |line: &str| {
        let output = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(directory)
            .output()
            .expect("this test needs openssl");
        assert!(output.status.success(), "{output:?}");
    };
    run("req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=ca -keyout ca.key -out ca.pem");
    run("req -newkey rsa:2048 -nodes -subj /CN=redis -keyout server.key -out server.csr");
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile names -out server.pem",
    );
}
