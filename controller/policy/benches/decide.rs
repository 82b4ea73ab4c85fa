//! One decision, and a tick over a large fleet.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

use tidepool_policy::{
    Backlog, CpuSample, Memory, Observation, Policy, ProfileForecast, WorkSample, WorkerCounts,
    decide,
};

const NOW_MS: u64 = 1_700_000_000_000;

fn observation(second: u64) -> Observation {
    let swing = 40.0 * (second as f64 / 300.0).sin() + (second % 7) as f64;
    let rate = 142.0 + swing;
    Observation {
        work: Some(WorkSample {
            window_s: 1.0,
            arrivals: rate,
            completed: rate,
            released: rate,
            busy_slot_s: rate * 0.48,
            wait_p95_s: Some(0.01),
            service_mean_s: Some(0.48),
            service_p95_s: Some(1.2),
            ..WorkSample::default()
        }),
        backlog: Some(Backlog {
            queued: 3.0,
            oldest_wait_s: 0.01,
            busy_slots: 68.0,
        }),
        work_age_s: Some(0.1),
        workers: Some(WorkerCounts {
            ready: 10,
            starting: 0,
            draining: 0,
            slots_per_worker: 10,
        }),
        workers_age_s: Some(0.1),
        startup_p95_s: Some(30.0),
        cpu: Some(CpuSample {
            used_cores: 5.0,
            quota_cores_per_worker: 1.0,
        }),
        ..Observation::default()
    }
}

/// The same where all margins compete: a learned pattern, and workers that take ten minutes to start.
fn patterned(second: u64) -> Observation {
    let rate = 142.0 + 40.0 * (second as f64 / 300.0).sin();
    Observation {
        startup_p95_s: Some(600.0),
        forecast: Some(ProfileForecast {
            median_rate: rate,
            floor_rate: 1.2 * rate,
            growth: 1.1,
            quantile_rates: [1.0, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4].map(|of| of * rate),
            waking: false,
        }),
        ..observation(second)
    }
}

/// A memory that has learned for an hour.
fn learned(policy: &Policy, seen: fn(u64) -> Observation) -> Memory {
    (0..3_600).fold(Memory::default(), |memory, second| {
        decide(policy, memory, &seen(second), NOW_MS + 1_000 * second).1
    })
}

fn one_decision(c: &mut Criterion) {
    let policy = Policy::tidepool(1, 100);
    for (name, seen) in [
        ("decide for one pool", observation as fn(u64) -> Observation),
        ("decide for one pool with a learned pattern", patterned),
    ] {
        let mut memory = learned(&policy, seen);
        let mut second = 3_600;
        c.bench_function(name, |b| {
            b.iter(|| {
                second += 1;
                let now_ms = NOW_MS + 1_000 * second;
                let (decision, next) =
                    decide(&policy, std::mem::take(&mut memory), &seen(second), now_ms);
                memory = next;
                black_box(decision)
            });
        });
    }
}

fn a_large_fleet(c: &mut Criterion) {
    let policy = Policy::tidepool(1, 100);
    let mut pools = vec![learned(&policy, observation); 1_000];
    let mut second = 3_600;
    c.bench_function("a tick of 1,000 pools with 10,000 workers", |b| {
        b.iter(|| {
            second += 1;
            for memory in &mut pools {
                let now_ms = NOW_MS + 1_000 * second;
                let seen = observation(second);
                let (decision, next) = decide(&policy, std::mem::take(memory), &seen, now_ms);
                *memory = next;
                black_box(decision);
            }
        });
    });
}

fn one_sentence(c: &mut Criterion) {
    let policy = Policy::tidepool(1, 100);
    let (decision, _) = decide(
        &policy,
        learned(&policy, observation),
        &observation(0),
        NOW_MS + 4_000_000,
    );
    c.bench_function("the sentence of a decision", |b| {
        b.iter(|| black_box(decision.sentence()));
    });
}

criterion_group!(benches, one_decision, a_large_fleet, one_sentence);
criterion_main!(benches);
