//! What the queue and the slot table of a pool cost: `cargo bench -p tidepool-balancer`.
//!
//! Both are no part of the crate's interface, so their sources are compiled into the benchmark.
#![allow(
    dead_code,
    reason = "the benchmark uses a part of what the modules offer"
)]

#[path = "../src/dispatch.rs"]
mod dispatch;
#[path = "../src/health.rs"]
mod health;
#[path = "../src/pulse.rs"]
mod pulse;
#[path = "../src/queue.rs"]
mod queue;
#[path = "../src/slots.rs"]
mod slots;
#[path = "../src/standing.rs"]
mod standing;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidepool_core::{Deadline, Priority};

use dispatch::{Admission, Ask, Dispatch, QueueLimits, Released};
use health::Verdict;
use queue::{WaitQueue, Waiter};
use slots::SeatKey;

const LIMITS: QueueLimits = QueueLimits {
    len_max: 100_000,
    bytes_max: 1 << 30,
    objective: Duration::from_secs(1),
};
const HELD: Duration = Duration::from_micros(3);
/// How many wait, or serve.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn ask(now: Instant, urgency: u8, session: Option<u64>) -> Ask {
    Ask {
        priority: Priority::new(urgency),
        bytes: 100,
        deadline: Deadline::from_now(now, Duration::from_secs(600)),
        session,
        is_idempotent: true,
    }
}

/// Seats of eight slots.
fn with_seats(seats: usize, now: Instant) -> Dispatch<(), u32> {
    let mut dispatch = Dispatch::new(LIMITS, now);
    for mark in 0..seats {
        dispatch.join((), 8, mark as u64, now);
    }
    dispatch
}

fn slot(admission: &Admission<()>) -> Option<SeatKey> {
    match admission {
        Admission::Slot(key, ()) => Some(*key),
        Admission::Queued(_) | Admission::Refused(_) => None,
    }
}

/// The usual request: a slot is free, is taken and given back.
fn free_slot(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("admit and release");
    for (name, session) in [("any", None), ("session", Some(7))] {
        for seats in [1, 10, 100] {
            let mut dispatch = with_seats(seats, now);
            let ask = ask(now, 3, session);
            group.bench_function(BenchmarkId::new(name, seats), |b| {
                b.iter(|| {
                    let admission = dispatch.admit(black_box(&ask), now, || 0);
                    if let Some(key) = slot(&admission) {
                        black_box(dispatch.release(key, (HELD, Verdict::Good), now));
                    }
                });
            });
        }
    }
    group.finish();
}

/// Under overload: a slot comes free and goes to the head of the queue, a newcomer waits.
fn hand_over(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("hand over and queue");
    for waiting in SIZES {
        let mut dispatch = with_seats(1, now);
        let mut token = 0;
        let mut next = || {
            token += 1;
            token
        };
        let mut held = None;
        for n in 0..waiting + 8 {
            let ask = ask(now, (n % 8) as u8, None);
            let admission = dispatch.admit(&ask, now, &mut next);
            held = slot(&admission).or(held);
        }
        let Some(mut key) = held else { return };
        group.bench_function(BenchmarkId::from_parameter(waiting), |b| {
            b.iter(|| {
                // Work that took no time keeps the forecast of waits from refusing newcomers.
                let ended = (Duration::ZERO, Verdict::Good);
                if let (Released::Next(handover), _) = dispatch.release(key, ended, now) {
                    key = handover.seat;
                }
                let ask = ask(now, (token % 8) as u8, None);
                token += 1;
                black_box(dispatch.admit(&ask, now, || token))
            });
        });
        assert_eq!(dispatch.queued(), waiting, "one comes for one that goes");
    }
    group.finish();
}

/// The queue alone, and one who leaves it from the middle.
fn wait_queue(c: &mut Criterion) {
    let now = Instant::now();
    let deadline = Deadline::from_now(now, Duration::from_secs(600));
    let waiter = |token: usize| Waiter {
        token,
        since: now,
        deadline,
        bytes: 100,
    };
    let mut group = c.benchmark_group("queue");
    for waiting in SIZES {
        let mut queue = WaitQueue::new();
        for n in 0..waiting {
            queue.push(Priority::new((n % 8) as u8), waiter(n));
        }
        group.bench_function(BenchmarkId::new("push and pop", waiting), |b| {
            let mut n = 0;
            b.iter(|| {
                n += 1;
                queue.push(Priority::new((n % 8) as u8), waiter(n));
                black_box(queue.pop())
            });
        });
        group.bench_function(BenchmarkId::new("push and leave", waiting), |b| {
            b.iter(|| {
                let key = queue.push(Priority::new(3), waiter(0));
                black_box(queue.remove(key))
            });
        });
        assert_eq!(queue.len(), waiting, "nobody is lost");
    }
    group.finish();
}

criterion_group!(benches, free_slot, hand_over, wait_queue);
criterion_main!(benches);
