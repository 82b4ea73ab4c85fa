//! Handlers that do what a test tells them to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidepool_core::Kind;
use tidepool_handler::{
    Call, Failure, Handler, Idempotent, Instance, KindSpec, Reply, StartError, Stop, Work,
};
use tokio::sync::Notify;

/// How long timers run before they panic.
const TIMER: Duration = Duration::from_millis(5);

/// What a test asks for.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// One of `echo`, `panic`, `panic_wait`, `panic_compute`, `panic_timer`, `panic_later`, `hold`,
    /// `spin`, `fail`.
    pub(crate) act: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u32>,
}

/// What the handlers of one test share with it.
#[derive(Default)]
pub(crate) struct Stage {
    /// Lets every `hold` go.
    pub(crate) release: Notify,
    pub(crate) running: AtomicU32,
    pub(crate) stops: Mutex<Vec<Stop>>,
    pub(crate) served: Mutex<Vec<u32>>,
    pub(crate) starts: AtomicU32,
    /// Timers that went off after their request had been answered, to panic.
    pub(crate) late: AtomicU32,
    /// Starts that fail before one succeeds.
    pub(crate) failing_starts: AtomicU32,
    /// Which requests may run twice.
    pub(crate) idempotent: Idempotent,
}

/// A handler on a stage.
pub(crate) struct Actor {
    spec: KindSpec,
    stage: Arc<Stage>,
}

impl Actor {
    pub(crate) fn on(stage: &Arc<Stage>) -> Arc<dyn Handler> {
        let schema = || serde_json::to_value(schema_for!(Order)).expect("a schema is JSON");
        let spec = KindSpec {
            kind: Kind::new("act").expect("valid"),
            summary: "Does what a test says.",
            input_schema: schema(),
            output_schema: schema(),
            limits: json!({}),
            example: json!({"act": "echo"}),
            idempotent: stage.idempotent,
            slots_default: 1,
            affinity: None,
        };
        Arc::new(Self {
            spec,
            stage: Arc::clone(stage),
        })
    }
}

impl Handler for Actor {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn start(&self) -> Result<Arc<dyn Instance>, StartError> {
        self.stage.starts.fetch_add(1, Ordering::SeqCst);
        let failing = &self.stage.failing_starts;
        let left = failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => Err(StartError("not yet".to_owned())),
            Err(_) => Ok(Arc::new(Acting(Arc::clone(&self.stage)))),
        }
    }
}

struct Acting(Arc<Stage>);

/// Counts as running until it is dropped.
struct Running(Arc<Stage>);

impl Running {
    fn on(stage: &Arc<Stage>) -> Self {
        stage.running.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(stage))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Instance for Acting {
    fn call(&self, call: Call) -> Work {
        let order: Order = match call.decode() {
            Ok(order) => order,
            Err(failure) => return Work::Ready(Err(failure)),
        };
        let stage = Arc::clone(&self.0);
        if let Some(number) = order.number {
            stage.served.lock().push(number);
        }
        match order.act.as_str() {
            "echo" => Work::Ready(call.reply(&order)),
            "panic" => panic!("told to"),
            "panic_wait" => Work::wait(async { panic!("told to") }),
            "panic_compute" => Work::compute(|| panic!("told to")),
            "panic_timer" => Work::wait(async {
                tokio::time::sleep(TIMER).await;
                panic!("told to")
            }),
            // A timer that nobody waits for.
            "panic_later" => Work::wait(async move {
                tokio::spawn(async move {
                    tokio::time::sleep(TIMER).await;
                    stage.late.fetch_add(1, Ordering::SeqCst);
                    panic!("told to");
                });
                call.reply(&order)
            }),
            "hold" => Work::wait(async move {
                let _running = Running::on(&stage);
                stage.release.notified().await;
                call.reply(&order)
            }),
            "spin" => Work::compute(move || spin(&stage, &call)),
            _ => Work::Ready(Err(Failure::Internal {
                cause: "a secret cause".to_owned(),
            })),
        }
    }
}

/// Computes until it is told to stop.
fn spin(stage: &Arc<Stage>, call: &Call) -> Reply {
    let _running = Running::on(stage);
    loop {
        if let Some(stop) = call.context.stopped() {
            stage.stops.lock().push(stop);
            return Err(stop.into());
        }
        std::thread::yield_now();
    }
}
