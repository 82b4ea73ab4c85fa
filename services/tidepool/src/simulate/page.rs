//! One page with charts that needs no network.

use anyhow::Context;
use serde_json::{Value, json};
use tidepool_sim::contest::{Case, Score};

use super::{Contest, SimulateArgs, report};

const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "__DATA__";

/// The page as text.
///
/// # Errors
/// When the figures cannot be written as JSON.
pub(crate) fn render(
    name: &str,
    args: &SimulateArgs,
    case: &Case,
    contest: &Contest,
) -> anyhow::Result<String> {
    let scores: Vec<Value> = contest
        .scores
        .iter()
        .map(|(name, scores)| json!([name, Score::mean(scores)]))
        .collect();
    let mut records = Vec::new();
    for (name, record) in &contest.records {
        let mut value = serde_json::to_value(record).context("a chart cannot be written")?;
        value["name"] = json!(name);
        records.push(value);
    }
    let data = json!({
        "trace": name,
        "params": report::params(args, case),
        "scores": scores,
        "records": records,
    });
    Ok(embed(&data))
}

/// JSON within a script element: a `<` could end it.
fn embed(data: &Value) -> String {
    TEMPLATE.replacen(PLACE, &data.to_string().replace('<', "\\u003c"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_element_and_nothing_is_fetched() {
        let page = embed(&json!({ "trace": "</script><script>alert(1)</script>" }));
        assert!(!page.contains("</script><script>alert"));
        assert!(!page.contains(PLACE));
        assert!(!page.contains("http://") && !page.contains("https://"));
    }
}
