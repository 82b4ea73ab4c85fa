//! What is particular to the embedded store: files, locks, damage, closing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidepool_store::{EmbeddedStore, Epoch, Kv, Lease, Log, Position, StoreError, wait};

use crate::conformance::conformance;
use crate::ports::{Ports, TestTime};

async fn ports() -> Ports {
    let time = TestTime::new();
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_with_clock(directory.path(), time.clock()).unwrap();
    Ports {
        log: Arc::new(store.clone()),
        kv: Arc::new(store.clone()),
        lease: Arc::new(store.clone()),
        roster: Arc::new(store),
        time: Some(time),
        _keep: Box::new(directory),
    }
}

conformance!(ports);

fn append(store: &EmbeddedStore, body: &str) -> Result<Position, StoreError> {
    wait(store.append("s", Epoch::UNFENCED, vec![body.to_owned().into()]))
}

fn read_len(store: &EmbeddedStore) -> Result<usize, StoreError> {
    Ok(wait(store.read("s", Position::START, 10_000))?.len())
}

fn database(directory: &Path) -> PathBuf {
    directory.join("tidepool.sqlite3")
}

#[test]
fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let time = TestTime::new();
    let store = EmbeddedStore::open_with_clock(&path, time.clock()).unwrap();
    append(&store, "a").unwrap();
    wait(store.put("k", "v".into(), Some(Duration::from_secs(10)))).unwrap();
    let hour = Duration::from_secs(3_600);
    let epoch = wait(store.acquire("l", "a", hour)).unwrap().unwrap();
    drop(store);

    let store = EmbeddedStore::open_with_clock(&path, time.clock()).unwrap();
    assert_eq!(read_len(&store).unwrap(), 1);
    assert!(wait(store.get("k")).unwrap().is_some());
    // Whoever held a lease has ended with its process, but its epoch has not been forgotten.
    let next = wait(store.acquire("l", "b", hour)).unwrap().unwrap();
    assert!(next > epoch);
    time.pass(Duration::from_secs(10));
    assert!(wait(store.get("k")).unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let _store = EmbeddedStore::open(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_opener_is_told_that_it_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let second = EmbeddedStore::open(directory.path());
    match second {
        Err(error @ StoreError::InUse { .. }) => {
            let path = directory.path().display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
        }
        other => panic!("{other:?}"),
    }
    store.close();
    EmbeddedStore::open(directory.path()).unwrap();
}

#[test]
fn closing_finishes_what_waits_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let appends: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            std::thread::spawn(move || append(&store, &n.to_string()))
        })
        .collect();
    store.close();
    store.close();
    let acknowledged = appends
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .filter(|outcome| match outcome {
            Ok(_) => true,
            Err(StoreError::Closed) => false,
            Err(error) => panic!("{error}"),
        })
        .count();
    assert!(matches!(append(&store, "late"), Err(StoreError::Closed)));
    assert!(matches!(read_len(&store), Err(StoreError::Closed)));
    let store = EmbeddedStore::open(directory.path()).unwrap();
    assert_eq!(read_len(&store).unwrap(), acknowledged);
}

#[test]
fn what_is_no_database_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = database(directory.path());
    let garbage = b"not a database, but somebody's notes ".repeat(1_000);
    fs::write(&file, &garbage).unwrap();
    let error = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("tidepool.sqlite3"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), garbage);
}

#[test]
fn damage_inside_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    for _ in 0..100 {
        append(&store, &"x".repeat(3_000)).unwrap();
    }
    drop(store);
    let file = database(directory.path());
    let mut bytes = fs::read(&file).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    fs::write(&file, &bytes).unwrap();
    let outcome = EmbeddedStore::open(directory.path()).and_then(|store| read_len(&store));
    let error = outcome.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(file.exists());
}

#[test]
fn a_newer_file_and_a_foreign_one_are_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(directory.path()).unwrap());
    let file = database(directory.path());
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }));
    assert!(error.to_string().contains("tidepool.sqlite3"), "{error}");

    fs::remove_file(&file).unwrap();
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    drop(db);
    let before = fs::read(&file).unwrap();
    let error = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = EmbeddedStore::open(file.join("data")).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("data"), "{error}");
}

#[test]
fn an_ephemeral_store_leaves_nothing_behind() {
    let store = EmbeddedStore::ephemeral().unwrap();
    append(&store, "a").unwrap();
    let path = store.path().to_owned();
    assert!(path.exists());
    drop(store);
    assert!(!path.exists());
}
