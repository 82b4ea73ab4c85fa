//! Terms over a store of their own: how they begin, fail to begin and end.

use tidepool_feed::Role;
use tidepool_store::Epoch;

use super::leadership::Mandate;
use super::*;
use crate::settings::{Inputs, Override, load};

const LONG: Duration = Duration::from_secs(600);
/// Read by a term when nearly all else has succeeded.
const READ_LAST: &str = "controller/drained_nodes";

/// A controller that nobody has elected, and where its store is.
fn base() -> (Arc<Base>, tempfile::TempDir) {
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
    (Base::open(&settings, Instant::now()).unwrap(), folder)
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
    let (base, _folder) = base();
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
    let (base, _folder) = base();
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
