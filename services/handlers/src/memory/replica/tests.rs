use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn item(id: &str, text: &str) -> Item {
    Item {
        id: id.into(),
        text: text.into(),
        tags: vec![],
        at_us: 0,
    }
}

fn stored(id: &str, text: &str) -> Operation {
    Operation::Store {
        items: vec![item(id, text)],
    }
}

fn forgotten(id: &str) -> Operation {
    Operation::Forget {
        ids: vec![id.into()],
    }
}

fn texts(replica: &Replica) -> BTreeMap<String, String> {
    replica
        .items()
        .map(|item| (item.id.clone(), item.text.clone()))
        .collect()
}

/// Reads a log from its beginning to its end.
fn replayed(log: &[(u64, Operation)]) -> Replica {
    let mut replica = Replica::default();
    for (position, operation) in log {
        assert!(replica.is_next(Position(*position)));
        replica.apply(Position(*position), Some(operation.clone()));
    }
    replica.note_complete();
    replica
}

fn snapshot_of(replica: &Replica) -> Operation {
    Operation::Snapshot {
        as_of: replica.position().0,
        items: replica.items().map(|item| Item::clone(item)).collect(),
    }
}

#[test]
fn a_passage_stored_again_replaces_the_first() {
    let mut replica = replayed(&[(1, stored("a", "old")), (2, stored("a", "newer"))]);
    assert_eq!(texts(&replica), [("a".into(), "newer".into())].into());
    assert_eq!((replica.len(), replica.bytes()), (1, 6));
    assert_eq!(replica.apply(Position(3), Some(forgotten("a"))), 1);
    assert_eq!(replica.apply(Position(4), Some(forgotten("a"))), 0);
    assert_eq!((replica.len(), replica.bytes()), (0, 0));
}

#[test]
fn an_unreadable_record_is_passed_over() {
    let mut replica = replayed(&[(1, stored("a", "text"))]);
    assert_eq!(replica.apply(Position(2), None), 0);
    assert_eq!(replica.position(), Position(2));
    assert_eq!(replica.len(), 1);
}

#[test]
fn a_gap_is_noticed() {
    let replica = replayed(&[(7, stored("a", "text"))]);
    assert!(replica.is_next(Position(8)));
    assert!(!replica.is_next(Position(9)));
    assert!(Replica::default().is_next(Position(5)));
}

#[test]
fn a_snapshot_does_not_bring_back_what_was_forgotten_after_it() {
    let snapshot = Operation::Snapshot {
        as_of: 4,
        items: vec![item("a", "old"), item("b", "old"), item("c", "old")],
    };
    let log = [
        (5, forgotten("a")),
        (6, stored("b", "newer")),
        (7, snapshot.clone()),
    ];
    let expected = [
        ("b".to_owned(), "newer".to_owned()),
        ("c".to_owned(), "old".to_owned()),
    ];
    assert_eq!(texts(&replayed(&log)), expected.into());

    let log = [(5, Operation::ForgetAll {}), (6, snapshot)];
    assert!(texts(&replayed(&log)).is_empty());
}

#[test]
fn a_snapshot_of_before_the_log_begins_is_not_used() {
    let stale = Operation::Snapshot {
        as_of: 3,
        items: vec![item("a", "forgotten at 4, which was trimmed")],
    };
    assert!(texts(&replayed(&[(6, stale)])).is_empty());
}

#[test]
fn a_log_with_many_changes_is_worth_a_snapshot() {
    let log: Vec<_> = (1..=20).map(|at| (at, stored("a", "text"))).collect();
    let mut replica = replayed(&log);
    assert!(replica.is_worth_a_snapshot(10));
    assert!(!replica.is_worth_a_snapshot(16));
    replica.note_snapshot();
    assert!(!replica.is_worth_a_snapshot(0));
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let id = "[a-e]";
    let one = prop_oneof![
        6 => (id, "[a-z]{1,4}").prop_map(|(id, text)| stored(&id, &text)),
        3 => id.prop_map(|id| forgotten(&id)),
        1 => Just(Operation::ForgetAll {}),
    ];
    proptest::collection::vec(one, 1..30)
}

fn numbered(operations: Vec<Operation>) -> Vec<(u64, Operation)> {
    (1..).zip(operations).collect()
}

proptest! {
    /// Two processes put snapshots into the log while a third goes on writing, and the log is
    /// trimmed up to either of them: whoever reads it, from wherever, sees the same.
    #[test]
    fn a_trimmed_log_tells_the_same_as_the_whole(
        operations in operations(),
        first in 0_usize..30,
        second in 0_usize..30,
        delay in 0_usize..6,
    ) {
        let log = numbered(operations);
        let whole = texts(&replayed(&log));
        let mut shortened = log.clone();
        let mut trimmed_to = 0;
        for as_of in [first.min(log.len()), second.min(log.len())] {
            let snapshot = snapshot_of(&replayed(&log[..as_of]));
            // It lands at the end, or somewhat after the record it was taken at.
            let taken_at = shortened.iter().rposition(|(old, _)| *old > 0 && *old <= as_of as u64);
            let at = (taken_at.map_or(0, |at| at + 1) + delay).min(shortened.len());
            shortened.insert(at, (0, snapshot));
            trimmed_to = trimmed_to.max(as_of);
        }
        // Positions of the snapshots shift later ones: number anew and carry `as_of` over.
        let mut old_to_new = BTreeMap::from([(0, 0)]);
        for (new, (old, _)) in (1_u64..).zip(&shortened) {
            if *old > 0 {
                old_to_new.insert(*old, new);
            }
        }
        let renumbered: Vec<_> = (1_u64..)
            .zip(shortened)
            .map(|(new, (_, operation))| match operation {
                Operation::Snapshot { as_of, items } => {
                    (new, Operation::Snapshot { as_of: old_to_new[&as_of], items })
                }
                other => (new, other),
            })
            .collect();
        let trimmed_to = old_to_new[&(trimmed_to as u64)];
        prop_assert_eq!(&texts(&replayed(&renumbered)), &whole);
        let rest: Vec<_> = renumbered.into_iter().filter(|(at, _)| *at > trimmed_to).collect();
        prop_assert_eq!(&texts(&replayed(&rest)), &whole);
    }

    #[test]
    fn what_is_indexed_is_what_there_is(operations in operations(), every in 1_u64..6) {
        let context = crate::testing::json_call("{}").context;
        let mut replica = Replica::default();
        for (at, operation) in numbered(operations) {
            replica.apply(Position(at), Some(operation));
            if at.is_multiple_of(every) {
                replica.index_new(&context).unwrap();
            }
        }
        replica.index_new(&context).unwrap();
        for item in replica.items() {
            let mut found = Vec::new();
            let terms = crate::memory::terms::terms_of(&item.text, 9);
            replica.search(&terms, &context, |item, _| found.push(item.id.clone())).unwrap();
            found.sort_unstable();
            let mut same: Vec<_> = replica
                .items()
                .filter(|other| crate::memory::terms::terms_of(&other.text, 9) == terms)
                .map(|other| other.id.clone())
                .collect();
            same.sort_unstable();
            prop_assert_eq!(found, same);
        }
    }
}
