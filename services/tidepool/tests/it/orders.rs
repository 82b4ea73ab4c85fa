//! Orders of operators and what the controller keeps, from the command line to the next process.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidepool_store::{EmbeddedStore, Kv, wait};

use crate::process::{Start, Tidepool, eventually};

/// Longest wait for what happens within a second or two.
const SOON: Duration = Duration::from_secs(20);

async fn target(process: &Tidepool, wanted: u64) {
    eventually("the target", SOON, async || {
        let pool = process.look("/v1/pools/echo").await;
        (pool["target"] == wanted).then_some(())
    })
    .await;
}

async fn event(process: &Tidepool, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually("an event", SOON, async || {
        let events = process.events().await;
        events.into_iter().rev().find(|event| is_it(event))
    })
    .await
}

async fn ordered(process: &Tidepool, args: &[&str]) -> String {
    let output = process.cli(args).await;
    assert!(output.status.success(), "{args:?} {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn a_pin_is_obeyed_told_and_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    target(&process, 1).await;
    let args = ["pin", "echo", "3", "--for", "1h", "--reason", "load test"];
    let told = ordered(&process, &args).await;
    assert!(told.starts_with("echo is pinned to 3 until"), "{told}");
    target(&process, 3).await;
    let applied = event(&process, |event| {
        event["type"] == "io.tidepool.config.applied"
    })
    .await;
    assert_eq!(applied["data"]["new"]["pin"], 3, "{applied}");
    assert_eq!(applied["data"]["old"]["pin"], Value::Null);
    assert_eq!(applied["data"]["reason"], "load test");
    assert!(
        applied["data"]["by"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1")
    );
    process.kill().await;

    let process = Start::at(folder.path()).run().await;
    target(&process, 3).await;
    let pool = process.look("/v1/pools/echo").await;
    assert_eq!(
        (&pool["pinned"], &pool["reason"]),
        (&json!(3), &json!("load test"))
    );
    let explained = process.look("/v1/pools/echo/explain").await;
    let sentence = explained["sentence"].as_str().unwrap();
    assert!(sentence.contains("pinned it to 3"), "{sentence}");
    let told = ordered(&process, &["resume", "echo"]).await;
    assert!(told.contains("scales by itself"), "{told}");
    let pool = process.look("/v1/pools/echo").await;
    assert_eq!(pool["pinned"], Value::Null);
}

#[tokio::test]
async fn a_pause_ends_by_itself_and_bounds_can_be_moved() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    target(&process, 1).await;
    ordered(&process, &["pause", "echo", "--for", "5s"]).await;
    // More than its one worker has places for: without the pause there would be two.
    let ask = json!({ "sleep_ms": 300 });
    let asked = (0..40).map(|_| process.ask("echo", &ask));
    futures_util::future::join_all(asked).await;
    let is_held = |event: &Value| {
        event["type"] == "io.tidepool.scaling.suppressed" && event["data"]["blocked_by"] == "paused"
    };
    let held = event(&process, is_held).await;
    assert_eq!(held["data"]["to"], 1, "{held}");
    let is_end = |event: &Value| event["data"]["reason"] == "the pause ended";
    let ended = event(&process, is_end).await;
    assert_eq!(ended["data"]["by"], "the clock");
    assert_eq!(ended["data"]["new"]["paused"], false);
    // Raised bounds are obeyed at once, and go back to what was configured.
    ordered(&process, &["bounds", "echo", "--min", "2"]).await;
    target(&process, 2).await;
    ordered(&process, &["bounds", "echo", "--reset"]).await;
    assert_eq!(process.look("/v1/pools/echo").await["min"], 1);
    for bad in [
        &["pause", "echo", "--for", "8d"][..],
        &["pin", "echo", "99"],
        &["bounds", "echo", "--min", "9"],
        &["pause", "nobody"],
    ] {
        let output = process.cli(bad).await;
        assert_eq!(output.status.code(), Some(1), "{bad:?}");
    }
}

fn kept<T>(folder: &Path, look: impl FnOnce(&EmbeddedStore) -> T) -> T {
    let store = EmbeddedStore::open(folder.join("data")).expect("the store of a stopped process");
    let seen = look(&store);
    store.close();
    seen
}

#[tokio::test]
async fn what_was_learned_is_kept_and_what_is_damaged_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path()).run().await;
    target(&process, 1).await;
    process.stop().await;
    let path = folder.path().to_owned();
    let learned = ["memory", "pattern", "challenger"];
    let keys = learned.map(|what| format!("controller/{what}/echo"));
    let damaged = tokio::task::spawn_blocking(move || {
        kept(&path, |store| {
            for key in keys {
                assert!(wait(store.get(&key)).unwrap().is_some(), "{key} is kept");
                wait(store.put(&key, Bytes::from_static(b"nonsense"), None)).unwrap();
            }
        });
    });
    damaged.await.unwrap();

    let process = Start::at(folder.path()).run().await;
    target(&process, 1).await;
    for what in learned {
        let is_it = |event: &Value| {
            event["type"] == "io.tidepool.config.rejected" && event["data"]["what"] == what
        };
        let rejected = event(&process, is_it).await;
        assert_eq!(rejected["subject"], "echo");
    }
    process.stop().await;
    let path = folder.path().to_owned();
    let aside = tokio::task::spawn_blocking(move || {
        kept(&path, |store| {
            wait(store.get("controller/set_aside/memory/echo"))
        })
    });
    let aside = aside
        .await
        .unwrap()
        .unwrap()
        .expect("set aside, not deleted");
    assert_eq!(&aside.bytes[..], b"nonsense");
}

#[tokio::test]
async fn a_live_log_replays_to_the_same_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path())
        .set("TIDEPOOL_POOLS__ECHO__SHADOW", "threshold")
        .run()
        .await;
    target(&process, 1).await;
    ordered(&process, &["pin", "echo", "4", "--for", "3s"]).await;
    target(&process, 4).await;
    let ask = json!({ "sleep_ms": 300 });
    let asked = (0..40).map(|_| process.ask("echo", &ask));
    futures_util::future::join_all(asked).await;
    let pool = process.look("/v1/pools/echo").await;
    assert_eq!(pool["shadows"][0]["policy"], "threshold", "{pool}");
    event(&process, |event| event["data"]["reason"] == "the pin ended").await;
    process.stop().await;

    let decisions = folder.path().join("data/decisions");
    let replay = || {
        let mut command = crate::process::command(folder.path());
        command
            .args(["replay", "-o", "json", "--from"])
            .arg(&decisions);
        command
    };
    let output = replay().output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    assert_eq!(report["identical"], true);
    let echo = &report["pools"]["echo"];
    assert!(echo["decisions"].as_u64() >= Some(5), "{report}");
    assert!(echo["changes"].as_u64() >= Some(1), "{report}");
    assert_eq!(echo["skipped"], 0);
    let other = replay().args(["--pool", "grammar"]).output().await.unwrap();
    let report: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert!(report["pools"]["echo"].is_null(), "{report}");
    assert!(report["pools"]["grammar"]["decisions"].as_u64() >= Some(1));
    let nobody = replay().args(["--pool", "nosuch"]).output().await.unwrap();
    let told = String::from_utf8(nobody.stderr).unwrap();
    assert_eq!(nobody.status.code(), Some(1), "{told}");
    assert!(told.contains("there is no pool 'nosuch'"), "{told}");
    assert!(told.contains("there are echo, grammar, memory"), "{told}");
    assert!(nobody.stdout.is_empty(), "nothing is called identical");
}

#[tokio::test]
async fn the_pattern_is_shown_exported_and_imported() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path())
        .set("TIDEPOOL_CONTROLLER__TIME_ZONE", "Europe/Berlin")
        .run()
        .await;
    target(&process, 1).await;
    let pattern = process.look("/v1/pools/echo/pattern").await;
    assert_eq!(pattern["time_zone"], "Europe/Berlin");
    assert_eq!(pattern["hours"].as_array().map(Vec::len), Some(168));
    let forecast = process.look("/v1/pools/echo/forecast").await;
    assert_eq!(forecast["believed"], false, "nothing is known yet");
    ordered(&process, &["pattern", "echo", "--export", "echo.json"]).await;
    let file = folder.path().join("echo.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    document["week"][50] = json!({ "rate": 7.0, "weight": 3.0 });
    std::fs::write(&file, document.to_string()).unwrap();
    ordered(&process, &["pattern", "echo", "--import", "echo.json"]).await;
    let pattern = process.look("/v1/pools/echo/pattern").await;
    let rate = pattern["hours"][50]["median_rate"].as_f64().unwrap();
    assert!((6.0..8.0).contains(&rate), "{rate}");
    let is_import =
        |event: &Value| event["type"] == "io.tidepool.config.applied" && event["subject"] == "echo";
    let applied = event(&process, is_import).await;
    let sentence = applied["data"]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("learned hours imported by"),
        "{sentence}"
    );
    assert_eq!(applied["data"]["pool"], "echo");
    assert!(
        applied["data"]["by"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1")
    );
    // Nothing was seen that a challenger could be fitted to.
    let fitted = &pattern["challenger"];
    assert_eq!(*fitted, json!({ "fitted_at": null, "problem": null }));
    assert_eq!(pattern["contest"][0]["judged"], 0);
    document["week"][50]["rate"] = json!(-7.0);
    std::fs::write(&file, document.to_string()).unwrap();
    let refused = process
        .cli(&["pattern", "echo", "--import", "echo.json"])
        .await;
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(told.contains("week[50]"), "{told}");
    let series = eventually("a point", SOON, async || {
        let series = process
            .look("/v1/series?name=target&pool=echo&since=1h")
            .await;
        let points = series["series"][0]["points"].as_array()?.len();
        (points > 0).then_some(series)
    })
    .await;
    assert_eq!(series["series"][0]["points"][0][1], 1.0, "{series}");
}
