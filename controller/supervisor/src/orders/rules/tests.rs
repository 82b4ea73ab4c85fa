use std::time::Duration;

use proptest::prelude::*;

use super::*;

const POOL: Configured = Configured { min: 1, max: 8 };
const NOW: Timestamp = Timestamp(1_000);

fn member(result: Result<Standing, ChangeError>) -> &'static str {
    match result {
        Err(ChangeError::Invalid { member, .. }) => member,
        other => panic!("{other:?}"),
    }
}

fn pause() -> PoolChange {
    PoolChange {
        paused: Some(true),
        duration: Some(Duration::from_secs(60)),
        reason: Some("deploy".into()),
        by: "ann".into(),
        ..PoolChange::default()
    }
}

fn on(standing: &Standing, change: PoolChange) -> Result<Standing, ChangeError> {
    apply(standing, POOL, &change, NOW)
}

#[test]
fn a_pause_lives_as_long_as_asked_and_a_resume_ends_it() {
    let paused = on(&Standing::default(), pause()).unwrap();
    assert!(paused.is_paused());
    assert_eq!(paused.until(), Some(Timestamp(61_000)));
    assert_eq!(paused.reason(), Some("deploy"));
    assert_eq!(expire(&paused, Timestamp(60_999)), None);
    let (left, told) = expire(&paused, Timestamp(61_000)).unwrap();
    assert!(left.is_empty());
    assert_eq!(told, "the pause ended");
    let resume = PoolChange {
        paused: Some(false),
        ..PoolChange::default()
    };
    assert!(on(&paused, resume).unwrap().is_empty());
}

#[test]
fn what_cannot_be_is_told_by_its_member() {
    let none = Standing::default();
    let endless = PoolChange {
        duration: None,
        ..pause()
    };
    assert_eq!(member(on(&none, endless)), "for");
    let long = PoolChange {
        duration: Some(ORDER_DURATION_MAX + Duration::from_secs(1)),
        ..pause()
    };
    assert_eq!(member(on(&none, long)), "for");
    let both = PoolChange {
        pin: Some(Some(2)),
        ..pause()
    };
    assert_eq!(member(on(&none, both)), "pin");
    let outside = PoolChange {
        paused: None,
        pin: Some(Some(9)),
        ..pause()
    };
    assert_eq!(member(on(&none, outside)), "pin");
    for (min, max, told) in [
        (Some(Some(9)), None, "min"),
        (None, Some(Some(0)), "max"),
        (Some(Some(5)), Some(Some(4)), "min"),
        (None, Some(Some(10_001)), "max"),
    ] {
        let bounds = PoolChange {
            min,
            max,
            ..PoolChange::default()
        };
        assert_eq!(member(on(&none, bounds)), told, "{min:?} {max:?}");
    }
    assert_eq!(member(on(&none, PoolChange::default())), "change");
    let wordy = PoolChange {
        reason: Some("x".repeat(201)),
        ..pause()
    };
    assert_eq!(member(on(&none, wordy)), "reason");
    let pointless = PoolChange {
        paused: Some(false),
        ..pause()
    };
    assert_eq!(member(on(&none, pointless)), "for");
}

#[test]
fn bounds_need_no_end_and_go_back_to_the_configured_ones() {
    let raised = PoolChange {
        max: Some(Some(20)),
        ..PoolChange::default()
    };
    let raised = on(&Standing::default(), raised).unwrap();
    assert_eq!(bounds(POOL, &raised), Configured { min: 1, max: 20 });
    assert_eq!(expire(&raised, Timestamp(u64::MAX)), None);
    assert_eq!(to_override(&raised, NOW).unwrap().max, Some(20));
    let back = PoolChange {
        max: Some(None),
        ..PoolChange::default()
    };
    assert!(on(&raised, back).unwrap().is_empty());
}

#[test]
fn bounds_cannot_be_moved_off_a_pin() {
    let pin = PoolChange {
        paused: None,
        pin: Some(Some(7)),
        ..pause()
    };
    let pinned = on(&Standing::default(), pin).unwrap();
    let lower = PoolChange {
        max: Some(Some(5)),
        ..PoolChange::default()
    };
    assert_eq!(member(on(&pinned, lower)), "pin");
}

fn pin(n: u32) -> PoolChange {
    PoolChange {
        paused: None,
        pin: Some(Some(n)),
        ..pause()
    }
}

#[test]
fn each_order_ends_at_its_own_time_and_leaves_the_other() {
    let raised = PoolChange {
        max: Some(Some(20)),
        duration: Some(Duration::from_secs(30)),
        ..PoolChange::default()
    };
    let bounded = on(&Standing::default(), raised).unwrap();
    let both = on(&bounded, pin(9)).unwrap();
    assert_eq!(expire(&both, Timestamp(30_999)), None);
    let (pinned, told) = expire(&both, Timestamp(31_000)).unwrap();
    assert_eq!((pinned.bounds.is_none(), pinned.pinned()), (true, Some(9)));
    assert_eq!(told, "the bounds ended");
    let (left, told) = expire(&both, Timestamp(61_000)).unwrap();
    assert!(left.is_empty());
    assert_eq!(told, "the hold and the bounds ended");

    let endless = PoolChange {
        max: Some(Some(20)),
        ..PoolChange::default()
    };
    let both = on(&both, endless).unwrap();
    let (bounded, told) = expire(&both, Timestamp(61_000)).unwrap();
    assert_eq!(bounds(POOL, &bounded), Configured { min: 1, max: 20 });
    assert_eq!((told, bounded.hold), ("the pin ended", None));
}

#[test]
fn a_hold_is_ended_by_its_own_word_and_replaced_with_a_new_end() {
    let none = Standing::default();
    let (paused, pinned) = (on(&none, pause()).unwrap(), on(&none, pin(2)).unwrap());
    let resume = PoolChange {
        paused: Some(false),
        ..PoolChange::default()
    };
    let unpin = PoolChange {
        pin: Some(None),
        ..PoolChange::default()
    };
    assert_eq!(on(&pinned, resume), Ok(pinned.clone()));
    assert_eq!(on(&paused, unpin.clone()), Ok(paused.clone()));
    assert!(on(&pinned, unpin).unwrap().is_empty());
    let later = PoolChange {
        duration: Some(Duration::from_secs(600)),
        ..pause()
    };
    for standing in [&paused, &pinned] {
        let next = on(standing, later.clone()).unwrap();
        assert!(next.is_paused());
        assert_eq!(next.until(), Some(Timestamp(601_000)));
    }
}

#[test]
fn the_policy_is_told_when_a_hold_ends_and_ends_none_itself() {
    let min = PoolChange {
        min: Some(Some(3)),
        duration: Some(Duration::from_secs(10)),
        ..PoolChange::default()
    };
    let bounded = on(&Standing::default(), min).unwrap();
    let alone = to_override(&bounded, NOW).unwrap();
    assert_eq!(alone.until_ms, None, "no hold, so nothing that ends it");
    // Bounds that end sooner do not end the pause, nor does it end them.
    let both = on(&bounded, pause()).unwrap();
    let told = to_override(&both, Timestamp(60_999)).unwrap();
    assert_eq!((told.until_ms, told.min), (Some(61_000), Some(3)));
    // Whoever looks with a later clock than it was ended by is not told that it is over.
    let late = to_override(&both, Timestamp(61_000)).unwrap();
    assert_eq!((late.until_ms, late.paused), (None, true));
}

#[test]
fn one_bound_leaves_the_other_as_it_was() {
    let max = PoolChange {
        max: Some(Some(20)),
        by: "ann".into(),
        duration: Some(Duration::from_secs(60)),
        ..PoolChange::default()
    };
    let raised = on(&Standing::default(), max).unwrap();
    let min = PoolChange {
        min: Some(Some(10)),
        duration: Some(Duration::from_secs(90)),
        ..PoolChange::default()
    };
    let both = on(&raised, min).unwrap();
    assert_eq!(bounds(POOL, &both), Configured { min: 10, max: 20 });
    let order = to_override(&both, NOW).unwrap();
    assert_eq!((order.min, order.max), (Some(10), Some(20)));
    // Configured are 8 at most.
    let back = PoolChange {
        max: Some(None),
        ..PoolChange::default()
    };
    assert_eq!(member(on(&both, back)), "max");
    assert_eq!(member(on(&both, pin(9))), "pin");
    assert_eq!(on(&both, pin(10)).unwrap().pinned(), Some(10));
}

#[test]
fn a_bound_that_is_taken_back_does_not_make_the_other_endless() {
    let both = PoolChange {
        paused: None,
        min: Some(Some(2)),
        max: Some(Some(20)),
        ..pause()
    };
    let both = on(&Standing::default(), both).unwrap();
    let back = PoolChange {
        max: Some(None),
        by: "bob".into(),
        ..PoolChange::default()
    };
    let left = apply(&both, POOL, &back, Timestamp(9_000)).unwrap();
    let of_both = both.bounds.unwrap();
    let wanted = BoundsOrder {
        max: None,
        ..of_both
    };
    assert_eq!(left.bounds, Some(wanted));
}

#[test]
fn the_largest_and_longest_are_taken_and_no_more() {
    let none = Standing::default();
    let largest = PoolChange {
        max: Some(Some(ORDER_WORKERS_MAX)),
        duration: Some(ORDER_DURATION_MAX),
        reason: Some("x".repeat(ORDER_REASON_LEN_MAX)),
        by: "y".repeat(999),
        ..PoolChange::default()
    };
    let set = on(&none, largest).unwrap().bounds.unwrap();
    assert_eq!(set.until, Some(NOW.after(ORDER_DURATION_MAX)));
    assert_eq!(set.by, "y".repeat(BY_LEN_MAX));
    let of = |change: PoolChange| on(&none, change);
    let no_time = PoolChange {
        duration: Some(Duration::ZERO),
        ..pause()
    };
    assert_eq!(member(of(no_time)), "for");
    let two_lines = PoolChange {
        reason: Some("one\ntwo".into()),
        ..pause()
    };
    assert_eq!(member(of(two_lines)), "reason");
    let blank = PoolChange {
        reason: Some("  ".into()),
        ..pause()
    };
    assert_eq!(of(blank).unwrap().reason(), None);
}

#[test]
fn what_ended_while_the_other_was_changed_stays_ended() {
    let max = PoolChange {
        max: Some(Some(20)),
        duration: Some(Duration::from_secs(30)),
        ..PoolChange::default()
    };
    let before = on(&Standing::default(), max).unwrap();
    let after = on(&before, pin(9)).unwrap();
    let merged = merge(&before, &Standing::default(), after.clone());
    assert_eq!((merged.bounds, &merged.hold), (None, &after.hold));
    let (before, current) = (
        after.clone(),
        Standing {
            hold: None,
            ..after
        },
    );
    let min = PoolChange {
        min: Some(Some(2)),
        ..PoolChange::default()
    };
    let after = on(&before, min).unwrap();
    let merged = merge(&before, &current, after.clone());
    assert_eq!((&merged.bounds, merged.hold), (&after.bounds, None));
}

fn workers() -> impl Strategy<Value = Option<Option<u32>>> {
    prop::option::of(prop::option::of(0_u32..12))
}

prop_compose! {
    fn changes()(
        min in workers(), max in workers(), pin in workers(),
        paused in prop::option::of(any::<bool>()),
        seconds in prop::option::of(1_u64..100),
    ) -> PoolChange {
        PoolChange {
            min, max, pin, paused,
            duration: seconds.map(Duration::from_secs),
            ..PoolChange::default()
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_bounds_stay_in_order_and_holds_end(
        changes in prop::collection::vec(changes(), 1..12)
    ) {
        let mut standing = Standing::default();
        let mut now = NOW;
        for change in changes {
            now = now.after(Duration::from_secs(7));
            if let Some((left, _)) = expire(&standing, now) {
                standing = left;
            }
            if let Ok(next) = apply(&standing, POOL, &change, now) {
                standing = next;
            }
            let Configured { min, max } = bounds(POOL, &standing);
            prop_assert!(min <= max && max >= 1);
            if let Some(hold) = &standing.hold {
                prop_assert!(hold.until > now);
                prop_assert!(hold.pin.is_none_or(|pin| pin <= 12));
            }
        }
    }
}
