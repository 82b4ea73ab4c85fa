//! Orders over a live pool.

use super::*;

#[actix::test]
async fn an_order_holds_the_pool_and_is_shown() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    let pin = PoolChange {
        pin: Some(Some(6)),
        duration: Some(Duration::from_secs(30)),
        reason: Some("load test".into()),
        by: "ann".into(),
        ..PoolChange::default()
    };
    scene.view.change(&pool_name(), pin).await.unwrap();
    scene.second(20).await;
    assert_eq!(scene.outside.last_target().n, 6);
    let status = scene.view.pool(&pool_name()).unwrap();
    assert_eq!((status.paused, status.pinned), (false, Some(6)));
    assert_eq!(status.reason.as_deref(), Some("load test"));
    assert!(status.override_until.is_some());
    let explained = scene.view.explain(&pool_name()).unwrap().sentence;
    assert!(
        explained.contains("ann pinned it to 6") && explained.contains("load test"),
        "{explained}"
    );
    scene.seconds(5, 20).await;
    let explained = scene.view.explain(&pool_name()).unwrap().sentence;
    assert_eq!(explained.matches("pinned").count(), 1, "{explained}");
    assert!(
        explained.contains("staying at 6: ann pinned it to 6 until")
            && explained.contains("Last change 5 s ago: 1 -> 6"),
        "{explained}"
    );
    // The pin holds against the need, and lets go by itself.
    scene.seconds(20, 300).await;
    assert_eq!(scene.outside.last_target().n, 6);
    scene.seconds(60, 20).await;
    assert!(scene.outside.last_target().n < 6);
    let told = scene.outside.events.lock().clone();
    let ended = told
        .iter()
        .find(|event| event.data["reason"] == "the pin ended");
    assert_eq!(ended.unwrap().kind, "config.applied");
}

#[actix::test]
async fn raised_bounds_are_used_and_shown() {
    let mut policy = quick();
    policy.bounds.max = 2;
    let scene = Scene::start(policy).await;
    let raise = PoolChange {
        max: Some(Some(9)),
        by: "ann".into(),
        ..PoolChange::default()
    };
    scene.view.change(&pool_name(), raise).await.unwrap();
    scene.seconds(60, 300).await;
    assert!(scene.outside.last_target().n > 2);
    assert_eq!(scene.view.pools()[0].max, 9);
    let explained = scene.view.explain(&pool_name()).unwrap().sentence;
    let told = "ann set its bounds until they are taken back";
    assert!(explained.contains(told), "{explained}");
}

#[actix::test]
async fn a_wish_that_is_held_again_after_a_change_is_told_again() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    let before = scene.outside.events.lock().len();
    let pause = PoolChange {
        paused: Some(true),
        duration: Some(Duration::from_secs(600)),
        by: "ann".into(),
        ..PoolChange::default()
    };
    let pin = PoolChange {
        paused: None,
        pin: Some(Some(2)),
        ..pause.clone()
    };
    for order in [pause.clone(), pin, pause] {
        scene.view.change(&pool_name(), order).await.unwrap();
        scene.seconds(5, 300).await;
    }
    assert_eq!(scene.outside.last_target().n, 2);
    let events = scene.outside.events.lock().split_off(before);
    let held = events.iter().filter(|e| e.kind == "scaling.suppressed");
    let held: Vec<_> = held.map(|event| &event.data["blocked_by"]).collect();
    assert_eq!(held, ["paused", "paused"]);
}

#[actix::test]
async fn explain_tells_when_a_hold_ends_and_bounds_outlive_it() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    let hold = |paused, pin| PoolChange {
        paused,
        pin,
        duration: Some(Duration::from_secs(30)),
        by: "ann".into(),
        ..PoolChange::default()
    };
    let floor = PoolChange {
        min: Some(Some(3)),
        duration: Some(Duration::from_secs(600)),
        by: "ann".into(),
        ..PoolChange::default()
    };
    for held in [hold(Some(true), None), hold(None, Some(Some(5)))] {
        scene.view.change(&pool_name(), held).await.unwrap();
        scene
            .view
            .change(&pool_name(), floor.clone())
            .await
            .unwrap();
        let ordered_ms = scene.outside.now_ms.load(Ordering::Relaxed);
        let ends = Timestamp(1_700_000_000_000 + ordered_ms + 30_000).rfc3339();
        for _ in 0..29 {
            scene.second(20).await;
            let explained = scene.view.explain(&pool_name()).unwrap();
            assert_eq!(explained.earliest_change, Some(ends.clone()));
        }
        scene.second(20).await;
        let explained = scene.view.explain(&pool_name()).unwrap();
        assert_ne!(explained.earliest_change, Some(ends), "it is over");
        scene.seconds(40, 20).await;
        assert_eq!(scene.outside.last_target().n, 3, "the bound stands");
    }
}
