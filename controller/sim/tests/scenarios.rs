//! What the live rule must do when things go wrong.

use tidepool_policy::Policy;
use tidepool_profile::Config;
use tidepool_sim::contest::Case;
use tidepool_sim::model::Model;
use tidepool_sim::outcome::{Outcome, Second, Watch};
use tidepool_sim::scaler::Autoscaler;
use tidepool_sim::scenario::{self, CALM_S, TROUBLE_S};

/// A run second by second.
#[derive(Default)]
struct Film(Vec<Second>);

impl Watch for Film {
    fn second(&mut self, second: &Second, _: &dyn Autoscaler) {
        self.0.push(*second);
    }
}

impl Film {
    fn targets(&self, from_s: u64, to_s: u64) -> impl Iterator<Item = u32> + '_ {
        self.0[from_s as usize..to_s as usize]
            .iter()
            .map(|s| s.target)
    }

    /// Share of late ones among those that came within a time, in percent.
    fn late_pct(&self, from_s: u64, to_s: u64) -> f64 {
        let part = &self.0[from_s as usize..to_s as usize];
        let late: u64 = part.iter().map(|s| s.late).sum();
        let came: u64 = part.iter().map(|s| s.arrivals).sum();
        100.0 * late as f64 / came.max(1) as f64
    }
}

const END_S: u64 = 2 * CALM_S;

fn play_on(case: &Case) -> (Film, Outcome) {
    let (min, max) = (case.model.workers_min, case.model.workers_max);
    let mut scaler = case
        .live(Policy::tidepool(min, max))
        .expect("the default zone is known");
    let mut film = Film::default();
    let (model, load) = (&case.model, &case.load);
    let outcome = tidepool_sim::engine::simulate_under(
        model,
        load,
        &case.conditions,
        &mut scaler,
        1,
        &mut film,
    );
    (film, outcome)
}

fn play(name: &str) -> (Film, Outcome) {
    let scenario = scenario::named(name, &Model::default(), 20.0).expect("a known name");
    play_on(&scenario.case(None))
}

#[test]
fn a_metric_gap_never_lowers_the_target() {
    let (film, outcome) = play("metric-gap");
    let targets: Vec<u32> = film.targets(CALM_S, CALM_S + TROUBLE_S).collect();
    assert!(targets.is_sorted(), "{targets:?}");
    assert_eq!(outcome.late, 0);
}

#[test]
fn a_dead_dependency_is_not_answered_with_more_workers() {
    let (film, _) = play("dead-dependency");
    let before = film.0[CALM_S as usize - 1].target;
    let most = film.targets(CALM_S, CALM_S + TROUBLE_S).max().unwrap();
    // Ten times the slots would be needed to hold requests that fail anyway.
    assert!(most <= before + 2, "{before} to {most}");
}

#[test]
fn a_slow_dependency_is_answered_with_twice_the_workers_at_most() {
    for (startup_s, size) in [(30.0, 20.0), (0.5, 5.0)] {
        let model = Model {
            startup_s,
            ..Model::default()
        };
        let scenario = scenario::named("slow-dependency", &model, size).unwrap();
        let (film, _) = play_on(&scenario.case(None));
        let before = film.0[CALM_S as usize - 1].target;
        let most = film.targets(CALM_S, CALM_S + TROUBLE_S).max().unwrap();
        // Two thirds get through: thrice the workers that they would need.
        assert!(most <= 2 * before + 2, "{before} to {most}");
        let late_pct = film.late_pct(CALM_S + TROUBLE_S + 900, END_S);
        assert!(late_pct < 0.1, "{late_pct} % late after it had recovered");
    }
}

#[test]
fn handlers_that_become_slower_are_followed_promptly() {
    let (film, _) = play("slower-handlers");
    let before = film.0[CALM_S as usize - 1].target;
    // Twice as many were ordered within half of a start-up time, and nobody is late for long.
    let soon = film.targets(CALM_S, CALM_S + 15).max().unwrap();
    assert!(soon >= 2 * before - 2, "{before} to {soon}");
    let late_pct = film.late_pct(CALM_S + 180, END_S);
    assert!(late_pct < 0.1, "{late_pct}");
}

#[test]
fn workers_that_leak_are_replaced_and_their_memory_is_not_followed() {
    let (film, outcome) = play("memory-leak");
    let before = film.0[CALM_S as usize - 1].target;
    let most = film.targets(CALM_S, END_S).max().unwrap();
    assert!(most <= before + 2, "{before} to {most}");
    assert!(outcome.starts > 40, "{} were replaced", outcome.starts);
    assert!(outcome.late_pct() < 1.5, "{}", outcome.late_pct());
}

#[test]
fn a_flash_crowd_is_over_within_three_start_up_times() {
    let (film, _) = play("flash-crowd");
    let recovered_s = CALM_S + 30 + 4 * 30;
    assert!(film.late_pct(CALM_S, recovered_s) > 0.0);
    assert!(
        film.late_pct(recovered_s, END_S) < 0.01,
        "{}",
        film.late_pct(recovered_s, END_S)
    );
    let back = film.0[END_S as usize - 1].target;
    let calm = film.0[CALM_S as usize - 1].target;
    assert!(
        back <= calm + calm / 4,
        "{calm} before, {back} an hour later"
    );
}

#[test]
fn crashing_workers_are_replaced() {
    let (film, outcome) = play("crashing-workers");
    assert_eq!(outcome.late, 0);
    let fewest = film.0[CALM_S as usize..]
        .iter()
        .map(|s| s.ready)
        .min()
        .unwrap();
    assert!(fewest >= 20, "{fewest}");
}

#[test]
fn slow_starters_are_not_ordered_twice() {
    let (film, _) = play("slow-starters");
    let settled = film.0[END_S as usize - 1].target;
    let most = film.targets(CALM_S, END_S).max().unwrap();
    assert!(most <= 2 * settled, "{most} for {settled}");
}

#[test]
fn the_storm_after_an_outage_passes() {
    let (film, _) = play("outage");
    let before = film.0[CALM_S as usize - 1].target;
    let kept = film.targets(CALM_S, CALM_S + TROUBLE_S).min().unwrap();
    assert_eq!(kept, before, "the load was cut off within a second");
    let over_s = CALM_S + TROUBLE_S;
    let calm_again_s = over_s + 5 * 30;
    assert!(
        film.late_pct(calm_again_s, END_S) < 0.1,
        "{}",
        film.late_pct(calm_again_s, END_S)
    );
}

#[test]
fn learned_hours_survive_the_change_of_the_clocks() {
    let scenario = scenario::named("daylight-saving", &Model::default(), 3.0).unwrap();
    let (_, without) = play_on(&scenario.clone().case(None));
    let (_, with) = play_on(&scenario.case(Some(Config::default())));
    assert!(with.late_pct() <= without.late_pct() + 0.01);
    let dearer = with.worker_s / without.worker_s;
    assert!(dearer <= 1.15, "{dearer} times the cost");
}

/// The fourth day of `office-hours`, with the pattern or without it.
fn fourth_day(startup_s: f64, profile: Option<Config>) -> (Film, Outcome) {
    let model = Model {
        startup_s,
        ..Model::default()
    };
    let mut scenario = scenario::named("office-hours", &model, 2.0).expect("a known name");
    scenario.model.workers_min = 0;
    scenario.load.rates.truncate(4 * 86_400);
    scenario.load.score_from_s = 3 * 86_400;
    play_on(&scenario.case(profile))
}

#[test]
fn a_pool_that_sleeps_is_awake_when_its_day_begins() {
    let (_, without) = fourth_day(120.0, None);
    let (film, with) = fourth_day(120.0, Some(Config::default()));
    assert!(without.late_pct() > 0.5, "{}", without.late_pct());
    assert!(with.late_pct() < 0.1, "{}", with.late_pct());
    assert!(with.worker_s < 1.03 * without.worker_s);
    let [midnight, opening] = [3 * 86_400, 3 * 86_400 + 9 * 3_600];
    assert_eq!(film.targets(midnight, opening - 600).max(), Some(0));
    assert!(
        film.0[opening as usize].ready >= 2,
        "{:?}",
        film.0[opening as usize]
    );
}
