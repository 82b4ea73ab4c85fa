//! Commands as people and scripts run them: output, advice, exit codes.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use crate::stand_in::{StandIn, events, json};

const POOLS: &str = r#"[{"pool":"echo","kinds":["echo"],"policy":"tidepool","ready":2,"starting":0,
    "draining":0,"target":2,"min":1,"max":8,"score":0.5,"signals":{},"paused":false,
    "cooldown_until":null,"queued":0,"busy_slots":1,"slots":16,"metrics_age_s":0.4}]"#;

/// The program with a clean environment, in an empty folder.
fn tidepool(folder: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepool"));
    command
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("TZ", "UTC");
    command
}

fn run(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    tidepool(&folder, args).output().expect("the program runs")
}

fn call(server: &StandIn, args: &[&str]) -> Output {
    run(&[args, &["--operator-addr", &server.address]].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn event(id: u64, sentence: &str) -> String {
    let event = serde_json::json!({
        "specversion": "1.0", "id": format!("{id}-0"), "source": "/tidepool/local",
        "type": "io.tidepool.scaling.decided", "time": "2026-11-20T20:31:05Z", "subject": "echo",
        "datacontenttype": "application/json", "data": { "sentence": sentence },
    });
    format!("id: {id}-0\ndata: {event}\n\n")
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    assert_eq!(run(&["--nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["events", "--since", "x"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn bad_configuration_ends_with_78_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("tidepool.toml"),
        "[http]\napi_adr = 'x'\n",
    )
    .unwrap();
    for args in [&[][..], &["serve"], &["config", "check"], &["pools"]] {
        let output = tidepool(&folder, args).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        assert!(text(&output.stderr).contains("tidepool.toml:2): there is no such key"));
        assert!(output.stdout.is_empty());
    }
    let output = tidepool(&folder, &["config", "check", "-o", "json"])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["faults"][0]["key"], "http.api_adr");
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_good_file_is_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.toml"), "pools.echo.max = 3\n").unwrap();
    let check = tidepool(&folder, &["config", "check", "other.toml"])
        .output()
        .unwrap();
    assert_eq!(text(&check.stdout), "other.toml: ok (4 pools)\n");
    let show = tidepool(
        &folder,
        &["config", "show", "-o", "json", "-c", "other.toml"],
    )
    .output()
    .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(shown["pools"]["echo"]["max"], 3);
    assert_eq!(shown["sources"]["pools.echo.max"], "other.toml:1");
    let schema = tidepool(&folder, &["config", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(
        schema["properties"]["http"]["properties"]["api_addr"]["default"],
        "127.0.0.1:8700"
    );
}

#[test]
fn pools_are_a_table_or_json() {
    let server = StandIn::answering(vec![json("200 OK", POOLS), json("200 OK", POOLS)]);
    let table = text(&call(&server, &["pools"]).stdout);
    assert_eq!(
        table,
        "POOL  POLICY    READY  STARTING  DRAINING  TARGET  MIN  MAX  SCORE  QUEUED  BUSY  SLOTS  NOTES\n\
         echo  tidepool      2         0         0       2    1    8   0.50       0     1     16\n"
    );
    let lines = text(&call(&server, &["pools", "-o", "jsonl"]).stdout);
    assert_eq!(lines.lines().count(), 1);
    assert!(server.heads()[0].starts_with("get /v1/pools http/1.1"));
}

#[test]
fn the_token_is_sent_and_a_missing_one_is_explained() {
    let refusal = json("401 Unauthorized", r#"{"title":"no"}"#);
    let server = StandIn::answering(vec![refusal, json("200 OK", "[]")]);
    let output = call(&server, &["workers"]);
    assert_eq!(output.status.code(), Some(1));
    let advice = text(&output.stderr);
    assert!(advice.contains("TIDEPOOL_HTTP__OPERATOR_TOKEN"), "{advice}");
    let folder = tempfile::tempdir().unwrap();
    let args = ["workers", "--operator-addr", &server.address];
    let mut command = tidepool(&folder, &args);
    let output = command
        .env("TIDEPOOL_HTTP__OPERATOR_TOKEN", "s3cr3t")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(server.heads()[1].contains("authorization: bearer s3cr3t"));
}

#[test]
fn a_closed_port_is_explained() {
    let closed = StandIn::answering(vec![]);
    // The port is free again once the stand-in has nothing left to answer.
    let output = loop {
        let output = call(&closed, &["pools"]);
        if text(&output.stderr).contains("nothing listens") {
            break output;
        }
    };
    assert_eq!(output.status.code(), Some(1));
    let advice = text(&output.stderr);
    assert!(advice.contains(&closed.address) && advice.contains("start it with `tidepool`"));
}

#[test]
fn problems_are_told_in_their_own_words() {
    let problem = r#"{"title":"Not Found","detail":"there is no worker 'echo/9'"}"#;
    let server = StandIn::answering(vec![
        json("404 Not Found", problem),
        json("404 Not Found", r#"{"detail":"there is no node 'echo/9'"}"#),
        json("200 OK", "<html>"),
        json("503 Service Unavailable", r#"{"detail":"draining"}"#),
        json("200 OK", "ok"),
    ]);
    let output = call(&server, &["drain", "echo/9"]);
    assert!(
        text(&output.stderr)
            .contains("there is no worker 'echo/9', and no node of that name (HTTP 404")
    );
    assert!(server.heads()[0].starts_with("post /v1/workers/echo%2f9/drain"));
    assert!(server.heads()[1].starts_with("post /v1/nodes/echo%2f9/drain"));
    let output = call(&server, &["explain"]);
    assert!(text(&output.stderr).contains("not as tidepool does"));
    let output = call(&server, &["health"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not ready: draining"));
    assert_eq!(call(&server, &["health"]).status.code(), Some(0));
}

#[test]
fn a_broken_event_stream_is_resumed_where_it_broke() {
    let first = format!(
        ": hello\n\n{}{}id: 3-0\nda",
        event(1, "Up to 2."),
        event(2, "Up to 3.")
    );
    let server = StandIn::answering(vec![events(&first), events(&event(3, "Down to 2."))]);
    let output = call(&server, &["events", "-f", "--limit", "3", "--pool", "echo"]);
    assert!(output.status.success(), "{output:?}");
    let told = text(&output.stdout);
    let sentences: Vec<_> = told
        .lines()
        .map(|line| line.rsplit("  ").next().unwrap())
        .collect();
    assert_eq!(sentences, ["Up to 2.", "Up to 3.", "Down to 2."]);
    assert!(
        told.starts_with("2026-11-20 20:31:05  scaling.decided"),
        "{told}"
    );
    assert!(text(&output.stderr).contains("trying to get back"));
    let heads = server.heads();
    assert!(heads[0].contains("pool=echo") && !heads[0].contains("last-event-id"));
    assert!(heads[1].contains("last-event-id: 2-0"), "{}", heads[1]);
}

#[test]
fn past_events_are_listed() {
    let batch = event(1, "Up to 2.")
        .replace("id: 1-0\ndata: ", "")
        .trim()
        .to_owned();
    let server = StandIn::answering(vec![json("200 OK", &format!("[{batch}]"))]);
    let output = call(
        &server,
        &[
            "events",
            "--type",
            "scaling.decided",
            "--since",
            "0-7",
            "-o",
            "jsonl",
        ],
    );
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(server.heads()[0].starts_with("get /v1/events?type=scaling.decided&since=0-7 "));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = tidepool(&folder, &["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaints)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), complaints.as_str()),
        (Some(0), "")
    );
}
