//! The short version of the fault suite: one bad day in small. `tidepool-chaos run all` is the long one.

use std::path::PathBuf;

use tidepool_chaos::check::Demands;
use tidepool_chaos::run::{Options, Outcome, run};
use tidepool_chaos::scenario::{self, Scenario};

/// The same each time; what happens when is up to the machine.
const SEED: u64 = 7;
/// Three deaths of nodes, a frozen leader, a restart of Redis.
const SECONDS: u64 = 26;

#[tokio::test]
async fn nodes_die_the_leader_freezes_and_redis_restarts_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let storm = scenario::find("storm").expect("it is in the table");
    // How soon is for the long version, on a machine that has nothing else to do; that it happens at all
    // is for this one.
    let storm = Scenario {
        demands: Demands {
            takeover_ms: Some(20_000),
            note_fails_within_ms: Some(5_000),
            ..storm.demands
        },
        ..storm
    };
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_tidepool")),
        from: None,
        seconds: Some(SECONDS),
        seed: SEED,
        rate_per_s: Some(100.0),
        history: folder.path().join("storm.jsonl"),
        plant: None,
        keep: false,
    };
    match run(&storm, &options).await.expect("the run is made") {
        Outcome::Judged(verdict) => assert!(verdict.is_pass(), "{:#?}", verdict.findings),
        Outcome::Skipped(why) => panic!("nothing was shown: {why}"),
    }
}
