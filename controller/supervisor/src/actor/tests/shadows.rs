//! Shadows beside a live pool.

use super::*;

/// Targets of a pool with these shadows under a load that comes and goes.
async fn steered(shadows: Vec<Policy>) -> (Vec<SetTarget>, Scene) {
    let mut planned = plan(quick());
    planned.shadows = shadows;
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let scene = Scene::start_with(kv, planned).await;
    for rate in [20, 300, 40, 0] {
        for _ in 0..60 {
            scene.second(rate).await;
            let status = scene.view.pool(&pool_name()).unwrap();
            let twin = status.shadows.iter().find(|s| s.policy == "tidepool");
            if let Some(twin) = twin {
                assert_eq!((twin.target, twin.score), (status.target, status.score));
            }
        }
    }
    let targets = scene.outside.targets.lock().clone();
    (targets, scene)
}

#[actix::test]
async fn shadows_see_what_the_live_policy_sees_and_steer_nothing() {
    let (alone, _) = steered(vec![]).await;
    let mut fixed = Policy::threshold(6, 8);
    fixed.bounds.cooldown_s = 1.0;
    // One of another mind, and one of the same.
    let (watched, scene) = steered(vec![fixed, quick()]).await;
    assert_eq!(alone, watched);
    let status = scene.view.pool(&pool_name()).unwrap();
    assert_eq!(status.shadows.len(), 2);
    assert!(status.shadows[0].target >= 6, "{:?}", status.shadows);
    assert_eq!(status.target, 1);
    for policy in ["threshold", "tidepool"] {
        assert!(scene.metric("tidepool_shadow_target", policy).is_some());
    }
}

#[actix::test]
async fn an_impossible_shadow_is_refused_as_an_impossible_pool() {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let mut planned = plan(quick());
    planned.shadows = vec![quick(), Policy::threshold(9, 3)];
    let config = SupervisorConfig {
        epoch: 1,
        pools: vec![planned],
        ports: Outside::default().ports(),
        orders: Outside::default().desk(Arc::clone(&kv), &[]).await,
        patterns: patterns(&kv, &[]).await,
        history_h: 1,
        inherited: Inheritance::default(),
    };
    let refused = Supervisor::new(config, &Registry::new()).map(drop);
    assert!(refused.unwrap_err().to_string().contains("'echo'"));
}

#[actix::test]
async fn shadows_decide_beside_and_series_are_kept() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    scene.seconds(60, 300).await;
    let status = scene.view.pool(&pool_name()).unwrap();
    assert_eq!(status.shadows[0].policy, "threshold");
    assert!(status.shadows[0].target >= 1);
    assert!(
        scene
            .metric("tidepool_shadow_target", "threshold")
            .is_some()
    );
    let explained = scene.view.explain(&pool_name()).unwrap();
    let other = explained.counterfactual.unwrap();
    assert_eq!(other.workers + 1, status.target);
    assert!(other.late_share >= other.late_share_decided, "{other:?}");
    assert!(explained.shadow_note.unwrap().contains("live fleet"));
    // A pin holds the live pool only: one worker is far too few.
    let pin = PoolChange {
        pin: Some(Some(1)),
        duration: Some(Duration::from_secs(60)),
        ..PoolChange::default()
    };
    scene.view.change(&pool_name(), pin).await.unwrap();
    scene.seconds(20, 300).await;
    let status = scene.view.pool(&pool_name()).unwrap();
    assert_eq!(status.target, 1);
    assert!(status.shadows[0].target > 1, "{:?}", status.shadows);
    let query = tidepool_core::series::SeriesQuery {
        name: "target".into(),
        pool: None,
        since: None,
        step_s: Some(10),
    };
    let now = Timestamp(1_700_000_000_000 + scene.outside.now_ms.load(Ordering::Relaxed));
    let series = scene.view.series(&query, now).unwrap();
    assert!(series.series[0].points.len() >= 11);
}
