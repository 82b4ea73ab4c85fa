//! Made-up loads that show one thing each.

use tidepool_profile::Config;

use crate::conditions::{Conditions, Disturbance, Kind};
use crate::contest::Case;
use crate::model::Model;
use crate::workload::{DAY_S, Workload};

/// Names that [`named`] knows.
pub const NAMES: [&str; 14] = [
    "step",
    "ramp",
    "flash-crowd",
    "outage",
    "dead-dependency",
    "slow-dependency",
    "slower-handlers",
    "metric-gap",
    "crashing-workers",
    "memory-leak",
    "daylight-saving",
    "slow-starters",
    "silence",
    "office-hours",
];

/// Seconds before what a scenario is about: the rule gets to know the load.
pub const CALM_S: u64 = 3_600;
/// Seconds from there to the end.
const AFTER_S: u64 = 3_600;
/// Seconds that an outage, a gap or a dead dependency lasts.
pub const TROUBLE_S: u64 = 600;
/// 28 February 2026, 05:00 UTC: midnight in New York, eight days before its clocks go forward.
const BEFORE_SPRING_MS: u64 = 1_772_254_800_000;
/// Seconds from there to the change: 8 March, 07:00 UTC.
const SPRING_S: u64 = 8 * DAY_S + 2 * 3_600;
/// A Monday's midnight: 5 January 2026, UTC.
const MONDAY_MS: u64 = 1_767_571_200_000;
const WEEK_DAYS: u64 = 7;

/// A load with what goes wrong under it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The pool, sized for the load.
    pub model: Model,
    /// What arrives.
    pub load: Workload,
    /// What goes wrong.
    pub conditions: Conditions,
    /// The zone that people of this load live in.
    pub zone: &'static str,
}

impl Scenario {
    /// As a case for a contest; patterns are learned in the scenario's own zone.
    #[must_use]
    pub fn case(self, profile: Option<Config>) -> Case {
        let profile = profile.map(|config| Config {
            zone: self.zone.to_owned(),
            ..config
        });
        let mut case = Case::new(self.model, self.load, profile);
        case.conditions = self.conditions;
        case
    }
}

/// The scenario called `name` for a pool that has `mean_workers` busy workers while nothing happens.
#[must_use]
pub fn named(name: &str, model: &Model, mean_workers: f64) -> Option<Scenario> {
    let calm = mean_workers * f64::from(model.slots) / model.service_mean_s;
    let scenario = |shape: fn(f64) -> f64| plain(model, calm, shape);
    let trouble = |kinds: &[Kind]| troubled(model, calm, TROUBLE_S, kinds);
    Some(match name {
        "step" => scenario(|s| if s < 0.0 { 1.0 } else { 2.0 }),
        "ramp" => scenario(|s| 1.0 + (s / 1_200.0).clamp(0.0, 3.0)),
        "flash-crowd" => scenario(flash_crowd),
        "outage" => scenario(outage),
        // Every call runs into its timeout, ten times the usual time, and fails.
        "dead-dependency" => trouble(&[Kind::Slow(10.0), Kind::Failing(1.0)]),
        // Behind the handlers two thirds of the requests get through, however many are held.
        "slow-dependency" => trouble(&[Kind::Capped(calm / 1.5)]),
        // The work itself takes twice as long, to the end.
        "slower-handlers" => troubled(model, calm, AFTER_S, &[Kind::Slow(2.0)]),
        "metric-gap" => trouble(&[Kind::Blind]),
        "crashing-workers" => trouble(&[Kind::Crashing(60)]),
        // Memory grows with the age of a worker; each lives for about a quarter of an hour.
        "memory-leak" => troubled(model, calm, AFTER_S, &[Kind::Leaking(900.0)]),
        "daylight-saving" => daylight_saving(model, calm),
        "slow-starters" => {
            let model = Model {
                startup_s: 300.0,
                ..model.clone()
            };
            plain(&model, calm, |s| if s < 0.0 { 1.0 } else { 2.0 })
        }
        "silence" => scenario(|s| {
            if (0.0..1_200.0).contains(&s) {
                0.0
            } else {
                1.0
            }
        }),
        "office-hours" => office_hours(model, calm),
        _ => return None,
    })
}

/// Six times the load within half a minute, gone within a quarter of an hour.
fn flash_crowd(s: f64) -> f64 {
    match s {
        s if s < 0.0 => 1.0,
        s if s < 30.0 => 1.0 + 5.0 * s / 30.0,
        s => 1.0 + 5.0 * (-(s - 30.0) / 300.0).exp(),
    }
}

/// Nothing gets through for ten minutes; then everybody tries again at once.
fn outage(s: f64) -> f64 {
    let trouble = TROUBLE_S as f64;
    match s {
        s if s < 0.0 => 1.0,
        s if s < trouble => 0.02,
        s => 1.0 + 1.0 * (-(s - trouble) / 120.0).exp(),
    }
}

fn plain(model: &Model, calm: f64, shape: fn(f64) -> f64) -> Scenario {
    let rates: Vec<f32> = (0..CALM_S + AFTER_S)
        .map(|second| (calm * shape(second as f64 - CALM_S as f64)) as f32)
        .collect();
    let load = Workload {
        rates,
        score_from_s: CALM_S as usize,
        start_ms: 0,
    };
    Scenario {
        model: model.clone().sized_for(load.peak()),
        load,
        conditions: Conditions::default(),
        zone: "UTC",
    }
}

fn troubled(model: &Model, calm: f64, lasts_s: u64, kinds: &[Kind]) -> Scenario {
    let scenario = plain(model, calm, |_| 1.0);
    let to_s = CALM_S + lasts_s;
    let disturb = |kind: &Kind| Disturbance {
        from_s: CALM_S,
        to_s,
        kind: *kind,
    };
    Scenario {
        // Room to do harm.
        model: scenario
            .model
            .clone()
            .sized_for(50.0 * scenario.load.peak()),
        conditions: Conditions(kinds.iter().map(disturb).collect()),
        ..scenario
    }
}

/// Days that follow the clocks on the wall, across the night in which they go forward.
fn daylight_saving(model: &Model, calm: f64) -> Scenario {
    let rate = |second: u64| {
        let local = if second < SPRING_S {
            second
        } else {
            second + 3_600
        };
        let hour = (local % DAY_S) as f64 / 3_600.0;
        // Busy from 9 to 18 with an hour on either side to get there.
        let day = (hour - 8.0)
            .clamp(0.0, 1.0)
            .min((19.0 - hour).clamp(0.0, 1.0));
        (calm * (0.3 + 1.7 * day)) as f32
    };
    let rates: Vec<f32> = (0..SPRING_S + 2 * DAY_S).map(rate).collect();
    let load = Workload {
        rates,
        score_from_s: SPRING_S as usize,
        start_ms: BEFORE_SPRING_MS,
    };
    Scenario {
        model: model.clone().sized_for(load.peak()),
        load,
        conditions: Conditions::default(),
        zone: "America/New_York",
    }
}

/// Nine to five on five days and nothing else, for three weeks of which the last is scored: what a
/// pool that may sleep has to be awake for.
fn office_hours(model: &Model, calm: f64) -> Scenario {
    let rate = |second: u64| {
        let (day, hour) = (second / DAY_S % WEEK_DAYS, second % DAY_S / 3_600);
        let is_open = day < 5 && (9..17).contains(&hour);
        if is_open { calm as f32 } else { 0.0 }
    };
    let load = Workload {
        rates: (0..3 * WEEK_DAYS * DAY_S).map(rate).collect(),
        score_from_s: (2 * WEEK_DAYS * DAY_S) as usize,
        start_ms: MONDAY_MS,
    };
    Scenario {
        model: model.clone().sized_for(load.peak()),
        load,
        conditions: Conditions::default(),
        zone: "UTC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_scenario_that_can_run() {
        for name in NAMES {
            let scenario = named(name, &Model::default(), 4.0).expect(name);
            assert_eq!(scenario.model.validate(), Ok(()), "{name}");
            assert!(scenario.load.scored_s() > 0, "{name}");
        }
        assert!(named("else", &Model::default(), 4.0).is_none());
    }
}
