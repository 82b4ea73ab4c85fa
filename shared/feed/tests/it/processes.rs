//! Several feeds over one store: one leads, the others follow, and they change places.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidepool_core::Timestamp;
use tidepool_feed::{Delivery, Feed, FeedConfig, Filter, Role};
use tidepool_store::{EmbeddedStore, Epoch, Log, Position, RedisStore, StoreError};
use tidepool_testing::RedisServer;

use crate::flaky::FlakyLog;
use crate::{PATIENCE, history, next, number, publish, some, take};

/// A follower shows an event this long after the leader got it, at most; with some time for a busy
/// machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

fn config(name: &str) -> FeedConfig {
    let now = AtomicU64::new(1_000);
    FeedConfig {
        clock: Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed) / 2)),
        ..FeedConfig::new(format!("/tidepool/{name}"))
    }
}

fn follower(log: &Arc<impl Log>, name: &str) -> Feed {
    Feed::following(log.clone(), config(name))
}

async fn leader(log: &Arc<impl Log>, name: &str, epoch: u64) -> Feed {
    let feed = follower(log, name);
    feed.lead(Epoch(epoch)).await.unwrap();
    feed
}

/// Waits until the newest events of a feed are these, in any order.
async fn until_shown(feed: &Feed, expected: impl IntoIterator<Item = u64>) {
    let mut expected: Vec<u64> = expected.into_iter().collect();
    expected.sort_unstable();
    let begin = Instant::now();
    loop {
        let mut shown = history(feed, None, 1_000).await;
        shown.sort_unstable();
        shown.dedup();
        if shown == expected {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{shown:?} {:?}", feed.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn sources(feed: &Feed) -> Vec<String> {
    let all = feed.history(None, &Filter::default(), 1_000).await.unwrap();
    let source = |entry: &Arc<tidepool_feed::Entry>| entry.event().unwrap().source;
    all.events.iter().map(source).collect()
}

fn store() -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::ephemeral().unwrap())
}

#[tokio::test]
async fn all_processes_show_the_same_feed() {
    let store = store();
    let (a, b, c) = (
        leader(&store, "a", 1).await,
        follower(&store, "b"),
        follower(&store, "c"),
    );
    assert_eq!((a.role(), b.role()), (Role::Leads(Epoch(1)), Role::Follows));
    publish(&a, 0..10);
    publish(&b, 10..20);
    publish(&c, 20..30);
    for feed in [&a, &b, &c] {
        until_shown(feed, 0..30).await;
    }
    let order = history(&a, None, 100).await;
    assert_eq!(history(&b, None, 100).await, order);
    assert_eq!(history(&c, None, 100).await, order);
    // Who told it is kept, and each one's events are in the order in which it told them.
    let of = |name: &str, sources: &[String]| sources.iter().filter(|s| *s == name).count();
    let told_by = sources(&c).await;
    assert_eq!(of("/tidepool/b", &told_by), 10);
    let own: Vec<u64> = order.into_iter().filter(|n| (10..20).contains(n)).collect();
    assert_eq!(own, (10..20).collect::<Vec<_>>());
    // What the leader has stored as part of the feed does not stay on its way in.
    b.flush().await.unwrap();
    let begin = Instant::now();
    while !store
        .read("events/in", Position::START, 1)
        .await
        .unwrap()
        .is_empty()
    {
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn followers_are_followed_as_leaders_are() {
    let store = store();
    let a = leader(&store, "a", 1).await;
    publish(&a, 0..5);
    a.flush().await.unwrap();
    let b = follower(&store, "b");
    until_shown(&b, 0..5).await;
    let third = b.history(None, &Filter::default(), 9).await.unwrap().events[2].id;
    let mut replay = b.subscribe(Some(third), Filter::default());
    let mut live = b.subscribe(None, Filter::default());
    let begin = Instant::now();
    publish(&a, [5]);
    assert_eq!(take(&mut live, 1).await, some([5]));
    assert!(begin.elapsed() < SHOWN_WITHIN, "{:?}", begin.elapsed());
    assert_eq!(take(&mut replay, 3).await, some([3, 4, 5]));
    // An id of one process is good at another.
    let mut resumed = a.subscribe(Some(third), Filter::default());
    assert_eq!(take(&mut resumed, 3).await, some([3, 4, 5]));
}

#[tokio::test]
async fn a_new_leader_goes_on_where_the_old_one_was() {
    let store = store();
    let (a, b, c) = (
        leader(&store, "a", 1).await,
        follower(&store, "b"),
        follower(&store, "c"),
    );
    let mut subscription = c.subscribe(None, Filter::default());
    publish(&a, 0..10);
    a.flush().await.unwrap();
    let last = a.newest();
    // Nobody leads for a while; what is told meanwhile waits in the store.
    a.follow().await.unwrap();
    publish(&a, 10..15);
    publish(&c, 15..20);
    a.flush().await.unwrap();
    c.flush().await.unwrap();
    b.lead(Epoch(2)).await.unwrap();
    publish(&b, 20..25);
    for feed in [&a, &b, &c] {
        until_shown(feed, 0..25).await;
    }
    let order = history(&b, None, 100).await;
    assert_eq!(history(&a, None, 100).await, order);
    assert!(b.newest() > last);
    assert_eq!(take(&mut subscription, 25).await, some(order));
}

#[tokio::test]
async fn a_replaced_leader_finds_out_and_loses_nothing() {
    let log = Arc::new(FlakyLog::new());
    let a = leader(&log, "a", 1).await;
    publish(&a, 0..3);
    a.flush().await.unwrap();
    let mut subscription = a.subscribe(None, Filter::default());
    log.fail(true);
    publish(&a, 3..6);
    // They are visible at their leader, but stored nowhere.
    assert_eq!(take(&mut subscription, 3).await, some(3..6));
    let b = follower(&log, "b");
    until_shown(&b, 0..3).await;
    log.fail(false);
    b.lead(Epoch(2)).await.unwrap();
    publish(&b, [6]);
    for feed in [&a, &b] {
        until_shown(feed, 0..7).await;
    }
    assert_eq!(a.role(), Role::Follows);
    assert_eq!(history(&a, None, 9).await, history(&b, None, 9).await);
    assert!(matches!(
        a.lead(Epoch(1)).await,
        Err(StoreError::Fenced { .. })
    ));
    assert_eq!(a.role(), Role::Follows);
}

#[tokio::test]
async fn a_subscriber_of_a_replaced_leader_is_told_to_look_anew() {
    let log = Arc::new(FlakyLog::new());
    let a = leader(&log, "a", 1).await;
    log.fail(true);
    let mut subscription = a.subscribe(None, Filter::default());
    publish(&a, 0..3);
    assert_eq!(take(&mut subscription, 3).await, some(0..3));
    a.follow().await.unwrap();
    log.fail(false);
    assert_eq!(next(&mut subscription).await, Delivery::Resync);
    let b = leader(&log, "b", 2).await;
    publish(&b, [3]);
    let mut seen = take(&mut subscription, 4).await;
    seen.sort_unstable();
    assert_eq!(seen, some(0..4));
}

#[tokio::test]
async fn events_wait_while_the_store_is_away_and_too_many_are_counted() {
    let log = Arc::new(FlakyLog::new());
    let a = leader(&log, "a", 1).await;
    let small = FeedConfig {
        outbox_len: 5,
        ..config("b")
    };
    let b = Feed::following(log.clone(), small);
    log.fail(true);
    publish(&b, 0..8);
    assert!(b.flush().await.is_err());
    assert_eq!(b.dropped(), 3);
    let health = b.health();
    assert_eq!(health.state, "degraded");
    assert!(health.detail.contains("5 events wait"), "{health:?}");
    log.fail(false);
    until_shown(&a, 3..8).await;
    b.flush().await.unwrap();
    let health = b.health();
    assert_eq!(health.state, "ok");
    assert!(
        health.detail.contains("3 events were dropped"),
        "{health:?}"
    );
}

#[tokio::test]
async fn what_is_no_event_is_passed_over_and_told() {
    let store = store();
    let a = leader(&store, "a", 1).await;
    let b = follower(&store, "b");
    let garbage = vec!["{}".into(), "\u{0}".into()];
    store
        .append("events/in", Epoch::UNFENCED, garbage)
        .await
        .unwrap();
    publish(&b, [0]);
    until_shown(&a, [0]).await;
    assert!(
        a.health().detail.contains("2 of other processes lost"),
        "{:?}",
        a.health()
    );
}

#[tokio::test]
async fn the_way_in_is_bounded_while_nobody_leads() {
    let store = store();
    let b = follower(&store, "b");
    for begin in (0..12_000).step_by(1_000) {
        publish(&b, begin..begin + 1_000);
        b.flush().await.unwrap();
    }
    let kept = store
        .read("events/in", Position::START, 10_000)
        .await
        .unwrap();
    let tail = store.tail("events/in").await.unwrap();
    assert!(
        tail.0 - kept[0].0.0 < 10_000 + 256,
        "{} to {tail}",
        kept[0].0
    );
}

#[tokio::test]
async fn leadership_goes_round_without_loss_or_disorder() {
    let store = store();
    let feeds = [
        follower(&store, "a"),
        follower(&store, "b"),
        follower(&store, "c"),
    ];
    let mut told = 0;
    for epoch in 1..=9 {
        let turn = epoch as usize % 3;
        feeds[turn].lead(Epoch(epoch)).await.unwrap();
        for feed in &feeds {
            publish(feed, told..told + 7);
            told += 7;
        }
    }
    for feed in &feeds {
        until_shown(feed, 0..told).await;
    }
    let order = history(&feeds[0], None, 1_000).await;
    for feed in &feeds[1..] {
        assert_eq!(history(feed, None, 1_000).await, order);
    }
    let leading = feeds.iter().filter(|feed| feed.role() != Role::Follows);
    assert_eq!(leading.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_that_is_killed_frozen_and_comes_back() {
    let mut server = RedisServer::start();
    let open = || Arc::new(RedisStore::open(&server.url()).unwrap());
    let (one, two) = (open(), open());
    one.ping().await.unwrap();
    let (a, b) = (leader(&one, "a", 1).await, follower(&two, "b"));
    publish(&a, 0..3);
    publish(&b, 3..6);
    until_shown(&b, 0..6).await;

    server.signal("STOP");
    publish(&b, 6..9);
    assert!(b.flush().await.is_err());
    server.signal("CONT");
    let begin = Instant::now();
    until_shown(&a, 0..9).await;
    eprintln!("passed on {:?} after it went on", begin.elapsed());

    server.kill();
    publish(&a, 9..12);
    publish(&b, 12..15);
    assert!(b.flush().await.is_err());
    assert_eq!(b.health().state, "degraded");
    server.restart();
    let begin = Instant::now();
    // The server came back empty: what was told meanwhile arrives.
    let is_there = |n: &u64| (9..15).contains(n);
    for feed in [&a, &b] {
        while history(feed, None, 100)
            .await
            .iter()
            .filter(|n| is_there(n))
            .count()
            < 6
        {
            assert!(begin.elapsed() < PATIENCE, "{:?}", feed.health());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    eprintln!("together again {:?} after it came back", begin.elapsed());
    b.lead(Epoch(2)).await.unwrap();
    publish(&a, [15]);
    let mut subscription = b.subscribe(None, Filter::default());
    let Delivery::Event(entry) = next(&mut subscription).await else {
        panic!("a resync");
    };
    assert_eq!(number(&entry), 15);
}
