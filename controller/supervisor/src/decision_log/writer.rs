//! Writes records to files, on a thread of its own.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use tidepool_core::Timestamp;

use super::Record;
use super::reader::{FILE_PREFIX, FILE_SUFFIX, LogError, files, stamp_of};

/// Records that may wait to be written: sixteen seconds of 512 pools.
const QUEUE_LEN: usize = 8_192;
/// Most records of a frame.
const FRAME_RECORDS: usize = 1_024;
/// Records wait at most this long for others to share a frame with.
const FRAME_AFTER: Duration = Duration::from_secs(5);
/// A file is closed when it reaches this share of all.
const FILE_SHARE: u64 = 8;
/// Warnings about files that cannot be written are this far apart.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the last records to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two looks at a queue that is full.
const FULL_AGAIN: Duration = Duration::from_millis(10);

/// Where a decision log is and how large it may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// The directory; made when missing.
    pub dir: PathBuf,
    /// Most bytes of all files together.
    pub bytes_max: u64,
}

enum Job {
    Record(Box<Record>),
    Flush(SyncSender<()>),
}

/// A handle to the log; clones are cheap. The thread ends when all are gone.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    jobs: SyncSender<Job>,
}

impl DecisionLog {
    /// Opens the log for writing, in a new file.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn open(config: DecisionLogConfig) -> Result<Self, LogError> {
        let io_error = |source| LogError::new(&config.dir, source);
        std::fs::create_dir_all(&config.dir).map_err(io_error)?;
        let files = Files::open(config.clone()).map_err(io_error)?;
        let (jobs, queue) = sync_channel(QUEUE_LEN);
        thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || write_all(&queue, files))
            .map_err(io_error)?;
        Ok(Self { jobs })
    }

    /// Takes a record, without waiting; `false` when it does not fit.
    #[must_use]
    pub fn take(&self, record: Record) -> bool {
        self.jobs.try_send(Job::Record(Box::new(record))).is_ok()
    }

    /// Waits until all that was taken is written, for two seconds at most. Blocks its thread.
    pub fn flush(&self) {
        let until = Instant::now() + CLOSE_TIMEOUT;
        let (done, written) = sync_channel(1);
        let mut job = Job::Flush(done);
        while let Err(error) = self.jobs.try_send(job) {
            match error {
                TrySendError::Full(back) if Instant::now() < until => job = back,
                TrySendError::Full(_) | TrySendError::Disconnected(_) => return,
            }
            thread::sleep(FULL_AGAIN);
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_all(queue: &Receiver<Job>, mut files: Files) {
    let mut frame = Vec::new();
    let mut due = Instant::now() + FRAME_AFTER;
    let mut warned: Option<Instant> = None;
    loop {
        let job = queue.recv_timeout(due.saturating_duration_since(Instant::now()));
        let is_closed = matches!(job, Err(RecvTimeoutError::Disconnected));
        let mut done = None;
        let is_over = match job {
            Ok(Job::Record(record)) => {
                frame.push(*record);
                frame.len() >= FRAME_RECORDS
            }
            Ok(Job::Flush(asked)) => {
                done = Some(asked);
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => true,
        };
        if !is_over && Instant::now() < due {
            continue;
        }
        due = Instant::now() + FRAME_AFTER;
        if let Err(error) = files.append(&frame)
            && warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY)
        {
            warned = Some(Instant::now());
            tracing::warn!(%error, "decisions cannot be logged");
        }
        frame.clear();
        if let Some(done) = done {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
        if is_closed {
            return;
        }
    }
}

/// The files of a log, the newest of them open.
struct Files {
    config: DecisionLogConfig,
    file: File,
    bytes: u64,
    /// What its name says of when it was begun.
    stamp: u64,
}

impl Files {
    fn open(config: DecisionLogConfig) -> io::Result<Self> {
        let newest = files(&config.dir)?.last().and_then(|path| stamp_of(path));
        let (file, stamp) = create(&config.dir, newest.unwrap_or(0))?;
        let files = Self {
            config,
            file,
            bytes: 0,
            stamp,
        };
        files.remove_surplus()?;
        Ok(files)
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let plain = rmp_serde::to_vec_named(records).map_err(io::Error::other)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain)?;
        let frame = gzip.finish()?;
        let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
        // One write, so that a reader at the same time rarely sees half a frame.
        let frame = [&len.to_le_bytes(), frame.as_slice()].concat();
        put_whole(&self.file, self.bytes, |mut file| file.write_all(&frame))?;
        self.bytes += u64::from(len) + 4;
        if self.bytes >= self.config.bytes_max / FILE_SHARE {
            (self.file, self.stamp) = create(&self.config.dir, self.stamp)?;
            self.bytes = 0;
            self.remove_surplus()?;
        }
        Ok(())
    }

    /// Removes the oldest files while all of them are too large, leaving room for the open one.
    fn remove_surplus(&self) -> io::Result<()> {
        let files = files(&self.config.dir)?;
        let sizes: Vec<u64> = files
            .iter()
            .map(|file| file.metadata().map_or(0, |found| found.len()))
            .collect();
        let mut left: u64 = sizes.iter().sum();
        let room = self.config.bytes_max - self.config.bytes_max / FILE_SHARE;
        let older = files.len().saturating_sub(1);
        for (file, size) in files.iter().zip(sizes).take(older) {
            if left <= room {
                break;
            }
            std::fs::remove_file(file)?;
            left -= size;
        }
        Ok(())
    }
}

/// A file that comes after the one with the stamp `newest`, also when the clock was set back since:
/// files are read, and removed, in the order of their names.
fn create(dir: &Path, newest: u64) -> io::Result<(File, u64)> {
    let stamp = Timestamp::from(SystemTime::now())
        .0
        .max(newest.saturating_add(1));
    let name = format!("{FILE_PREFIX}{stamp:015}{FILE_SUFFIX}");
    let file = File::options()
        .create_new(true)
        .append(true)
        .open(dir.join(name))?;
    Ok((file, stamp))
}

/// Writes at the end of a file of so many bytes, all or nothing: half a frame, as a full disk leaves
/// it, would hide all that is written after it.
fn put_whole(
    file: &File,
    bytes: u64,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let Err(error) = write(file) else {
        return Ok(());
    };
    file.set_len(bytes)?;
    Err(error)
}

#[cfg(test)]
mod tests {
    use tidepool_core::PoolName;
    use tidepool_policy::{Memory, Policy};

    use super::super::{Entry, Snapshot, read};
    use super::*;

    fn record(seq: u64) -> Record {
        let snapshot = Snapshot {
            version: "1".into(),
            epoch: 1,
            policy: Policy::tidepool(1, 8),
            memory: Memory::default(),
        };
        Record {
            pool: PoolName::new("echo").unwrap(),
            seq,
            at: Timestamp(seq),
            entry: Entry::Snapshot(Box::new(snapshot)),
        }
    }

    #[test]
    fn a_record_that_does_not_fit_is_told_and_not_waited_for() {
        let (jobs, _queue) = sync_channel(1);
        let log = DecisionLog { jobs };
        assert!(log.take(record(1)));
        assert!(!log.take(record(2)));
    }

    #[test]
    fn nobody_waits_for_ever_for_a_queue_that_is_full() {
        let (jobs, _queue) = sync_channel(1);
        let log = DecisionLog { jobs };
        assert!(log.take(record(1)));
        log.flush();
    }

    #[test]
    fn files_keep_their_order_where_the_clock_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let tomorrow = Timestamp::from(SystemTime::now()).0 + 86_400_000;
        let name = format!("{FILE_PREFIX}{tomorrow:015}-000007{FILE_SUFFIX}");
        std::fs::write(folder.path().join(&name), []).unwrap();
        let config = DecisionLogConfig {
            dir: folder.path().to_owned(),
            // Every frame begins a file.
            bytes_max: 8,
        };
        let mut log = Files::open(config).unwrap();
        assert_eq!(log.stamp, tomorrow + 1);
        log.append(&[record(1)]).unwrap();
        assert_eq!(log.stamp, tomorrow + 2);
        let newest = files(folder.path()).unwrap().pop().unwrap();
        assert_eq!(stamp_of(&newest), Some(log.stamp));
    }

    #[test]
    fn a_frame_that_was_written_by_half_hides_nothing_that_follows() {
        let folder = tempfile::tempdir().unwrap();
        let config = DecisionLogConfig {
            dir: folder.path().to_owned(),
            bytes_max: 1 << 20,
        };
        let mut files = Files::open(config).unwrap();
        files.append(&[record(1)]).unwrap();
        let failed = put_whole(&files.file, files.bytes, |mut file| {
            file.write_all(&[9, 0, 0, 0, 1, 2])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        files.append(&[record(3)]).unwrap();
        let mut seen = Vec::new();
        let damages = read(folder.path(), |record| seen.push(record.seq)).unwrap();
        assert_eq!((seen, damages), (vec![1, 3], vec![]));
    }
}
