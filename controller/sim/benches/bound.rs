//! The clairvoyant bound of an hour and of a week.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidepool_sim::bound::lower_bound;

/// A day's swing with noise as of 20 workers with 10 slots, and a spike every four hours.
fn work(seconds: u32) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..seconds)
        .map(|t| {
            let phase = f64::from(t) / 86_400.0 * std::f64::consts::TAU;
            let spike = if t % 14_400 < 90 { 15.0 } else { 0.0 };
            let mean = 20.0 - 12.0 * phase.cos() + spike;
            let noise: f64 = (0..12).map(|_| rng.f64() - 0.5).sum();
            (mean + 0.45 * mean.sqrt() * noise).max(0.0)
        })
        .collect()
}

fn bound(c: &mut Criterion) {
    let week = work(7 * 86_400);
    let mut group = c.benchmark_group("bound");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500));
    for boot_s in [10.0, 30.0, 120.0] {
        group.bench_function(format!("hour, start-up {boot_s} s"), |b| {
            b.iter(|| lower_bound(black_box(&week[36_000..39_600]), boot_s, 3600));
        });
    }
    group.bench_function("week in hours, start-up 30 s", |b| {
        b.iter(|| lower_bound(black_box(&week), 30.0, 3600));
    });
    group.finish();
}

criterion_group!(benches, bound);
criterion_main!(benches);
