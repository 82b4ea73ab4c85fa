//! Two or four nodes in virtual time, one of which fails at once what others work on for a while.

use std::collections::BTreeMap;

use super::*;

const WORK: Duration = Duration::from_millis(20);
/// How long a failure takes.
const FAILURE: Duration = Duration::from_micros(200);
const SLOTS: u32 = 4;

/// What is played.
struct Play {
    seats: usize,
    /// Requests per second.
    rate: u64,
    seconds: u64,
    /// Share of its requests that seat 0 fails, by the second.
    failing: fn(u64) -> f64,
}

/// What came of it, second by second.
struct Outcome {
    /// Requests of each seat.
    counts: Vec<Vec<usize>>,
    failed: Vec<usize>,
    longest_wait: Duration,
}

impl Outcome {
    fn share_of_first(&self, seconds: std::ops::Range<usize>) -> f64 {
        let counts = &self.counts[seconds];
        let first: usize = counts.iter().map(|counts| counts[0]).sum();
        first as f64 / counts.iter().flatten().sum::<usize>() as f64
    }

    fn failed_share(&self, seconds: std::ops::Range<usize>) -> f64 {
        let all: usize = self.counts[seconds.clone()].iter().flatten().sum();
        self.failed[seconds].iter().sum::<usize>() as f64 / all as f64
    }
}

/// Requests in virtual time: those that run, and those that wait for a slot.
struct Simulated {
    play: Play,
    begin: Instant,
    table: SlotTable<usize>,
    /// Ends to come, with a number that tells those of one moment apart.
    ends: BTreeMap<(Instant, u64), (SeatKey, Duration, Verdict)>,
    waiting: VecDeque<Instant>,
    begun: u64,
    outcome: Outcome,
}

impl Simulated {
    fn new(play: Play) -> Self {
        let begin = Instant::now();
        let mut table = SlotTable::new(begin);
        for seat in 0..play.seats {
            table.join(seat, SLOTS, seat as u64, begin);
        }
        let seconds = play.seconds as usize;
        let outcome = Outcome {
            counts: vec![vec![0; play.seats]; seconds],
            failed: vec![0; seconds],
            longest_wait: Duration::ZERO,
        };
        Self {
            play,
            begin,
            table,
            ends: BTreeMap::new(),
            waiting: VecDeque::new(),
            begun: 0,
            outcome,
        }
    }

    fn run(mut self) -> Outcome {
        let arrivals = self.play.rate * self.play.seconds;
        for arrival in 0..arrivals {
            let now = self.begin + Duration::from_micros(arrival * 1_000_000 / self.play.rate);
            self.end_until(now);
            self.table.look(now);
            self.waiting.push_back(now);
            self.begin_waiting(now);
        }
        self.outcome
    }

    fn end_until(&mut self, now: Instant) {
        while let Some(first) = self.ends.first_entry().filter(|first| first.key().0 <= now) {
            let at = first.key().0;
            let (key, held, verdict) = first.remove();
            self.table.judge(key, held, verdict, at);
            self.table.give_back(key);
            self.begin_waiting(at);
        }
    }

    fn begin_waiting(&mut self, now: Instant) {
        while let Some(since) = self.waiting.front().copied() {
            let Some((key, seat)) = self.table.take(None, now) else {
                return;
            };
            self.waiting.pop_front();
            self.begun += 1;
            let second = (now - self.begin).as_secs();
            // Chance that is the same in every run.
            let chance = (mix(self.begun) % 10_000) as f64 / 10_000.0;
            let fails = seat == 0 && chance < (self.play.failing)(second);
            let (held, verdict) = if fails {
                (FAILURE, Verdict::Bad)
            } else {
                (WORK, Verdict::Good)
            };
            self.ends
                .insert((now + held, self.begun), (key, held, verdict));
            let outcome = &mut self.outcome;
            outcome.longest_wait = outcome.longest_wait.max(now - since);
            outcome.counts[second as usize][seat] += 1;
            outcome.failed[second as usize] += usize::from(fails);
        }
    }
}

fn simulated(seats: usize, rate: u64, seconds: u64, failing: fn(u64) -> f64) -> Outcome {
    let play = Play {
        seats,
        rate,
        seconds,
        failing,
    };
    Simulated::new(play).run()
}

#[test]
fn sound_seats_share_evenly() {
    for seats in [2, 4] {
        let outcome = simulated(seats, 100, 30, |_| 0.0);
        let share = outcome.share_of_first(0..30);
        assert!((share - 1.0 / seats as f64).abs() < 0.01, "{share}");
    }
}

#[test]
fn who_fails_fast_gets_a_probing_share() {
    for seats in [2, 4] {
        for rate in [20, 100, 150] {
            let always = simulated(seats, rate, 120, |_| 1.0);
            let share = always.share_of_first(0..120);
            assert!(share < 0.02, "always, {seats} seats, {rate}/s: {share}");
            let half = simulated(seats, rate, 120, |_| 0.5);
            let share = half.share_of_first(0..120);
            let even = 1.0 / seats as f64;
            assert!(share < even / 6.0, "half, {seats} seats, {rate}/s: {share}");
            assert_eq!(half.longest_wait, Duration::ZERO);
        }
    }
}

#[test]
fn who_fails_fast_is_put_out_also_where_no_other_slot_is_free() {
    // The sound ones have 200/s and 600/s.
    for (seats, rate) in [(2, 220), (4, 700)] {
        for failing in [|_| 1.0, |_| 0.5] {
            let outcome = simulated(seats, rate, 60, failing);
            let failed = outcome.failed_share(0..60);
            assert!(failed < 0.01, "{failed} of {rate}/s");
        }
    }
}

#[test]
fn who_is_sound_again_serves_again_within_seconds() {
    let always: fn(u64) -> f64 = |second| if second < 5 { 1.0 } else { 0.0 };
    let half: fn(u64) -> f64 = |second| if second < 5 { 0.5 } else { 0.0 };
    for seats in [2, 4] {
        for failing in [always, half] {
            let outcome = simulated(seats, 100, 60, failing);
            let share = outcome.share_of_first(16..60) * seats as f64;
            assert!(share > 0.9, "of {seats} seats: {share} of an even share");
        }
    }
}

#[test]
fn a_failure_now_and_then_moves_no_work() {
    let outcome = simulated(2, 100, 120, |_| 0.01);
    let share = outcome.share_of_first(0..120);
    assert!((0.45..0.51).contains(&share), "{share}");
    assert_eq!(outcome.longest_wait, Duration::ZERO);
}
