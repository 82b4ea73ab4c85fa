use std::sync::atomic::{AtomicU64, Ordering};

use tidepool_policy::Policy;
use tidepool_store::EmbeddedStore;

use super::*;
use crate::actor::tests::plan;
use crate::intake::tests::pool_name;
use crate::troubled::{Access, TroubledKv};

struct Office {
    kv: Arc<dyn Kv>,
    events: Arc<Mutex<Vec<EventDraft>>>,
    now_ms: Arc<AtomicU64>,
}

impl Office {
    fn new() -> Self {
        Self {
            kv: Arc::new(EmbeddedStore::ephemeral().unwrap()),
            events: Arc::default(),
            now_ms: Arc::new(AtomicU64::new(1_700_000_000_000)),
        }
    }

    /// A desk as a process opens it at its start.
    async fn open(&self) -> OrderDesk {
        self.open_with(self.ports()).await
    }

    fn ports(&self) -> DeskPorts {
        let (events, now_ms) = (Arc::clone(&self.events), Arc::clone(&self.now_ms));
        DeskPorts {
            publish: Box::new(move |event| events.lock().push(event)),
            now: Box::new(move || Timestamp(now_ms.load(Ordering::Relaxed))),
        }
    }

    async fn open_with(&self, ports: DeskPorts) -> OrderDesk {
        let plans = [plan(Policy::tidepool(1, 8))];
        OrderDesk::open(Arc::clone(&self.kv), &plans, ports)
            .await
            .unwrap()
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now_ms.load(Ordering::Relaxed))
    }
}

fn pin(n: u32) -> PoolChange {
    PoolChange {
        pin: Some(Some(n)),
        duration: Some(Duration::from_secs(60)),
        reason: Some("load test".into()),
        by: "ann".into(),
        ..PoolChange::default()
    }
}

#[tokio::test]
async fn an_order_outlives_the_process_and_ends_on_time() {
    let office = Office::new();
    let desk = office.open().await;
    desk.change(&pool_name(), pin(5)).await.unwrap();
    drop(desk);
    let desk = office.open().await;
    let order = desk.in_force(&pool_name(), office.now()).unwrap();
    assert_eq!(order.pin, Some(5));
    let applied = office.events.lock().last().cloned().unwrap();
    assert_eq!(applied.kind, "config.applied");
    assert_eq!(applied.data["old"]["pin"], Value::Null);
    assert_eq!(applied.data["new"]["pin"], 5);
    assert_eq!(
        (&applied.data["by"], &applied.data["reason"]),
        (&json!("ann"), &json!("load test"))
    );
    assert_eq!(applied.data["until"], "2023-11-14T22:14:20.000Z");

    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    assert_eq!(desk.in_force(&pool_name(), office.now()), None);
    assert_eq!(desk.in_force(&pool_name(), office.now()), None);
    let events = office.events.lock().clone();
    assert_eq!(events.len(), 2, "an end is told once");
    assert_eq!(events[1].data["reason"], "the pin ended");
    assert_eq!(events[1].data["by"], "the clock");
    // The task takes it out of the store.
    let key = Kept::Orders.key(&pool_name());
    for _ in 0..1_000 {
        if office.kv.get(&key).await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("an ended order is still in the store");
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let office = Office::new();
    let desk = office.open().await;
    let refused = desk.change(&pool_name(), pin(99)).await;
    assert!(matches!(
        refused,
        Err(ChangeError::Invalid { member: "pin", .. })
    ));
    let nobody = PoolName::new("nobody").unwrap();
    let unknown = desk.change(&nobody, pin(1)).await;
    assert_eq!(unknown, Err(ChangeError::UnknownPool(nobody)));
    assert!(desk.standing(&pool_name()).is_empty());
    assert!(office.events.lock().is_empty());
}

#[tokio::test]
async fn changes_at_the_same_time_do_not_undo_each_other() {
    let office = Office::new();
    let desk = office.open().await;
    let bounds = PoolChange {
        max: Some(Some(20)),
        ..PoolChange::default()
    };
    let pool = pool_name();
    let (first, second) = tokio::join!(desk.change(&pool, bounds), desk.change(&pool, pin(5)));
    first.unwrap();
    second.unwrap();
    let standing = office.open().await.standing(&pool_name());
    assert_eq!(standing.pinned(), Some(5));
    assert_eq!(standing.bounds.as_ref().unwrap().max, Some(20));
}

/// What was told of ends.
fn ends(office: &Office) -> Vec<Value> {
    let events = office.events.lock();
    let by_clock = events.iter().filter(|e| e.data["by"] == "the clock");
    by_clock.map(|event| event.data["reason"].clone()).collect()
}

/// A desk that an interruption knows once it is open.
type Known = Arc<std::sync::OnceLock<OrderDesk>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_made_while_another_ends_is_not_lost() {
    let office = Office::new();
    let known = Known::default();
    let (desk, runtime) = (Arc::clone(&known), tokio::runtime::Handle::current());
    let mut ports = office.ports();
    let publish = ports.publish;
    ports.publish = Box::new(move |event| {
        let is_end = event.data["by"] == "the clock";
        publish(event);
        if !is_end {
            return;
        }
        // The operator's change is whole before the end that is being told returns.
        let (desk, runtime) = (desk.get().unwrap().clone(), runtime.clone());
        let change = move || runtime.block_on(desk.change(&pool_name(), pin(3)));
        std::thread::spawn(change).join().unwrap().unwrap();
    });
    let desk = office.open_with(ports).await;
    known.get_or_init(|| desk.clone());
    desk.change(&pool_name(), pin(5)).await.unwrap();
    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    let now = office.now();
    tokio::task::block_in_place(|| desk.in_force(&pool_name(), now));
    assert_eq!(desk.standing(&pool_name()).pinned(), Some(3));
    let order = desk.in_force(&pool_name(), now).unwrap();
    assert_eq!(order.pin, Some(3));
    assert_eq!(ends(&office), ["the pin ended"]);
    let kept = office.open().await.standing(&pool_name());
    assert_eq!(kept.pinned(), Some(3), "it would survive a crash");
}

#[tokio::test]
async fn an_order_that_ends_while_another_is_made_does_not_come_back() {
    let office = Office::new();
    let known = Known::default();
    let desk = Arc::clone(&known);
    let mut ports = office.ports();
    let now = ports.now;
    // Asked for the time within the second change, the clock strikes for the first.
    let strikes = Arc::new(AtomicU64::new(0));
    let struck = Arc::clone(&strikes);
    ports.now = Box::new(move || {
        let now = now();
        if struck.swap(0, Ordering::Relaxed) > 0 {
            let order = desk.get().unwrap().in_force(&pool_name(), now);
            assert_eq!(order, None);
        }
        now
    });
    let desk = office.open_with(ports).await;
    known.get_or_init(|| desk.clone());
    desk.change(&pool_name(), pin(5)).await.unwrap();
    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    strikes.store(1, Ordering::Relaxed);
    let bounds = PoolChange {
        max: Some(Some(20)),
        ..PoolChange::default()
    };
    let after = desk.change(&pool_name(), bounds).await.unwrap();
    assert_eq!(after.pinned(), None, "its end was told");
    let order = desk.in_force(&pool_name(), office.now()).unwrap();
    assert_eq!((order.pin, order.max), (None, Some(20)));
    assert_eq!(ends(&office), ["the pin ended"]);
}

#[tokio::test]
async fn an_order_counts_and_is_told_only_once_it_is_kept() {
    let mut office = Office::new();
    let store = Arc::clone(&office.kv);
    let known = Known::default();
    let (desk, events) = (Arc::clone(&known), Arc::clone(&office.events));
    let fails = Arc::new(AtomicU64::new(0));
    let will_fail = Arc::clone(&fails);
    office.kv = TroubledKv::over(&store, move |access, _| {
        if access == Access::Put {
            assert!(desk.get().unwrap().standing(&pool_name()).is_empty());
            assert!(events.lock().is_empty());
        }
        will_fail.load(Ordering::Relaxed) == 0
    });
    let desk = office.open().await;
    known.get_or_init(|| desk.clone());
    fails.store(1, Ordering::Relaxed);
    let refused = desk.change(&pool_name(), pin(5)).await;
    assert!(matches!(refused, Err(ChangeError::Unavailable(_))));
    assert_eq!(desk.in_force(&pool_name(), office.now()), None);
    assert!(office.events.lock().is_empty());
    fails.store(0, Ordering::Relaxed);
    desk.change(&pool_name(), pin(5)).await.unwrap();
    assert_eq!(desk.standing(&pool_name()).pinned(), Some(5));
    assert_eq!(office.events.lock().len(), 1);
}

#[tokio::test]
async fn an_order_that_was_taken_back_does_not_return_at_a_restart() {
    let office = Office::new();
    let desk = office.open().await;
    desk.change(&pool_name(), pin(5)).await.unwrap();
    let unpin = PoolChange {
        pin: Some(None),
        by: "y".repeat(99),
        ..PoolChange::default()
    };
    desk.change(&pool_name(), unpin).await.unwrap();
    assert!(office.open().await.standing(&pool_name()).is_empty());
    let told = office.events.lock().pop().unwrap().data;
    let by = "y".repeat(64);
    assert_eq!(told["by"], by);
    assert_eq!(told["sentence"], format!("no longer pinned by {by}"));
}

#[tokio::test]
async fn a_store_that_does_not_answer_overlooks_no_order() {
    let office = Office::new();
    let desk = office.open().await;
    desk.change(&pool_name(), pin(5)).await.unwrap();
    let silent = TroubledKv::over(&office.kv, |_, _| false);
    let plans = [plan(Policy::tidepool(1, 8))];
    let opened = OrderDesk::open(silent, &plans, office.ports()).await;
    assert!(opened.is_err());
}

#[tokio::test]
async fn an_order_ends_by_the_clock_of_who_obeys_it() {
    let office = Office::new();
    let desk = office.open().await;
    desk.change(&pool_name(), pin(5)).await.unwrap();
    let now = office.now();
    let at = |ms| Timestamp(now.0 + ms);
    let pinned = |ms| desk.in_force(&pool_name(), at(ms)).and_then(|o| o.pin);
    assert_eq!((pinned(59_999), pinned(60_000)), (Some(5), None));
}

#[tokio::test]
async fn a_change_of_both_is_told_in_one_sentence() {
    let office = Office::new();
    let desk = office.open().await;
    let bounds = PoolChange {
        max: Some(Some(20)),
        duration: Some(Duration::from_secs(30)),
        ..pin(9)
    };
    desk.change(&pool_name(), bounds).await.unwrap();
    let told = office.events.lock().pop().unwrap().data;
    assert_eq!(told["new"]["max"], 20);
    assert_eq!(told["until"], "2023-11-14T22:13:50.000Z");
    let sentence = "pinned to 9, bounds 1-20 until 2023-11-14T22:13:50.000Z by ann: load test";
    assert_eq!(told["sentence"], sentence);
}

/// The orders of a pool as the store has them, once they are as `wanted`.
async fn kept(office: &Office, pool: &PoolName, wanted: impl Fn(&Standing) -> bool) -> Standing {
    for _ in 0..1_000 {
        let found = durable::load(&office.kv, Kept::Orders, pool, &|_| {}).await;
        let standing: Standing = found.unwrap().unwrap_or_default();
        if wanted(&standing) {
            return standing;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("an ended order is still in the store");
}

#[tokio::test]
async fn what_has_not_ended_stays_in_the_store() {
    let office = Office::new();
    let desk = office.open().await;
    let bounds = PoolChange {
        max: Some(Some(20)),
        ..PoolChange::default()
    };
    desk.change(&pool_name(), bounds).await.unwrap();
    desk.change(&pool_name(), pin(9)).await.unwrap();
    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    desk.in_force(&pool_name(), office.now()).unwrap();
    let left = kept(&office, &pool_name(), |left| left.hold.is_none()).await;
    assert_eq!(left, *desk.standing(&pool_name()));
    assert_eq!(left.bounds.unwrap().max, Some(20));
}

#[tokio::test]
async fn an_end_that_could_not_be_written_is_written_later() {
    let mut office = Office::new();
    let store = Arc::clone(&office.kv);
    // The first try to forget fails.
    let tries = Arc::new(AtomicU64::new(0));
    let tried = Arc::clone(&tries);
    office.kv = TroubledKv::over(&store, move |access, _| {
        access != Access::Delete || tried.fetch_add(1, Ordering::Relaxed) > 0
    });
    let other = PoolName::new("other").unwrap();
    let mut plans = [(); 2].map(|()| plan(Policy::tidepool(1, 8)));
    plans[1].spec.name = other.clone();
    let desk = OrderDesk::open(Arc::clone(&office.kv), &plans, office.ports());
    let desk = desk.await.unwrap();
    for pool in [&pool_name(), &other] {
        desk.change(pool, pin(5)).await.unwrap();
    }
    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    desk.in_force(&pool_name(), office.now());
    while tries.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    // Another end makes the task look again, sooner than by itself.
    desk.in_force(&other, office.now());
    for pool in [&pool_name(), &other] {
        kept(&office, pool, Standing::is_empty).await;
    }
}

#[tokio::test]
async fn an_order_that_ends_while_the_end_of_another_is_written_leaves_the_store_too() {
    let mut office = Office::new();
    let store = Arc::clone(&office.kv);
    let known = Known::default();
    let (desk, now_ms) = (Arc::clone(&known), Arc::clone(&office.now_ms));
    let strikes = Arc::new(AtomicU64::new(0));
    let struck = Arc::clone(&strikes);
    office.kv = TroubledKv::over(&store, move |access, _| {
        if access == Access::Put && struck.swap(0, Ordering::Relaxed) > 0 {
            let later = now_ms.fetch_add(60_000, Ordering::Relaxed) + 60_000;
            let desk = desk.get().unwrap();
            assert_eq!(desk.in_force(&pool_name(), Timestamp(later)), None);
        }
        true
    });
    let desk = office.open().await;
    known.get_or_init(|| desk.clone());
    let bounds = PoolChange {
        max: Some(Some(20)),
        duration: Some(Duration::from_secs(120)),
        ..PoolChange::default()
    };
    desk.change(&pool_name(), bounds).await.unwrap();
    desk.change(&pool_name(), pin(9)).await.unwrap();
    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    strikes.store(1, Ordering::Relaxed);
    desk.in_force(&pool_name(), office.now()).unwrap();
    kept(&office, &pool_name(), Standing::is_empty).await;
    assert_eq!(ends(&office), ["the pin ended", "the bounds ended"]);
}

#[tokio::test]
async fn a_closed_desk_takes_nothing_from_the_one_that_follows() {
    let mut office = Office::new();
    let store = Arc::clone(&office.kv);
    let is_away = Arc::new(AtomicU64::new(1));
    let (tries, away) = (Arc::new(AtomicU64::new(0)), Arc::clone(&is_away));
    let tried = Arc::clone(&tries);
    office.kv = TroubledKv::over(&store, move |access, _| {
        let is_delete = access == Access::Delete;
        tried.fetch_add(u64::from(is_delete), Ordering::Relaxed);
        !is_delete || away.load(Ordering::Relaxed) == 0
    });
    let before = office.open().await;
    before.change(&pool_name(), pin(5)).await.unwrap();
    office.now_ms.fetch_add(60_000, Ordering::Relaxed);
    before.in_force(&pool_name(), office.now());
    while tries.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    before.close().await;
    is_away.store(0, Ordering::Relaxed);
    let next = office.open().await;
    next.change(&pool_name(), pin(7)).await.unwrap();
    let late = before.change(&pool_name(), pin(9)).await;
    assert!(matches!(late, Err(ChangeError::Unavailable(_))), "{late:?}");
    // The end that the first desk still had to write is not written over what the next one has.
    before.0.has_ended.notify_one();
    while Arc::weak_count(&before.0) > 0 {
        tokio::task::yield_now().await;
    }
    let held = kept(&office, &pool_name(), |held| held.hold.is_some()).await;
    assert_eq!(held.pinned(), Some(7));
}
