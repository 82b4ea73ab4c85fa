//! What is seen of a run from aside: memory of processes, the stream of desired states, what nodes run.

mod fleet;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tidepool_store::{Lease, Log, Position, RedisStore};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::micros;
use crate::cluster::Ids;
use crate::director::LEASE;
use crate::history::{Desired, Line, Recorder, Sample};
use crate::process::rss_kib;

pub(crate) use fleet::fleet;

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How often the stream is read; it keeps some records only.
const READ_EVERY: Duration = Duration::from_millis(100);
/// The stream of desired states.
const STREAM: &str = "control/desired";
/// Records read at once.
const READ_MAX: usize = 64;

/// Looks at memory until it is dropped, whoever runs at that time.
pub(crate) async fn memory(ids: watch::Receiver<Ids>, recorder: Recorder, begun: Instant) {
    loop {
        let now = ids.borrow().clone();
        for (process, id) in now {
            if let Some(rss_kib) = rss_kib(id) {
                let sample = Sample {
                    at_us: micros(begun.elapsed()),
                    process,
                    rss_kib,
                };
                recorder.add(Line::Sample(sample)).await;
            }
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
}

/// What of a desired state says who wrote it when, and what for.
#[derive(Deserialize)]
struct Stamp {
    epoch: u64,
    seq: u64,
    #[serde(default)]
    nodes: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Stamp {
    /// Echo workers that each node is to run.
    fn workers(&self) -> BTreeMap<String, u32> {
        let nodes = self.nodes.iter();
        let echo = nodes.map(|(node, pools)| (node, pools.get("echo").copied()));
        echo.map(|(node, n)| (node.clone(), n.unwrap_or(0)))
            .collect()
    }
}

/// Reads the stream until it is dropped.
pub(crate) async fn desired(store: RedisStore, recorder: Recorder, begun: Instant) {
    let mut after = Position::START;
    loop {
        tokio::time::sleep(READ_EVERY).await;
        // While Redis is away there is nothing to be seen.
        let (Ok(records), Ok(held)) = (
            store.read(STREAM, after, READ_MAX).await,
            store.current(LEASE).await,
        ) else {
            continue;
        };
        for (position, record) in records {
            after = position;
            let Ok(stamp) = rmp_serde::from_slice::<Stamp>(&record) else {
                continue;
            };
            let Stamp { epoch, seq, .. } = stamp;
            let writer = held.as_ref().filter(|held| held.epoch.0 == epoch);
            let seen = Desired {
                at_us: micros(begun.elapsed()),
                position: position.0,
                epoch,
                seq,
                writer: writer.map(|held| held.holder.clone()),
                workers: stamp.workers(),
            };
            recorder.add(Line::Desired(seen)).await;
        }
    }
}
