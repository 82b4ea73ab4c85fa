use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidepool_core::NodeId;
use tidepool_provisioner::{
    Desired, Limits, Outcome, ProcessConfig, Processes, ProvisionError, Provisioner,
};

use crate::ALWAYS;

/// Rounds until the world is as it should be, 20 ms each.
const ROUNDS: usize = 500;

fn config(cluster: &str, script: &str) -> ProcessConfig {
    ProcessConfig {
        cluster: format!("{cluster}-{}", std::process::id()),
        prefix: "node".to_owned(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: Box::new(|name| vec![("NODE".to_owned(), name.to_string())]),
        grace_ms: 300,
        limits: Limits::default(),
    }
}

const OBEDIENT: &str = "exec sleep 60";
const STUBBORN: &str = "trap '' TERM; sleep 60 & wait; wait; sleep 60";

fn desired(count: u32, drain: &[&str]) -> Desired {
    Desired {
        count,
        drain: drain
            .iter()
            .map(|name| NodeId::new(name).unwrap())
            .collect(),
    }
}

async fn names(processes: &Processes) -> BTreeSet<String> {
    let nodes = processes.observe().await.unwrap().nodes;
    nodes
        .into_iter()
        .map(|node| node.name.to_string())
        .collect()
}

async fn becomes(processes: &Processes, wish: &Desired, expected: &[&str]) {
    for _ in 0..ROUNDS {
        processes.set(wish, ALWAYS).await.unwrap();
        if names(processes).await == expected.iter().map(ToString::to_string).collect() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?} and not {expected:?}", names(processes).await);
}

#[tokio::test]
async fn processes_are_started_once_and_the_drained_one_ends() {
    let processes = Processes::new(config("once", OBEDIENT));
    becomes(
        &processes,
        &desired(3, &[]),
        &["node-0", "node-1", "node-2"],
    )
    .await;
    assert_eq!(
        processes.set(&desired(3, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    becomes(&processes, &desired(2, &["node-1"]), &["node-0", "node-2"]).await;
    becomes(&processes, &desired(0, &[]), &[]).await;
}

#[tokio::test]
async fn a_new_leader_adopts_what_an_old_one_started_and_can_end_it() {
    let old = Processes::new(config("adopt", OBEDIENT));
    becomes(&old, &desired(2, &[]), &["node-0", "node-1"]).await;
    // The old one is gone without a word; its processes are not.
    drop(old);
    let new = Processes::new(config("adopt", OBEDIENT));
    assert_eq!(
        new.set(&desired(2, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    let other = Processes::new(config("somebody-else", OBEDIENT));
    assert_eq!(other.observe().await.unwrap().existing, 0);
    becomes(&new, &desired(0, &[]), &[]).await;
}

#[tokio::test]
async fn a_node_in_the_middle_of_an_exec_is_not_started_twice() {
    // The shell makes place for itself over and over: most looks fall into one of its changes.
    let restless = "[ ${N:-0} -lt 300 ] && export N=$((${N:-0} + 1)) && exec /bin/sh -c \"$SCRIPT\"; exec sleep 60";
    let settings = |cluster| ProcessConfig {
        environment: Box::new(|_| vec![("SCRIPT".to_owned(), restless.to_owned())]),
        ..config(cluster, restless)
    };
    let old = Processes::new(settings("exec"));
    old.set(&desired(3, &[]), ALWAYS).await.unwrap();
    let new = Processes::new(settings("exec"));
    for _ in 0..40 {
        assert_eq!(new.observe().await.unwrap().existing, 3);
    }
    becomes(&new, &desired(0, &[]), &[]).await;
}

#[tokio::test]
async fn who_does_not_end_by_itself_is_ended_with_its_group() {
    let processes = Processes::new(config("stubborn", STUBBORN));
    becomes(&processes, &desired(1, &[]), &["node-0"]).await;
    becomes(&processes, &desired(0, &["node-0"]), &[]).await;
}

#[tokio::test]
async fn who_is_deposed_in_the_middle_of_a_call_starts_and_ends_nothing_more() {
    let processes = Processes::new(config("deposed", STUBBORN));
    let asked = AtomicU32::new(0);
    let once = || asked.fetch_add(1, Ordering::Relaxed) == 0;
    let error = processes.set(&desired(3, &[]), &once).await.unwrap_err();
    assert!(matches!(error, ProvisionError::Deposed), "{error}");
    assert_eq!(names(&processes).await, ["node-0".to_owned()].into());
    let drained = desired(0, &["node-0"]);
    for _ in 0..3 {
        let error = processes.set(&drained, &|| false).await.unwrap_err();
        assert!(matches!(error, ProvisionError::Deposed), "{error}");
    }
    let seen = processes.observe().await.unwrap();
    assert_eq!(seen.existing, 1, "it was not asked to end");
    processes.set(&drained, ALWAYS).await.unwrap();
    // It takes no notice; once its grace is over there is something to do again.
    let mut late = Ok(Outcome::Unchanged);
    for _ in 0..ROUNDS {
        late = processes.set(&drained, &|| false).await;
        if late.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(late, Err(ProvisionError::Deposed)), "{late:?}");
    assert_eq!(names(&processes).await, ["node-0".to_owned()].into());
    becomes(&processes, &drained, &[]).await;
}

#[tokio::test]
async fn a_node_that_ends_at_once_is_counted_and_the_next_waits() {
    let processes = Processes::new(config("crash", "exit 3"));
    let mut failed = 0;
    for _ in 0..ROUNDS {
        processes.set(&desired(1, &[]), ALWAYS).await.unwrap();
        failed = processes.observe().await.unwrap().failed_starts;
        if failed > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(failed > 0);
    // It waits now: told again at once, nothing is started.
    assert_eq!(
        processes.set(&desired(1, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let absent = ProcessConfig {
        program: "/nowhere/tidepool".into(),
        ..config("absent", OBEDIENT)
    };
    let error = Processes::new(absent)
        .set(&desired(1, &[]), ALWAYS)
        .await
        .unwrap_err();
    assert!(matches!(error, ProvisionError::Start { .. }), "{error}");
}

#[tokio::test]
async fn limits_hold_and_a_trial_starts_nothing() {
    let limited = Limits {
        nodes_max: 5,
        starts_per_minute: 2,
        dry_run: false,
    };
    let processes = Processes::new(ProcessConfig {
        limits: limited,
        ..config("limits", OBEDIENT)
    });
    let outcome = processes.set(&desired(9, &[]), ALWAYS).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Changed(plan) if plan.count == 2 && plan.wanted == 9),
        "{outcome:?}"
    );
    assert_eq!(
        processes.set(&desired(9, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    becomes(&processes, &desired(0, &[]), &[]).await;
    let trial = Limits {
        dry_run: true,
        ..Limits::default()
    };
    let processes = Processes::new(ProcessConfig {
        limits: trial,
        ..config("trial", OBEDIENT)
    });
    let outcome = processes.set(&desired(2, &[]), ALWAYS).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Would(plan) if plan.start.len() == 2),
        "{outcome:?}"
    );
    assert_eq!(processes.observe().await.unwrap().existing, 0);
}
