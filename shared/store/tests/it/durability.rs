//! An acknowledged write survives `kill -9`. A child process appends and says what was
//! acknowledged; it is killed in the middle of that, again and again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tidepool_store::{EmbeddedStore, Epoch, Log, Position, wait};

const DIRECTORY: &str = "TIDEPOOL_DURABILITY_TEST_DIRECTORY";
const ROUNDS: usize = 4;
const WRITERS: usize = 8;
/// Acknowledged appends before the child is killed.
const BEFORE_KILL: usize = 200;

#[test]
fn acknowledged_appends_survive_being_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durability::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            // The test harness of the child talks on the same pipe; a killed writer leaves half
            // a line.
            let Some((position, body)) = parse(&line) else {
                continue;
            };
            acknowledged.insert(position, body);
            seen += 1;
            if seen == BEFORE_KILL {
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert!(
            !status.success(),
            "round {round}: the child ended by itself"
        );
        assert!(seen >= BEFORE_KILL, "round {round}: {seen}");
        check(directory.path(), &acknowledged);
    }
}

fn parse(line: &str) -> Option<(Position, String)> {
    let rest = line.strip_prefix("ack ")?.strip_suffix(" .")?;
    let (position, body) = rest.split_once(' ')?;
    Some((Position(position.parse().ok()?), body.to_owned()))
}

fn check(directory: &std::path::Path, acknowledged: &BTreeMap<Position, String>) {
    let store = EmbeddedStore::open(directory).unwrap();
    let mut after = Position::START;
    let mut stored = BTreeMap::new();
    loop {
        let page = wait(store.read("s", after, 1_000)).unwrap();
        let Some((last, _)) = page.last() else {
            break;
        };
        after = *last;
        stored.extend(page);
    }
    for (position, body) in acknowledged {
        let found = stored.get(position).map(|body| &body[..]);
        assert_eq!(found, Some(body.as_bytes()), "at {position}");
    }
}

/// Appends from many threads until it is killed. Not a test by itself.
#[test]
#[ignore = "a child process of the test that `cargo test -p tidepool-store --test it acknowledged_appends` runs"]
fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("a parent that names a directory");
    let store = EmbeddedStore::open(directory).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for n in 0.. {
                    let body = format!("{}-{writer}-{n}", std::process::id());
                    let records = vec![body.clone().into()];
                    let append = store.append("s", Epoch::UNFENCED, records);
                    let position = wait(append).unwrap();
                    let line = format!("ack {position} {body} .\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}
