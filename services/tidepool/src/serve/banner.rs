//! What the program says when it is up: where to go, where data is, and what is off.

use serde_json::json;

use crate::cli::Output;
use crate::terminal;
use crate::version::VERSION;

/// What the banner tells.
pub(super) struct Facts {
    /// What this process is, unless it is everything.
    pub(super) role: Option<&'static str>,
    pub(super) api: Option<String>,
    pub(super) operator: String,
    /// Where balancers call.
    pub(super) node: Option<String>,
    pub(super) keda: Option<String>,
    pub(super) data: String,
    pub(super) pools: Vec<String>,
    pub(super) otlp: Option<String>,
    pub(super) has_tokens: bool,
}

/// Prints the banner on stdout: lines for people, or one JSON document.
pub(super) fn print(facts: &Facts, output: Output) -> anyhow::Result<()> {
    let mut printer = terminal::stdout(output);
    if output != Output::Text {
        let document = json!({
            "version": VERSION, "role": facts.role.unwrap_or("all"), "api": facts.api,
            "operator": facts.operator, "node": facts.node, "keda": facts.keda,
            "data": facts.data, "pools": facts.pools, "otlp": facts.otlp,
        });
        return Ok(printer.json(&document)?);
    }
    let what = facts
        .role
        .map_or_else(String::new, |role| format!(" {role}"));
    printer.line(&printer.bold(&format!("Tidepool {VERSION}{what} is up")))?;
    if let Some(api) = &facts.api {
        printer.line(&format!("  API       {api}   try it at {api}/docs"))?;
    }
    if let Some(node) = &facts.node {
        printer.line(&format!("  Links     {node}   balancers call here"))?;
    }
    printer.line(&format!(
        "  Console   {0}   metrics at {0}/metrics",
        facts.operator
    ))?;
    if let Some(keda) = &facts.keda {
        printer.line(&format!("  KEDA      {keda}   external scaler (gRPC)"))?;
    }
    printer.line(&format!("  Pools     {}", facts.pools.join(", ")))?;
    printer.line(&format!("  Data      {}", facts.data))?;
    for line in off(facts) {
        printer.line(&format!("  Off       {line}"))?;
    }
    Ok(())
}

fn off(facts: &Facts) -> Vec<&'static str> {
    let mut lines = Vec::new();
    if facts.otlp.is_none() {
        lines.push("traces (set telemetry.otlp_endpoint to a collector such as Jaeger)");
    }
    if !facts.has_tokens {
        lines.push("tokens (whoever reaches the addresses may use them; they are this machine's)");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_off_and_nothing_else() {
        let facts = |otlp: Option<&str>, has_tokens| Facts {
            role: None,
            api: None,
            node: None,
            operator: String::new(),
            keda: None,
            data: String::new(),
            pools: Vec::new(),
            otlp: otlp.map(str::to_owned),
            has_tokens,
        };
        assert!(off(&facts(Some("http://127.0.0.1:4318"), true)).is_empty());
        assert_eq!(off(&facts(None, false)).len(), 2);
    }
}
