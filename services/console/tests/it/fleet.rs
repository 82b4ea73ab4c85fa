//! A fleet of one pool and two workers.

use parking_lot::Mutex;
use tidepool_core::status::{
    ComponentHealth, Decided, DrainError, Explanation, FleetView, PoolStatus, Signals, WorkerStatus,
};
use tidepool_core::{PoolName, WorkerId, WorkerState};

/// A made-up fleet.
#[derive(Default)]
pub(crate) struct FakeFleet {
    drained: Mutex<Vec<String>>,
}

impl FakeFleet {
    /// Workers that were told to drain.
    pub(crate) fn drained(&self) -> Vec<String> {
        self.drained.lock().clone()
    }
}

fn pool(name: &str) -> PoolStatus {
    PoolStatus {
        pool: PoolName::new(name).unwrap(),
        kinds: vec![name.to_owned()],
        policy: "tidepool".into(),
        ready: 2,
        starting: 0,
        draining: 0,
        target: 2,
        min: 1,
        max: 8,
        score: Some(0.5),
        signals: Signals::default(),
        paused: false,
        cooldown_until: None,
        queued: 3,
        busy_slots: 1,
        slots: 16,
        metrics_age_s: (name == "echo").then_some(0.5),
        decided: Some(Decided {
            at_ms: 1_700_000_000_000,
            changed_at_ms: None,
            need: Some(1.5),
            epoch: 7,
            blind: false,
        }),
    }
}

fn worker(n: u64) -> WorkerStatus {
    let pool = PoolName::new("echo").unwrap();
    WorkerStatus {
        id: WorkerId::new(&pool, n),
        pool,
        node: "local".into(),
        state: WorkerState::Ready,
        slots: 8,
        busy: 0,
        started_at: "2026-11-20T20:00:00.000Z".into(),
        startup_s: Some(0.01),
        completed: 5,
        panics: 0,
        cpu_cores: None,
    }
}

impl FleetView for FakeFleet {
    fn pools(&self) -> Vec<PoolStatus> {
        vec![pool("echo"), pool("grammar")]
    }

    fn explain(&self, pool: &PoolName) -> Option<Explanation> {
        (pool.as_str() == "echo").then(|| Explanation {
            pool: pool.clone(),
            sentence: "2 workers are enough.".into(),
            decision: serde_json::json!({"from": 2, "to": 2}),
            blocked_by: None,
            earliest_change: None,
        })
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        vec![worker(1), worker(2)]
    }

    fn drain(&self, worker: &WorkerId) -> Result<(), DrainError> {
        match worker.as_str() {
            "echo-1" => {
                self.drained.lock().push(worker.to_string());
                Ok(())
            }
            "echo-2" => Err(DrainError::Busy),
            _ => Err(DrainError::Unknown(worker.clone())),
        }
    }

    fn health(&self) -> Vec<ComponentHealth> {
        let part = |component: &str, state: &str| ComponentHealth {
            component: component.into(),
            state: state.into(),
            detail: "made up".into(),
        };
        vec![part("store", "ok"), part("otlp", "down")]
    }
}
