//! The load generator of the program, against the program.

use serde_json::Value;

use crate::process::Start;

#[tokio::test]
async fn a_quick_load_is_reported_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    let quick = ["load", "quick", "--duration", "3s", "--rate", "50"];
    let run = process.cli(&quick);
    let json = process.cli(&[
        "load",
        "quick",
        "--duration",
        "1s",
        "--rate",
        "20",
        "-o",
        "json",
    ]);
    let impossible = [
        &quick[..2],
        &["--duration", "1s", "--threshold", "p(50)<0.000001"],
    ]
    .concat();
    let missed = process.cli(&impossible);
    let (run, json, missed) = tokio::join!(run, json, missed);

    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let text = String::from_utf8(run.stdout).unwrap();
    for part in ["latency (intended)", "pool echo", "✓ failed_rate==0"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert_eq!(json.status.code(), Some(0), "{json:?}");
    let report: Value = serde_json::from_slice(&json.stdout).expect("one document");
    assert!(report.is_object(), "{report}");
    assert_eq!(missed.status.code(), Some(99), "{missed:?}");
    process.stop().await;
}
