//! Supervisors that panic, over a store of their own.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tidepool_core::order::{ChangeError, PoolChange};
use tidepool_core::{NodeId, PoolName, PoolSpec, SetTarget, Timestamp};
use tidepool_feed::FeedConfig;
use tidepool_policy::Policy;
use tidepool_store::EmbeddedStore;

use super::*;
use crate::settings::{Inputs, load};

const SOON: Duration = Duration::from_secs(20);

/// What the supervisors of a test reach out to.
#[derive(Clone, Default)]
struct Outside {
    targets: Arc<Mutex<Vec<SetTarget>>>,
    /// Whether a target breaks who sends it.
    breaks: Arc<AtomicBool>,
    /// Whether whoever begins is broken.
    breaks_beginners: Arc<AtomicBool>,
    store: Option<Arc<EmbeddedStore>>,
}

fn plan() -> PoolPlan {
    PoolPlan {
        spec: PoolSpec {
            name: PoolName::new("echo").unwrap(),
            kinds: vec![],
            slots: 4,
            queue_len_max: 100,
            queue_bytes_max: 1_000_000,
            slo_ms: 1_000,
            deadline_ms: 10_000,
        },
        policy: Policy::tidepool(2, 8),
        shadows: vec![],
    }
}

fn empty_node() -> NodeReport {
    NodeReport {
        node: NodeId::new(NODE).unwrap(),
        at: Timestamp(0),
        process_cpu_cores: None,
        machine_cpu_cores: None,
        cores: 2,
        memory_bytes: None,
        memory_limit_bytes: None,
        memory_used_bytes: None,
        workers: vec![],
    }
}

async fn begin(outside: &Outside) -> (Seat, Succession, Registry) {
    let new = || Arc::new(EmbeddedStore::ephemeral().unwrap());
    let store = outside.store.clone().unwrap_or_else(new);
    let feed = Feed::start(store.clone(), FeedConfig::new("/tidepool/local".to_owned()));
    let registry = Registry::new();
    let mut settings = load(&Inputs::default()).unwrap().settings.controller;
    settings.decision_log.bytes_max = 0;
    let outside = outside.clone();
    let set_target = move |outside: &Outside, target| {
        assert!(!outside.breaks.load(Ordering::Relaxed), "planted");
        outside.targets.lock().push(target);
        true
    };
    let ground = Ground {
        kv: store,
        plans: vec![plan()],
        settings,
        feed: feed.await.unwrap(),
        registry: registry.clone(),
        restarts: RestartPolicy {
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(10),
            ..RESTARTS
        },
        retry: Duration::from_millis(1),
        ports: Box::new(move |_| {
            assert!(!outside.breaks_beginners.load(Ordering::Relaxed), "planted");
            let outside = outside.clone();
            Ports {
                set_target: Box::new(move |target| set_target(&outside, target)),
                publish: Box::new(|_| {}),
                span: Box::new(|_| {}),
                keep: Box::new(|_| true),
                log: None,
                now: Box::new(tidepool_supervisor::steady_wall_clock()),
            }
        }),
    };
    let (seat, succession) = start(ground).await.unwrap();
    (seat, succession, registry)
}

fn restarts(registry: &Registry) -> f64 {
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == "tidepool_supervisor_restarts_total");
    family.unwrap().get_metric()[0].get_counter().get_value()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, held).await.is_ok(), "{what}");
}

#[actix::test]
async fn another_one_takes_the_place_of_one_that_panicked_and_knows_its_orders() {
    let outside = Outside::default();
    let (seat, _succession, registry) = begin(&outside).await;
    seat.take_node(empty_node());
    until("it decides", || !outside.targets.lock().is_empty()).await;
    let pin = PoolChange {
        pin: Some(Some(5)),
        duration: Some(Duration::from_secs(3_600)),
        by: "a test".to_owned(),
        ..PoolChange::default()
    };
    let before = seat.view();
    before.change(&plan().spec.name, pin.clone()).await.unwrap();
    outside.breaks.store(true, Ordering::Relaxed);
    until("it panics", || seat.health().state == "down").await;
    assert!(!seat.0.read().has_given_up);
    outside.breaks.store(false, Ordering::Relaxed);
    outside.targets.lock().clear();
    until("another one begins", || seat.health().state == "ok").await;
    let decided = || {
        seat.take_node(empty_node());
        outside.targets.lock().last().cloned()
    };
    until("it decides", || {
        decided().is_some_and(|target| target.n == 5)
    })
    .await;
    let target = decided().unwrap();
    assert!(target.epoch >= 2, "{target:?}");
    let late = before.change(&plan().spec.name, pin).await;
    assert!(matches!(late, Err(ChangeError::Unavailable(_))), "{late:?}");
    assert!(restarts(&registry) >= 1.0);
}

#[actix::test]
async fn one_that_panics_again_and_again_is_left_alone_and_that_is_told() {
    let outside = Outside::default();
    outside.breaks.store(true, Ordering::Relaxed);
    let (seat, _succession, registry) = begin(&outside).await;
    let gave_up = || {
        seat.take_node(empty_node());
        seat.0.read().has_given_up
    };
    until("it gives up", gave_up).await;
    let health = seat.health();
    assert_eq!(health.state, "down");
    assert!(health.detail.contains("restarted"), "{health:?}");
    assert_eq!(restarts(&registry), 10.0);
}

#[actix::test]
async fn what_cannot_be_begun_with_is_waited_for_and_is_no_panic() {
    let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let outside = Outside {
        store: Some(Arc::clone(&store)),
        ..Outside::default()
    };
    let (seat, _succession, registry) = begin(&outside).await;
    let epoch = store.get("controller/epoch").await.unwrap().unwrap().bytes;
    let broken = "no number".into();
    store.put("controller/epoch", broken, None).await.unwrap();
    outside.breaks.store(true, Ordering::Relaxed);
    let tries = || {
        seat.take_node(empty_node());
        seat.0.read().tries
    };
    until("more tries than panics are forgiven", || tries() > 20).await;
    let health = seat.health();
    assert!(health.detail.contains("the log says why"), "{health:?}");
    outside.breaks.store(false, Ordering::Relaxed);
    store.put("controller/epoch", epoch, None).await.unwrap();
    until("another one begins", || seat.health().state == "ok").await;
    assert_eq!(restarts(&registry), 1.0);
}

#[actix::test]
async fn one_that_panics_before_it_begins_counts_as_one_that_panicked() {
    let outside = Outside::default();
    let (seat, _succession, registry) = begin(&outside).await;
    outside.breaks_beginners.store(true, Ordering::Relaxed);
    outside.breaks.store(true, Ordering::Relaxed);
    until("it gives up", || {
        seat.take_node(empty_node());
        seat.0.read().has_given_up
    })
    .await;
    assert_eq!(restarts(&registry), 0.0);
}
