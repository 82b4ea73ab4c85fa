//! The bound against an exact solver, against plans that can be run, and against itself.

use proptest::prelude::*;

use super::*;

/// Least `c x` with `G x >= b`, `x >= 0` for `c >= 0`: the simplex on the dual tableau, whose origin
/// is feasible, with the rule of Bland.
fn simplex(costs: &[f64], rows: &[(Vec<f64>, f64)]) -> f64 {
    const EPS: f64 = 1e-11;
    let (height, width) = (costs.len(), rows.len());
    let columns = width + height;
    let mut table: Vec<Vec<f64>> = (0..height)
        .map(|i| {
            let mut line: Vec<f64> = rows.iter().map(|(g, _)| g[i]).collect();
            line.extend((0..height).map(|k| f64::from(u8::from(k == i))));
            line.push(costs[i]);
            line
        })
        .collect();
    let mut value: Vec<f64> = rows.iter().map(|(_, b)| -b).collect();
    value.extend(vec![0.0; height + 1]);
    let mut basis: Vec<usize> = (width..columns).collect();
    while let Some(enters) = (0..columns).find(|&j| value[j] < -EPS) {
        let leaves = (0..height)
            .filter(|&i| table[i][enters] > EPS)
            .min_by(|&i, &k| {
                let step = |i: usize| table[i][columns] / table[i][enters];
                step(i).total_cmp(&step(k)).then(basis[i].cmp(&basis[k]))
            })
            .expect("bounded");
        let by = table[leaves][enters];
        table[leaves].iter_mut().for_each(|v| *v /= by);
        let pivot = table[leaves].clone();
        for line in table
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| *i != leaves)
            .map(|(_, l)| l)
            .chain([&mut value])
        {
            let by = line[enters];
            line.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= by * p);
        }
        basis[leaves] = enters;
    }
    value[columns]
}

/// The program as it is stated, in served work and sums, over `n`, `u` and `s`.
fn exact(work: &[f64], boot_s: f64) -> f64 {
    let len = work.len();
    let costs: Vec<f64> = (0..3 * len).map(|i| [1.0, boot_s, 0.0][i / len]).collect();
    let mut rows = Vec::new();
    let mut row = |entries: &[(usize, f64)], b: f64| {
        let mut g = vec![0.0; 3 * len];
        for &(i, v) in entries {
            g[i] += v;
        }
        rows.push((g, b));
    };
    for t in 0..len {
        let arrived: f64 = work[..=t].iter().sum();
        row(&[(t, 1.0), (2 * len + t, -1.0)], 0.0);
        if t > 0 {
            row(&[(len + t, 1.0), (t, -1.0), (t - 1, 1.0)], 0.0);
        }
        let sum = |to: usize, sign: f64| (0..=to).map(|i| (2 * len + i, sign)).collect::<Vec<_>>();
        row(&sum(t, -1.0), -arrived);
        if t + 1 < len {
            row(&sum(t + 1, 1.0), arrived);
        }
    }
    simplex(&costs, &rows)
}

fn hour(seed: u64) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..3600)
        .map(|t| {
            let rate =
                20.0 + 10.0 * (f64::from(t) / 600.0).sin() + if t / 60 == 31 { 40.0 } else { 0.0 };
            rate + rate.sqrt() * (0..6).map(|_| rng.f64() - 0.5).sum::<f64>()
        })
        .map(|work| work.max(0.0))
        .collect()
}

fn works() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(
        prop_oneof![1 => Just(0.0), 3 => 0.0..5.0, 1 => 0.0..100.0],
        1..14,
    )
}

proptest! {
    #[test]
    fn it_is_the_optimum_of_the_program_as_stated(work in works(), boot_s in prop_oneof![0.0..4.0, 0.0..40.0]) {
        let bound = lower_bound(&work, boot_s, 3600).expect("valid");
        let exact = exact(&work, boot_s);
        let near = 1e-6 * exact.max(1.0);
        prop_assert!(bound.worker_s <= exact + near && exact <= bound.plan_worker_s + near, "{bound:?} {exact}");
        prop_assert!((bound.worker_s - exact).abs() <= 1e-4 * exact.max(1e-9), "{bound:?} {exact}");
    }

    #[test]
    fn no_plan_costs_less(
        seconds in prop::collection::vec((0.0..8.0_f64, 0.0..=1.0_f64, 0.0..3.0_f64), 1..200),
        boot_s in 0.0..150.0_f64,
        block_s in 1..80_usize,
    ) {
        let work: Vec<f64> = seconds.iter().map(|s| s.0).collect();
        let bound = lower_bound(&work, boot_s, block_s).expect("valid");
        let (mut cost, mut carried, mut had) = (0.0, 0.0, f64::INFINITY);
        for (work, share, spare) in seconds {
            let have = carried + work * share + spare;
            cost += have + boot_s * (have - had).max(0.0);
            carried = work * (1.0 - share);
            had = have;
        }
        prop_assert!(bound.worker_s <= cost * (1.0 + 1e-12));
        prop_assert!(bound.worker_s <= bound.plan_worker_s);
    }

    #[test]
    fn any_prices_make_a_bound(
        work in works(),
        noise in prop::collection::vec(prop_oneof![4 => Just(0.0), 1 => -5.0..60.0, 1 => Just(f64::NAN)], 14),
        factor in 0.0..4.0_f64,
        boot_s in 0.0..40.0_f64,
    ) {
        // Prices that are too good, most of them around the best.
        let mut prices = interior::solve(&work, boot_s).prices;
        prices.iter_mut().zip(noise).for_each(|(price, noise)| *price = *price * factor + noise);
        make_feasible(&mut prices, boot_s);
        prop_assert!(dual_value(&work, &prices) <= exact(&work, boot_s) * (1.0 + 1e-6) + 1e-9);
    }

    #[test]
    fn a_fleet_for_a_need_costs_least(need in prop::collection::vec(0.0..9.0_f64, 1..10), boot_s in 0.0..12.0_f64) {
        // The same program with nothing left to choose but the fleet.
        let len = need.len();
        let costs: Vec<f64> = (0..2 * len).map(|i| [1.0, boot_s][i / len]).collect();
        let mut rows = Vec::new();
        for t in 0..len {
            let mut serve = vec![0.0; 2 * len];
            serve[t] = 1.0;
            rows.push((serve, need[t]));
            if t > 0 {
                let mut grow = vec![0.0; 2 * len];
                (grow[t], grow[t - 1], grow[len + t]) = (-1.0, 1.0, 1.0);
                rows.push((grow, 0.0));
            }
        }
        let exact = simplex(&costs, &rows);
        prop_assert!((fleet_cost(&need, boot_s) - exact).abs() < 1e-6 * exact.max(1.0));
    }

    #[test]
    fn splitting_only_loosens(seed in 0..1000_u64, boot_s in 1.0..120.0_f64) {
        let work = &hour(seed)[..900];
        let whole = lower_bound(work, boot_s, 900).expect("valid").worker_s;
        let split = lower_bound(work, boot_s, 300).expect("valid").worker_s;
        prop_assert!(split <= whole * (1.0 + 1e-6));
    }
}

#[test]
fn an_hour_is_solved_to_a_millionth() {
    for boot_s in [1.0, 10.0, 30.0, 120.0, 600.0, 1e5] {
        let bound = lower_bound(&hour(7), boot_s, 3600).expect("valid");
        assert!(bound.gap() < 1e-6, "{boot_s}: {bound:?} {}", bound.gap());
        assert!(bound.worker_s > bound.work_s, "{bound:?}");
    }
}

/// Waves with a spike, rare lumps, a steady load, drizzle, and bursts with long idle stretches.
fn quarter_of_an_hour(seed: u64) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut second = |t: u32| {
        let rate = match seed % 5 {
            0 => 20.0 + 10.0 * (f64::from(t) / 600.0).sin() + if t / 60 == 11 { 40.0 } else { 0.0 },
            1 => f64::from(u8::from(rng.f64() < 0.02)) * 50.0,
            2 => 200.0,
            3 => return f64::from(u8::from(rng.f64() < 0.3)) * rng.f64(),
            _ if t % 600 < 30 => 120.0,
            _ => 5.0,
        };
        let noise: f64 = (0..6).map(|_| rng.f64() - 0.5).sum();
        (rate + rate.sqrt() * noise).max(0.0)
    };
    (0..900).map(&mut second).collect()
}

#[test]
fn loads_of_every_kind_are_solved_to_a_millionth() {
    for seed in 0..30 {
        for boot_s in [1.0, 10.0, 120.0] {
            let bound = lower_bound(&quarter_of_an_hour(seed), boot_s, 900).expect("valid");
            assert!(bound.gap() < 1e-6, "{seed} {boot_s}: {bound:?}");
            assert!(bound.iterations < 60, "{seed} {boot_s}: {bound:?}");
        }
    }
}

#[test]
fn blocks_cost_little_from_below_and_from_above() {
    let bound = lower_bound(&hour(7), 30.0, 1200).expect("valid");
    assert_eq!(bound.blocks, 3);
    assert!(bound.gap() < 0.01, "{bound:?} {}", bound.gap());
}

#[test]
fn what_can_be_said_without_solving() {
    let free = lower_bound(&[3.0, 0.0, 5.0, 1.0], 0.0, 3600).expect("valid");
    // The last second may be served after the end.
    assert_eq!(
        (free.worker_s, free.plan_worker_s, free.work_s),
        (8.0, 9.0, 9.0)
    );
    let idle = lower_bound(&[0.0; 50], 30.0, 3600).expect("valid");
    assert_eq!((idle.worker_s, idle.gap(), idle.iterations), (0.0, 0.0, 0));
    assert_eq!(lower_bound(&[], 30.0, 3600).expect("valid").blocks, 0);
}

#[test]
fn a_steady_load_costs_its_work() {
    let bound = lower_bound(&[4.0; 1000], 30.0, 3600).expect("valid");
    assert!((bound.worker_s / 4.0 - 999.0).abs() < 1.0, "{bound:?}");
}

#[test]
fn bad_input_is_told_apart() {
    assert_eq!(
        lower_bound(&[1.0, -1.0], 30.0, 3600),
        Err(BoundError::Work {
            second: 1,
            work_s: -1.0
        })
    );
    assert!(matches!(
        lower_bound(&[f64::NAN], 30.0, 3600),
        Err(BoundError::Work { second: 0, .. })
    ));
    assert_eq!(
        lower_bound(&[f64::MAX, f64::MAX], 30.0, 3600),
        Err(BoundError::Total)
    );
    assert_eq!(lower_bound(&[1.0], -1.0, 3600), Err(BoundError::Boot(-1.0)));
    assert!(matches!(
        lower_bound(&[1.0], f64::NAN, 3600),
        Err(BoundError::Boot(_))
    ));
    assert_eq!(lower_bound(&[1.0], 30.0, 0), Err(BoundError::Block));
}
