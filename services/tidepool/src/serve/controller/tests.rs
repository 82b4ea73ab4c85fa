//! Terms over a store of their own: how they begin, fail to begin and end.

use tidepool_feed::Role;
use tidepool_store::Epoch;
use tidepool_supervisor::Retire;

use super::leadership::{Mandate, Standing};
use super::*;
use crate::serve::supervision;
use crate::settings::{Inputs, Override, load};

const LONG: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(10);
/// Read by a term when nearly all else has succeeded.
const READ_LAST: &str = "controller/drained_nodes";

/// A controller that nobody has elected, and where its store is.
async fn base() -> (Arc<Base>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let set = |key, value: String| Override {
        flag: "--test",
        key,
        value,
    };
    let inputs = Inputs {
        overrides: vec![
            set(
                "store.path",
                folder.path().join("store").display().to_string(),
            ),
            set("controller.decision_log_bytes", "0".to_owned()),
        ],
        ..Inputs::default()
    };
    let settings = load(&inputs).unwrap().settings;
    (Base::open(&settings, Instant::now()).await.unwrap(), folder)
}

fn mandate(epoch: u64) -> Arc<Mandate> {
    Arc::new(Mandate::new(Epoch(epoch), Instant::now() + LONG))
}

/// Lets no term of an epoch below this one begin.
async fn close(base: &Base, epoch: u64) {
    let kv = &base.ground.stores.kv;
    kv.fence(READ_LAST, Epoch(epoch)).await.unwrap();
}

#[actix::test]
async fn a_term_that_cannot_begin_leaves_the_feed_to_others_and_forgets_nothing() {
    let (base, _folder) = base().await;
    let mut carried = None;
    let first = Reign::begin(&base, mandate(1), None, &mut carried).await;
    carried = Some(first.unwrap().end(&base).await);
    close(&base, 3).await;
    let failed = Reign::begin(&base, mandate(2), None, &mut carried).await;
    assert!(failed.is_err());
    assert_eq!(base.ground.feed.role(), Role::Follows);
    assert!(carried.is_some(), "kept for the next try");
    let begun = Reign::begin(&base, mandate(3), None, &mut carried).await;
    assert_eq!(base.ground.feed.role(), Role::Leads(Epoch(3)));
    assert!(carried.is_none(), "what the term goes on from is its own");
    begun.unwrap().end(&base).await;
}

#[actix::test]
async fn a_term_does_not_begin_before_what_was_carried_over_is_put_back() {
    let (base, _folder) = base().await;
    let mut carried = None;
    let first = Reign::begin(&base, mandate(1), None, &mut carried).await;
    carried = Some(first.unwrap().end(&base).await);
    // One of the keys is another one's by now.
    let memory = base
        .pools
        .first()
        .map(|pool| format!("controller/memory/{}", pool.name()));
    let kv = &base.ground.stores.kv;
    kv.fence(&memory.unwrap(), Epoch(9)).await.unwrap();
    let failed = Reign::begin(&base, mandate(2), None, &mut carried).await;
    let told = format!("{:#}", failed.err().unwrap());
    assert!(told.contains("put back"), "{told}");
    assert!(carried.is_some());
}

fn seat(mandate: &Arc<Mandate>) -> Seat {
    Seat {
        standing: Standing::Standby,
        mandate: Some(Arc::clone(mandate)),
        leader: None,
        before: None,
    }
}

#[actix::test]
async fn a_term_that_lost_its_supervisor_or_a_task_gives_the_lease_up() {
    let (base, _folder) = base().await;
    let losses: [fn(&Reign); 4] = [
        |reign| reign.supervisor.try_send(Retire).unwrap(),
        |reign| reign.steering.abort(),
        |reign| reign.sizing.abort(),
        |reign| reign.telling.abort(),
    ];
    for (epoch, lose) in (1..).zip(losses) {
        let mandate = mandate(epoch);
        let seat = seat(&mandate);
        let reign = Reign::begin(&base, Arc::clone(&mandate), None, &mut None).await;
        let reign = reign.unwrap();
        assert!(!is_over(&reign, &seat));
        lose(&reign);
        let noticed = async {
            while !is_over(&reign, &seat) {
                tokio::task::yield_now().await;
            }
        };
        let noticed = tokio::time::timeout(SOON, noticed).await;
        noticed.expect("it is noticed");
        assert!(mandate.is_resigned());
        reign.end(&base).await;
    }
}

#[actix::test]
async fn who_cannot_begin_several_times_lets_another_one_lead() {
    let (base, _folder) = base().await;
    close(&base, 2).await;
    let mandate = mandate(1);
    let (_seats, reader) = watch::channel(seat(&mandate));
    let (leave, left) = oneshot::channel();
    let office = actix_web::rt::spawn(hold_office(base, reader, left));
    let resigned = async {
        while !mandate.is_resigned() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let tries = tokio::time::timeout(SOON, resigned).await;
    tries.expect("it resigns");
    leave.send(()).unwrap();
    office.await.unwrap();
}

#[actix::test]
async fn a_shadow_has_the_bounds_of_its_pool() {
    let (base, _folder) = base().await;
    let mut configured = base.settings.pools.clone();
    let pool = configured.first_mut().unwrap();
    pool.shadows = vec![tidepool_policy::Rule::named("threshold").unwrap()];
    (pool.min, pool.max) = (3, 7);
    (pool.cooldown, pool.slo) = (Duration::from_secs(77), Duration::from_millis(345));
    pool.spend_worker_h = Some(5);
    let plan = supervision::plans(&configured, &base.pools).remove(0);
    let bounds = &plan.policy.bounds;
    assert_eq!((bounds.min, bounds.max, bounds.slo_ms), (3, 7, 345));
    assert_eq!(
        (bounds.cooldown_s, bounds.spend_worker_h),
        (77.0, Some(5.0))
    );
    assert_eq!(plan.shadows[0].rule.name(), "threshold");
    assert_eq!(plan.shadows[0].bounds, *bounds);
}
