//! Leases in SQL. Every function runs inside a transaction of its caller.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tidepool_core::Timestamp;

use super::schema::{from_sql, to_sql};
use crate::port::{Epoch, Held};

/// A lease that was ever taken. Its row stays, because its epoch must keep growing.
struct Known {
    holder: Option<String>,
    epoch: Epoch,
    expires: Timestamp,
}

impl Known {
    fn is_held_at(&self, now: Timestamp) -> bool {
        self.holder.is_some() && now < self.expires
    }

    fn is_held_by(&self, holder: &str, epoch: Epoch, now: Timestamp) -> bool {
        self.is_held_at(now) && self.epoch == epoch && self.holder.as_deref() == Some(holder)
    }
}

fn find(db: &Connection, name: &str) -> rusqlite::Result<Option<Known>> {
    db.prepare_cached("SELECT holder, epoch, expires_ms FROM leases WHERE name = ?1")?
        .query_row([name], |row| {
            Ok(Known {
                holder: row.get(0)?,
                epoch: Epoch(from_sql(row.get(1)?)),
                expires: Timestamp(from_sql(row.get(2)?)),
            })
        })
        .optional()
}

fn set(
    db: &Connection,
    name: &str,
    holder: Option<&str>,
    epoch: Epoch,
    expires: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO leases (name, holder, epoch, expires_ms) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![name, holder, to_sql(epoch.0), to_sql(expires.0)])?;
    Ok(())
}

pub(super) fn acquire(
    db: &Connection,
    name: &str,
    holder: &str,
    ttl_ms: u64,
    now: Timestamp,
) -> rusqlite::Result<Option<Epoch>> {
    let known = find(db, name)?;
    let is_taken = known
        .as_ref()
        .is_some_and(|lease| lease.is_held_at(now) && lease.holder.as_deref() != Some(holder));
    if is_taken {
        return Ok(None);
    }
    let epoch = Epoch(known.map_or(0, |lease| lease.epoch.0) + 1);
    set(db, name, Some(holder), epoch, expiry(now, ttl_ms))?;
    Ok(Some(epoch))
}

pub(super) fn renew(
    db: &Connection,
    name: &str,
    holder: &str,
    epoch: Epoch,
    ttl_ms: u64,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let holds = find(db, name)?.is_some_and(|lease| lease.is_held_by(holder, epoch, now));
    if holds {
        set(db, name, Some(holder), epoch, expiry(now, ttl_ms))?;
    }
    Ok(holds)
}

pub(super) fn release(
    db: &Connection,
    name: &str,
    holder: &str,
    epoch: Epoch,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let holds = find(db, name)?.is_some_and(|lease| lease.is_held_by(holder, epoch, now));
    if holds {
        set(db, name, None, epoch, now)?;
    }
    Ok(holds)
}

pub(super) fn current(
    db: &Connection,
    name: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Held>> {
    let held = find(db, name)?.filter(|lease| lease.is_held_at(now));
    Ok(held.and_then(|lease| {
        Some(Held {
            holder: lease.holder?,
            epoch: lease.epoch,
            remaining: lease.expires.since(now),
        })
    }))
}

fn expiry(now: Timestamp, ttl_ms: u64) -> Timestamp {
    now.after(Duration::from_millis(ttl_ms))
}
