//! `tidepool pattern`: the learned hours of the week; exported to a file, imported from one.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::operator::Operator;
use crate::cli::{Output, PatternArgs};
use crate::terminal::{Printer, harmless, number, text};

/// Largest file that is imported, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest account of a fit that failed, in characters.
const PROBLEM_LEN_MAX: usize = 200;
/// Names of the days as a week begins.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Shows, exports or imports a pattern.
pub(crate) async fn run<W: Write>(
    operator: &Operator,
    args: &PatternArgs,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let path = ["v1", "pools", &args.pool, "pattern"];
    let answer = match &args.import {
        Some(file) => operator.put(&path, &read(file)?).await?,
        None => operator.get(&path, &[]).await?,
    };
    if let Some(file) = &args.export {
        export(&answer["document"], file)?;
    }
    if printer.form != Output::Text {
        return Ok(printer.json(&answer)?);
    }
    show(&answer, printer)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let cannot = || format!("cannot read {}", file.display());
    let text = crate::settings::read_text(file, FILE_BYTES_MAX).with_context(cannot)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not an exported pattern", file.display()))
}

/// Writes the document whole or not at all.
fn export(document: &Value, file: &Path) -> anyhow::Result<()> {
    if document.is_null() {
        bail!("there is no pattern to export");
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let written = std::fs::write(new, format!("{document:#}\n"));
    let moved = written.and_then(|()| std::fs::rename(new, file));
    moved.with_context(|| format!("cannot write {}", file.display()))
}

fn show<W: Write>(answer: &Value, printer: &mut Printer<W>) -> anyhow::Result<()> {
    let hours = answer["hours"].as_array();
    let known: Vec<&Value> = hours
        .into_iter()
        .flatten()
        .filter(|hour| hour["median_rate"].is_number())
        .collect();
    let zone = harmless(answer["time_zone"].as_str().unwrap_or("UTC"));
    let quality = &answer["quality"][0];
    let state = match (&quality["believed"], &quality["waking_believed"]) {
        (Value::Bool(true), _) => "its forecasts are believed",
        (_, Value::Bool(true)) if quality["judged"].as_u64() > Some(0) => {
            "its forecasts are believed while the pool sleeps"
        }
        _ => "its forecasts are not believed yet",
    };
    let pool = harmless(answer["pool"].as_str().unwrap_or_default());
    printer.line(&format!(
        "{pool}: {} of 168 hours are known ({zone}), {state}",
        known.len()
    ))?;
    if let Some(told) = contest(answer) {
        printer.line(&told)?;
    }
    if known.is_empty() {
        return Ok(printer.line("  a pattern begins with the first whole day")?);
    }
    let rows: Vec<[String; 5]> = known.into_iter().map(row).collect();
    let columns = [
        text("HOUR"),
        number("P10"),
        number("MEDIAN"),
        number("P90"),
        number("CONFIDENCE"),
    ];
    Ok(printer.table(columns, &rows)?)
}

/// How the challenger fared at one start-up time beside the pattern and the last value; `None` before
/// it was ever fitted.
fn contest(answer: &Value) -> Option<String> {
    let [contest, challenger] = [&answer["contest"][0], &answer["challenger"]];
    let judged = contest["judged"].as_u64().unwrap_or_default();
    if let Some(problem) = challenger["problem"].as_str() {
        let problem: String = harmless(problem).chars().take(PROBLEM_LEN_MAX).collect();
        return Some(format!("  the challenger sits out: {problem}"));
    }
    if judged == 0 {
        let fitted_at = harmless(challenger["fitted_at"].as_str()?);
        return Some(format!(
            "  the challenger was fitted at {fitted_at}; none of its forecasts was judged yet"
        ));
    }
    let loss = |whose: &str| contest[whose].as_f64().unwrap_or_default();
    Some(format!(
        "  pinball loss over {judged} forecasts: pattern {:.3}, last value {:.3}, challenger {:.3}",
        loss("profile_loss"),
        loss("last_value_loss"),
        loss("challenger_loss")
    ))
}

fn row(hour: &Value) -> [String; 5] {
    let rate = |key: &str| match hour[key].as_f64() {
        Some(rate) => format!("{rate:.2}"),
        None => "-".to_owned(),
    };
    let at = hour["hour_of_week"].as_u64().unwrap_or_default();
    let day = usize::try_from(at / 24).ok().and_then(|day| DAYS.get(day));
    let confidence = hour["confidence"].as_f64().unwrap_or_default();
    [
        format!("{} {:02}h", day.unwrap_or(&"?"), at % 24),
        rate("p10_rate"),
        rate("median_rate"),
        rate("p90_rate"),
        format!("{:.0} %", confidence * 100.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hours_are_named_by_their_day() {
        let hour = json!({"hour_of_week": 50, "median_rate": 3.5, "p10_rate": null,
            "p90_rate": 4.0, "confidence": 0.5});
        assert_eq!(row(&hour), ["Wed 02h", "-", "3.50", "4.00", "50 %"]);
    }

    #[test]
    fn the_contest_is_told_as_far_as_it_came() {
        let mut answer = json!({"contest": [{"judged": 0}],
            "challenger": {"fitted_at": null, "problem": null}});
        assert_eq!(contest(&answer), None);
        assert_eq!(contest(&json!({})), None, "an older controller has none");
        answer["challenger"]["fitted_at"] = "2026-11-20T20:00:00.000Z".into();
        let told = contest(&answer).unwrap();
        assert!(told.contains("at 2026-11-20T20:00:00.000Z"), "{told}");
        answer["contest"][0] = json!({"judged": 7, "profile_loss": 0.25,
            "last_value_loss": 0.5, "challenger_loss": 0.375});
        assert_eq!(
            contest(&answer).unwrap(),
            "  pinball loss over 7 forecasts: pattern 0.250, last value 0.500, challenger 0.375"
        );
        answer["challenger"]["problem"] = "no\u{1b}[2Jseason".into();
        let told = contest(&answer).unwrap();
        assert!(
            told.contains("sits out") && !told.contains('\u{1b}'),
            "{told}"
        );
    }

    #[test]
    fn an_export_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pattern.json");
        export(&json!({"version": 2}), &file).unwrap();
        assert_eq!(read(&file).unwrap()["version"], 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(export(&Value::Null, &file).is_err());
        std::fs::write(&file, "{").unwrap();
        let told = read(&file).unwrap_err().to_string();
        assert!(told.contains("pattern.json"), "{told}");
    }
}
