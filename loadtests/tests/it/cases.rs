//! What a user of the command sees.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tidepool_loadtests::cli::run_until;
use tidepool_loadtests::{Defaults, Error, Exit, Format, LoadCommand};

use crate::server::{Answer, Asked, Server};

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: LoadCommand,
}

fn defaults(api_url: &str) -> Defaults {
    Defaults {
        api_url: api_url.to_owned(),
        operator_url: None,
        api_token: None,
        operator_token: None,
        output: Format::Json,
    }
}

/// Runs the command line `args` until its end or `interrupt`.
async fn load_until(
    args: &[&str],
    defaults: Defaults,
    interrupt: impl Future<Output = ()>,
) -> Result<(Exit, Value), Error> {
    let args = std::iter::once(&"load").chain(args);
    let command = Program::try_parse_from(args).unwrap().command;
    let mut out = Vec::new();
    let exit = run_until(command, defaults, &mut out, interrupt).await?;
    Ok((exit, serde_json::from_slice(&out).unwrap()))
}

async fn load(args: &[&str], defaults: Defaults) -> Result<(Exit, Value), Error> {
    load_until(args, defaults, std::future::pending()).await
}

/// A scenario file that lives as long as the directory.
fn scenario(dir: &tempfile::TempDir, text: &str) -> String {
    let path: PathBuf = dir.path().join("test.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn echo_scenario(head: &str, rate: u32, duration: &str) -> String {
    format!(
        "summary = \"test\"\narrivals = \"constant\"\n{head}\n[[stages]]\nrate = {rate}\n\
         duration = \"{duration}\"\n[[requests]]\necho = {{}}\n"
    )
}

#[tokio::test]
async fn sends_what_the_plan_says_and_passes() {
    let server = Server::start(false, |_| Answer::ok()).await;
    let args = ["quick", "--rate", "200", "--duration", "1s", "--seed", "4"];
    let (exit, report) = load(&args, defaults(&server.url)).await.unwrap();
    assert_eq!(exit, Exit::Passed, "{report:#}");
    let counts = &report["counts"];
    let all = counts["ok"].as_u64().unwrap() + counts["warmup"].as_u64().unwrap();
    assert_eq!(all, server.posts());
    assert!((120..280).contains(&all), "{all}");
    assert_eq!(report["settings"]["seed"], 4);
    let id = report["slowest"][0]["request_id"].as_str().unwrap();
    assert!(id.starts_with("r-"), "{id}");
}

#[tokio::test]
async fn a_stall_shows_in_full_because_latency_counts_from_the_intended_start() {
    // The 50th post freezes everything for 600 ms. A closed loop would see one slow request.
    let stall = |asked: &Asked| Answer {
        after: match asked.post {
            Some(50) => Duration::from_millis(600),
            _ => Duration::ZERO,
        },
        ..Answer::ok()
    };
    let server = Server::start(true, stall).await;
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(&dir, &echo_scenario("", 100, "2s"));
    let (_, report) = load(&["run", &file], defaults(&server.url)).await.unwrap();
    assert_eq!(report["counts"]["finished"], 200);
    assert_eq!(report["counts"]["dropped"], 0);
    let histogram = report["latency_ms"]["histogram"].as_array().unwrap();
    let slow: u64 = histogram
        .iter()
        .filter(|step| step[0].as_f64().unwrap() > 110.0)
        .map(|step| step[1].as_u64().unwrap())
        .sum();
    // Requests due in the first 500 ms of the stall wait more than 100 ms: about 50 of them.
    assert!((40..=65).contains(&slow), "{slow}: {histogram:?}");
}

#[tokio::test]
async fn what_does_not_fit_in_flight_is_dropped_and_counted() {
    let slow = |_: &Asked| Answer {
        after: Duration::from_millis(200),
        ..Answer::ok()
    };
    let server = Server::start(false, slow).await;
    let dir = tempfile::tempdir().unwrap();
    let head = "max_in_flight = 5\nthresholds = [\"dropped==0\"]";
    let file = scenario(&dir, &echo_scenario(head, 100, "1s"));
    let (exit, report) = load(&["run", &file], defaults(&server.url)).await.unwrap();
    assert_eq!(exit, Exit::ThresholdMissed);
    let count = |key: &str| report["counts"][key].as_u64().unwrap();
    assert_eq!(count("due"), 100);
    assert_eq!(count("dropped") + count("finished"), 100);
    assert!((10..=35).contains(&count("finished")), "{report:#}");
    assert_eq!(count("finished"), server.posts());
    assert!(
        report["notes"]
            .to_string()
            .contains("were due and not sent")
    );
}

#[tokio::test]
async fn missed_thresholds_exit_99_and_say_what_was_observed() {
    let problem = r#"{"status":503,"code":"overloaded"}"#;
    let answers = move |asked: &Asked| match asked.post {
        Some(n) if n % 2 == 0 => Answer::with(503, problem),
        _ => Answer::ok(),
    };
    let server = Server::start(false, answers).await;
    let dir = tempfile::tempdir().unwrap();
    let head = "thresholds = [\"failed_rate<0.001\", \"error_rate==0\", \"p(99)<5000\"]";
    let file = scenario(&dir, &echo_scenario(head, 100, "1s"));
    let (exit, report) = load(&["run", &file], defaults(&server.url)).await.unwrap();
    assert_eq!((exit, exit.code()), (Exit::ThresholdMissed, 99));
    let passed: Vec<_> = report["thresholds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["passed"])
        .collect();
    assert_eq!(passed, [false, true, true]);
    assert_eq!(report["thresholds"][0]["observed"], 0.5);
    let outcomes = report["outcomes"].as_array().unwrap();
    assert!(
        outcomes
            .iter()
            .any(|o| o["status"] == 503 && o["code"] == "overloaded")
    );
}

#[tokio::test]
async fn requests_that_take_too_long_count_as_timeouts() {
    let never = |asked: &Asked| Answer {
        after: Duration::from_secs(if asked.post.is_some() { 60 } else { 0 }),
        ..Answer::ok()
    };
    let server = Server::start(false, never).await;
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(&dir, &echo_scenario("timeout = \"100ms\"", 50, "400ms"));
    let (_, report) = load(&["run", &file], defaults(&server.url)).await.unwrap();
    assert_eq!(report["counts"]["errors"], 20, "{report:#}");
    assert_eq!(report["outcomes"][0]["code"], "timeout");
    assert_eq!(report["rates"]["failed"], 1.0);
}

#[tokio::test]
async fn an_interrupt_gives_a_partial_report_and_exit_105() {
    let server = Server::start(false, |_| Answer::ok()).await;
    let interrupt = async {
        while server.posts() < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let args = ["quick", "--rate", "100", "--duration", "10m"];
    let loaded = load_until(&args, defaults(&server.url), interrupt).await;
    let (exit, report) = loaded.unwrap();
    assert_eq!((exit, exit.code()), (Exit::Interrupted, 105));
    assert_eq!(report["interrupted"], true);
    assert!(report["lasted_s"].as_f64().unwrap() < 30.0);
}

#[tokio::test]
async fn nothing_listening_is_a_failure_that_says_so() {
    let error = load(&["quick"], defaults("http://127.0.0.1:1"))
        .await
        .unwrap_err();
    assert_eq!(error.exit().code(), 1);
    assert!(
        error.to_string().contains("is `tidepool` running"),
        "{error}"
    );
}

#[tokio::test]
async fn bad_scenarios_exit_104() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(&dir, "summary = 5");
    let trace = dir.path().join("trace.csv");
    std::fs::write(&trace, "timestamp_s,requests\n0,1\n60,x\n").unwrap();
    let trace = trace.to_str().unwrap();
    for args in [
        ["run", &file],
        ["run", "no-such-scenario"],
        ["replay", trace],
    ] {
        let error = load(&args, defaults("http://127.0.0.1:1"))
            .await
            .unwrap_err();
        assert_eq!(error.exit().code(), 104, "{error}");
    }
}

#[tokio::test]
async fn a_replay_follows_the_trace() {
    let server = Server::start(false, |_| Answer::ok()).await;
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.csv");
    std::fs::write(&trace, "timestamp_s,requests\n0,1\n60,3\n120,100\n").unwrap();
    let report_file = dir.path().join("report.json");
    let args = [
        "replay",
        trace.to_str().unwrap(),
        "--speed",
        "60",
        "--mean-rate",
        "100",
        "--duration",
        "2s",
        "--report",
        report_file.to_str().unwrap(),
    ];
    let (exit, report) = load(&args, defaults(&server.url)).await.unwrap();
    assert_eq!(exit, Exit::Passed);
    let seconds = report["timeline"].as_array().unwrap();
    let planned: Vec<_> = seconds
        .iter()
        .map(|s| s["planned_per_s"].as_f64().unwrap().round())
        .collect();
    assert_eq!(planned, [50.0, 150.0]);
    let posts = server.posts();
    assert!((130..270).contains(&posts), "{posts}");
    let written: Value = serde_json::from_slice(&std::fs::read(report_file).unwrap()).unwrap();
    assert_eq!(written, report);
}

#[tokio::test]
async fn tokens_go_to_their_own_api_and_never_into_the_report() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_there = Arc::clone(&seen);
    let server = Server::start(false, move |asked| {
        let head = asked.head.to_ascii_lowercase();
        seen_there.lock().unwrap().push((asked.path.clone(), head));
        Answer::ok()
    })
    .await;
    let defaults = Defaults {
        operator_url: Some(server.url.clone()),
        api_token: Some("a-secret".to_owned()),
        operator_token: Some("o-secret".to_owned()),
        ..defaults(&server.url)
    };
    let args = ["quick", "--rate", "20", "--duration", "500ms"];
    let (_, report) = load(&args, defaults).await.unwrap();
    for (path, head) in seen.lock().unwrap().iter() {
        let is_operator = path.starts_with("/v1/pools") || path.starts_with("/v1/events");
        assert_eq!(head.contains("bearer o-secret"), is_operator, "{path}");
        assert_eq!(
            head.contains("bearer a-secret"),
            path.starts_with("/v1/invoke"),
            "{path}"
        );
    }
    assert!(!report.to_string().contains("-secret"));
}

#[tokio::test]
async fn the_pool_is_watched_and_its_decisions_are_told() {
    let looks = Arc::new(AtomicU64::new(0));
    let operator = Server::start(false, move |asked| {
        if asked.path == "/v1/pools/echo" {
            let ready = if looks.fetch_add(1, Ordering::SeqCst) == 0 {
                1
            } else {
                3
            };
            let pool = json!({ "pool": "echo", "ready": ready, "starting": 0, "draining": 0,
                "target": 3, "min": 1, "max": 8, "score": 0.5 });
            Answer::with(200, &pool.to_string())
        } else {
            Answer::with(200, &events(&asked.path).to_string())
        }
    })
    .await;
    let server = Server::start(false, |_| Answer::ok()).await;
    let defaults = Defaults {
        operator_url: Some(operator.url.clone()),
        ..defaults(&server.url)
    };
    let dir = tempfile::tempdir().unwrap();
    let head = "thresholds = [\"ready_max>=3\", \"flaps==0\", \"time_to_capacity_s<2\"]";
    let file = scenario(&dir, &echo_scenario(head, 20, "1500ms"));
    let (exit, report) = load(&["run", &file], defaults).await.unwrap();
    assert_eq!(exit, Exit::Passed, "{report:#}");
    let scaling = &report["scaling"];
    assert_eq!(
        (&scaling["ready_start"], &scaling["ready_end"]),
        (&json!(1), &json!(3))
    );
    let decisions = scaling["decisions"].as_array().unwrap();
    assert_eq!(
        decisions.len(),
        1,
        "told once, however often it is asked: {decisions:?}"
    );
    assert_eq!(decisions[0]["sentence"], "slots ask for 3 workers");
}

/// One decision just after the start of the run, and some events that do not matter.
fn events(path: &str) -> Value {
    let since = path.split("since=").nth(1).unwrap_or_default();
    let since_ms: u64 = since
        .split('-')
        .next()
        .unwrap_or_default()
        .parse()
        .unwrap_or_default();
    let event = |kind: &str, seq: u64, data: Value| {
        json!({ "specversion": "1.0", "id": format!("{since_ms}-{seq}"), "source": "/t",
            "type": format!("io.tidepool.{kind}"), "data": data })
    };
    if since.contains("-0") {
        let data = json!({ "from": 1, "to": 3, "sentence": "slots ask for 3 workers" });
        json!([
            event("worker.ready", 1, json!({})),
            event("scaling.decided", 2, data)
        ])
    } else {
        json!([])
    }
}

#[tokio::test]
async fn a_silent_operator_api_does_not_disturb_the_load() {
    let server = Server::start(false, |_| Answer::ok()).await;
    let defaults = Defaults {
        operator_url: Some("http://127.0.0.1:1".to_owned()),
        ..defaults(&server.url)
    };
    let args = ["quick", "--rate", "50", "--duration", "500ms"];
    let (exit, report) = load(&args, defaults).await.unwrap();
    assert_eq!(exit, Exit::Passed);
    assert_eq!(report["scaling"], Value::Null);
    assert!(
        report["notes"].to_string().contains("operator API"),
        "{report:#}"
    );
}

#[tokio::test]
async fn memory_that_a_run_stored_is_forgotten_at_its_end() {
    let forgotten = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&forgotten);
    let server = Server::start(false, move |asked| {
        if asked.body.contains(r#""op":"forget""#) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Answer::ok()
    })
    .await;
    let args = [
        "quick",
        "--kind",
        "memory",
        "--rate",
        "50",
        "--duration",
        "300ms",
    ];
    load(&args, defaults(&server.url)).await.unwrap();
    assert_eq!(forgotten.load(Ordering::SeqCst), 4);
}
