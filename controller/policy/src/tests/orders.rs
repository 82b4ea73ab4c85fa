//! What operators order.

use super::laws::{Loop, second};
use crate::{Block, Override, Policy, Reason};

/// An order that ends `s` seconds from now.
fn order(pool: &Loop, s: u64) -> Override {
    Override {
        until_ms: Some(pool.now_ms + 1_000 * s),
        ..Override::default()
    }
}

#[test]
fn a_pin_holds_until_it_ends_and_then_the_rule_goes_on() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(120, 100.0).to;
    let pin = Override {
        pin: Some(before + 7),
        ..order(&pool, 30)
    };
    for s in 0..29 {
        let mut observation = second(100.0, 0.05, pool.ready);
        observation.operator = Some(pin);
        let decision = pool.step(&observation, 1_000);
        assert_eq!(
            (decision.to, decision.reason),
            (before + 7, Reason::Pinned),
            "{s}"
        );
        assert_eq!(decision.earliest_change_ms, pin.until_ms);
    }
    let mut observation = second(100.0, 0.05, pool.ready);
    observation.operator = Some(pin);
    let ended = pool.step(&observation, 1_000);
    assert_ne!(ended.reason, Reason::Pinned, "it ends when it says");
    for _ in 0..600 {
        let mut observation = second(100.0, 0.05, pool.ready);
        observation.operator = Some(pin);
        pool.step(&observation, 1_000);
    }
    assert!(pool.ready < before + 7, "{}", pool.ready);
}

#[test]
fn a_paused_pool_neither_grows_nor_shrinks_and_says_what_it_would_do() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(120, 100.0).to;
    let pause = Override {
        paused: true,
        ..order(&pool, 3_600)
    };
    for rate in [2_000.0, 0.0] {
        for _ in 0..300 {
            let mut observation = second(rate, 0.05, pool.ready);
            observation.operator = Some(pause);
            assert_eq!(pool.step(&observation, 1_000).to, before);
        }
        let last = pool.log.last().unwrap();
        assert_eq!(last.blocked_by, Some(Block::Paused));
        assert_eq!(last.wanted > before, rate > 0.0, "{last:?}");
    }
}

#[test]
fn what_an_operator_moves_is_no_change_of_mind() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    let before = pool.run(120, 100.0).to;
    let changed = pool.memory.reversals;
    for pinned in [before + 9, before, before + 9, before] {
        let mut observation = second(100.0, 0.05, pool.ready);
        observation.operator = Some(Override {
            pin: Some(pinned),
            ..order(&pool, 30)
        });
        assert_eq!(pool.step(&observation, 1_000).to, pinned);
    }
    assert_eq!(pool.memory.reversals.last(), changed.last());
}

#[test]
fn bounds_of_an_order_end_with_it_and_only_a_hold_sets_the_next_change() {
    let mut pool = Loop::new(Policy::tidepool(1, 60));
    pool.run(120, 20.0);
    let bounds = Override {
        max: Some(3),
        ..order(&pool, 60)
    };
    let pause = Override {
        paused: true,
        ..order(&pool, 600)
    };
    let ordered = |pool: &mut Loop, order| {
        let mut observation = second(400.0, 0.05, pool.ready);
        observation.operator = Some(order);
        pool.step(&observation, 1_000)
    };
    for s in 0..59 {
        let decision = ordered(&mut pool, bounds);
        assert!(decision.to <= 3, "{s}");
        assert_ne!(decision.earliest_change_ms, bounds.until_ms);
    }
    let ended = ordered(&mut pool, bounds);
    assert!(ended.to > 3, "{}", ended.sentence());
    let paused = ordered(&mut pool, pause);
    assert_eq!(paused.earliest_change_ms, pause.until_ms);
}
