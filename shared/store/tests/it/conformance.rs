//! What every back end must do. A case gets fresh [`Ports`] and knows nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidepool_store::{
    APPEND_RECORDS_MAX, Epoch, NAME_BYTES_MAX, Position, RECORD_BYTES_MAX, StoreError,
    VALUE_BYTES_MAX,
};

use crate::ports::{LONG, Ports, TTL};

/// Runs all cases against the ports that a function makes.
macro_rules! conformance {
    ($ports:path) => {
        $crate::conformance::conformance! { $ports:
            reads_what_was_appended
            reads_in_pages
            positions_are_consecutive_and_never_come_again
            streams_are_apart
            trims_from_the_front
            erases_but_keeps_fence_and_tail
            lists_streams_by_prefix
            refuses_an_append_of_an_old_epoch
            an_empty_append_fences
            concurrent_appends_keep_order_and_lose_nothing
            one_of_two_epochs_wins
            refuses_what_is_too_large_or_has_no_name
            names_and_records_may_be_any_bytes
            keeps_pairs
            pairs_expire
            a_put_without_ttl_keeps_for_good
            sets_only_what_was_expected
            a_version_never_comes_again
            one_of_many_setters_wins
            one_holds_a_lease
            a_lease_runs_out
            a_renewed_lease_lives_on
            lease_epochs_grow
            a_lease_is_given_up_only_by_its_holder
        }
        $crate::conformance::conformance! { $ports, crate::fencing:
            refuses_a_fenced_write_of_an_old_epoch
            reading_under_an_epoch_closes_the_key
            the_epoch_of_a_key_outlives_its_value
            fenced_writes_expire_and_compare_as_others
            epochs_are_exact_up_to_the_largest
            one_of_two_leaders_wins
            a_leader_cannot_tell_fenced_keys_from_others
        }
        $crate::conformance::conformance! { $ports, crate::places:
            appends_at_the_tail_only
            a_refusal_tells_what_was_missed
            a_refusal_tells_no_more_than_it_may
            an_erased_stream_goes_on_where_it_was
            old_epochs_are_fenced_wherever_they_append
            nothing_comes_into_being_by_a_refusal
            one_of_many_writers_gets_the_place
            writers_who_catch_up_lose_nothing
        }
        $crate::conformance::conformance! { $ports, crate::roster:
            tells_who_is_there
            members_go_when_their_time_is_over
            announcing_again_prolongs_and_replaces
            groups_are_apart
            a_group_is_bounded
            refuses_what_is_too_large
            takes_any_names_and_documents
            many_announce_at_once
        }
    };
    ($ports:path: $($case:ident)+) => {
        $crate::conformance::conformance! { $ports, crate::conformance: $($case)+ }
    };
    ($ports:path, crate::$cases:ident: $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$cases::$case($ports().await).await;
            }
        )+
    };
}
pub(crate) use conformance;

pub(crate) async fn reads_what_was_appended(ports: Ports) {
    assert_eq!(ports.log.tail("s").await.unwrap(), Position::START);
    assert!(ports.all("s").await.is_empty());
    let position = ports.append("s", &["a", "b"]).await;
    assert_eq!(ports.bodies("s").await, ["a", "b"]);
    assert_eq!(ports.log.tail("s").await.unwrap(), position);
    assert_eq!(ports.all("s").await[1].0, position);
}

pub(crate) async fn reads_in_pages(ports: Ports) {
    let texts: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let records = texts.iter().cloned().map(Bytes::from).collect();
    let append = ports.log.append("s", Epoch::UNFENCED, records);
    append.await.unwrap();
    let (mut after, mut seen) = (Position::START, Vec::new());
    loop {
        let page = ports.log.read("s", after, 300).await.unwrap();
        assert!(page.len() <= 300);
        let Some((last, _)) = page.last() else {
            break;
        };
        after = *last;
        seen.extend(page.into_iter().map(|(_, body)| body));
    }
    assert_eq!(seen, texts);
}

pub(crate) async fn positions_are_consecutive_and_never_come_again(ports: Ports) {
    ports.append("s", &["a"]).await;
    ports.append("s", &["b", "c"]).await;
    let positions: Vec<u64> = ports.all("s").await.iter().map(|(p, _)| p.0).collect();
    assert_eq!(positions[1..], [positions[0] + 1, positions[0] + 2]);
    let tail = ports.log.tail("s").await.unwrap();
    ports.log.trim("s", tail).await.unwrap();
    assert!(ports.all("s").await.is_empty());
    assert_eq!(ports.log.tail("s").await.unwrap(), tail);
    assert_eq!(ports.append("s", &["d"]).await, Position(tail.0 + 1));
}

pub(crate) async fn streams_are_apart(ports: Ports) {
    ports.append("s", &["a"]).await;
    ports.append("s:1", &["b"]).await;
    ports.log.erase("s").await.unwrap();
    assert_eq!(ports.bodies("s:1").await, ["b"]);
}

pub(crate) async fn trims_from_the_front(ports: Ports) {
    let last = ports.append("s", &["a", "b", "c", "d"]).await;
    ports.log.trim("s", last.back(2)).await.unwrap();
    assert_eq!(ports.bodies("s").await, ["c", "d"]);
    // A reader sees that something is missing.
    let after = last.back(4);
    let read = ports.log.read("s", after, 10).await.unwrap();
    assert!(read[0].0.0 > after.0 + 1);
    ports.log.trim("never", Position(7)).await.unwrap();
    ports.log.trim("s", Position(u64::MAX)).await.unwrap();
    assert!(ports.all("s").await.is_empty());
}

pub(crate) async fn erases_but_keeps_fence_and_tail(ports: Ports) {
    let append = ports.log.append("s", Epoch(5), vec!["a".into()]);
    let tail = append.await.unwrap();
    ports.log.erase("s").await.unwrap();
    assert!(ports.all("s").await.is_empty());
    assert!(ports.log.streams("", 10).await.unwrap().is_empty());
    let old = ports.log.append("s", Epoch(4), vec!["b".into()]).await;
    assert!(matches!(old, Err(StoreError::Fenced { .. })), "{old:?}");
    let again = ports.log.append("s", Epoch(5), vec!["c".into()]);
    assert_eq!(again.await.unwrap(), Position(tail.0 + 1));
    assert_eq!(ports.bodies("s").await, ["c"]);
    assert_eq!(ports.log.streams("", 10).await.unwrap(), ["s"]);
    ports.log.erase("never").await.unwrap();
}

pub(crate) async fn lists_streams_by_prefix(ports: Ports) {
    for name in [
        "memory:b",
        "memory:a",
        "memory",
        "events",
        "memory:é",
        "memoryz",
    ] {
        ports.append(name, &["x"]).await;
    }
    let list = |prefix, limit| ports.log.streams(prefix, limit);
    let memory = list("memory:", 10).await.unwrap();
    assert_eq!(memory, ["memory:a", "memory:b", "memory:é"]);
    assert_eq!(list("memory:", 2).await.unwrap(), ["memory:a", "memory:b"]);
    assert_eq!(list("", 100).await.unwrap().len(), 6);
    assert!(list("x", 10).await.unwrap().is_empty());
}

pub(crate) async fn refuses_an_append_of_an_old_epoch(ports: Ports) {
    let append = |epoch, body: &'static str| ports.log.append("s", Epoch(epoch), vec![body.into()]);
    append(3, "a").await.unwrap();
    append(3, "b").await.unwrap();
    append(7, "c").await.unwrap();
    match append(6, "d").await {
        Err(StoreError::Fenced { epoch, current, .. }) => {
            assert_eq!((epoch, current), (Epoch(6), Epoch(7)));
        }
        other => panic!("not fenced: {other:?}"),
    }
    assert_eq!(ports.bodies("s").await, ["a", "b", "c"]);
}

pub(crate) async fn an_empty_append_fences(ports: Ports) {
    let tail = ports.append("s", &["a"]).await;
    let fence = ports.log.append("s", Epoch(2), Vec::new()).await.unwrap();
    assert_eq!(fence, tail);
    let old = ports.log.append("s", Epoch(1), vec!["b".into()]).await;
    assert!(matches!(old, Err(StoreError::Fenced { .. })), "{old:?}");
}

pub(crate) async fn concurrent_appends_keep_order_and_lose_nothing(ports: Ports) {
    const WRITERS: usize = 16;
    const APPENDS: usize = 40;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&ports.log);
            tokio::spawn(async move {
                for n in 0..APPENDS {
                    let body = |part| Bytes::from(format!("{writer} {n} {part}"));
                    let records = vec![body(0), body(1), body(2)];
                    let last = log.append("s", Epoch::UNFENCED, records).await.unwrap();
                    // What was acknowledged is there, at the place that was told.
                    let read = log.read("s", last.back(1), 1).await.unwrap();
                    assert_eq!(read, [(last, body(2))]);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    let bodies = ports.bodies("s").await;
    assert_eq!(bodies.len(), WRITERS * APPENDS * 3);
    for together in bodies.chunks(3) {
        let writer: usize = together[0].split(' ').next().unwrap().parse().unwrap();
        let n = next.entry(writer).or_default();
        let expected: Vec<String> = (0..3).map(|part| format!("{writer} {n} {part}")).collect();
        assert_eq!(together, expected);
        *n += 1;
    }
}

pub(crate) async fn one_of_two_epochs_wins(ports: Ports) {
    let writer = |epoch: u64| {
        let log = Arc::clone(&ports.log);
        tokio::spawn(async move {
            for _ in 0..200 {
                let body = Bytes::from(epoch.to_string());
                match log.append("s", Epoch(epoch), vec![body]).await {
                    Ok(_) | Err(StoreError::Fenced { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let (old, new) = (writer(1), writer(2));
    old.await.unwrap();
    new.await.unwrap();
    let bodies = ports.bodies("s").await;
    assert!(bodies.is_sorted(), "an old writer wrote after a new one");
    assert_eq!(bodies.iter().filter(|body| *body == "2").count(), 200);
}

pub(crate) async fn refuses_what_is_too_large_or_has_no_name(ports: Ports) {
    let append = |name: &str, records| ports.log.append(name, Epoch::UNFENCED, records);
    let large = Bytes::from(vec![0; RECORD_BYTES_MAX + 1]);
    assert!(append("s", vec![large]).await.is_err());
    let many = vec![Bytes::new(); APPEND_RECORDS_MAX + 1];
    assert!(append("s", many).await.is_err());
    assert!(append("", vec![]).await.is_err());
    assert!(append("a\nb", vec![]).await.is_err());
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(append(&long, vec![]).await.is_err());
    assert!(
        append("s", vec![Bytes::from(vec![7; RECORD_BYTES_MAX])])
            .await
            .is_ok()
    );
    let value = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    assert!(ports.kv.put("k", value, None).await.is_err());
    assert!(
        ports
            .kv
            .put("k", Bytes::new(), Some(Duration::ZERO))
            .await
            .is_err()
    );
    assert!(
        ports
            .kv
            .put("k", Bytes::new(), Some(Duration::MAX))
            .await
            .is_err()
    );
    assert!(ports.lease.acquire("l", "", TTL).await.is_err());
}

pub(crate) async fn names_and_records_may_be_any_bytes(ports: Ports) {
    let body = Bytes::from((0..=255).collect::<Vec<u8>>());
    for name in ["}", "{}", "a}b", "%7D", "a b", "日本", "*?[x]", "'; --"] {
        let records = vec![body.clone(), Bytes::new()];
        let append = ports.log.append(name, Epoch::UNFENCED, records);
        let last = append.await.unwrap();
        let expected = [(last.back(1), body.clone()), (last, Bytes::new())];
        assert_eq!(ports.all(name).await, expected);
        ports.kv.put(name, body.clone(), None).await.unwrap();
        assert_eq!(ports.kv.get(name).await.unwrap().unwrap().bytes, body);
    }
    assert_eq!(ports.log.streams("", 100).await.unwrap().len(), 8);
}

pub(crate) async fn keeps_pairs(ports: Ports) {
    let kv = &ports.kv;
    assert_eq!(kv.get("k").await.unwrap(), None);
    kv.put("k", "a".into(), None).await.unwrap();
    let version = kv.put("k", "b".into(), None).await.unwrap();
    let value = kv.get("k").await.unwrap().unwrap();
    assert_eq!((&value.bytes[..], value.version), (&b"b"[..], version));
    assert!(kv.delete("k").await.unwrap());
    assert!(!kv.delete("k").await.unwrap());
    assert_eq!(kv.get("k").await.unwrap(), None);
}

pub(crate) async fn pairs_expire(ports: Ports) {
    let kv = &ports.kv;
    kv.put("long", "a".into(), Some(LONG)).await.unwrap();
    kv.put("short", "a".into(), Some(TTL)).await.unwrap();
    let is_gone = || async { kv.get("short").await.unwrap().is_none() };
    ports.outlast(TTL, is_gone).await;
    assert!(kv.get("long").await.unwrap().is_some());
    assert!(!kv.delete("short").await.unwrap());
    // What has expired counts as absent.
    let set = kv.compare_and_set("short", None, "b".into(), None).await;
    assert!(set.unwrap().is_some());
}

pub(crate) async fn a_put_without_ttl_keeps_for_good(ports: Ports) {
    let kv = &ports.kv;
    kv.put("k", "a".into(), Some(TTL)).await.unwrap();
    kv.put("k", "b".into(), None).await.unwrap();
    kv.put("witness", "a".into(), Some(TTL)).await.unwrap();
    let is_gone = || async { kv.get("witness").await.unwrap().is_none() };
    ports.outlast(TTL, is_gone).await;
    assert_eq!(kv.get("k").await.unwrap().unwrap().bytes, "b");
}

pub(crate) async fn sets_only_what_was_expected(ports: Ports) {
    let kv = &ports.kv;
    let set = |expected, value: &'static str| {
        kv.compare_and_set("k", expected, Bytes::from_static(value.as_bytes()), None)
    };
    let first = set(None, "a").await.unwrap().expect("it was absent");
    assert_eq!(set(None, "b").await.unwrap(), None);
    let second = set(Some(first), "c")
        .await
        .unwrap()
        .expect("it was the first");
    assert_eq!(set(Some(first), "d").await.unwrap(), None);
    let value = kv.get("k").await.unwrap().unwrap();
    assert_eq!((&value.bytes[..], value.version), (&b"c"[..], second));
}

pub(crate) async fn a_version_never_comes_again(ports: Ports) {
    let kv = &ports.kv;
    let old = kv.put("k", "a".into(), None).await.unwrap();
    kv.delete("k").await.unwrap();
    kv.put("k", "a".into(), None).await.unwrap();
    let set = kv.compare_and_set("k", Some(old), "b".into(), None).await;
    assert_eq!(set.unwrap(), None);
}

pub(crate) async fn one_of_many_setters_wins(ports: Ports) {
    for _ in 0..20 {
        let before = ports.kv.put("k", "0".into(), None).await.unwrap();
        let setters: Vec<_> = (0..8)
            .map(|n: u8| {
                let value = Bytes::from(vec![n]);
                tokio::spawn(ports.kv.compare_and_set("k", Some(before), value, None))
            })
            .collect();
        let mut winners = 0;
        for setter in setters {
            winners += usize::from(setter.await.unwrap().unwrap().is_some());
        }
        assert_eq!(winners, 1);
    }
}

pub(crate) async fn one_holds_a_lease(ports: Ports) {
    let lease = &ports.lease;
    assert_eq!(lease.current("l").await.unwrap(), None);
    let epoch = lease.acquire("l", "a", LONG).await.unwrap().unwrap();
    assert_eq!(lease.acquire("l", "b", LONG).await.unwrap(), None);
    assert!(lease.acquire("other", "b", LONG).await.unwrap().is_some());
    let held = lease.current("l").await.unwrap().unwrap();
    assert_eq!((held.holder.as_str(), held.epoch), ("a", epoch));
    assert!(held.remaining <= LONG && held.remaining > LONG / 2);
}

pub(crate) async fn a_lease_runs_out(ports: Ports) {
    let lease = &ports.lease;
    let old = lease.acquire("l", "a", TTL).await.unwrap().unwrap();
    let is_free = || async { lease.current("l").await.unwrap().is_none() };
    ports.outlast(TTL, is_free).await;
    assert!(!lease.renew("l", "a", old, LONG).await.unwrap());
    assert!(!lease.release("l", "a", old).await.unwrap());
    let new = lease.acquire("l", "b", LONG).await.unwrap().unwrap();
    assert!(new > old);
    assert!(!lease.renew("l", "a", old, LONG).await.unwrap());
}

pub(crate) async fn a_renewed_lease_lives_on(ports: Ports) {
    let lease = &ports.lease;
    let epoch = lease.acquire("l", "a", TTL).await.unwrap().unwrap();
    assert!(lease.renew("l", "a", epoch, LONG).await.unwrap());
    lease.acquire("witness", "a", TTL).await.unwrap().unwrap();
    let is_free = || async { lease.current("witness").await.unwrap().is_none() };
    ports.outlast(TTL, is_free).await;
    assert_eq!(lease.acquire("l", "b", TTL).await.unwrap(), None);
}

pub(crate) async fn lease_epochs_grow(ports: Ports) {
    let lease = &ports.lease;
    let mut last = Epoch(0);
    for round in 0..30 {
        let holder = format!("holder-{}", round % 3);
        let epoch = lease.acquire("l", &holder, LONG).await.unwrap().unwrap();
        assert!(epoch > last, "{epoch} after {last}");
        if round % 2 == 0 {
            // The same holder again, as after a crash: its former self is superseded.
            let again = lease.acquire("l", &holder, LONG).await.unwrap().unwrap();
            assert!(again > epoch);
            assert!(!lease.renew("l", &holder, epoch, LONG).await.unwrap());
            last = again;
        } else {
            last = epoch;
        }
        assert!(lease.release("l", &holder, last).await.unwrap());
    }
}

pub(crate) async fn a_lease_is_given_up_only_by_its_holder(ports: Ports) {
    let lease = &ports.lease;
    let epoch = lease.acquire("l", "a", LONG).await.unwrap().unwrap();
    assert!(!lease.release("l", "b", epoch).await.unwrap());
    assert!(!lease.release("l", "a", Epoch(epoch.0 + 1)).await.unwrap());
    assert!(!lease.renew("l", "b", epoch, LONG).await.unwrap());
    assert!(lease.release("l", "a", epoch).await.unwrap());
    assert!(lease.acquire("l", "b", LONG).await.unwrap().is_some());
}
