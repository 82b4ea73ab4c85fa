//! Opening the database file: settings, tables, and refusing what cannot be understood.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::Durability;
use crate::error::StoreError;

/// Version of the tables below.
const SCHEMA_VERSION: i64 = 1;

/// Marks the file as ours (`Tide`), so that another program's database is not written to.
const APPLICATION_ID: i64 = 0x5469_6465;

/// Streams are kept when they are erased (`live = 0`): their epoch and tail must outlive them.
const TABLES: &str = "
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        epoch INTEGER NOT NULL,
        tail INTEGER NOT NULL,
        live INTEGER NOT NULL
    );
    CREATE TABLE records (
        stream INTEGER NOT NULL,
        position INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (stream, position)
    ) WITHOUT ROWID;
    CREATE TABLE pairs (
        key TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        expires_ms INTEGER,
        value BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX pairs_by_expiry ON pairs (expires_ms) WHERE expires_ms IS NOT NULL;
    CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        holder TEXT,
        epoch INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// A table that came later. A release that does not know it does not miss it either, so the version
/// of the schema stays.
const FENCES: &str = "
    CREATE TABLE IF NOT EXISTS fences (
        key TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL
    ) WITHOUT ROWID;
";

#[derive(Debug, thiserror::Error)]
#[error("it is a database of another program")]
struct Foreign;

/// A lock can be held for a moment only by a backup that somebody takes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file for writing, creating and checking what is in it.
pub(super) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let describe = failure(path);
    let mut db = Connection::open(path).map_err(&describe)?;
    let version = identify(&db, path)?;
    configure_writer(&db, durability).map_err(&describe)?;
    if version == 0 {
        create(&mut db).map_err(&describe)?;
    }
    db.execute_batch(FENCES).map_err(&describe)?;
    // The lock proves that whoever held a lease is gone, so nobody has to wait for it to run out.
    db.execute(
        "UPDATE leases SET holder = NULL WHERE holder IS NOT NULL",
        (),
    )
    .map_err(&describe)?;
    Ok(db)
}

/// Opens the file, which [`open_writer`] has prepared, for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let describe = failure(path);
    let db = Connection::open_with_flags(path, flags).map_err(&describe)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(&describe)?;
    Ok(db)
}

/// The schema version of the file, 0 when it is new, before anything is written to it.
fn identify(db: &Connection, path: &Path) -> Result<i64, StoreError> {
    let number = |pragma| {
        db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(failure(path))
    };
    let (version, application) = (number("user_version")?, number("application_id")?);
    if version > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found: version,
            supported: SCHEMA_VERSION,
        });
    }
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(failure(path))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            source: Arc::new(Foreign),
        });
    }
    Ok(version)
}

fn configure_writer(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let synchronous = match durability {
        Durability::Synced => "FULL",
        Durability::Scratch => "OFF",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    // Give space back after a burst; bytes.
    db.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn create(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

/// Tells what an error of the engine means for the file at `path`.
pub(super) fn failure(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
    let path: PathBuf = path.to_owned();
    move |error| {
        let (path, code) = (path.clone(), error.sqlite_error_code());
        let source = Arc::new(error);
        match code {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { path, source }
            }
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { path, source },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => StoreError::Io {
                action: "open",
                path,
                source,
            },
            _ => StoreError::Io {
                action: "use",
                path,
                source,
            },
        }
    }
}

/// SQLite has signed numbers only. Everything stored is far below the limit.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way; a negative number can only come from a damaged file.
pub(super) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
