use super::*;

const SMALL: &str = r#"
summary = "small"
thresholds = ["p(99)<800"]
[[stages]]
duration = "10s"
rate = 5
[[requests]]
echo = { sleep_ms = [1, 5] }
"#;

fn refusal(text: &str) -> String {
    Scenario::parse("x", text).unwrap_err().to_string()
}

#[test]
fn the_built_in_scenarios_are_valid_and_say_what_they_show() {
    for scenario in built_in().unwrap() {
        assert!(!scenario.summary.is_empty(), "{}", scenario.name);
        assert!(!scenario.thresholds.is_empty(), "{}", scenario.name);
    }
}

#[test]
fn a_spike_needs_more_than_one_worker_and_fewer_than_eight() {
    let spike = Scenario::load("spike").unwrap();
    let body = spike.mix.request(0).body;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let busy_slots = spike.plan.peak_rate() * body["sleep_ms"].as_f64().unwrap() / 1e3;
    assert!(busy_slots > 0.8 * 8.0, "{busy_slots}");
    assert!(busy_slots < 0.8 * 64.0, "{busy_slots}");
}

#[test]
fn a_small_scenario_has_usual_settings() {
    let scenario = Scenario::parse("x", SMALL).unwrap();
    assert_eq!(scenario.pool, "echo");
    assert_eq!(scenario.arrivals, ArrivalProcess::Poisson);
    assert_eq!(scenario.max_in_flight, 1_000);
    assert_eq!(scenario.timeout, Duration::from_secs(10));
}

#[test]
fn ramps_start_where_the_last_stage_ended() {
    let text = SMALL.replace(
        "[[requests]]",
        "[[stages]]\nduration = \"10s\"\nramp_to = 15\n[[requests]]",
    );
    let plan = Scenario::parse("x", &text).unwrap().plan;
    assert!((plan.rate_at(15.0) - 10.0).abs() < 1e-9);
}

#[test]
fn mistakes_are_shown_with_their_line_and_what_is_allowed() {
    for (from, to, says) in [
        ("rate = 5", "rat = 5", &["line 6", "rat", "expected"][..]),
        (
            "p(99)<800",
            "p99<800",
            &["line 3", "there is no metric 'p99'"],
        ),
        ("\"10s\"", "\"10 sec\"", &["line 5", "write it like"]),
        ("[1, 5]", "[5, 1]", &["line 8", "smaller number first"]),
        ("[1, 5]", "60001", &["line 8", "at most 60000"]),
        ("rate = 5", "", &["stage 1: give it a rate"]),
        (
            "rate = 5",
            "rate = -5",
            &["stages: stage 1", "it must be 0 to"],
        ),
        ("rate = 5", "rate = 0", &["nothing would be sent"]),
        ("\"10s\"", "\"25h\"", &["at most 24 h"]),
        (
            "echo = { sleep_ms = [1, 5] }",
            "weight = 2",
            &["exactly one of"],
        ),
        ("summary = \"small\"", "", &["missing field `summary`"]),
        (
            "[[stages]]",
            "max_in_flight = 0\n[[stages]]",
            &["max_in_flight must be 1 to"],
        ),
        (
            "[[stages]]",
            "warmup = \"10s\"\n[[stages]]",
            &["warmup must be shorter"],
        ),
        (
            "[[stages]]",
            "pool = \"../x\"\n[[stages]]",
            &["is not a name"],
        ),
        (
            "[[stages]]",
            "headers = { Authorization = \"x\" }\n[[stages]]",
            &["token"],
        ),
        (
            "[[stages]]",
            "headers = { \"a b\" = \"x\" }\n[[stages]]",
            &["not a header name"],
        ),
    ] {
        assert!(SMALL.contains(from));
        let error = refusal(&SMALL.replace(from, to));
        for part in says {
            assert!(error.contains(part), "{to:?} gave {error}");
        }
    }
}

#[test]
fn an_unknown_scenario_names_the_known_ones() {
    let error = Scenario::load("spyke").unwrap_err();
    assert_eq!(error.exit(), crate::Exit::BadScenario);
    assert!(error.to_string().contains("spike"), "{error}");
}

#[test]
fn a_file_is_read_by_path_and_named_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, SMALL).unwrap();
    let name_or_path = path.to_str().unwrap();
    assert_eq!(Scenario::load(name_or_path).unwrap().name, "mine");
    std::fs::write(&path, SMALL.replace("rate = 5", "rate = 0")).unwrap();
    let error = Scenario::load(name_or_path).unwrap_err().to_string();
    assert!(error.starts_with(name_or_path), "{error}");
}
