//! Whether the margin finds itself.

use super::pool::Pool;
use crate::{Margin, MarginRecord, Policy};

fn policy() -> Policy {
    let mut policy = Policy::tidepool(1, 200);
    policy.bounds.wait_objective_s = Some(1.0);
    policy
}

fn chosen(pool: &Pool) -> Margin {
    let held: Vec<MarginRecord> = pool.memory().margins().filter(|m| m.chosen).collect();
    assert_eq!(held.len(), 1, "{held:?}");
    held[0].margin
}

#[test]
fn smooth_load_brings_a_bold_margin_and_bursts_a_careful_one() {
    let mut smooth = Pool::new(policy(), 4, 0.1, 20.0);
    smooth.run(7 * 3_600, 100.0);
    let mut bursty = Pool::new(policy(), 4, 0.1, 20.0);
    for _ in 0..42 {
        bursty.run(570, 100.0);
        bursty.run(30, 130.0);
    }
    let (bold, careful) = (chosen(&smooth), chosen(&bursty));
    assert!(
        bold.deviations < careful.deviations,
        "{bold:?}, {careful:?}"
    );
}

#[test]
fn a_bolder_margin_never_costs_more_and_is_late_at_least_as_often() {
    let mut pool = Pool::new(policy(), 4, 0.1, 20.0);
    for second in 0..7_200 {
        pool.run(1, 100.0 + 60.0 * (f64::from(second) / 20.0).sin());
    }
    let records = pool
        .memory()
        .margins()
        .filter(|record| !record.margin.learned);
    let records: Vec<MarginRecord> = records.collect();
    for pair in records.windows(2) {
        assert!(pair[0].cost <= pair[1].cost * 1.01, "{records:?}");
        assert!(
            pair[0].late_share + 0.002 >= pair[1].late_share,
            "{records:?}"
        );
    }
    assert!(
        records[0].late_share > records[records.len() - 1].late_share,
        "{records:?}"
    );
}

#[test]
fn a_margin_that_is_set_runs_no_shadows() {
    let mut policy = policy();
    if let crate::Rule::Tidepool(config) = &mut policy.rule {
        config.margin = Some(Margin {
            deviations: 3.0,
            log_max: 0.7,
            log_min: 0.0,
            learned: true,
            ..Margin::default()
        });
    }
    let mut pool = Pool::new(policy, 4, 0.1, 20.0);
    pool.run(600, 100.0);
    assert_eq!(pool.memory().margins().count(), 0);
}

#[test]
fn shadows_that_are_later_than_life_are_told_as_life_is() {
    let told = |late_told: f64| {
        let mut pool = Pool::new(policy(), 4, 0.1, 20.0);
        pool.late_told = Some(late_told);
        for _ in 0..42 {
            pool.run(570, 100.0);
            pool.run(30, 170.0);
        }
        let boldest = pool.memory().margins().next();
        boldest.map_or(0.0, |record| record.late_share)
    };
    let (prompt, late) = (told(0.0), told(5.0));
    assert!(prompt > 0.0 && prompt < 0.5 * late, "{prompt} {late}");
}
