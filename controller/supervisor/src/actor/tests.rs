mod keeping;
mod learning;
mod orders;
mod several;
mod shadows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::Addr;
use parking_lot::Mutex;
use tidepool_core::order::PoolChange;
use tidepool_core::{EventDraft, PoolSpec, SetTarget, Timestamp, WorkerReport, WorkerState};
use tidepool_policy::Policy;
use tidepool_store::{EmbeddedStore, Kv};

use super::*;
use crate::decision_log::{Record, Replay};
use crate::intake::tests::{node_report, pool_name, pool_report, worker};
use crate::orders::DeskPorts;
use crate::pattern_clock::Learning;
use crate::ports::DecisionSpan;

/// The outside as a test sees it. Time stands still unless it is moved.
#[derive(Clone, Default)]
struct Outside {
    targets: Arc<Mutex<Vec<SetTarget>>>,
    events: Arc<Mutex<Vec<EventDraft>>>,
    spans: Arc<Mutex<Vec<DecisionSpan>>>,
    saves: Arc<Mutex<Vec<Save>>>,
    records: Arc<Mutex<Vec<Record>>>,
    now_ms: Arc<AtomicU64>,
    busy: Arc<AtomicBool>,
    /// Whether a target breaks who sends it.
    breaks: Arc<AtomicBool>,
}

impl Outside {
    fn ports(&self) -> Ports {
        let (targets, events, spans) = (
            self.targets.clone(),
            self.events.clone(),
            self.spans.clone(),
        );
        let (now_ms, busy) = (self.now_ms.clone(), self.busy.clone());
        let breaks = self.breaks.clone();
        let (saves, records) = (self.saves.clone(), self.records.clone());
        Ports {
            set_target: Box::new(move |target| {
                assert!(!breaks.load(Ordering::Relaxed), "planted");
                let taken = !busy.load(Ordering::Relaxed);
                targets.lock().extend(taken.then_some(target));
                taken
            }),
            publish: Box::new(move |event| events.lock().push(event)),
            span: Box::new(move |span| spans.lock().push(span)),
            keep: Box::new(move |save| {
                saves.lock().push(save);
                true
            }),
            log: Some(Box::new(move |record| {
                records.lock().push(record);
                true
            })),
            now: Box::new(move || Timestamp(1_700_000_000_000 + now_ms.load(Ordering::Relaxed))),
        }
    }

    async fn desk(&self, kv: Arc<dyn Kv>, plans: &[PoolPlan]) -> OrderDesk {
        let (events, now_ms) = (self.events.clone(), self.now_ms.clone());
        let ports = DeskPorts {
            publish: Box::new(move |event| events.lock().push(event)),
            now: Box::new(move || Timestamp(1_700_000_000_000 + now_ms.load(Ordering::Relaxed))),
        };
        OrderDesk::open(kv, plans, ports).await.unwrap()
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.events.lock().iter().map(|event| event.kind).collect()
    }

    fn last_target(&self) -> SetTarget {
        self.targets.lock().last().cloned().unwrap()
    }
}

pub(crate) fn plan(policy: Policy) -> PoolPlan {
    PoolPlan {
        spec: PoolSpec {
            name: pool_name(),
            kinds: vec![],
            slots: 4,
            queue_len_max: 100,
            queue_bytes_max: 1_000_000,
            slo_ms: 1_000,
            deadline_ms: 10_000,
        },
        policy,
        shadows: vec![Policy::threshold(1, 8)],
    }
}

async fn patterns(kv: &Arc<dyn Kv>, plans: &[PoolPlan]) -> Patterns {
    let learning = Learning {
        zone: "UTC",
        speed: 1.0,
    };
    let patterns = Patterns::load(Arc::clone(kv), plans, learning, Arc::new(|_| {})).await;
    patterns.unwrap()
}

/// What is seen before anything was decided.
pub(crate) async fn view_of_nothing() -> SupervisorView {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    SupervisorView::new(Shared {
        patterns: patterns(&kv, &[]).await,
        orders: Outside::default().desk(kv, &[]).await,
        history: History::new(1),
    })
}

fn quick() -> Policy {
    let mut policy = Policy::tidepool(1, 8);
    policy.bounds.cooldown_s = 15.0;
    policy.bounds.slo_ms = 250;
    policy
}

struct Scene {
    outside: Outside,
    registry: Registry,
    view: SupervisorView,
    addr: Addr<Supervisor>,
}

impl Scene {
    async fn start(policy: Policy) -> Self {
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        Self::start_on(kv, policy).await
    }

    async fn start_on(kv: Arc<dyn Kv>, policy: Policy) -> Self {
        Self::start_with(kv, plan(policy)).await
    }

    async fn start_with(kv: Arc<dyn Kv>, planned: PoolPlan) -> Self {
        // Only the test moves time.
        Self::start_ticking(kv, planned, Duration::from_secs(86_400)).await
    }

    async fn start_ticking(kv: Arc<dyn Kv>, planned: PoolPlan, tick: Duration) -> Self {
        let outside = Outside::default();
        let registry = Registry::new();
        let pools = vec![planned];
        let config = SupervisorConfig {
            epoch: 3,
            ports: outside.ports(),
            orders: outside.desk(Arc::clone(&kv), &pools).await,
            patterns: patterns(&kv, &pools).await,
            history_h: 1,
            inherited: Inheritance::load(&kv, &pools, &|_| {}).await.unwrap(),
            pools,
        };
        let mut supervisor = Supervisor::new(config, &registry).unwrap();
        supervisor.tick = tick;
        Self {
            outside,
            registry,
            view: supervisor.view(),
            addr: supervisor.start(),
        }
    }

    /// A second in which `arrivals` came and each held a slot for 50 ms, with as many workers as
    /// were asked for.
    async fn second(&self, arrivals: u32) {
        self.outside.now_ms.fetch_add(1_000, Ordering::Relaxed);
        let ready = self
            .outside
            .targets
            .lock()
            .last()
            .map_or(0, |target| target.n);
        let busy_slot_s = (f64::from(arrivals) * 0.05).min(f64::from(ready) * 4.0);
        let mut report = pool_report(u64::from(arrivals), busy_slot_s);
        // What there was no slot for is refused.
        let served = (busy_slot_s / 0.05).round() as u32;
        report.work = (0..served).map(|_| Duration::from_millis(50)).collect();
        report.completed = u64::from(served);
        report.refused = u64::from(arrivals.saturating_sub(served));
        let workers = (0..u64::from(ready))
            .map(|n| worker(n, WorkerState::Ready, Some(20)))
            .collect::<Vec<WorkerReport>>();
        self.addr.send(PoolReports(vec![report])).await.unwrap();
        self.addr
            .send(NodeReports(node_report(workers)))
            .await
            .unwrap();
        self.addr.send(Tick).await.unwrap();
    }

    async fn seconds(&self, n: u32, arrivals: u32) {
        for _ in 0..n {
            self.second(arrivals).await;
        }
    }

    fn metric(&self, name: &str, label: &str) -> Option<f64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let metric = family.get_metric().iter().find(|metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        })?;
        Some(metric.get_gauge().get_value() + metric.get_counter().get_value())
    }
}

#[actix::test]
async fn the_first_node_report_brings_up_the_minimum_at_once() {
    let scene = Scene::start(quick()).await;
    scene.addr.send(Tick).await.unwrap();
    assert!(
        scene.outside.targets.lock().is_empty(),
        "nothing is known yet"
    );
    scene
        .addr
        .send(NodeReports(node_report(vec![])))
        .await
        .unwrap();
    let target = scene.outside.last_target();
    assert_eq!((target.epoch, target.seq, target.n), (3, 1, 1));
    assert_eq!(scene.outside.kinds().last(), Some(&"scaling.decided"));
}

#[actix::test]
async fn a_rise_is_decided_told_traced_and_shown() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    let before = scene.outside.events.lock().len();
    scene.seconds(20, 300).await;
    let target = scene.outside.last_target();
    assert!(target.n >= 4, "{target:?}");
    let events = scene.outside.events.lock().clone();
    let decided = &events[before];
    assert_eq!(decided.kind, "scaling.decided");
    for field in [
        "pool",
        "policy",
        "reason",
        "sentence",
        "from",
        "to",
        "direction",
        "score",
        "signals",
        "winner",
        "observed_rate",
        "forecast",
        "raw_need",
        "bounded_by",
        "infeasible",
        "epoch",
        "trace_id",
    ] {
        assert!(decided.data.get(field).is_some(), "no {field}");
    }
    assert_eq!(decided.data["direction"], "up");
    assert_eq!(decided.data["epoch"], 3);
    let trace_ids: Vec<String> = scene
        .outside
        .spans
        .lock()
        .iter()
        .map(|span| span.context.trace_id.to_string())
        .collect();
    let told = decided.data["trace_id"].as_str().unwrap();
    assert!(trace_ids.iter().any(|id| id == told));
    let explanation = scene.view.explain(&pool_name()).unwrap();
    assert!(
        explanation.sentence.contains("Last change"),
        "{}",
        explanation.sentence
    );
    let status = &scene.view.pools()[0];
    assert_eq!(
        (status.target, status.policy.as_str()),
        (target.n, "tidepool")
    );
    assert_eq!(
        scene.metric("tidepool_pool_target", ""),
        Some(f64::from(target.n))
    );
    assert!(scene.metric("tidepool_need", "slots").is_some());
    assert_eq!(
        scene.metric("tidepool_need", "cpu"),
        None,
        "not measured, so not shown"
    );
    assert!(
        scene
            .metric("tidepool_scaling_decisions_total", "up")
            .unwrap()
            >= 1.0
    );
}

#[actix::test]
async fn targets_are_repeated_with_the_same_number() {
    let scene = Scene::start(quick()).await;
    scene.seconds(10, 20).await;
    let targets = scene.outside.targets.lock().clone();
    assert!(targets.len() >= 10);
    let last = targets.last().unwrap();
    assert!(targets.iter().rev().take(5).all(|target| target == last));
}

#[actix::test]
async fn a_target_that_was_lost_comes_again() {
    let scene = Scene::start(quick()).await;
    scene.seconds(5, 20).await;
    let before = scene.outside.targets.lock().len();
    scene.outside.busy.store(true, Ordering::Relaxed);
    scene.second(20).await;
    assert_eq!(scene.outside.targets.lock().len(), before);
    scene.outside.busy.store(false, Ordering::Relaxed);
    scene.second(20).await;
    assert_eq!(scene.outside.targets.lock().len(), before + 1);
}

#[actix::test]
async fn a_held_wish_is_told_once() {
    let mut policy = quick();
    policy.bounds.max = 2;
    let scene = Scene::start(policy).await;
    scene.seconds(60, 20).await;
    let before = scene.outside.events.lock().len();
    scene.seconds(60, 400).await;
    let kinds = scene.outside.kinds().split_off(before);
    assert_eq!(kinds, ["scaling.decided", "scaling.suppressed"]);
    let events = scene.outside.events.lock();
    assert_eq!(events.last().unwrap().data["blocked_by"], "max");
    let explanation = scene.view.explain(&pool_name()).unwrap();
    assert_eq!(explanation.blocked_by.as_deref(), Some("max"));
}

#[actix::test]
async fn an_objective_that_the_work_itself_exceeds_is_told_everywhere_and_no_longer_when_it_is_met()
{
    let mut policy = quick();
    // It is not at its most before the work has been measured.
    policy.bounds.max = 4;
    // Work takes 50 ms.
    policy.bounds.slo_ms = 40;
    let scene = Scene::start(policy).await;
    assert_eq!(scene.metric("tidepool_pool_infeasible", ""), None);
    scene.seconds(60, 20).await;
    scene.seconds(60, 400).await;
    let explained = scene.view.explain(&pool_name()).unwrap();
    assert_eq!(explained.decision["infeasible"], true, "{explained:?}");
    assert!(explained.sentence.contains("longer than the objective"));
    let events = scene.outside.events.lock().clone();
    for kind in ["scaling.decided", "scaling.suppressed"] {
        let told = events.iter().rev().find(|event| event.kind == kind);
        assert_eq!(told.unwrap().data["infeasible"], true, "{kind}");
    }
    assert_eq!(scene.metric("tidepool_pool_infeasible", "echo"), Some(1.0));
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    let explained = scene.view.explain(&pool_name()).unwrap();
    assert_eq!(explained.decision["infeasible"], false);
    assert_eq!(scene.metric("tidepool_pool_infeasible", "echo"), Some(0.0));
}

#[actix::test]
async fn silence_holds_the_pool_and_is_told() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 300).await;
    let n = scene.outside.last_target().n;
    for _ in 0..120 {
        scene.outside.now_ms.fetch_add(1_000, Ordering::Relaxed);
        scene.addr.send(Tick).await.unwrap();
    }
    assert_eq!(scene.outside.last_target().n, n);
    let last = scene.outside.events.lock().last().cloned().unwrap();
    assert_eq!(
        (last.kind, &last.data["blocked_by"]),
        ("scaling.suppressed", &"blind".into())
    );
    assert!(scene.metric("tidepool_metrics_age_seconds", "").unwrap() >= 119.0);
}

#[actix::test]
async fn a_pool_left_alone_comes_back_to_its_minimum() {
    let scene = Scene::start(quick()).await;
    scene.seconds(90, 300).await;
    assert!(scene.outside.last_target().n > 3);
    scene.seconds(90, 0).await;
    assert_eq!(scene.outside.last_target().n, 1);
}

#[actix::test]
async fn impossible_pools_are_refused_with_their_names() {
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedStore::ephemeral().unwrap());
    let none = patterns(&kv, &[]).await;
    let desk = Outside::default().desk(kv, &[]).await;
    let build = |plans| {
        let config = SupervisorConfig {
            epoch: 1,
            pools: plans,
            ports: Outside::default().ports(),
            orders: desk.clone(),
            patterns: none.clone(),
            history_h: 1,
            inherited: Inheritance::default(),
        };
        Supervisor::new(config, &Registry::new())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(build(vec![plan(Policy::tidepool(9, 3))]).contains("'echo'"));
    let twice = vec![plan(quick()), plan(quick())];
    assert!(build(twice).contains("two pools named 'echo'"));
}

#[actix::test]
async fn what_was_logged_replays_to_the_same_decisions() {
    let scene = Scene::start(quick()).await;
    scene.seconds(60, 20).await;
    scene.seconds(60, 300).await;
    let pin = PoolChange {
        pin: Some(Some(2)),
        duration: Some(Duration::from_secs(20)),
        ..PoolChange::default()
    };
    scene.view.change(&pool_name(), pin).await.unwrap();
    scene.seconds(700, 50).await;
    let mut replay = Replay::new(None, Timestamp(0));
    let records = scene.outside.records.lock().clone();
    records.into_iter().for_each(|record| replay.see(record));
    let report = replay.report();
    assert_eq!(report.differences, []);
    let pool = &report.pools[&pool_name()];
    assert!(pool.decisions >= 820 && pool.snapshots >= 2, "{pool:?}");
    assert!(pool.changes >= 3, "{pool:?}");
}
