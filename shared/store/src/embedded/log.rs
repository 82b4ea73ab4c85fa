//! Streams in SQL. Every function runs inside a transaction of its caller.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::{from_sql, to_sql};
use crate::error::StoreError;
use crate::limits::{MISSED_RECORDS_MAX, READ_BYTES_MAX};
use crate::port::{Appended, Epoch, Position, Records};

struct Stream {
    id: i64,
    epoch: Epoch,
    tail: u64,
}

fn find(db: &Connection, name: &str) -> rusqlite::Result<Option<Stream>> {
    db.prepare_cached("SELECT id, epoch, tail FROM streams WHERE name = ?1")?
        .query_row([name], |row| {
            Ok(Stream {
                id: row.get(0)?,
                epoch: Epoch(from_sql(row.get(1)?)),
                tail: from_sql(row.get(2)?),
            })
        })
        .optional()
}

/// The stream as an append of `epoch` finds it, or the refusal.
fn admitted(
    db: &Connection,
    name: &str,
    epoch: Epoch,
) -> rusqlite::Result<Result<Option<Stream>, StoreError>> {
    let stream = find(db, name)?;
    Ok(match stream {
        Some(Stream { epoch: current, .. }) if epoch < current => Err(StoreError::Fenced {
            name: name.to_owned(),
            epoch,
            current,
        }),
        stream => Ok(stream),
    })
}

fn create(db: &Connection, name: &str, epoch: Epoch) -> rusqlite::Result<Stream> {
    db.prepare_cached("INSERT INTO streams (name, epoch, tail, live) VALUES (?1, ?2, 0, 1)")?
        .execute(params![name, to_sql(epoch.0)])?;
    Ok(Stream {
        id: db.last_insert_rowid(),
        epoch,
        tail: 0,
    })
}

/// Adds records to a stream that is there, or to one that comes into being with them.
fn add(
    db: &Connection,
    name: &str,
    stream: Option<Stream>,
    epoch: Epoch,
    records: &[Bytes],
) -> rusqlite::Result<Position> {
    let stream = match stream {
        Some(stream) => stream,
        None => create(db, name, epoch)?,
    };
    let mut tail = stream.tail;
    let mut insert =
        db.prepare_cached("INSERT INTO records (stream, position, body) VALUES (?1, ?2, ?3)")?;
    for record in records {
        tail += 1;
        insert.execute(params![stream.id, to_sql(tail), &record[..]])?;
    }
    db.prepare_cached("UPDATE streams SET epoch = ?2, tail = ?3, live = 1 WHERE id = ?1")?
        .execute(params![stream.id, to_sql(epoch.0), to_sql(tail)])?;
    Ok(Position(tail))
}

pub(super) fn append(
    db: &Connection,
    name: &str,
    epoch: Epoch,
    records: &[Bytes],
) -> rusqlite::Result<Result<Position, StoreError>> {
    match admitted(db, name, epoch)? {
        Ok(stream) => add(db, name, stream, epoch, records).map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

pub(super) fn append_at(
    db: &Connection,
    name: &str,
    epoch: Epoch,
    expected: Position,
    records: &[Bytes],
) -> rusqlite::Result<Result<Appended, StoreError>> {
    let stream = match admitted(db, name, epoch)? {
        Ok(stream) => stream,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let tail = stream.as_ref().map_or(0, |stream| stream.tail);
    if tail != expected.0 {
        return Ok(Ok(Appended::Moved {
            tail: Position(tail),
            missed: read(db, name, expected, MISSED_RECORDS_MAX)?,
        }));
    }
    Ok(Ok(Appended::At(add(db, name, stream, epoch, records)?)))
}

pub(super) fn read(
    db: &Connection,
    name: &str,
    after: Position,
    limit: usize,
) -> rusqlite::Result<Records> {
    let Some(stream) = find(db, name)? else {
        return Ok(Records::new());
    };
    let mut select = db.prepare_cached(
        "SELECT position, body FROM records WHERE stream = ?1 AND position > ?2
         ORDER BY position LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![stream.id, to_sql(after.0), limit])?;
    let (mut records, mut bytes) = (Records::new(), 0);
    while bytes < READ_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let body = row.get_ref(1)?.as_blob()?;
        bytes += body.len();
        records.push((
            Position(from_sql(row.get(0)?)),
            Bytes::copy_from_slice(body),
        ));
    }
    Ok(records)
}

pub(super) fn tail(db: &Connection, name: &str) -> rusqlite::Result<Position> {
    Ok(find(db, name)?.map_or(Position::START, |stream| Position(stream.tail)))
}

pub(super) fn trim(db: &Connection, name: &str, up_to: Position) -> rusqlite::Result<()> {
    if let Some(stream) = find(db, name)? {
        db.prepare_cached("DELETE FROM records WHERE stream = ?1 AND position <= ?2")?
            .execute(params![stream.id, to_sql(up_to.0)])?;
    }
    Ok(())
}

pub(super) fn erase(db: &Connection, name: &str) -> rusqlite::Result<()> {
    if let Some(stream) = find(db, name)? {
        db.prepare_cached("DELETE FROM records WHERE stream = ?1")?
            .execute([stream.id])?;
        db.prepare_cached("UPDATE streams SET live = 0 WHERE id = ?1")?
            .execute([stream.id])?;
    }
    Ok(())
}

pub(super) fn streams(
    db: &Connection,
    prefix: &str,
    limit: usize,
) -> rusqlite::Result<Vec<String>> {
    let mut select = db.prepare_cached(
        "SELECT name FROM streams WHERE name >= ?1 AND live = 1 ORDER BY name LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![prefix, limit])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        // Names with the prefix follow one another.
        if !name.starts_with(prefix) {
            break;
        }
        names.push(name);
    }
    Ok(names)
}
