//! The feed over an embedded store, and over one that fails on demand.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod flaky;
mod processes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flaky::FlakyLog;
use serde_json::json;
use tidepool_core::{EventDraft, EventId, PoolName, Timestamp};
use tidepool_feed::{Delivery, Entry, Feed, FeedConfig, Filter, HISTORY_LEN_MAX, Subscription};
use tidepool_store::{EmbeddedStore, Log, Position};

/// Far longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> FeedConfig {
    let now = AtomicU64::new(1_000);
    FeedConfig {
        // Two events share a millisecond.
        clock: Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed) / 2)),
        ..FeedConfig::new("/tidepool/test")
    }
}

async fn feed_on(log: Arc<dyn Log>) -> Feed {
    Feed::start(log, config()).await.unwrap()
}

async fn feed() -> Feed {
    feed_on(Arc::new(EmbeddedStore::ephemeral().unwrap())).await
}

fn numbered(n: u64) -> EventDraft {
    EventDraft::new("worker.ready", json!({ "n": n }))
}

fn publish(feed: &Feed, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|n| feed.publish(numbered(n)));
}

fn number(entry: &Entry) -> u64 {
    entry.event().unwrap().data["n"].as_u64().unwrap()
}

fn numbers(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| number(entry)).collect()
}

async fn next(subscription: &mut Subscription) -> Delivery {
    tokio::time::timeout(PATIENCE, subscription.next())
        .await
        .expect("a delivery in time")
        .expect("a feed that goes on")
}

/// The numbers of the next deliveries, `None` for a resync.
async fn take(subscription: &mut Subscription, count: usize) -> Vec<Option<u64>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(match next(subscription).await {
            Delivery::Event(entry) => Some(number(&entry)),
            Delivery::Resync => None,
        });
    }
    taken
}

fn some(numbers: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
    numbers.into_iter().map(Some).collect()
}

async fn history(feed: &Feed, since: Option<EventId>, limit: usize) -> Vec<u64> {
    let history = feed.history(since, &Filter::default(), limit).await;
    numbers(&history.unwrap().events)
}

#[tokio::test]
async fn a_subscriber_replays_and_then_follows_without_gap_or_repetition() {
    let feed = feed().await;
    publish(&feed, 0..500);
    feed.flush().await.unwrap();
    let since = feed.history(None, &Filter::default(), 1_000).await.unwrap();
    let mut subscription = feed.subscribe(Some(since.events[99].id), Filter::default());
    let publisher = feed.clone();
    let publishing = tokio::spawn(async move {
        for n in 500..1_500 {
            publisher.publish(numbered(n));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(take(&mut subscription, 1_400).await, some(100..1_500));
    publishing.await.unwrap();
}

#[tokio::test]
async fn without_a_position_only_new_events_come() {
    let feed = feed().await;
    publish(&feed, 0..10);
    feed.flush().await.unwrap();
    let mut subscription = feed.subscribe(None, Filter::default());
    publish(&feed, [10]);
    assert_eq!(take(&mut subscription, 1).await, some([10]));
}

#[tokio::test]
async fn a_position_that_left_memory_means_resync() {
    let log = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let small = FeedConfig {
        memory_len: 10,
        ..config()
    };
    let feed = Feed::start(log, small).await.unwrap();
    publish(&feed, 0..30);
    feed.flush().await.unwrap();
    let mut subscription = feed.subscribe(Some(EventId::default()), Filter::default());
    let expected: Vec<_> = [None].into_iter().chain(some(20..30)).collect();
    assert_eq!(take(&mut subscription, 11).await, expected);
}

#[tokio::test]
async fn a_position_from_the_future_means_resync() {
    let feed = feed().await;
    publish(&feed, [0]);
    feed.flush().await.unwrap();
    let future = EventId {
        ms: u64::MAX,
        seq: 0,
    };
    let mut subscription = feed.subscribe(Some(future), Filter::default());
    publish(&feed, [1]);
    assert_eq!(take(&mut subscription, 2).await, [None, Some(1)]);
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_once_and_goes_on() {
    let log = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let small = FeedConfig {
        memory_len: 10,
        ..config()
    };
    let feed = Feed::start(log, small).await.unwrap();
    let mut subscription = feed.subscribe(None, Filter::default());
    publish(&feed, 0..1);
    assert_eq!(take(&mut subscription, 1).await, some([0]));
    publish(&feed, 1..100);
    feed.flush().await.unwrap();
    let expected: Vec<_> = [None].into_iter().chain(some(90..100)).collect();
    assert_eq!(take(&mut subscription, 11).await, expected);
    publish(&feed, [100]);
    assert_eq!(take(&mut subscription, 1).await, some([100]));
}

#[tokio::test]
async fn filters_apply_to_history_and_to_subscriptions() {
    let feed = feed().await;
    let (echo, grammar) = (
        PoolName::new("echo").unwrap(),
        PoolName::new("grammar").unwrap(),
    );
    let mut subscription = feed.subscribe(
        None,
        Filter::default()
            .of_type("scaling")
            .unwrap()
            .of_pool(echo.clone()),
    );
    feed.publish(EventDraft::of_pool(
        "scaling.decided",
        &grammar,
        json!({"n": 0}),
    ));
    feed.publish(EventDraft::of_pool("worker.ready", &echo, json!({"n": 1})));
    feed.publish(EventDraft::of_pool(
        "scaling.suppressed",
        &echo,
        json!({"n": 2}),
    ));
    feed.publish(EventDraft::of_pool(
        "scaling.decided",
        &echo,
        json!({"n": 3}),
    ));
    assert_eq!(take(&mut subscription, 2).await, some([2, 3]));
    let of_echo = Filter::default().of_pool(echo);
    let history = feed.history(None, &of_echo, 2).await.unwrap();
    assert_eq!(numbers(&history.events), [2, 3]);
}

#[tokio::test]
async fn history_and_growing_ids_survive_a_restart() {
    let log = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let feed = feed_on(log.clone()).await;
    publish(&feed, 0..20);
    feed.shutdown().await.unwrap();
    let last = feed.newest();
    // The clock of the second run starts over, so its times are older than those of the first.
    let feed = feed_on(log).await;
    assert_eq!(history(&feed, None, 5).await, [15, 16, 17, 18, 19]);
    publish(&feed, [20]);
    feed.flush().await.unwrap();
    assert!(feed.newest() > last);
    assert_eq!(history(&feed, Some(last), 5).await, [20]);
}

#[tokio::test]
async fn events_that_left_memory_are_read_from_the_store() {
    let log = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let small = || FeedConfig {
        memory_len: 50,
        preload_len: 20,
        ..config()
    };
    let feed = Feed::start(log.clone(), small()).await.unwrap();
    for begin in (0..3_000).step_by(50) {
        publish(&feed, begin..begin + 50);
        feed.flush().await.unwrap();
    }
    feed.shutdown().await.unwrap();
    let feed = Feed::start(log, small()).await.unwrap();
    publish(&feed, 3_000..3_010);
    feed.flush().await.unwrap();

    let newest = history(&feed, None, HISTORY_LEN_MAX).await;
    assert_eq!(newest, (2_010..3_010).collect::<Vec<_>>());
    let all = Filter::default();
    let mut since = EventId::default();
    let mut seen = Vec::new();
    while seen.len() < 3_010 {
        let page = feed.history(Some(since), &all, 700).await.unwrap();
        // Nobody can tell whether something was before the first event that is kept.
        assert_eq!(page.is_incomplete, since == EventId::default());
        since = page.events.last().expect("a page with events").id;
        seen.extend(numbers(&page.events));
    }
    assert_eq!(seen, (0..3_010).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_stream_stays_bounded() {
    let log = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let small = FeedConfig {
        retained_len: 100,
        ..config()
    };
    let feed = Feed::start(log.clone(), small).await.unwrap();
    for round in 0..5 {
        publish(&feed, round * 1_000..(round + 1) * 1_000);
        feed.flush().await.unwrap();
    }
    let kept = log.read("events", Position::START, 10_000).await.unwrap();
    assert!((100..=1_356).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap().0, log.tail("events").await.unwrap());
}

#[tokio::test]
async fn events_are_visible_while_the_store_fails_and_stored_once_it_works() {
    let log = Arc::new(FlakyLog::new());
    let feed = feed_on(log.clone()).await;
    log.fail(true);
    let mut subscription = feed.subscribe(None, Filter::default());
    publish(&feed, 0..10);
    assert_eq!(take(&mut subscription, 10).await, some(0..10));
    assert!(feed.flush().await.is_err());
    assert_eq!(feed.health().state, "degraded");
    log.fail(false);
    feed.flush().await.unwrap();
    assert_eq!(feed.health().state, "ok");
    let stored = log.read("events", Position::START, 100).await.unwrap();
    assert_eq!(stored.len(), 10);
}

#[tokio::test]
async fn an_append_that_happened_although_it_failed_is_not_shown_twice() {
    let log = Arc::new(FlakyLog::new());
    let feed = feed_on(log.clone()).await;
    log.fail_after_appending(true);
    publish(&feed, 0..3);
    assert!(feed.flush().await.is_err());
    log.fail_after_appending(false);
    feed.flush().await.unwrap();
    assert!(
        log.read("events", Position::START, 100)
            .await
            .unwrap()
            .len()
            > 3
    );
    let feed = feed_on(log).await;
    assert_eq!(history(&feed, None, 10).await, [0, 1, 2]);
}

#[tokio::test]
async fn overflow_is_counted_and_does_not_block() {
    let log = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let tiny = FeedConfig {
        queue_len: 4,
        ..config()
    };
    let feed = Feed::start(log, tiny).await.unwrap();
    // This test has one thread, so the feed's task cannot run in between.
    publish(&feed, 0..10);
    assert_eq!(feed.dropped(), 6);
    feed.flush().await.unwrap();
    assert_eq!(history(&feed, None, 10).await, [0, 1, 2, 3]);
    publish(&feed, [10]);
    feed.flush().await.unwrap();
    assert_eq!(history(&feed, None, 1).await, [10]);
}

#[tokio::test]
async fn subscribers_are_counted_and_let_go_at_shutdown() {
    let feed = feed().await;
    let mut subscription = feed.subscribe(None, Filter::default());
    let other = feed.subscribe(None, Filter::default());
    assert_eq!(feed.subscribers(), 2);
    drop(other);
    assert_eq!(feed.subscribers(), 1);
    publish(&feed, [0]);
    feed.shutdown().await.unwrap();
    assert_eq!(take(&mut subscription, 1).await, some([0]));
    let end = tokio::time::timeout(PATIENCE, subscription.next()).await;
    assert_eq!(end.unwrap(), None);
}
