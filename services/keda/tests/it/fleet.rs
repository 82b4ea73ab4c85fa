//! A fleet that shows what a test wants, and a listener in front of it.

use std::sync::Arc;

use parking_lot::Mutex;
use tidepool_core::status::{Decided, PoolStatus};
use tidepool_core::{PoolName, Timestamp};
use tidepool_keda::{Advisor, Config, Server};

use crate::client::Client;

/// When all of this happens.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A made-up fleet.
#[derive(Default)]
pub(crate) struct FakeFleet(Mutex<Vec<PoolStatus>>);

impl FakeFleet {
    /// Shows one pool: the workers that it wants and the age of its newest measurement.
    pub(crate) fn show(&self, target: u32, metrics_age_s: Option<f64>) {
        let mut status: PoolStatus = serde_json::from_value(serde_json::json!({
            "pool": "echo", "kinds": ["echo"], "policy": "tidepool", "ready": 1, "starting": 0,
            "draining": 0, "target": target, "min": 0, "max": 8, "score": 0.8, "signals": {},
            "paused": false, "cooldown_until": null, "queued": 0, "busy_slots": 0, "slots": 8,
            "metrics_age_s": metrics_age_s,
        }))
        .expect("a status");
        status.decided = Some(Decided {
            at_ms: NOW.0,
            changed_at_ms: None,
            need: Some(f64::from(target)),
            epoch: 1,
            blind: false,
        });
        *self.0.lock() = vec![status];
    }
}

/// A listener on a free port in front of a fleet whose pools are `echo` and `grammar`.
pub(crate) fn serve(token: Option<&str>) -> (Arc<FakeFleet>, Server) {
    let fleet = Arc::new(FakeFleet::default());
    let pools = ["grammar", "echo"].map(|name| PoolName::new(name).expect("a name"));
    let shown = Arc::clone(&fleet);
    let statuses = Arc::new(move || shown.0.lock().clone());
    let advisor = Advisor::new(statuses, pools, Arc::new(|| NOW));
    let config = Config {
        addr: "127.0.0.1:0".parse().expect("an address"),
        token: token.map(str::to_owned),
    };
    (fleet, Server::start(config, advisor).expect("a listener"))
}

/// The same with a connection to it.
pub(crate) async fn connected() -> (Arc<FakeFleet>, Server, Client) {
    let (fleet, server) = serve(None);
    let client = Client::connect(server.addr()).await;
    (fleet, server, client)
}
