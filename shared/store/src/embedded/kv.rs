//! Keys in SQL. Every function runs inside a transaction of its caller. What has expired is
//! absent, whether or not it was swept away yet.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tidepool_core::Timestamp;

use super::schema::{from_sql, to_sql};
use crate::error::StoreError;
use crate::port::{Epoch, Value, Version};

/// Expired keys removed at a time, so that a sweep never holds up a commit.
const SWEEP_MAX: i64 = 1_000;

pub(super) fn get(db: &Connection, key: &str, now: Timestamp) -> rusqlite::Result<Option<Value>> {
    db.prepare_cached(
        "SELECT version, value FROM pairs
         WHERE key = ?1 AND (expires_ms IS NULL OR expires_ms > ?2)",
    )?
    .query_row(params![key, to_sql(now.0)], |row| {
        Ok(Value {
            version: Version(from_sql(row.get(0)?)),
            bytes: Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?),
        })
    })
    .optional()
}

pub(super) fn version(
    db: &Connection,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Version>> {
    db.prepare_cached(
        "SELECT version FROM pairs
         WHERE key = ?1 AND (expires_ms IS NULL OR expires_ms > ?2)",
    )?
    .query_row(params![key, to_sql(now.0)], |row| {
        Ok(Version(from_sql(row.get(0)?)))
    })
    .optional()
}

pub(super) fn put(
    db: &Connection,
    key: &str,
    value: &Bytes,
    ttl_ms: Option<u64>,
    now: Timestamp,
) -> rusqlite::Result<Version> {
    let version = Version::fresh();
    let expires_ms = ttl_ms.map(|ttl| to_sql(now.0.saturating_add(ttl)));
    db.prepare_cached(
        "INSERT OR REPLACE INTO pairs (key, version, expires_ms, value) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![key, to_sql(version.0), expires_ms, &value[..]])?;
    Ok(version)
}

pub(super) fn delete(db: &Connection, key: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let existed = version(db, key, now)?.is_some();
    db.prepare_cached("DELETE FROM pairs WHERE key = ?1")?
        .execute([key])?;
    Ok(existed)
}

/// Runs a write under an epoch, which becomes that of the key unless the key has a higher one.
pub(super) fn fenced<T>(
    db: &Connection,
    key: &str,
    epoch: Epoch,
    write: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<Result<T, StoreError>> {
    let current = db
        .prepare_cached("SELECT epoch FROM fences WHERE key = ?1")?
        .query_row([key], |row| Ok(Epoch(from_sql(row.get(0)?))))
        .optional()?;
    if let Some(current) = current
        && epoch < current
    {
        return Ok(Err(StoreError::Fenced {
            name: key.to_owned(),
            epoch,
            current,
        }));
    }
    db.prepare_cached("INSERT OR REPLACE INTO fences (key, epoch) VALUES (?1, ?2)")?
        .execute(params![key, to_sql(epoch.0)])?;
    write().map(Ok)
}

/// Sets a key that is as expected.
pub(super) fn compare_and_set(
    db: &Connection,
    key: &str,
    expected: Option<Version>,
    value: &Bytes,
    ttl_ms: Option<u64>,
    now: Timestamp,
) -> rusqlite::Result<Option<Version>> {
    if version(db, key, now)? != expected {
        return Ok(None);
    }
    put(db, key, value, ttl_ms, now).map(Some)
}

/// Removes some of what has expired.
pub(super) fn sweep(db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM pairs WHERE key IN
         (SELECT key FROM pairs WHERE expires_ms IS NOT NULL AND expires_ms <= ?1 LIMIT ?2)",
    )?
    .execute(params![to_sql(now.0), SWEEP_MAX])?;
    Ok(())
}
