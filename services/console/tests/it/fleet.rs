//! A fleet of one pool and two workers.

use parking_lot::Mutex;
use serde_json::{Value, json};
use tidepool_core::order::{ChangeError, ChangeFuture, ImportFuture, PoolChange, Standing};
use tidepool_core::series::{Line, SeriesAnswer, SeriesError, SeriesQuery};
use tidepool_core::status::{
    ComponentHealth, Decided, DrainError, Explanation, FleetView, PoolStatus, Signals, WorkerStatus,
};
use tidepool_core::{PoolName, WorkerId, WorkerState};

/// A made-up fleet.
#[derive(Default)]
pub(crate) struct FakeFleet {
    drained: Mutex<Vec<String>>,
    changes: Mutex<Vec<PoolChange>>,
    importers: Mutex<Vec<String>>,
}

impl FakeFleet {
    /// Workers that were told to drain.
    pub(crate) fn drained(&self) -> Vec<String> {
        self.drained.lock().clone()
    }

    /// Who asked for an import.
    pub(crate) fn importers(&self) -> Vec<String> {
        self.importers.lock().clone()
    }

    /// Changes that were asked for.
    pub(crate) fn changes(&self) -> Vec<PoolChange> {
        self.changes.lock().clone()
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
        pinned: None,
        override_until: None,
        hold_until: None,
        bounds_until: None,
        reason: None,
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
        shadows: vec![],
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
        let told = self.changes.lock().last().and_then(|change| change.paused);
        let echo = PoolStatus {
            paused: told.unwrap_or_default(),
            ..pool("echo")
        };
        vec![echo, pool("grammar")]
    }

    fn explain(&self, pool: &PoolName) -> Option<Explanation> {
        (pool.as_str() == "echo").then(|| Explanation {
            pool: pool.clone(),
            sentence: "2 workers are enough.".into(),
            decision: serde_json::json!({"from": 2, "to": 2}),
            blocked_by: None,
            earliest_change: None,
            counterfactual: None,
            shadows: vec![],
            shadow_note: None,
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

    fn change(&self, pool: &PoolName, change: PoolChange) -> ChangeFuture {
        let (pool, pin) = (pool.clone(), change.pin.flatten());
        self.changes.lock().push(change);
        Box::pin(async move {
            match pin {
                Some(98) => Err(ChangeError::Unavailable("no disk".into())),
                Some(99) => Err(ChangeError::Invalid {
                    member: "pin",
                    message: "99 is too many".into(),
                }),
                Some(97) => Err(ChangeError::UnknownPool(pool)),
                _ => Ok(Standing::default()),
            }
        })
    }

    fn pattern(&self, pool: &PoolName) -> Option<Value> {
        (pool.as_str() == "echo").then(|| json!({"pool": pool, "document": {"version": 2}}))
    }

    fn forecast(&self, pool: &PoolName) -> Option<Value> {
        (pool.as_str() == "echo").then(|| json!({"pool": pool, "points": []}))
    }

    fn import_pattern(&self, _: &PoolName, document: Value, by: String) -> ImportFuture {
        self.importers.lock().push(by);
        Box::pin(async move {
            if document["version"] == 2 {
                return Ok(());
            }
            Err(ChangeError::Invalid {
                member: "document",
                message: "it is corrupt at week[17]".into(),
            })
        })
    }

    fn series(&self, query: &SeriesQuery) -> Result<SeriesAnswer, SeriesError> {
        if query.name != "need" {
            return Err(SeriesError::Unknown(query.name.clone()));
        }
        Ok(SeriesAnswer {
            name: query.name.clone(),
            step_s: query.step_s.unwrap_or(10),
            series: vec![Line {
                pool: PoolName::new("echo").unwrap(),
                points: vec![(10_000, Some(1.5)), (20_000, None)],
            }],
        })
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
