//! What was under way while the process was stopped teaches nothing.

use super::*;

/// One slot of 20 ms of work, and a request under way while the process is stopped for 6.5 s, or
/// while it runs. The dispatch after that, and the time.
fn after_long_work(is_stopped: bool, beats_first: bool) -> (TestDispatch, Instant) {
    let ms = Duration::from_millis;
    let mut now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    dispatch.join("a", 1, mark("a"), now);
    for _ in 0..100 {
        let (key, _) = slot(dispatch.admit(&ask(now), now, || 0));
        now += ms(20);
        dispatch.look(now);
        release(&mut dispatch, key, ms(20), now);
    }
    dispatch.take_window(now);
    let (key, _) = slot(dispatch.admit(&ask(now), now, || 0));
    let since = now;
    now += ms(6_500);
    if !is_stopped {
        (0..130).for_each(|beat| drop(dispatch.look(since + beat * ms(50))));
    }
    if beats_first {
        dispatch.look(now);
    }
    release(&mut dispatch, key, ms(6_500), now);
    (dispatch, now)
}

#[test]
fn who_wakes_learns_nothing_from_what_was_under_way_and_refuses_nobody_for_it() {
    let soon = |now: Instant| Ask {
        deadline: Deadline::from_now(now, Duration::from_millis(100)),
        ..ask(now)
    };
    for beats_first in [false, true] {
        let (mut dispatch, now) = after_long_work(true, beats_first);
        slot(dispatch.admit(&soon(now), now, || 1));
        let waits = dispatch.admit(&soon(now), now, || 2);
        assert!(matches!(waits, Admission::Queued(_)), "{waits:?}");
        assert_eq!(dispatch.take_window(now).work.counts().count(), 0);
        // The same where the process ran is what work takes now.
        let (mut dispatch, now) = after_long_work(false, beats_first);
        slot(dispatch.admit(&soon(now), now, || 1));
        let refused = refusal(dispatch.admit(&soon(now), now, || 2));
        assert_eq!(refused, RefusalReason::WouldMissDeadline);
        assert_eq!(dispatch.take_window(now).work.counts().count(), 1);
    }
}

#[test]
fn what_failed_or_waited_while_the_process_was_stopped_is_held_against_nobody() {
    let begin = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), begin);
    for seat in ["a", "b"] {
        dispatch.join(seat, 8, mark(seat), begin);
    }
    dispatch.look(begin);
    let keys: Vec<SeatKey> = (0..16)
        .map(|_| slot(dispatch.admit(&ask(begin), begin, || 0)).0)
        .collect();
    dispatch.admit(&ask(begin), begin, || 1);
    let held = Duration::from_millis(6_500);
    let woken = begin + held;
    for key in keys {
        let (_, out) = dispatch.release(key, (held, Verdict::Bad), woken);
        assert!(out.is_none());
    }
    dispatch.look(woken);
    assert_eq!(dispatch.ready_slots(), 16);
    assert_eq!(
        dispatch.take_window(woken).wait.counts().count(),
        16,
        "not the one that waited"
    );
}
