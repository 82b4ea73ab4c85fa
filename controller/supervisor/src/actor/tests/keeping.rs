//! When a supervisor decides, how it numbers what it wants, and what it leaves to the next one.

use super::*;

/// What was handed over to be kept, as the next supervisor finds it.
async fn inherited(scene: &Scene, kv: &Arc<dyn Kv>) -> Inheritance {
    let saves = scene.addr.send(Checkpoint).await.unwrap();
    crate::Keeper::start(Arc::clone(kv)).finish(saves).await;
    let plans = [plan(quick())];
    Inheritance::load(kv, &plans, &|_| {}).await.unwrap()
}

#[actix::test]
async fn every_second_has_one_decision_and_every_change_the_next_number() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    assert_eq!(scene.outside.targets.lock().len(), 60, "the tick adds none");
    scene.seconds(60, 300).await;
    scene.seconds(60, 0).await;
    let targets = scene.outside.targets.lock().clone();
    let mut changes = 0;
    for pair in targets.windows(2) {
        let changed = u64::from(pair[1].n != pair[0].n);
        assert_eq!(pair[1].seq, pair[0].seq + changed, "{pair:?}");
        changes += changed;
    }
    assert!(changes >= 2, "{targets:?}");
}

#[actix::test]
async fn it_decides_by_itself_when_nobody_reports() {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let tick = Duration::from_millis(2);
    let scene = Scene::start_ticking(kv, plan(quick()), tick).await;
    let report = NodeReports(node_report(vec![]));
    scene.addr.send(report).await.unwrap();
    let decided = async {
        while scene.outside.targets.lock().len() < 4 {
            scene.outside.now_ms.fetch_add(1_000, Ordering::Relaxed);
            tokio::time::sleep(tick).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, decided).await.unwrap();
}

#[actix::test]
async fn a_state_is_kept_each_half_minute_and_a_pattern_each_five() {
    let scene = Scene::start(quick()).await;
    let kept = |what: &str| {
        let saves = scene.outside.saves.lock();
        let key = format!("controller/{what}/echo");
        saves.iter().filter(|save| save.key() == key).count()
    };
    scene.seconds(299, 20).await;
    assert_eq!((kept("memory"), kept("pattern")), (9, 0));
    scene.seconds(301, 20).await;
    assert_eq!((kept("memory"), kept("pattern")), (20, 2));
    assert_eq!(kept("challenger"), 2);
}

#[actix::test]
async fn who_goes_on_knows_the_start_up_times_and_adopts_what_runs_now() {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let scene = Scene::start_on(Arc::clone(&kv), quick()).await;
    scene.seconds(120, 300).await;
    let n = scene.outside.last_target().n;
    assert!(n >= 4);
    inherited(&scene, &kv).await;

    let scene = Scene::start_on(Arc::clone(&kv), quick()).await;
    // More run than were wanted: somebody else started them.
    scene.outside.targets.lock().push(SetTarget {
        pool: pool_name(),
        epoch: 3,
        seq: 1,
        n: n + 2,
    });
    let workers = (0..u64::from(n) + 2).map(|n| worker(n, WorkerState::Ready, None));
    let report = NodeReports(node_report(workers.collect()));
    scene.addr.send(report).await.unwrap();
    let target = scene.outside.last_target();
    assert_eq!((target.seq, target.n), (1, n + 2));
    let left = inherited(&scene, &kv).await;
    assert_eq!(left.states[&pool_name()].startups_s[0], 0.02);
    // For a while it retires nobody, however quiet it is.
    scene.seconds(25, 1).await;
    assert_eq!(scene.outside.last_target().n, n + 2);
    scene.seconds(60, 1).await;
    assert_eq!(scene.outside.last_target().n, 1);
}

#[actix::test]
async fn a_node_that_fell_silent_is_forgotten() {
    let scene = Scene::start(quick()).await;
    scene.seconds(5, 20).await;
    assert_eq!(scene.view.pools()[0].ready, 1);
    scene.outside.now_ms.fetch_add(61_000, Ordering::Relaxed);
    scene.addr.send(Tick).await.unwrap();
    assert_eq!(scene.view.pools()[0].ready, 0, "nobody knows");
}

#[actix::test]
async fn a_supervisor_that_panics_is_seen_to_be_gone_and_leaves_no_numbers() {
    let scene = Scene::start(quick()).await;
    scene.seconds(5, 20).await;
    assert!(scene.addr.connected());
    scene.outside.breaks.store(true, Ordering::Relaxed);
    scene.outside.now_ms.fetch_add(1_000, Ordering::Relaxed);
    assert!(scene.addr.send(Tick).await.is_err());
    assert!(!scene.addr.connected());
    assert!(scene.registry.gather().is_empty());
}
