//! What a supervisor learns over days and hands on.

use serde_json::Value;

use super::*;

const HOUR_MS: u64 = 3_600_000;

impl Scene {
    /// A minute in which as many requests came each second. Its worker took ten minutes to start, so
    /// that forecasts look that far ahead.
    async fn minute(&self, rate: f64) {
        self.outside.now_ms.fetch_add(60_000, Ordering::Relaxed);
        let mut report = pool_report((rate * 60.0).round() as u64, rate);
        report.window = Duration::from_secs(60);
        self.addr.send(PoolReports(vec![report])).await.unwrap();
        let worker = worker(1, WorkerState::Ready, Some(600_000));
        let report = NodeReports(node_report(vec![worker]));
        self.addr.send(report).await.unwrap();
        self.addr.send(Tick).await.unwrap();
    }

    /// Hours of a load by the hour of the day.
    async fn hours(&self, n: u64, rate: impl Fn(f64) -> f64) {
        for _ in 0..n * 60 {
            let now_ms = self.outside.now_ms.load(Ordering::Relaxed);
            let hour = now_ms % (24 * HOUR_MS);
            self.minute(rate(hour as f64 / HOUR_MS as f64)).await;
        }
    }

    fn pattern(&self) -> Value {
        self.view.patterns().pattern(&pool_name()).unwrap()
    }

    /// The pattern once the challenger has been fitted, or could not be: another thread does that.
    async fn fitted(&self, outcome: &str) -> Value {
        for _ in 0..4_000 {
            let pattern = self.pattern();
            if !pattern["challenger"][outcome].is_null() {
                return pattern;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no {outcome}: {}", self.pattern()["challenger"]);
    }
}

fn swelling(hour: f64) -> f64 {
    30.0 + 25.0 * (std::f64::consts::TAU * hour / 24.0).sin()
}

#[actix::test]
async fn a_new_supervisor_goes_on_with_what_was_learned() {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let scene = Scene::start_on(Arc::clone(&kv), quick()).await;
    scene.seconds(120, 300).await;
    assert!(scene.outside.saves.lock().len() >= 3, "every half minute");
    let n = scene.outside.last_target().n;
    let saves = scene.addr.send(Checkpoint).await.unwrap();
    crate::Keeper::start(Arc::clone(&kv)).finish(saves).await;

    let scene = Scene::start_on(kv, quick()).await;
    // The same workers run; the first quiet second must neither forget the load nor shrink.
    scene.outside.targets.lock().push(SetTarget {
        pool: pool_name(),
        epoch: 3,
        seq: 1,
        n,
    });
    scene.second(0).await;
    assert_eq!(scene.outside.last_target().n, n);
    let explained = scene.view.explain(&pool_name()).unwrap();
    let rate = explained.decision["observed_rate"].as_f64().unwrap();
    assert!(rate > 100.0, "{rate}");
}

#[actix::test]
async fn a_challenger_is_fitted_judged_shown_and_kept() {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let scene = Scene::start_on(Arc::clone(&kv), quick()).await;
    scene.hours(48, swelling).await;
    let young = scene.pattern();
    assert_eq!(young["challenger"]["fitted_at"], Value::Null);
    scene.hours(3, swelling).await;
    let fitted = scene.fitted("fitted_at").await;
    assert_eq!(fitted["challenger"]["problem"], Value::Null);
    scene.hours(4, swelling).await;
    let judged = scene.pattern();
    for contest in judged["contest"].as_array().unwrap() {
        assert!(contest["judged"].as_u64() >= Some(100), "{contest}");
        let loss = |whose: &str| contest[whose].as_f64().unwrap();
        assert!(loss("profile_loss") > 0.0 && loss("last_value_loss") > 0.0);
        // It knows the season, and the last value does not.
        let challenger_loss = loss("challenger_loss");
        assert!(challenger_loss > 0.0 && challenger_loss < loss("last_value_loss"));
    }

    let now_ms = scene.outside.now_ms.load(Ordering::Relaxed);
    let saves = scene.addr.send(Checkpoint).await.unwrap();
    crate::Keeper::start(Arc::clone(&kv)).finish(saves).await;
    let next = Scene::start_on(kv, quick()).await;
    next.outside.now_ms.store(now_ms, Ordering::Relaxed);
    let kept = next.pattern();
    assert_eq!(kept["contest"][0]["judged"], judged["contest"][0]["judged"]);
    next.minute(30.0).await;
    // Two days need not be seen again.
    next.fitted("fitted_at").await;
}

#[actix::test]
async fn a_challenger_that_cannot_be_fitted_does_no_harm() {
    let scene = Scene::start(quick()).await;
    scene.hours(51, |_| 1.0).await;
    let pattern = scene.fitted("problem").await;
    let problem = pattern["challenger"]["problem"].as_str().unwrap();
    assert!(problem.contains("hardly differ"), "{problem}");
    assert_eq!(pattern["challenger"]["fitted_at"], Value::Null);
    assert_eq!(pattern["contest"][0]["judged"], 0);
    assert_eq!(pattern["quality"][0]["lead_s"], 600.0);
    let before = scene.outside.last_target().n;
    scene.hours(1, |_| 300.0).await;
    let after = scene.outside.last_target().n;
    assert!(after > before, "{before} and {after}");
}
