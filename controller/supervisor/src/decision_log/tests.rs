use std::io::{Read, Write};

use proptest::prelude::*;
use tidepool_policy::{Backlog, WorkSample, WorkerCounts, decide};

use super::*;
use crate::intake::tests::pool_name;

/// Seconds of a pool that has the workers it asked for, logged as the supervisor does.
fn live(arrivals: &[u16], took: &mut dyn FnMut(Record) -> bool) {
    let policy = Policy::tidepool(1, 20);
    let mut memory = Memory::default();
    let mut place = Place::default();
    for (second, arrivals) in arrivals.iter().enumerate() {
        let at = Timestamp(1_700_000_000_000 + second as u64 * 1_003);
        if place.wants_snapshot() {
            let snapshot = Snapshot {
                version: "1".into(),
                epoch: 1,
                policy: policy.clone(),
                memory: memory.clone(),
            };
            let entry = Entry::Snapshot(Box::new(snapshot));
            place.put((&pool_name(), at), entry, &mut *took);
        }
        let ready = memory.target().unwrap_or(1);
        let observation = observation(f64::from(*arrivals), ready);
        let (decision, next) = decide(&policy, memory, &observation, at.0);
        memory = next;
        let entry = Entry::Decided(Box::new(Decided {
            observation,
            decision,
        }));
        place.put((&pool_name(), at), entry, &mut *took);
    }
}

fn observation(arrivals: f64, ready: u32) -> Observation {
    let busy = (arrivals * 0.07).min(f64::from(ready) * 4.0);
    Observation {
        work: Some(WorkSample {
            window_s: 1.003,
            arrivals,
            completed: arrivals,
            released: arrivals,
            busy_slot_s: busy,
            service_mean_s: Some(0.07),
            ..WorkSample::default()
        }),
        backlog: Some(Backlog::default()),
        work_age_s: Some(0.0),
        workers: Some(WorkerCounts {
            ready,
            slots_per_worker: 4,
            ..WorkerCounts::default()
        }),
        workers_age_s: Some(0.0),
        startup_p95_s: Some(0.02),
        ..Observation::default()
    }
}

fn replayed(records: impl IntoIterator<Item = Record>) -> ReplayReport {
    let mut replay = Replay::new(None, Timestamp(0));
    records.into_iter().for_each(|record| replay.see(record));
    replay.report()
}

fn through_files(arrivals: &[u16], bytes_max: u64) -> (tempfile::TempDir, Vec<Record>) {
    let folder = tempfile::tempdir().unwrap();
    let config = DecisionLogConfig {
        dir: folder.path().join("log"),
        bytes_max,
    };
    let log = DecisionLog::open(config).unwrap();
    let mut sent = 0;
    live(arrivals, &mut |record| {
        sent += 1;
        if sent % 500 == 0 {
            log.flush();
        }
        log.take(record)
    });
    log.flush();
    let mut records = Vec::new();
    let damages = read(&folder.path().join("log"), |record| records.push(record)).unwrap();
    assert_eq!(damages, []);
    (folder, records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_log_replays_to_the_same_decisions(arrivals in prop::collection::vec(0_u16..900, 50..900)) {
        let (_folder, records) = through_files(&arrivals, 64 << 20);
        let report = replayed(records);
        prop_assert_eq!(&report.differences, &vec![]);
        let pool = &report.pools[&pool_name()];
        prop_assert_eq!((pool.decisions, pool.skipped), (arrivals.len() as u64, 0));
    }
}

fn waves(seconds: usize) -> Vec<u16> {
    (0..seconds)
        .map(|s| [20, 300, 80, 700][s / 45 % 4])
        .collect()
}

#[test]
fn a_difference_is_told_with_its_record() {
    let (_folder, mut records) = through_files(&waves(700), 64 << 20);
    assert_eq!(replayed(records.clone()).different, 0);
    let Entry::Decided(decided) = &mut records[60].entry else {
        panic!("a decision");
    };
    decided.observation.work.as_mut().unwrap().arrivals += 500.0;
    let report = replayed(records.clone());
    assert_eq!(report.different, 1, "what follows is not told again");
    let told = &report.differences[0];
    assert_eq!((told.seq, &told.pool), (61, &pool_name()));
    assert_ne!(told.logged, told.replayed);
    // The next snapshot is begun from.
    let pool = &report.pools[&pool_name()];
    assert_eq!((pool.skipped, pool.snapshots), (540, 2));
    // Whoever asks for later times is not told.
    let mut replay = Replay::new(Some(pool_name()), records[61].at);
    records
        .iter()
        .cloned()
        .for_each(|record| replay.see(record));
    assert_eq!(replay.report().different, 0);
}

#[test]
fn a_missing_record_is_bridged_by_the_next_snapshot() {
    let (_folder, mut records) = through_files(&waves(700), 64 << 20);
    records.remove(30);
    let report = replayed(records);
    assert_eq!(report.different, 0);
    assert!(report.pools[&pool_name()].skipped > 500);
}

#[test]
fn what_the_log_does_not_take_makes_it_begin_anew() {
    let (mut n, mut records) = (0, Vec::new());
    live(&waves(100), &mut |record| {
        n += 1;
        let took = n != 40;
        records.extend(took.then_some(record));
        took
    });
    let report = replayed(records);
    let pool = &report.pools[&pool_name()];
    assert_eq!((report.different, pool.skipped, pool.snapshots), (0, 0, 2));
}

#[test]
fn the_files_stay_within_their_bytes_and_the_rest_replays() {
    let (folder, records) = through_files(&waves(12_000), 160_000);
    let files = reader::files(&folder.path().join("log")).unwrap();
    let bytes: u64 = files
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(
        files.len() > 2 && bytes <= 190_000,
        "{} {bytes}",
        files.len()
    );
    let report = replayed(records);
    assert_eq!(report.different, 0);
    assert!(report.pools[&pool_name()].decisions > 0);
}

#[test]
fn a_cut_end_is_no_damage_and_a_flipped_bit_is() {
    let (folder, all) = through_files(&waves(1_500), 64 << 20);
    let dir = folder.path().join("log");
    let path = reader::files(&dir).unwrap().pop().unwrap();
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let write = |bytes: &[u8]| {
        std::fs::File::create(&path)
            .unwrap()
            .write_all(bytes)
            .unwrap()
    };
    write(&bytes[..bytes.len() - 3]);
    let mut n = 0;
    assert_eq!(read(&dir, |_| n += 1).unwrap(), []);
    assert!(n > 0 && n < all.len());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&bytes);
    let damages = read(&dir, |_| {}).unwrap();
    assert_eq!(damages.len(), 1);
    assert_eq!(damages[0].file, path);
}

fn log_in(folder: &tempfile::TempDir, bytes_max: u64) -> (std::path::PathBuf, DecisionLog) {
    let dir = folder.path().join("log");
    let config = DecisionLogConfig {
        dir: dir.clone(),
        bytes_max,
    };
    (dir, DecisionLog::open(config).unwrap())
}

#[test]
fn what_was_taken_is_written_when_the_last_handle_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, log) = log_in(&folder, 64 << 20);
    live(&waves(20), &mut |record| log.take(record));
    drop(log);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut n = 0;
    while n < 21 && std::time::Instant::now() < end {
        n = 0;
        assert_eq!(read(&dir, |_| n += 1).unwrap(), []);
        std::thread::yield_now();
    }
    assert_eq!(n, 21, "a snapshot and 20 decisions");
}

#[test]
fn a_smaller_limit_takes_hold_when_the_log_is_opened() {
    let (folder, _) = through_files(&waves(3_000), 80_000);
    let dir = folder.path().join("log");
    let (_, _log) = log_in(&folder, 16_000);
    let size = |file: &std::path::PathBuf| file.metadata().unwrap().len();
    let left: u64 = reader::files(&dir).unwrap().iter().map(size).sum();
    assert!(left <= 14_000, "{left}");
}

#[test]
fn a_damaged_file_costs_what_follows_in_it_and_no_other_file() {
    let (folder, all) = through_files(&waves(6_000), 640_000);
    let dir = folder.path().join("log");
    let files = reader::files(&dir).unwrap();
    let first = &files[0];
    let bytes = std::fs::read(first).unwrap();
    let mut lengths = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        lengths.push(at);
        let head: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
        at += 4 + u32::from_le_bytes(head) as usize;
    }
    assert!(files.len() > 1 && lengths.len() > 1, "{lengths:?}");
    // The length of its second frame is no length.
    let mut damaged = bytes.clone();
    damaged[lengths[1]..lengths[1] + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    std::fs::write(first, damaged).unwrap();
    let mut records = Vec::new();
    let damages = read(&dir, |record| records.push(record)).unwrap();
    assert_eq!(damages.len(), 1);
    assert_eq!(
        (&damages[0].file, damages[0].at),
        (first, lengths[1] as u64)
    );
    assert!(
        damages[0].problem.contains("4294967295"),
        "{:?}",
        damages[0]
    );
    assert_eq!(records.last(), all.last());
    assert!(records.len() < all.len());
}

#[test]
fn a_snapshot_that_is_not_what_was_replayed_is_a_difference() {
    let (_folder, mut records) = through_files(&waves(700), 64 << 20);
    let is_second =
        |record: &&mut Record| record.seq > 1 && matches!(record.entry, Entry::Snapshot(_));
    let second = records.iter_mut().find(is_second).unwrap();
    let seq = second.seq;
    if let Entry::Snapshot(snapshot) = &mut second.entry {
        snapshot.memory = Memory::default();
    }
    let report = replayed(records);
    assert_eq!(report.differences[0].seq, seq);
    assert_eq!(report.differences[0].logged, "the memory of the log");
}

#[test]
fn each_number_of_a_decision_counts_and_all_differences_do() {
    let (_folder, mut records) = through_files(&waves(2), 64 << 20);
    records.truncate(2);
    let Entry::Decided(decided) = &mut records[1].entry else {
        panic!("a decision");
    };
    decided.decision.score = Some(0.123);
    let at = records[1].at;
    let again = || records.iter().cloned();
    // As if a supervisor had been replaced so many times.
    let mut replay = Replay::new(None, at);
    (0..150)
        .flat_map(|_| again())
        .for_each(|record| replay.see(record));
    let report = replay.report();
    assert_eq!((report.different, report.differences.len()), (150, 100));
    assert_eq!(
        report.pools[&pool_name()].decisions,
        150,
        "from that time on"
    );
    let mut later = Replay::new(None, Timestamp(at.0 + 1));
    again().for_each(|record| later.see(record));
    let report = later.report();
    assert_eq!(
        (report.different, report.pools[&pool_name()].decisions),
        (0, 0)
    );
}
