use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// One request at a time for `seconds`, each for as long as its seat takes. Gives how many each
/// seat had, and the times that they took.
struct Played {
    counts: Vec<usize>,
    times: Vec<Duration>,
}

fn play(table: &mut SlotTable<usize>, begin: Instant, n: usize, work: &[Duration]) -> Played {
    let mut now = begin;
    let mut counts = vec![0; work.len()];
    let mut times = Vec::new();
    for _ in 0..n {
        let (key, seat) = table.take(None, now).expect("one at a time fits");
        counts[seat] += 1;
        times.push(work[seat]);
        now += work[seat];
        table.judge(key, work[seat], Verdict::Good, now);
        table.give_back(key);
        now += 9 * MS;
        table.look(now);
    }
    times.sort();
    Played { counts, times }
}

fn with_seats(n: usize, slots: u32, now: Instant) -> SlotTable<usize> {
    let mut table = SlotTable::new(now);
    for seat in 0..n {
        table.join(seat, slots, seat as u64, now);
    }
    table
}

#[test]
fn equal_seats_take_turns() {
    let now = Instant::now();
    let mut table = with_seats(4, 8, now);
    let played = play(&mut table, now, 4_000, &[MS; 4]);
    assert_eq!(played.counts, [1_000; 4]);
}

#[test]
fn requests_at_once_spread_over_seats_before_they_share_one() {
    let now = Instant::now();
    let mut table = with_seats(4, 64, now);
    let taken: Vec<usize> = (0..16)
        .filter_map(|_| table.take(None, now))
        .map(|(_, seat)| seat)
        .collect();
    for seat in 0..4 {
        assert_eq!(taken.iter().filter(|s| **s == seat).count(), 4, "{taken:?}");
    }
}

#[test]
fn a_seat_ten_times_slower_gets_next_to_nothing() {
    let now = Instant::now();
    let mut table = with_seats(4, 2, now);
    let work = [10 * MS, 10 * MS, 10 * MS, 100 * MS];
    let played = play(&mut table, now, 10_000, &work);
    assert!(played.counts[3] < 50, "{:?}", played.counts);
    let p99 = played.times[9_900];
    assert_eq!(p99, 10 * MS);
}

#[test]
fn a_seat_that_recovers_is_found_again() {
    let now = Instant::now();
    let mut table = with_seats(3, 1, now);
    play(&mut table, now, 500, &[10 * MS, 10 * MS, 200 * MS]);
    let later = now + Duration::from_secs(100);
    let played = play(&mut table, later, 6_000, &[10 * MS; 3]);
    assert!(played.counts[2] > 1_000, "{:?}", played.counts);
}

#[test]
fn neither_the_last_nor_more_than_half_of_the_peers_are_put_out_but_one_of_two() {
    let now = Instant::now();
    for (seats, most) in [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (9, 4)] {
        let mut table = with_seats(seats, 1, now);
        let keys = table.seats_of(|_| true);
        for key in &keys {
            for _ in 0..20 {
                table.judge(*key, MS, Verdict::Bad, now);
            }
        }
        assert_eq!(seats - table.open() as usize, most, "of {seats}");
    }
}

#[test]
fn who_was_put_out_serves_again_when_the_others_leave() {
    let now = Instant::now();
    let mut table = with_seats(3, 2, now);
    let keys = table.seats_of(|_| true);
    for _ in 0..5 {
        table.judge(keys[0], MS, Verdict::Bad, now);
    }
    assert_eq!(table.open(), 4);
    table.leave(keys[1]);
    table.leave(keys[2]);
    assert!(table.take(None, now).is_none());
    let soon = now + JUDGE_INTERVAL;
    table.look(soon);
    assert_eq!(table.take(None, soon).map(|(_, seat)| seat), Some(0));
}

#[test]
fn slots_beyond_a_smaller_offer_are_let_go_as_they_end() {
    let now = Instant::now();
    let mut table = with_seats(1, 4, now);
    let (key, _) = table.take(None, now).unwrap();
    (0..3).for_each(|_| assert!(table.take(None, now).is_some()));
    table.resize(key, 2, now);
    assert_eq!((table.open(), table.busy()), (2, 4));
    assert_eq!(table.give_back(key), Returned::Gone);
    assert_eq!(table.give_back(key), Returned::Gone);
    assert!(table.take(None, now).is_none());
    assert_eq!(table.give_back(key), Returned::Free);
    assert!(table.take(None, now).is_some());
}

#[test]
fn of_two_the_slow_one_stays_and_so_does_the_last_that_serves() {
    let now = Instant::now();
    let mut table = with_seats(2, 2, now);
    let keys = table.seats_of(|_| true);
    for _ in 0..40 {
        table.judge(keys[0], 200 * MS, Verdict::Good, now);
        table.judge(keys[1], 10 * MS, Verdict::Good, now);
    }
    assert!(table.look(now + JUDGE_INTERVAL).is_empty());
    assert_eq!(table.open(), 4);
    // Nobody knows whether the other one lives.
    table.doubt(keys[1], now);
    for _ in 0..9 {
        table.judge(keys[0], MS, Verdict::Bad, now);
    }
    assert_eq!(table.open(), 2);
    table.trust(|_| true, now);
    let out = table.judge(keys[0], MS, Verdict::Bad, now);
    assert_eq!(out.map(|out| out.cause), Some(Cause::Failures));
}

#[test]
fn nobody_is_put_out_for_what_all_fail_at() {
    let now = Instant::now();
    let mut table = with_seats(4, 2, now);
    let keys = table.seats_of(|_| true);
    for _ in 0..20 {
        let mut outs = keys
            .iter()
            .filter_map(|key| table.judge(*key, MS, Verdict::Bad, now));
        assert!(outs.next().is_none());
    }
    assert!(table.look(now + JUDGE_INTERVAL).is_empty());
    assert_eq!(table.open(), 8);
}

#[test]
fn sessions_leave_a_seat_that_fails_for_as_long_as_it_does() {
    let now = Instant::now();
    let mut table = with_seats(2, 64, now);
    let (home, _) = table.take(Some(7), now).unwrap();
    for _ in 0..4 {
        table.judge(home, MS, Verdict::Bad, now);
    }
    let (away, _) = table.take(Some(7), now).unwrap();
    assert_ne!(home, away);
    let later = now + Duration::from_secs(5);
    assert_eq!(table.take(Some(7), later).map(|(key, _)| key), Some(home));
}

proptest! {
    /// Whatever comes, nothing is lost: all slots can be taken again at the end.
    #[test]
    fn every_open_slot_can_be_taken(
        steps in prop::collection::vec((0_u8..6, any::<usize>(), 0_u32..4, 0_u64..3_000), 0..300),
    ) {
        let mut now = Instant::now();
        let mut table = with_seats(3, 2, now);
        let mut held: Vec<SeatKey> = Vec::new();
        for (what, index, n, ms) in steps {
            let keys = table.seats_of(|_| true);
            match what {
                0 => { table.join(index, n, index as u64, now); }
                1 if keys.len() > 1 => table.leave(keys[index % keys.len()]),
                2 if !keys.is_empty() => table.resize(keys[index % keys.len()], n, now),
                3 if !held.is_empty() => {
                    let key = held.swap_remove(index % held.len());
                    let verdict = if n == 0 { Verdict::Bad } else { Verdict::Good };
                    table.judge(key, Duration::from_millis(ms), verdict, now);
                    table.give_back(key);
                }
                4 => { now += Duration::from_millis(ms); table.look(now); }
                _ => held.extend(table.take((n == 0).then_some(7), now).map(|(key, _)| key)),
            }
            prop_assert_eq!(table.busy() as usize, held.len());
            prop_assert!(table.ring.len() <= table.seats.len(), "the ring is bounded by the seats");
        }
        held.drain(..).for_each(|key| { table.give_back(key); });
        let open = table.open() as usize;
        let taken = (0..=open).filter_map(|_| table.take(None, now)).count();
        prop_assert_eq!(taken, open);
    }
}

#[test]
fn a_doubted_seat_gets_nothing_until_it_is_trusted() {
    let now = Instant::now();
    let mut table = with_seats(2, 2, now);
    let (key, doubted) = table.take(None, now).unwrap();
    table.doubt(key, now);
    table.give_back(key);
    assert_eq!(table.open(), 2);
    let others: Vec<usize> = (0..3)
        .filter_map(|_| table.take(Some(7), now))
        .map(|(_, seat)| seat)
        .collect();
    assert_eq!(others, [1 - doubted; 2]);
    table.look(now + Duration::from_secs(60));
    assert!(table.take(None, now).is_none(), "time alone proves nothing");
    assert!(!table.trust(|seat| *seat != doubted, now));
    assert!(table.trust(|seat| *seat == doubted, now));
    assert!(!table.trust(|_| true, now));
    assert_eq!(table.take(None, now).map(|(_, seat)| seat), Some(doubted));
}

#[test]
fn what_is_known_of_a_seat_outlives_a_moment_without_slots() {
    let now = Instant::now();
    let mut table = with_seats(3, 2, now);
    let key = table.seats_of(|seat| *seat == 0)[0];
    for _ in 0..5 {
        table.judge(key, MS, Verdict::Bad, now);
    }
    assert_eq!(table.open(), 4, "it is out");
    table.resize(key, 0, now);
    table.resize(key, 2, now);
    assert_eq!(table.open(), 4);
}

#[test]
fn sessions_do_not_prefer_seats_without_slots() {
    let now = Instant::now();
    let mut table = with_seats(4, 64, now);
    let home = |table: &mut SlotTable<usize>| {
        let (key, seat) = table.take(Some(7), now).unwrap();
        table.give_back(key);
        (key, seat)
    };
    let (key, first) = home(&mut table);
    table.resize(key, 0, now);
    let (_, second) = home(&mut table);
    assert_ne!(first, second);
    // The same one each time, not whose turn it is.
    (0..8).for_each(|_| assert_eq!(home(&mut table).1, second));
}
