//! Tells operators of requests that were set aside because nodes were lost with them, as an alert: once
//! for each kind of a pool, however many there are, and that it is over when there have been none for a
//! while. Each single one is in the log, by its trace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use tidepool_balancer::{Pool, SetAside};
use tidepool_core::{EventDraft, Kind, PoolName};
use tidepool_feed::Feed;
use tokio::runtime::Handle;

/// How long there has to be none before it is over, and so how often one cause is told of at most.
const QUIET_FOR: Duration = Duration::from_secs(300);

/// What is told of once.
type Cause = (PoolName, Kind);

/// What fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Firing {
    requests: u64,
    last_at: Instant,
}

/// The causes that fire; as many as there are kinds in pools at most.
#[derive(Debug, Default)]
struct Firings(BTreeMap<Cause, Firing>);

/// What is known of a cause that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It may be over then.
    FiresUntil(Instant),
    /// It is over, after so many requests.
    Over(u64),
}

impl Firings {
    /// Takes one in; whether it is news.
    fn see(&mut self, cause: &Cause, now: Instant) -> bool {
        let known = self.0.get(cause).map_or(0, |firing| firing.requests);
        let firing = Firing {
            requests: known + 1,
            last_at: now,
        };
        self.0.insert(cause.clone(), firing);
        known == 0
    }

    /// Forgets a cause that has been quiet for long enough.
    fn look(&mut self, cause: &Cause, now: Instant) -> Course {
        let Some(firing) = self.0.get(cause).copied() else {
            return Course::Over(0);
        };
        let until = firing.last_at + QUIET_FOR;
        if now < until {
            return Course::FiresUntil(until);
        }
        self.0.remove(cause);
        Course::Over(firing.requests)
    }
}

/// Has what is set aside in these pools told on the feed. Needs a tokio runtime, which sees to the end
/// of each alert.
pub(super) fn tell(pools: &[Arc<Pool>], feed: &Feed) {
    let firings: Arc<Mutex<Firings>> = Arc::default();
    for pool in pools {
        let (firings, feed, runtime) = (Arc::clone(&firings), feed.clone(), Handle::current());
        pool.on_set_aside(Box::new(move |set_aside| {
            let cause = (set_aside.pool.clone(), set_aside.kind.clone());
            if firings.lock().see(&cause, Instant::now()) {
                feed.publish(fires(&set_aside));
                runtime.spawn(see_its_end(Arc::clone(&firings), cause, feed.clone()));
            }
        }));
    }
}

async fn see_its_end(firings: Arc<Mutex<Firings>>, cause: Cause, feed: Feed) {
    loop {
        let course = firings.lock().look(&cause, Instant::now());
        match course {
            Course::FiresUntil(until) => tokio::time::sleep_until(until.into()).await,
            Course::Over(requests) => {
                feed.publish(is_over(&cause, requests));
                return;
            }
        }
    }
}

fn fires(set_aside: &SetAside) -> EventDraft {
    let SetAside {
        pool,
        kind,
        trace_id,
    } = set_aside;
    let summary = format!(
        "a request of kind {kind} was set aside: two nodes were lost with it, and it may be what \
         they were lost of"
    );
    let data = json!({
        "alertname": "RequestSetAside", "severity": "warning", "pool": pool, "kind": kind,
        "trace_id": trace_id.to_string(), "summary": summary,
    });
    EventDraft::of_pool("alert.firing", pool, data)
}

fn is_over((pool, kind): &Cause, requests: u64) -> EventDraft {
    let summary = format!(
        "no request of kind {kind} was set aside for {} s, after {requests}",
        QUIET_FOR.as_secs()
    );
    let data = json!({
        "alertname": "RequestSetAside", "severity": "warning", "pool": pool, "kind": kind,
        "requests": requests, "summary": summary,
    });
    EventDraft::of_pool("alert.resolved", pool, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(kind: &str) -> Cause {
        (PoolName::new("mixed").unwrap(), Kind::new(kind).unwrap())
    }

    #[test]
    fn a_cause_fires_once_until_it_has_been_quiet() {
        let (start, mut firings) = (Instant::now(), Firings::default());
        let (echo, memory) = (cause("echo"), cause("memory"));
        assert!(firings.see(&echo, start));
        assert!(firings.see(&memory, start), "another cause");
        let later = start + QUIET_FOR - Duration::from_millis(1);
        for _ in 0..1_000 {
            assert!(!firings.see(&echo, later));
        }
        let until = later + QUIET_FOR;
        assert_eq!(firings.look(&echo, later), Course::FiresUntil(until));
        assert_eq!(
            firings.look(&memory, later + Duration::from_millis(1)),
            Course::Over(1)
        );
        assert_eq!(firings.look(&echo, until), Course::Over(1_001));
        assert!(firings.0.is_empty());
        assert!(firings.see(&echo, until), "it is news again");
    }
}
