//! A pool that may sleep learns a day and is awake before the next morning's first request.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::process::{Start, Tidepool, eventually};

/// Seconds of pattern time in a second: a day takes forty seconds.
const SPEED: u32 = 2_160;
const DAY: Duration = Duration::from_secs(40);
/// When the load of the first day begins and ends: about half past eight and eleven.
const OPENS: Duration = Duration::from_millis(14_200);
const CLOSES: Duration = Duration::from_millis(18_300);
/// Pause between two requests of the one client.
const BETWEEN: Duration = Duration::from_millis(100);
/// A machine that builds at the same time is slow.
const SLACK: Duration = Duration::from_secs(10);

async fn decisions(process: &Tidepool) -> Vec<Value> {
    let route = "/v1/events?type=io.tidepool.scaling.decided&pool=echo&limit=1000";
    let events = process.look(route).await;
    let events = events.as_array().expect("a batch").iter();
    events.map(|event| event["data"].clone()).collect()
}

fn wakes(decision: &Value) -> bool {
    decision["from"] == 0 && decision["to"] != 0
}

/// One client for as long as the first day's load lasts.
async fn live_through_the_day(process: &Tidepool, began: Instant) {
    sleep_until(began + OPENS).await;
    while began.elapsed() < CLOSES {
        process.ask("echo", &json!({ "text": "good day" })).await;
        tokio::time::sleep(BETWEEN).await;
    }
}

#[tokio::test]
async fn the_second_morning_finds_a_worker_before_its_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let process = Start::at(folder.path())
        .set("TIDEPOOL_CONTROLLER__PATTERN_SPEED", SPEED)
        .set("TIDEPOOL_POOLS__ECHO__MIN", 0)
        .set("TIDEPOOL_POOLS__ECHO__COOLDOWN_S", 1)
        .run()
        .await;
    let began = Instant::now();
    live_through_the_day(&process, began).await;
    let first = decisions(&process).await;
    let woken = first.iter().find(|decision| wakes(decision));
    assert_eq!(
        woken.map(|decision| &decision["reason"]),
        Some(&json!("cold_start")),
        "nobody could know the first morning: {first:?}"
    );

    eventually("the pool sleeps at night", DAY, async || {
        let pool = process.look("/v1/pools/echo").await;
        (pool["target"] == 0 && pool["ready"] == 0).then_some(())
    })
    .await;
    let slept = began.elapsed();
    assert!(slept < DAY + OPENS, "it fell asleep too late: {slept:?}");

    // No request is sent: only the pattern can wake it.
    let morning = (DAY + CLOSES + SLACK).saturating_sub(slept);
    let woken = eventually("it wakes by itself", morning, async || {
        let decisions = decisions(&process).await;
        let last = decisions.last()?;
        wakes(last).then(|| last.clone())
    })
    .await;
    assert_eq!(woken["reason"], "learned_floor", "{woken}");
    eventually("a worker is there", SLACK, async || {
        let pool = process.look("/v1/pools/echo").await;
        (pool["ready"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    process
        .ask("echo", &json!({ "text": "good morning" }))
        .await;
    let pattern = process.look("/v1/pools/echo/pattern").await;
    let hours = pattern["hours"].as_array().expect("the hours of a week");
    let rate = |hour: usize| hours[hour]["median_rate"].as_f64().expect("a known hour");
    assert!(rate(10) > 1.0 && rate(3) < 0.1, "{hours:?}");
    process.stop().await;
}
