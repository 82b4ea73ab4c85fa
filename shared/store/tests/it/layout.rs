//! Releases of several layouts at one Redis: a rolling upgrade, a step back, and where it ends.

use std::time::{Duration, Instant};

use tidepool_store::{Layout, Log, Position, RedisStore, StoreError};
use tidepool_testing::RedisServer;

use crate::ports::PATIENCE;
use crate::redis::{append, assert_recovers};
use crate::server::{RIGHTS, command, with_rights};

const KEY: &str = "tidepool:{layout}:version";

/// The release whose layout this is: it reads that of the release before, and can be read by it.
fn release(version: u32) -> Layout {
    let before = version.saturating_sub(1).max(1);
    Layout {
        version,
        oldest_reader: before,
        reads_from: before,
    }
}

async fn connect(url: &str, layout: Layout) -> Result<RedisStore, StoreError> {
    let store = RedisStore::open_as(url, layout)?;
    store.ping().await?;
    Ok(store)
}

async fn told(server: &RedisServer) -> Option<String> {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut get = ::redis::cmd("GET");
    get.arg(KEY).query_async(&mut connection).await.unwrap()
}

fn assert_incompatible(error: &StoreError, words: &[&str]) {
    assert!(
        matches!(error, StoreError::Incompatible { .. }),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn the_first_release_says_what_it_writes_with_the_usual_rights() {
    let (_server, url) = with_rights(RIGHTS);
    let first = connect(&url, Layout::CURRENT).await.unwrap();
    append(&first).await.unwrap();
    // The server has no user that a test could read the key with; a later release can tell.
    let error = connect(&url, release(3)).await.unwrap_err();
    assert_incompatible(&error, &["layout 1;", "layouts 2 to 3", "in between"]);
}

#[tokio::test]
async fn releases_next_to_each_other_share_a_store_and_can_be_stepped_back_to() {
    let server = RedisServer::start();
    let before = connect(&server.url(), release(1)).await.unwrap();
    append(&before).await.unwrap();
    assert_eq!(told(&server).await.unwrap(), "version=1 oldest_reader=1");
    let after = connect(&server.url(), release(2)).await.unwrap();
    assert_eq!(told(&server).await.unwrap(), "version=2 oldest_reader=1");
    let position = append(&after).await.unwrap();
    // Who was there goes on, and one of the same release may still start.
    assert_eq!(before.tail("s").await.unwrap(), position);
    let back = connect(&server.url(), release(1)).await.unwrap();
    assert_eq!(back.tail("s").await.unwrap(), position);
    assert_eq!(told(&server).await.unwrap(), "version=2 oldest_reader=1");
}

#[tokio::test]
async fn who_cannot_read_it_touches_nothing() {
    let server = RedisServer::start();
    connect(&server.url(), release(3)).await.unwrap();
    let error = connect(&server.url(), release(1)).await.unwrap_err();
    assert_incompatible(&error, &["layout 3", "layout 2 and later", "newer release"]);
    let error = connect(&server.url(), release(5)).await.unwrap_err();
    assert_incompatible(&error, &["layout 3;", "4 to 5", "in between"]);
    // Also who does not ask first.
    let store = RedisStore::open_as(&server.url(), release(1)).unwrap();
    assert_incompatible(&append(&store).await.unwrap_err(), &["layout 3"]);
    let health = store.health();
    assert_eq!(health.state, "down");
    assert!(
        health.detail.contains("start a newer release"),
        "{health:?}"
    );
    let reader = connect(&server.url(), release(3)).await.unwrap();
    assert_eq!(reader.tail("s").await.unwrap(), Position::START);
    assert_eq!(told(&server).await.unwrap(), "version=3 oldest_reader=2");
}

#[tokio::test]
async fn many_releases_at_once_leave_the_newest_said() {
    let server = RedisServer::start();
    let releases = (0..20).map(|n| {
        let (url, release) = (server.url(), release(1 + n % 2));
        tokio::spawn(async move { connect(&url, release).await })
    });
    for connected in releases.collect::<Vec<_>>() {
        connected.await.unwrap().unwrap();
    }
    assert_eq!(told(&server).await.unwrap(), "version=2 oldest_reader=1");
}

#[tokio::test]
async fn of_two_that_cannot_read_each_other_one_at_most_goes_on() {
    let server = RedisServer::start();
    for round in 0..40 {
        command(&server, &["FLUSHALL"]).await;
        let url = server.url();
        let [old, new] = [1, 3].map(|version| connect(&url, release(version)));
        let (old, new) = tokio::join!(old, new);
        let both = old.is_ok() && new.is_ok();
        assert!(!both, "round {round}: {:?}", told(&server).await);
    }
}

#[tokio::test]
async fn who_is_left_behind_by_an_upgrade_notices_it_over_a_connection_that_stands() {
    let server = RedisServer::start();
    let left_behind = connect(&server.url(), release(1)).await.unwrap();
    append(&left_behind).await.unwrap();
    for newer in [2, 3] {
        connect(&server.url(), release(newer)).await.unwrap();
    }
    let begin = Instant::now();
    let error = loop {
        assert!(begin.elapsed() < PATIENCE, "nobody looked");
        match append(&left_behind).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => break error,
        }
    };
    assert_incompatible(&error, &["layout 3", "newer release"]);
}

#[tokio::test]
async fn what_is_no_layout_is_left_as_it_is() {
    let server = RedisServer::start();
    for other in [["LPUSH", KEY, "a"], ["SET", KEY, "version=one"]] {
        command(&server, &["DEL", KEY]).await;
        command(&server, &other).await;
        let error = connect(&server.url(), release(1)).await.unwrap_err();
        assert_incompatible(&error, &["does not know", "newer release"]);
    }
}

#[tokio::test]
async fn logs_of_which_nothing_is_said_are_those_of_the_first_release() {
    let server = RedisServer::start();
    let first = connect(&server.url(), release(1)).await.unwrap();
    append(&first).await.unwrap();
    command(&server, &["DEL", KEY]).await;
    let error = connect(&server.url(), release(3)).await.unwrap_err();
    assert_incompatible(&error, &["layout 1;", "in between"]);
    connect(&server.url(), release(2)).await.unwrap();
    assert_eq!(told(&server).await.unwrap(), "version=2 oldest_reader=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_other_data_is_looked_at_again() {
    let mut server = RedisServer::start();
    let store = connect(&server.url(), release(1)).await.unwrap();
    append(&store).await.unwrap();
    // It comes back empty, and somebody else is faster.
    server.kill();
    assert!(append(&store).await.is_err());
    server.restart();
    assert_recovers(&store).await;
    assert_eq!(told(&server).await.unwrap(), "version=1 oldest_reader=1");
    command(&server, &["SET", KEY, "version=9 oldest_reader=8"]).await;
    command(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    let begin = Instant::now();
    let error = loop {
        assert!(begin.elapsed() < PATIENCE, "nobody looked");
        match append(&store).await {
            Err(error @ StoreError::Incompatible { .. }) => break error,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_incompatible(&error, &["layout 9"]);
    // Somebody puts that right: no restart is needed.
    command(&server, &["SET", KEY, "version=1 oldest_reader=1"]).await;
    assert_recovers(&store).await;
}
