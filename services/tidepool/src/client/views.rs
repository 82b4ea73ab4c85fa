//! How pools, workers and explanations look to people.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidepool_core::status::{Explanation, NodeStatus, PoolStatus, WorkerStatus};

use crate::terminal::{Printer, harmless, number, text};

/// Measurements older than this are pointed out, in seconds.
const METRICS_AGE_S_MAX: f64 = 5.0;

/// Prints a row for every pool.
pub(crate) fn pools<W: Write>(
    pools: &[PoolStatus],
    zone: &TimeZone,
    printer: &mut Printer<W>,
) -> io::Result<()> {
    let rows: Vec<_> = pools.iter().map(|pool| pool_row(pool, zone)).collect();
    let columns = [
        text("POOL"),
        text("POLICY"),
        number("READY"),
        number("STARTING"),
        number("DRAINING"),
        number("TARGET"),
        number("MIN"),
        number("MAX"),
        number("SCORE"),
        number("QUEUED"),
        number("BUSY"),
        number("SLOTS"),
        text("NOTES"),
    ];
    printer.table(columns, &rows)
}

fn pool_row(pool: &PoolStatus, zone: &TimeZone) -> [String; 13] {
    [
        pool.pool.to_string(),
        harmless(&pool.policy),
        pool.ready.to_string(),
        pool.starting.to_string(),
        pool.draining.to_string(),
        pool.target.to_string(),
        pool.min.to_string(),
        pool.max.to_string(),
        decimal(pool.score),
        pool.queued.to_string(),
        pool.busy_slots.to_string(),
        pool.slots.to_string(),
        notes(pool, zone),
    ]
}

fn notes(pool: &PoolStatus, zone: &TimeZone) -> String {
    let held = match pool.pinned {
        Some(pin) => Some(format!("pinned to {pin}")),
        None => pool.paused.then(|| "paused".to_owned()),
    };
    let held = held.map(|held| match pool.hold_until.as_deref() {
        Some(until) => format!("{held} until {}", local(until, zone, "%H:%M:%S")),
        None => held,
    });
    let cooldown = pool
        .cooldown_until
        .as_deref()
        .map(|until| format!("cooldown until {}", local(until, zone, "%H:%M:%S")));
    let stale = pool
        .metrics_age_s
        .filter(|age| *age > METRICS_AGE_S_MAX)
        .map(|age| format!("measured {age:.0} s ago"));
    let notes: Vec<_> = [held, cooldown, stale].into_iter().flatten().collect();
    notes.join(", ")
}

/// Prints a row for every worker.
pub(crate) fn workers<W: Write>(
    workers: &[WorkerStatus],
    zone: &TimeZone,
    printer: &mut Printer<W>,
) -> io::Result<()> {
    let rows: Vec<_> = workers
        .iter()
        .map(|worker| worker_row(worker, zone))
        .collect();
    let columns = [
        text("WORKER"),
        text("POOL"),
        text("NODE"),
        text("STATE"),
        number("BUSY"),
        number("SLOTS"),
        number("DONE"),
        number("PANICS"),
        number("CPU"),
        number("STARTUP_S"),
        text("SINCE"),
    ];
    printer.table(columns, &rows)
}

fn worker_row(worker: &WorkerStatus, zone: &TimeZone) -> [String; 11] {
    [
        harmless(worker.id.as_str()),
        worker.pool.to_string(),
        harmless(&worker.node),
        worker.state.as_str().to_owned(),
        worker.busy.to_string(),
        worker.slots.to_string(),
        worker.completed.to_string(),
        worker.panics.to_string(),
        decimal(worker.cpu_cores),
        decimal(worker.startup_s),
        local(&worker.started_at, zone, "%Y-%m-%d %H:%M:%S"),
    ]
}

/// Prints a row for every node.
pub(crate) fn nodes<W: Write>(nodes: &[NodeStatus], printer: &mut Printer<W>) -> io::Result<()> {
    let rows: Vec<_> = nodes.iter().map(node_row).collect();
    let columns = [
        text("NODE"),
        text("STATE"),
        number("WORKERS"),
        number("MAX"),
        number("CPU"),
        number("CORES"),
        number("MEMORY_MB"),
        number("AGE_S"),
        text("LINKS"),
        text("OPERATORS"),
        text("VERSION"),
        text("POOLS"),
    ];
    printer.table(columns, &rows)
}

fn node_row(node: &NodeStatus) -> [String; 12] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let pools = node.pools.iter().map(|(pool, n)| format!("{pool}={n}"));
    let address = |addr: &Option<String>| or_dash(addr.as_deref().map(harmless));
    [
        node.node.to_string(),
        harmless(&node.state),
        node.workers.to_string(),
        or_dash(node.workers_max.map(|n| n.to_string())),
        decimal(node.process_cpu_cores),
        or_dash(node.cores.map(|n| n.to_string())),
        or_dash(node.memory_bytes.map(|bytes| (bytes >> 20).to_string())),
        decimal(node.age_s),
        address(&node.link_addr),
        address(&node.operator_addr),
        harmless(&node.version),
        pools.collect::<Vec<_>>().join(" "),
    ]
}

/// Prints why a pool has the size it has.
pub(crate) fn explanation<W: Write>(
    explanation: &Explanation,
    zone: &TimeZone,
    printer: &mut Printer<W>,
) -> io::Result<()> {
    let title = printer.bold(explanation.pool.as_str());
    printer.line(&format!("{title}: {}", harmless(&explanation.sentence)))?;
    let numbers = numbers(&explanation.decision);
    if !numbers.is_empty() {
        printer.line(&format!("  numbers: {numbers}"))?;
    }
    let signals = numbers_of(&explanation.decision["signals"]);
    if !signals.is_empty() {
        printer.line(&format!("  signals: {signals}"))?;
    }
    if let Some(told) = forecast(&explanation.decision["forecast"], zone) {
        printer.line(&format!("  forecast: {told}"))?;
    }
    if let Some(other) = &explanation.counterfactual {
        printer.line(&format!("  one fewer: {}", harmless(&other.sentence)))?;
    }
    for shadow in &explanation.shadows {
        let policy = harmless(&shadow.policy);
        let told = harmless(&shadow.sentence);
        printer.line(&format!(
            "  shadow {policy}: wants {} ({told})",
            shadow.target
        ))?;
    }
    if let Some(note) = &explanation.shadow_note {
        printer.line(&format!("  {}", harmless(note)))?;
    }
    if let Some(obstacle) = &explanation.blocked_by {
        printer.line(&format!("  blocked by: {}", harmless(obstacle)))?;
    }
    if let Some(at) = &explanation.earliest_change {
        let at = local(at, zone, "%Y-%m-%d %H:%M:%S");
        printer.line(&format!("  earliest change: {at}"))?;
    }
    Ok(())
}

/// What is expected one start-up time ahead.
fn forecast(forecast: &serde_json::Value, zone: &TimeZone) -> Option<String> {
    let (p50, p99) = (forecast["p50"].as_f64()?, forecast["p99"].as_f64()?);
    let at = forecast["at"].as_str();
    let at = at.map_or_else(String::new, |at| {
        format!(" at {}", local(at, zone, "%H:%M:%S"))
    });
    Some(format!("p50={p50:.2} p99={p99:.2} requests/s{at}"))
}

/// The plain numbers and words of a decision, besides those that its sentence tells.
fn numbers(decision: &serde_json::Value) -> String {
    let told = ["pool", "sentence", "trace_id"];
    let mut rest = decision.clone();
    if let Some(rest) = rest.as_object_mut() {
        rest.retain(|key, _| !told.contains(&key.as_str()));
    }
    numbers_of(&rest)
}

/// Scalar fields as `key=value`; what was not measured is left out.
pub(crate) fn numbers_of(value: &serde_json::Value) -> String {
    use serde_json::Value;
    let fields = value.as_object().into_iter().flatten();
    let shown = fields.filter_map(|(key, value)| match value {
        Value::String(text) => Some(format!("{key}={}", harmless(text))),
        Value::Number(n) if n.is_f64() => Some(format!("{key}={}", decimal(n.as_f64()))),
        Value::Number(_) | Value::Bool(_) => Some(format!("{key}={value}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Two digits, or a dash for what was not measured.
fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// An RFC 3339 time on the clock of the reader; anything else as it came.
pub(crate) fn local(rfc3339: &str, zone: &TimeZone, format: &str) -> String {
    let zoned = rfc3339
        .parse::<Timestamp>()
        .map(|at| at.to_zoned(zone.clone()));
    match zoned {
        Ok(at) => at.strftime(format).to_string(),
        Err(_) => harmless(rfc3339),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;
    use serde_json::json;

    fn pool() -> PoolStatus {
        serde_json::from_value(json!({
            "pool": "echo", "kinds": ["echo"], "policy": "tidepool", "ready": 2, "starting": 1,
            "draining": 0, "target": 3, "min": 1, "max": 8, "score": 0.8149, "signals": {},
            "paused": false, "cooldown_until": "2026-11-20T20:31:05.000Z", "queued": 4,
            "busy_slots": 5, "slots": 16, "metrics_age_s": 7.2,
        }))
        .unwrap()
    }

    #[test]
    fn a_pool_tells_what_holds_it_back() {
        let row = pool_row(&pool(), &TimeZone::UTC);
        assert_eq!(row[8], "0.81");
        assert_eq!(row[12], "cooldown until 20:31:05, measured 7 s ago");
        let paused = PoolStatus {
            paused: true,
            cooldown_until: None,
            metrics_age_s: None,
            override_until: Some("2026-11-20T20:10:00.000Z".to_owned()),
            hold_until: Some("2026-11-20T20:40:00.000Z".to_owned()),
            ..pool()
        };
        // The bounds end first.
        let row = pool_row(&paused, &TimeZone::UTC);
        assert_eq!(row[12], "paused until 20:40:00");
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let unmeasured = PoolStatus {
            score: None,
            ..pool()
        };
        assert_eq!(pool_row(&unmeasured, &TimeZone::UTC)[8], "-");
    }

    #[test]
    fn an_explanation_is_a_sentence_with_its_numbers() {
        let explained = Explanation {
            pool: "echo".parse().unwrap(),
            sentence: "3 workers are enough.".to_owned(),
            decision: json!({"pool": "echo", "from": 2, "to": 3, "score": 0.5, "raw_need": null,
                "signals": {"slots": 1.25, "cpu": null}, "infeasible": false,
                "forecast": {"at": "2026-11-20T20:31:05.000Z", "p50": 12.0, "p99": 15.254}}),
            blocked_by: Some("cooldown".to_owned()),
            earliest_change: None,
            counterfactual: None,
            shadows: vec![],
            shadow_note: None,
        };
        let mut out = Vec::new();
        let mut printer = Printer::plain(&mut out, Output::Text);
        explanation(&explained, &TimeZone::UTC, &mut printer).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "echo: 3 workers are enough.\n  numbers: from=2 infeasible=false score=0.50 to=3\n  \
             signals: slots=1.25\n  \
             forecast: p50=12.00 p99=15.25 requests/s at 20:31:05\n  blocked by: cooldown\n"
        );
    }
}
