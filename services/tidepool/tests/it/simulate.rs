//! `tidepool simulate` as a user meets it: the contract's document, the same bytes again, the page, and
//! what is said of input that makes no sense.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two days of five-minute bins: a swell each day, and a jump in the second.
fn trace(folder: &Path) -> PathBuf {
    let mut text = "timestamp_s,requests\n".to_owned();
    for bin in 0..2 * 288 {
        let day = f64::from(bin % 288) / 288.0;
        let swell = 300.0 * (1.0 - (std::f64::consts::TAU * day).cos());
        let jump = if (400..420).contains(&bin) {
            900.0
        } else {
            0.0
        };
        text += &format!("{},{:.0}\n", 300 * bin, 60.0 + swell + jump);
    }
    let file = folder.join("trace.csv");
    std::fs::write(&file, text).expect("a file");
    file
}

fn simulate(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepool"));
    command.arg("simulate").args(args).current_dir(folder);
    command.env_clear().output().expect("the program runs")
}

const SMALL: [&str; 8] = [
    "--train",
    "12h",
    "--days",
    "0.5",
    "--mean-workers",
    "2",
    "-o",
    "json",
];

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_document_is_that_of_the_contract_and_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = trace(folder.path());
    let file = file.to_str().unwrap();
    let policies = "tidepool,threshold,hpa,kpa,ray,static,clairvoyant";
    let args = [&["--trace", file, "--policy", policies][..], &SMALL].concat();
    let first = simulate(
        folder.path(),
        &[&args[..], &["--html", "page.html"]].concat(),
    );
    assert_eq!(first.status.code(), Some(0), "{}", told(&first));
    let page = std::fs::read(folder.path().join("page.html")).unwrap();
    let again = simulate(
        folder.path(),
        &[&args[..], &["--html", "page.html", "--threads", "1"]].concat(),
    );
    assert_eq!(first.stdout, again.stdout);
    assert!(page == std::fs::read(folder.path().join("page.html")).unwrap());

    let document: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert!(document["trace"].as_str().unwrap().ends_with("trace.csv"));
    assert_eq!(document["params"]["mean_workers"], 2.0);
    for policy in policies.split(',') {
        let figures = &document["policies"][policy];
        for name in ["late_pct", "cost_ratio", "worker_hours"] {
            assert!(figures[name].is_number(), "{policy} {name}: {figures}");
        }
        if policy != "clairvoyant" {
            for name in [
                "starts_per_day",
                "reversals_per_day",
                "p99_wait_s",
                "worst_hour_late_pct",
            ] {
                assert!(figures[name].is_number(), "{policy} {name}: {figures}");
            }
            assert!(
                figures["cost_ratio"].as_f64().unwrap() > 1.0,
                "{policy}: {figures}"
            );
        }
    }
    let page = String::from_utf8(page).unwrap();
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it is offline"
    );
    assert!(page.contains("tidepool") && page.contains("kpa"));
}

#[test]
fn a_bad_trace_and_impossible_parameters_are_told_at_once_by_line_and_flag() {
    let folder = tempfile::tempdir().unwrap();
    let good = trace(folder.path());
    let good = good.to_str().unwrap();
    std::fs::write(
        folder.path().join("gap.csv"),
        "timestamp_s,requests\n0,1\n60,2\n180,3\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("bytes.csv"),
        b"timestamp_s,requests\n0,1\n60,\xff\xfe\n",
    )
    .unwrap();
    for (code, args, part) in [
        (1, &["--trace", "gap.csv"][..], "line 4"),
        (1, &["--trace", "bytes.csv"], "line 3"),
        (1, &["--trace", "none.csv"], "none.csv"),
        (2, &["--trace", good, "--boot", "3h"], "--boot is 10800"),
        (
            2,
            &["--trace", good, "--service-cv", "9"],
            "--service-cv is 9",
        ),
        (2, &["--trace", good, "--zone", "Mars/Olympus"], "--zone"),
        (2, &["--trace", good, "--policy", "tidepol"], "tidepol"),
        (
            2,
            &["--trace", good, "--html", "nowhere/page.html"],
            "nowhere",
        ),
        (
            2,
            &[
                "--trace",
                good,
                "--mean-workers",
                "10000",
                "--slots",
                "10000",
                "--service-mean",
                "1ms",
            ],
            "requests/s",
        ),
        (2, &["--mean-workers", "2"], "--trace"),
    ] {
        let output = simulate(folder.path(), args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            told(&output)
        );
        assert!(told(&output).contains(part), "{args:?}: {}", told(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    let usage = told(&simulate(folder.path(), &["--trace", good, "--boot", "3h"]));
    assert!(usage.contains("Usage: tidepool simulate"), "{usage}");
}

#[test]
fn a_table_goes_on_where_it_was_and_takes_no_rows_of_other_settings() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("traces")).unwrap();
    trace(&folder.path().join("traces"));
    let table = |days: &str, policies: &str| {
        let shape = [
            "--boots", "30s", "--sizes", "2", "--train", "1d", "--days", days,
        ];
        let args = ["--table", "traces", "--out", "out", "--policy", policies];
        simulate(folder.path(), &[&args[..], &shape].concat())
    };
    let first = table("0.5", "tidepool,clairvoyant");
    assert_eq!(first.status.code(), Some(0), "{}", told(&first));
    let more = table("0.5", "hpa");
    assert_eq!(more.status.code(), Some(0), "{}", told(&more));
    let page = std::fs::read_to_string(folder.path().join("out/table.md")).unwrap();
    assert!(
        page.contains("| hpa | tidepool |"),
        "both are there: {page}"
    );
    let rows = std::fs::read_to_string(folder.path().join("out/cells.csv")).unwrap();
    assert_eq!(rows.lines().count(), 4, "{rows}");
    let other = table("1", "hpa");
    assert_eq!(other.status.code(), Some(1));
    assert!(told(&other).contains("another days"), "{}", told(&other));
}

#[test]
fn a_pool_may_sleep_and_somebody_then_waits_for_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("night.csv");
    let bins = (0..96).map(|bin| format!("{},{}\n", 900 * bin, if bin % 48 < 24 { 0 } else { 9 }));
    std::fs::write(
        &file,
        "timestamp_s,requests\n".to_owned() + &bins.collect::<String>(),
    )
    .unwrap();
    let run = |min: &str| {
        let small = [
            "--train",
            "0s",
            "--days",
            "1",
            "--mean-workers",
            "0.5",
            "--slots",
            "1",
        ];
        let pool = [
            "--trace",
            file.to_str().unwrap(),
            "--policy",
            "tidepool",
            "--min",
            min,
            "-o",
            "json",
        ];
        let output = simulate(folder.path(), &[&small[..], &pool].concat());
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let figures = &document["policies"]["tidepool"];
        (
            figures["worker_hours"].as_f64().unwrap(),
            figures["late_pct"].as_f64().unwrap(),
        )
    };
    let ((asleep_h, asleep_late), (awake_h, awake_late)) = (run("0"), run("1"));
    assert!(asleep_h < awake_h - 6.0, "{asleep_h} of {awake_h} h");
    assert!(asleep_late > awake_late, "{asleep_late} {awake_late}");
}
