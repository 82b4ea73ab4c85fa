//! Checks what the controller learns, keeps and tries in shadow.

use std::path::Path;

use tidepool_policy::Rule;
use tidepool_supervisor::SHADOWS_MAX;
use tidepool_supervisor::decision_log::DecisionLogConfig;

use super::Controller;
use super::raw::{RawController, RawPool};
use super::structure::nearest;
use super::validate::Validation;

/// Folder of the decision log within that of the store.
const DECISIONS: &str = "decisions";

/// What the controller learns and keeps; the log is beside the store.
pub(super) fn controller(
    pass: &mut Validation<'_>,
    raw: &RawController,
    store_path: &str,
) -> Option<Controller> {
    let zone = tidepool_profile::Config::in_zone(&raw.time_zone);
    if let Err(error) = tidepool_profile::Pattern::new(zone) {
        pass.fault(
            "controller.time_zone",
            Some(&raw.time_zone),
            error.to_string(),
        );
        return None;
    }
    Some(Controller {
        time_zone: raw.time_zone.clone(),
        pattern_speed: raw.pattern_speed,
        history_h: raw.history_h,
        decision_log: DecisionLogConfig {
            dir: Path::new(store_path).join(DECISIONS),
            bytes_max: raw.decision_log_bytes,
        },
    })
}

/// A cap on worker-hours that the fewest workers alone would break.
pub(super) fn spend(pass: &mut Validation<'_>, pool: &str, raw: &RawPool) {
    let Some(spend) = raw.spend_worker_h.filter(|spend| *spend < raw.min) else {
        return;
    };
    let key = format!("pools.{pool}.spend_worker_h");
    let problem = format!(
        "must be at least min, which is {}: that many workers cost as many worker-hours each hour",
        raw.min
    );
    pass.fault(&key, Some(&spend.to_string()), problem);
}

/// The policies in shadow of one pool.
pub(super) fn shadows(pass: &mut Validation<'_>, pool: &str, raw: &RawPool) -> Vec<Rule> {
    let key = format!("pools.{pool}.shadow");
    if raw.shadow.len() > SHADOWS_MAX {
        let problem = format!("there are {}; {SHADOWS_MAX} are the most", raw.shadow.len());
        pass.fault(&key, None, problem);
    }
    let known = ["tidepool", "threshold"].map(str::to_owned);
    let mut rules = Vec::new();
    for (n, name) in raw.shadow.iter().enumerate() {
        match Rule::named(name) {
            Some(_) if raw.shadow[..n].contains(name) => {
                pass.fault(&key, Some(name), "is listed twice");
            }
            Some(rule) => rules.push(rule),
            None => {
                let near = nearest(name, &known).unwrap_or_default();
                let problem = format!(
                    "there is no such policy; the nearest is `{near}`, and there are {}",
                    known.join(", ")
                );
                pass.fault(&key, Some(name), problem);
            }
        }
    }
    rules
}
