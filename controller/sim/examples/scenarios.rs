//! Plays the made-up loads and prints what the live rule did with its fleet: the figures by which a
//! guard rail is judged.
//!
//! ```text
//! cargo run --release -p tidepool-sim --example scenarios -- [name=outage,slow] [size=20] [boot=30] [profile=on|off]
//!     [wait=1|off]   seconds that a request may wait for a place; off leaves it to the rule
//!     [tell=on|off]  each change of the target with its reason
//! ```
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;

use tidepool_policy::Policy;
use tidepool_profile::Config;
use tidepool_sim::contest::Case;
use tidepool_sim::engine::simulate_under;
use tidepool_sim::model::Model;
use tidepool_sim::outcome::{Second, Watch};
use tidepool_sim::scaler::Autoscaler;
use tidepool_sim::scenario::{self, TROUBLE_S};

type Fault = Box<dyn std::error::Error>;

/// Targets and requests from where trouble begins.
#[derive(Default)]
struct Film {
    from_s: u64,
    before: u32,
    targets: Vec<u32>,
    sentences: Vec<String>,
}

impl Watch for Film {
    fn second(&mut self, second: &Second, scaler: &dyn Autoscaler) {
        if second.second < self.from_s {
            self.before = second.target;
            return;
        }
        self.targets.push(second.target);
        if let Some(insight) = scaler.insight()
            && !insight.sentence.is_empty()
        {
            let at_s = second.second - self.from_s;
            self.sentences
                .push(format!("  {at_s:>5} s  {}", insight.sentence));
        }
    }
}

impl Film {
    /// Fewest and most within a part of the time.
    fn range(&self, from_s: u64, to_s: u64) -> (u32, u32) {
        let length = self.targets.len();
        let at = |s: u64| usize::try_from(s).unwrap_or(length).min(length);
        let part = &self.targets[at(from_s)..at(to_s)];
        let least = part.iter().min().copied().unwrap_or(0);
        (least, part.iter().max().copied().unwrap_or(0))
    }
}

fn main() -> Result<(), Fault> {
    let mut arguments = BTreeMap::new();
    for argument in std::env::args().skip(1) {
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| format!("{argument:?} is not key=value"))?;
        arguments.insert(key.to_owned(), value.to_owned());
    }
    let mut take =
        |key: &str, usual: &str| arguments.remove(key).unwrap_or_else(|| usual.to_owned());
    let (names, tell) = (take("name", ""), take("tell", "off") == "on");
    let size: f64 = take("size", "20").parse()?;
    let profile = take("profile", "off") == "on";
    let wait_s = match take("wait", "1").as_str() {
        "off" => None,
        text => Some(text.parse()?),
    };
    let model = Model {
        startup_s: take("boot", "30").parse()?,
        ..Model::default()
    };
    if let Some(key) = arguments.keys().next() {
        return Err(format!("{key} is none of name, size, boot, wait, profile, tell").into());
    }
    println!(
        "scenario            before  10 min: least most  after: least most  late %  workers/work"
    );
    for name in scenario::NAMES {
        if names.is_empty() || names.split(',').any(|part| name.contains(part)) {
            let scenario = scenario::named(name, &model, size).ok_or("no such scenario")?;
            play(
                name,
                &scenario.case(profile.then(Config::default)),
                wait_s,
                tell,
            )?;
        }
    }
    Ok(())
}

fn play(name: &str, case: &Case, wait_s: Option<f64>, tell: bool) -> Result<(), Fault> {
    let mut policy = Policy::tidepool(case.model.workers_min, case.model.workers_max);
    policy.bounds.wait_objective_s = wait_s;
    let mut scaler = case.live(policy)?;
    let mut film = Film {
        from_s: case.load.score_from_s as u64,
        ..Film::default()
    };
    let (model, load) = (&case.model, &case.load);
    let outcome = simulate_under(model, load, &case.conditions, &mut scaler, 1, &mut film);
    let (least, most) = film.range(0, TROUBLE_S);
    let (least_after, most_after) = film.range(TROUBLE_S, u64::MAX);
    println!(
        "{name:<20}{:>6}{least:>15}{most:>5}{least_after:>14}{most_after:>5}{:>8.2}{:>14.3}",
        film.before,
        outcome.late_pct(),
        outcome.over_work(),
    );
    if tell {
        film.sentences.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
