//! Whoever an alert wakes finds what to do: each has a section of the runbook and leads to it.

/// Alerts without such a section, or that lead elsewhere.
fn unexplained(rules: &str, runbook: &str) -> Vec<String> {
    let alerts = rules.split("- alert: ").skip(1);
    let is_explained = |alert: &&str| {
        let name = alert.lines().next().unwrap_or_default();
        let link = format!("runbook: deploy/RUNBOOK.md#{}", name.to_lowercase());
        let section = format!("### {name}");
        runbook.lines().any(|line| line == section) && alert.lines().any(|line| line.trim() == link)
    };
    let missing = alerts.filter(|alert| !is_explained(alert));
    missing
        .filter_map(|alert| alert.lines().next().map(str::to_owned))
        .collect()
}

#[test]
fn every_alert_leads_to_its_section_of_the_runbook() {
    let rules = include_str!("../../../../deploy/prometheus/rules.yml");
    let runbook = include_str!("../../../../deploy/RUNBOOK.md");
    assert!(rules.matches("- alert: ").count() >= 10, "the alerts");
    assert_eq!(unexplained(rules, runbook), Vec::<String>::new());
}

#[test]
fn an_alert_without_a_section_or_with_a_wrong_link_is_found() {
    let rule = |name: &str, to: &str| {
        format!("- alert: {name}\n  annotations:\n    runbook: deploy/RUNBOOK.md#{to}\n")
    };
    let rules = ["Good", "Silent", "Astray"].map(|name| match name {
        "Astray" => rule(name, "good"),
        _ => rule(name, &name.to_lowercase()),
    });
    let found = unexplained(&rules.concat(), "### Good\n### Astray\n");
    assert_eq!(found, ["Silent", "Astray"]);
}
