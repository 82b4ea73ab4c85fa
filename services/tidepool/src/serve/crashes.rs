//! Counts what nobody who looks only now and then would see: a worker that crashes is started again, or
//! given up, within a second or two.

use std::sync::Arc;

use anyhow::Context;
use prometheus::{IntCounterVec, Opts, Registry};
use tidepool_core::EventDraft;

/// What workers tell goes to `publish`; crashes are counted on the way.
///
/// # Errors
/// When the registry has such a series already.
pub(super) fn counted(
    registry: &Registry,
    publish: impl Fn(EventDraft) + Send + Sync + 'static,
) -> anyhow::Result<Arc<dyn Fn(EventDraft) + Send + Sync>> {
    let help = "Workers that ended by a panic or did not start, by pool";
    let opts = Opts::new("tidepool_worker_crashes_total", help);
    let crashes = IntCounterVec::new(opts, &["pool"])?;
    let taken = registry.register(Box::new(crashes.clone()));
    taken.context("cannot count crashes")?;
    Ok(Arc::new(move |event: EventDraft| {
        if let (Some(pool), "worker.crashed") = (&event.pool, event.kind) {
            crashes.with_label_values(&[pool.as_str()]).inc();
        }
        publish(event);
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tidepool_core::PoolName;

    use super::*;

    #[test]
    fn crashes_are_counted_by_pool_and_everything_is_passed_on() {
        let (registry, passed) = (Registry::new(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&passed);
        let tell = counted(&registry, move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let tell = tell.unwrap();
        let pool = PoolName::new("echo").unwrap();
        for kind in ["worker.ready", "worker.crashed", "worker.crashed"] {
            tell(EventDraft::of_pool(kind, &pool, json!({})));
        }
        let told = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        assert!(
            told.contains("tidepool_worker_crashes_total{pool=\"echo\"} 2"),
            "{told}"
        );
        assert_eq!(passed.load(Ordering::Relaxed), 3);
        assert!(counted(&registry, |_| ()).is_err(), "once a process");
    }
}
