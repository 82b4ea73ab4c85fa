//! What every back end must do about writers that were replaced.

use std::sync::Arc;
use std::time::Duration;

use tidepool_store::{Epoch, FencedKv, Kv, StoreError};

use crate::ports::{Ports, TTL};

/// The largest that a double holds exactly together with all below it.
const EPOCH_MAX: u64 = 1 << 53;

fn is_fenced<T: std::fmt::Debug>(outcome: Result<T, StoreError>, by: u64) -> bool {
    match outcome {
        Err(StoreError::Fenced { name, current, .. }) => name == "k" && current == Epoch(by),
        other => panic!("not fenced: {other:?}"),
    }
}

async fn text(kv: &Arc<dyn Kv>) -> Option<String> {
    let value = kv.get("k").await.unwrap()?;
    Some(String::from_utf8(value.bytes.to_vec()).unwrap())
}

pub(crate) async fn refuses_a_fenced_write_of_an_old_epoch(ports: Ports) {
    let kv = &ports.kv;
    let put = |epoch, value: &'static str| kv.put_fenced("k", Epoch(epoch), value.into(), None);
    put(3, "a").await.unwrap();
    put(3, "b").await.unwrap();
    let version = put(7, "c").await.unwrap();
    assert!(is_fenced(put(6, "d").await, 7));
    assert!(is_fenced(kv.delete_fenced("k", Epoch(6)).await, 7));
    let set = kv.compare_and_set_fenced("k", Epoch(6), Some(version), "e".into(), None);
    assert!(is_fenced(set.await, 7));
    assert!(is_fenced(kv.fence("k", Epoch(6)).await, 7));
    assert_eq!(kv.get("k").await.unwrap().unwrap().version, version);
    // Other keys have epochs of their own.
    kv.put_fenced("other", Epoch(1), "x".into(), None)
        .await
        .unwrap();
}

pub(crate) async fn reading_under_an_epoch_closes_the_key(ports: Ports) {
    let kv = &ports.kv;
    let version = kv
        .put_fenced("k", Epoch(1), "a".into(), None)
        .await
        .unwrap();
    let read = kv.fence("k", Epoch(2)).await.unwrap().unwrap();
    assert_eq!((&read.bytes[..], read.version), (&b"a"[..], version));
    let late = kv.put_fenced("k", Epoch(1), "b".into(), None).await;
    assert!(is_fenced(late, 2));
    assert_eq!(text(kv).await.as_deref(), Some("a"));
    // Also where nothing is.
    assert_eq!(kv.fence("nothing", Epoch(2)).await.unwrap(), None);
    let late = kv.put_fenced("nothing", Epoch(1), "b".into(), None).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
}

pub(crate) async fn the_epoch_of_a_key_outlives_its_value(ports: Ports) {
    let kv = &ports.kv;
    kv.put_fenced("k", Epoch(5), "a".into(), None)
        .await
        .unwrap();
    assert!(kv.delete_fenced("k", Epoch(5)).await.unwrap());
    assert!(!kv.delete_fenced("k", Epoch(5)).await.unwrap());
    assert!(is_fenced(
        kv.put_fenced("k", Epoch(4), "b".into(), None).await,
        5
    ));
    kv.put_fenced("k", Epoch(6), "c".into(), Some(TTL))
        .await
        .unwrap();
    let is_gone = || async { kv.get("k").await.unwrap().is_none() };
    ports.outlast(TTL, is_gone).await;
    assert!(is_fenced(
        kv.put_fenced("k", Epoch(5), "d".into(), None).await,
        6
    ));
}

pub(crate) async fn fenced_writes_expire_and_compare_as_others(ports: Ports) {
    let kv = &ports.kv;
    let set = |expected, value: &'static str| {
        kv.compare_and_set_fenced("k", Epoch(1), expected, value.into(), None)
    };
    let first = set(None, "a").await.unwrap().expect("it was absent");
    assert_eq!(set(None, "b").await.unwrap(), None);
    let second = set(Some(first), "c")
        .await
        .unwrap()
        .expect("it was the first");
    assert_eq!(kv.get("k").await.unwrap().unwrap().version, second);
    kv.put_fenced("k", Epoch(1), "d".into(), Some(TTL))
        .await
        .unwrap();
    let is_gone = || async { kv.get("k").await.unwrap().is_none() };
    ports.outlast(TTL, is_gone).await;
    assert!(set(None, "e").await.unwrap().is_some());
    let forever = kv.put_fenced("k", Epoch(1), "f".into(), Some(Duration::MAX));
    assert!(forever.await.is_err());
}

pub(crate) async fn epochs_are_exact_up_to_the_largest(ports: Ports) {
    let put = |epoch| ports.kv.put_fenced("k", Epoch(epoch), "a".into(), None);
    for epoch in [EPOCH_MAX - 1, EPOCH_MAX] {
        put(epoch).await.unwrap();
        assert!(is_fenced(put(epoch - 1).await, epoch));
        let log = |epoch| ports.log.append("s", Epoch(epoch), vec!["a".into()]);
        log(epoch).await.unwrap();
        let refused = log(epoch - 1).await;
        assert!(
            matches!(refused, Err(StoreError::Fenced { .. })),
            "{refused:?}"
        );
    }
    assert!(matches!(
        put(EPOCH_MAX + 1).await,
        Err(StoreError::Invalid { .. })
    ));
}

pub(crate) async fn one_of_two_leaders_wins(ports: Ports) {
    let writer = |epoch: u64| {
        let kv = Arc::clone(&ports.kv);
        tokio::spawn(async move {
            let mut written = 0;
            for _ in 0..100 {
                match kv
                    .put_fenced("k", Epoch(epoch), epoch.to_string().into(), None)
                    .await
                {
                    Ok(_) => written += 1,
                    Err(StoreError::Fenced { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            written
        })
    };
    let (old, new) = (writer(1), writer(2));
    old.await.unwrap();
    assert_eq!(new.await.unwrap(), 100);
    assert_eq!(text(&ports.kv).await.as_deref(), Some("2"));
}

pub(crate) async fn a_leader_cannot_tell_fenced_keys_from_others(ports: Ports) {
    let old = FencedKv::new(Arc::clone(&ports.kv), Epoch(1));
    let new = FencedKv::new(Arc::clone(&ports.kv), Epoch(2));
    let first = old.put("k", "a".into(), None).await.unwrap();
    assert_eq!(new.get("k").await.unwrap().unwrap().version, first);
    assert!(is_fenced(old.put("k", "b".into(), None).await, 2));
    assert!(is_fenced(old.get("k").await, 2));
    let second = new
        .compare_and_set("k", Some(first), "c".into(), None)
        .await;
    assert!(second.unwrap().is_some());
    assert!(new.delete("k").await.unwrap());
    assert_eq!(text(&ports.kv).await, None);
}
