//! The figures of a contest, for programs and for people.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use tidepool_sim::contest::{Case, Score};

use super::{Contest, SimulateArgs};
use crate::cli::Output;
use crate::terminal::{Printer, number, text};

/// Prints the scores.
///
/// # Errors
/// When stdout cannot be written to.
pub(crate) fn print<W: Write>(
    printer: &mut Printer<W>,
    name: &str,
    args: &SimulateArgs,
    case: &Case,
    contest: &Contest,
) -> io::Result<()> {
    if printer.form != Output::Text {
        return printer.json(&document(name, args, case, contest));
    }
    let columns = [
        text("policy"),
        number("late %"),
        number("cost over bound"),
        number("worker hours"),
        number("starts/day"),
        number("reversals/day"),
        number("p99 wait s"),
        number("worst hour %"),
    ];
    let rows: Vec<[String; 8]> = contest
        .scores
        .iter()
        .map(|(name, scores)| row(name, &Score::mean(scores)))
        .collect();
    printer.table(columns, &rows)
}

fn row(name: &str, score: &Score) -> [String; 8] {
    let digits = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    [
        name.to_owned(),
        format!("{:.4}", score.late_pct),
        format!("{:.3}", score.cost_ratio),
        format!("{:.1}", score.worker_hours),
        digits(score.starts_per_day, 1),
        digits(score.reversals_per_day, 1),
        digits(score.p99_wait_s, 2),
        digits(score.worst_hour_late_pct, 3),
    ]
}

/// What was run, in the units of the flags.
pub(crate) fn params(args: &SimulateArgs, case: &Case) -> Value {
    let model = &case.model;
    json!({
        "mean_workers": if args.scenario.is_none() { Some(args.mean_workers) } else { None },
        "boot_s": model.startup_s,
        "slots": model.slots,
        "service_mean_s": model.service_mean_s,
        "service_cv": model.service_cv,
        "late_after_s": model.late_after_s,
        "min_workers": model.workers_min,
        "max_workers": model.workers_max,
        "train_s": case.load.score_from_s,
        "scored_s": case.load.scored_s(),
        "smoothing": args.smoothing.name(),
        "start_ms": case.load.start_ms,
        "zone": args.zone,
        "profile": !args.no_profile,
        "seeds": args.seed_list(),
    })
}

fn document(name: &str, args: &SimulateArgs, case: &Case, contest: &Contest) -> Value {
    let policies: Map<String, Value> = contest
        .scores
        .iter()
        .map(|(name, scores)| {
            let mut value = json!(Score::mean(scores));
            if scores.len() > 1 {
                value["by_seed"] = json!(scores);
            }
            (name.clone(), value)
        })
        .collect();
    let mut params = params(args, case);
    params["bound_gap"] = json!(contest.bound_gap);
    json!({ "trace": name, "params": params, "policies": policies })
}
