use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[path = "tests/stopped.rs"]
mod stopped;

type TestDispatch = Dispatch<&'static str, u32>;

fn limits() -> QueueLimits {
    QueueLimits {
        len_max: 4,
        bytes_max: 100,
        objective: Duration::from_secs(1),
    }
}

fn ask(now: Instant) -> Ask {
    let deadline = Deadline::from_now(now, Duration::from_secs(10));
    Ask {
        priority: Priority::default(),
        bytes: 10,
        deadline,
        session: None,
        is_idempotent: true,
    }
}

fn mark(name: &str) -> u64 {
    name.bytes().map(u64::from).sum()
}

fn release(
    dispatch: &mut TestDispatch,
    key: SeatKey,
    held: Duration,
    now: Instant,
) -> Released<&'static str, u32> {
    let (released, out) = dispatch.release(key, (held, Verdict::Good), now);
    assert!(out.is_none(), "what answers is not put out");
    released
}

fn slot(admission: Admission<&'static str>) -> (SeatKey, &'static str) {
    match admission {
        Admission::Slot(key, payload) => (key, payload),
        other => panic!("expected a slot, got {other:?}"),
    }
}

fn refusal(admission: Admission<&'static str>) -> RefusalReason {
    match admission {
        Admission::Refused(refusal) => refusal.reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn spreads_requests_round_robin_over_seats() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    for name in ["a", "b"] {
        dispatch.join(name, 1, mark(name), now);
    }
    for expected in ["a", "b", "a", "b"] {
        let (key, name) = slot(dispatch.admit(&ask(now), now, || 0));
        assert_eq!(name, expected);
        release(&mut dispatch, key, Duration::ZERO, now);
    }
}

#[test]
fn queues_when_no_slot_is_free_and_hands_over_the_next_one() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    dispatch.join("a", 1, mark("a"), now);
    let (key, _) = slot(dispatch.admit(&ask(now), now, || 0));
    assert!(matches!(
        dispatch.admit(&ask(now), now, || 7),
        Admission::Queued(_)
    ));
    let later = now + Duration::from_millis(5);
    match release(&mut dispatch, key, Duration::from_millis(5), later) {
        Released::Next(next) => assert_eq!(next.token, 7),
        other => panic!("{other:?}"),
    }
    assert_eq!((dispatch.busy_slots(), dispatch.queued()), (1, 0));
    let waits = dispatch.take_window(later).wait.counts();
    assert_eq!(waits.quantile(1.0).unwrap().as_millis(), 5);
}

#[test]
fn sheds_when_queue_is_full_by_count_and_by_bytes() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    let large = Ask {
        bytes: 91,
        ..ask(now)
    };
    dispatch.admit(&ask(now), now, || 0);
    assert_eq!(
        refusal(dispatch.admit(&large, now, || 0)),
        RefusalReason::QueueBytesFull
    );
    (0..3).for_each(|_| {
        dispatch.admit(&ask(now), now, || 0);
    });
    assert!(dispatch.refuses_all().is_some());
    assert_eq!(
        refusal(dispatch.admit(&ask(now), now, || 0)),
        RefusalReason::QueueFull
    );
}

#[test]
fn refuses_early_what_would_miss_its_deadline() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    dispatch.join("a", 1, mark("a"), now);
    let (key, _) = slot(dispatch.admit(&ask(now), now, || 0));
    release(&mut dispatch, key, Duration::from_secs(4), now);
    slot(dispatch.admit(&ask(now), now, || 0));
    dispatch.admit(&ask(now), now, || 0);
    dispatch.admit(&ask(now), now, || 0);
    assert_eq!(
        refusal(dispatch.admit(&ask(now), now, || 0)),
        RefusalReason::WouldMissDeadline
    );
}

#[test]
fn late_waiters_get_no_slot() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    dispatch.admit(&ask(now), now, || 1);
    dispatch.join("a", 1, mark("a"), now);
    let late = now + Duration::from_secs(11);
    assert!(dispatch.next_handover(late).is_none());
    assert_eq!((dispatch.busy_slots(), dispatch.queued()), (0, 0));
    slot(dispatch.admit(&ask(late), late, || 2));
}

#[test]
fn a_leaving_seat_gets_nothing_new_and_says_when_it_is_idle() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    let key = dispatch.join("a", 2, mark("a"), now);
    let (held, _) = slot(dispatch.admit(&ask(now), now, || 0));
    dispatch.leave(key);
    assert_eq!((dispatch.ready_slots(), dispatch.busy_slots()), (0, 1));
    assert!(matches!(
        dispatch.admit(&ask(now), now, || 1),
        Admission::Queued(_)
    ));
    assert!(matches!(
        release(&mut dispatch, held, Duration::ZERO, now),
        Released::SeatIdle("a")
    ));
    assert!(dispatch.seats_of(|_| true).is_empty());
}

#[test]
fn a_session_stays_with_its_seat_while_that_has_room() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    for name in ["a", "b", "c", "d"] {
        dispatch.join(name, 1, mark(name), now);
    }
    let of_session = |session| Ask {
        session: Some(session),
        ..ask(now)
    };
    for session in 0..20 {
        let (key, home) = slot(dispatch.admit(&of_session(session), now, || 0));
        let (other, away) = slot(dispatch.admit(&of_session(session), now, || 0));
        assert_ne!(home, away, "the seat was full");
        release(&mut dispatch, key, Duration::ZERO, now);
        release(&mut dispatch, other, Duration::ZERO, now);
        let (key, again) = slot(dispatch.admit(&of_session(session), now, || 0));
        assert_eq!(home, again);
        release(&mut dispatch, key, Duration::ZERO, now);
    }
}

#[test]
fn integrates_slots_in_use_over_time() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    dispatch.join("a", 4, mark("a"), now);
    let (first, _) = slot(dispatch.admit(&ask(now), now, || 0));
    slot(dispatch.admit(&ask(now), now, || 0));
    let later = now + Duration::from_secs(1);
    release(&mut dispatch, first, Duration::from_secs(1), later);
    let window = dispatch.take_window(later + Duration::from_secs(1));
    assert!(
        (window.busy_slot_s - 3.0).abs() < 1e-9,
        "{}",
        window.busy_slot_s
    );
}

#[derive(Clone, Debug)]
enum Step {
    Join(u32),
    Resize(usize, u32),
    Leave(usize),
    Admit { session: Option<u64>, urgency: u8 },
    Release(usize),
    Cancel(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (1_u32..4).prop_map(Step::Join),
        1 => (any::<usize>(), 0_u32..5).prop_map(|(at, slots)| Step::Resize(at, slots)),
        1 => any::<usize>().prop_map(Step::Leave),
        8 => (prop::option::of(0_u64..5), 0_u8..8)
            .prop_map(|(session, urgency)| Step::Admit { session, urgency }),
        6 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0_u64..4_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

/// What a test believes about the dispatch, kept by the answers it got.
#[derive(Default)]
struct Believed {
    seats: BTreeMap<SeatKey, (u32, bool)>,
    held: Vec<SeatKey>,
    waiting: Vec<(u32, WaiterKey)>,
    ended: std::collections::HashSet<u32>,
}

impl Believed {
    /// Takes note of a slot that was given, which has to be one that is free.
    fn given(&mut self, key: SeatKey) {
        let (slots, has_left) = self.seats[&key];
        assert!(!has_left, "left seats get nothing");
        self.held.push(key);
        let held = self.held.iter().filter(|held| **held == key).count();
        assert!(held <= slots as usize, "a slot is given once");
    }

    fn handed_over(&mut self, handover: &Handover<&'static str, u32>) {
        self.given(handover.seat);
        let at = self
            .waiting
            .iter()
            .position(|(token, _)| *token == handover.token);
        let (token, _) = self
            .waiting
            .remove(at.expect("only waiters are handed slots"));
        assert!(self.ended.insert(token), "a request is served once");
    }

    fn check(&self, dispatch: &TestDispatch) {
        assert_eq!(dispatch.busy_slots() as usize, self.held.len());
        assert!(dispatch.queued() <= limits().len_max);
        let ready: u32 = self
            .seats
            .values()
            .filter(|(_, left)| !left)
            .map(|(n, _)| n)
            .sum();
        assert_eq!(dispatch.ready_slots(), ready);
    }
}

proptest! {
    #[test]
    fn slots_are_never_lost_nor_given_twice(steps in steps()) {
        let mut now = Instant::now();
        let mut dispatch = TestDispatch::new(limits(), now);
        let mut believed = Believed::default();
        for (token, step) in (0_u32..).zip(steps) {
            match step {
                Step::Join(slots) => {
                    let key = dispatch.join("seat", slots, mark("seat"), now);
                    believed.seats.insert(key, (slots, false));
                    while let Some(handover) = dispatch.next_handover(now) {
                        believed.handed_over(&handover);
                    }
                }
                Step::Resize(index, slots) if !believed.seats.is_empty() => {
                    let at = index % believed.seats.len();
                    let (key, state) = believed.seats.iter_mut().nth(at).expect("in range");
                    dispatch.resize(*key, slots, now);
                    if !state.1 {
                        state.0 = slots;
                    }
                    while let Some(handover) = dispatch.next_handover(now) {
                        believed.handed_over(&handover);
                    }
                }
                Step::Leave(index) if !believed.seats.is_empty() => {
                    let at = index % believed.seats.len();
                    let (key, state) = believed.seats.iter_mut().nth(at).expect("in range");
                    dispatch.leave(*key);
                    state.1 = true;
                }
                Step::Admit { session, urgency } => {
                    let ask = Ask { session, priority: Priority::new(urgency), ..ask(now) };
                    match dispatch.admit(&ask, now, || token) {
                        Admission::Slot(key, _) => believed.given(key),
                        Admission::Queued(key) => believed.waiting.push((token, key)),
                        Admission::Refused(_) => {}
                    }
                }
                Step::Release(index) if !believed.held.is_empty() => {
                    let key = believed.held.swap_remove(index % believed.held.len());
                    let released = release(&mut dispatch, key, Duration::from_millis(1), now);
                    if let Released::Next(handover) = released {
                        believed.handed_over(&handover);
                    }
                }
                Step::Cancel(index) if !believed.waiting.is_empty() => {
                    let (_, key) = believed.waiting.swap_remove(index % believed.waiting.len());
                    dispatch.cancel(key);
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
                _ => {}
            }
            believed.check(&dispatch);
        }
        // Late binding: nobody waits in time while a slot is free.
        if dispatch.queued() > 0 && dispatch.oldest_wait(now) < Duration::from_secs(10) {
            prop_assert_eq!(dispatch.next_handover(now).map(|h| h.token), None);
        }
    }
}

#[test]
fn after_a_dismissal_nobody_waits_again() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    dispatch.join("a", 1, mark("a"), now);
    let (key, _) = slot(dispatch.admit(&ask(now), now, || 0));
    dispatch.close();
    assert!(matches!(
        dispatch.admit_again(&ask(now), now, || 1),
        Admission::Queued(_)
    ));
    dispatch.dismiss();
    let again = dispatch.admit_again(&ask(now), now, || 2);
    assert_eq!(refusal(again), RefusalReason::Draining);
    assert!(matches!(
        release(&mut dispatch, key, Duration::ZERO, now),
        Released::Free
    ));
}

/// What an overload in virtual time came to.
#[derive(Debug)]
struct Overloaded {
    served: usize,
    longest_wait_after: Duration,
}

/// Four slots of 50 ms, ten times what they can do for 20 s and half of it afterwards.
fn overloaded(objective: Duration) -> Overloaded {
    let begin = Instant::now();
    let roomy = QueueLimits {
        len_max: 10_000,
        bytes_max: 1_000_000,
        objective,
    };
    let (work, end) = (Duration::from_millis(50), begin + Duration::from_secs(20));
    let mut dispatch = TestDispatch::new(roomy, begin);
    dispatch.join("a", 4, mark("a"), begin);
    let mut busy = std::collections::VecDeque::new();
    let (mut now, mut served) = (begin, 0);
    let mut longest_wait_after = Duration::ZERO;
    let mut came = Vec::new();
    while now < end + Duration::from_secs(20) {
        while let Some((due, key)) = busy.front().copied().filter(|(due, _)| *due <= now) {
            busy.pop_front();
            served += usize::from(due < end);
            if let Released::Next(next) = release(&mut dispatch, key, work, due) {
                busy.push_back((due + work, next.seat));
                let arrival: Instant = came[next.token as usize];
                if due > end + Duration::from_secs(2) {
                    longest_wait_after = longest_wait_after.max(due - arrival);
                }
            }
        }
        let token = u32::try_from(came.len()).unwrap();
        came.push(now);
        let ask = Ask {
            deadline: Deadline::from_now(now, Duration::from_secs(30)),
            ..ask(now)
        };
        if let Admission::Slot(key, _) = dispatch.admit(&ask, now, || token) {
            busy.push_back((now + work, key));
        }
        now += Duration::from_micros(if now < end { 1_250 } else { 25_000 });
    }
    Overloaded {
        served,
        longest_wait_after,
    }
}

#[test]
fn two_seconds_after_an_overload_waits_are_as_before_and_no_slot_was_idle_in_it() {
    let kept = overloaded(Duration::from_secs(1));
    assert!(kept.served >= 1_590, "{kept:?}");
    assert!(
        kept.longest_wait_after <= Duration::from_millis(50),
        "{kept:?}"
    );
    // Without an objective the queue stands at what the deadlines allow.
    let unkept = overloaded(Duration::from_secs(3_600));
    assert!(
        unkept.longest_wait_after > Duration::from_secs(10),
        "{unkept:?}"
    );
}

#[test]
fn more_is_on_its_way_the_less_work_takes_and_nothing_where_it_takes_long() {
    let now = Instant::now();
    let ahead_of = |len_max, work: Duration| {
        let limits = QueueLimits {
            len_max,
            ..limits()
        };
        let mut dispatch = TestDispatch::new(limits, now);
        for seat in ["a", "b"] {
            dispatch.join(seat, 8, mark(seat), now);
        }
        assert_eq!(dispatch.ahead(2), 0, "nothing is known yet");
        let (key, _) = slot(dispatch.admit(&ask(now), now, || 1));
        release(&mut dispatch, key, work, now);
        dispatch.ahead(2)
    };
    let ahead = |work| ahead_of(1_000, work);
    let us = Duration::from_micros;
    assert_eq!(ahead(Duration::ZERO), 64);
    assert_eq!(ahead(us(40)), 64);
    assert_eq!(ahead(us(60)), 32);
    assert_eq!(ahead(us(150)), 16);
    assert_eq!(ahead(us(300)), 2);
    assert_eq!(ahead(us(1_999)), 2);
    assert_eq!(ahead(us(2_001)), 0);
    assert_eq!(ahead_of(20, us(40)), 20, "no more than may wait there");
}

#[test]
fn nobody_waits_at_a_place_that_all_workers_have_left() {
    let now = Instant::now();
    let mut dispatch = TestDispatch::new(limits(), now);
    let a = dispatch.join("a", 1, mark("a"), now);
    let _running = slot(dispatch.admit(&ask(now), now, || 1));
    let waits = |dispatch: &mut TestDispatch| {
        matches!(dispatch.admit(&ask(now), now, || 2), Admission::Queued(_))
    };
    assert!(waits(&mut dispatch));
    dispatch.send_back_if_deserted();
    assert_eq!(dispatch.queued(), 1, "its worker is busy and will be free");
    let b = dispatch.join("b", 0, mark("b"), now);
    dispatch.leave(a);
    assert_eq!(
        dispatch.queued(),
        1,
        "one that is started at once keeps them"
    );
    dispatch.send_back_if_deserted();
    assert_eq!(dispatch.queued(), 0, "they are told to go elsewhere");
    dispatch.resize(b, 1, now);
    slot(dispatch.admit(&ask(now), now, || 4));
}
