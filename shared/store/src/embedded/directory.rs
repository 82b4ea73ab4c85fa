//! The directory of the store and the lock that keeps a second process out of it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::error::StoreError;

const DATABASE_FILE: &str = "tidepool.sqlite3";
const LOCK_FILE: &str = "tidepool.lock";

/// A locked directory. The lock goes with this value, or with the process.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    // Held, not read. The lock is released before a scratch directory is removed.
    _lock: Lock,
    _scratch: Option<TempDir>,
}

/// The locked file. A child process that is just being started has a copy of every open file for a
/// moment, so closing ours would not be enough to let go of the lock.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // It goes with the last copy of the file otherwise.
        let _ = self.0.unlock();
    }
}

impl Directory {
    /// Creates the directory when it is missing, and locks it.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        create_private(&path)?;
        let lock = lock(&path)?;
        Ok(Self {
            path,
            _lock: lock,
            _scratch: None,
        })
    }

    /// A temporary directory that is removed with this value.
    pub(super) fn scratch() -> Result<Self, StoreError> {
        let scratch = tempfile::Builder::new()
            .prefix("tidepool-")
            .tempdir()
            .map_err(io_error(
                "create a temporary directory in",
                &std::env::temp_dir(),
            ))?;
        let path = scratch.path().to_owned();
        let lock = lock(&path)?;
        Ok(Self {
            path,
            _lock: lock,
            _scratch: Some(scratch),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }
}

fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(io_error("create the directory", path))
}

fn lock(directory: &Path) -> Result<Lock, StoreError> {
    let path = directory.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io {
        action,
        path,
        source: Arc::new(error),
    }
}
