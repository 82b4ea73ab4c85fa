//! What the store takes at most, checked the same way for every back end.

use std::time::Duration;

use bytes::Bytes;

use crate::error::StoreError;
use crate::port::{Epoch, StoreFuture};

/// Longest name of a stream, key or lease, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// Largest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Most records of one append.
pub const APPEND_RECORDS_MAX: usize = 4_096;
/// Most bytes of one append.
pub const APPEND_BYTES_MAX: usize = 16 << 20;
/// Most records that one read gives.
pub const READ_RECORDS_MAX: usize = 10_000;
/// A read stops after the record that reaches this many bytes.
pub const READ_BYTES_MAX: usize = 16 << 20;
/// Most records that a refused append tells about.
pub const MISSED_RECORDS_MAX: usize = 16;
/// Largest value of a key, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most members of a group of the roster.
pub const GROUP_LEN_MAX: usize = 1_024;
/// Largest document of a member, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Longest time to live.
pub const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Largest epoch: what a double holds exactly, because Redis scripts compute with doubles.
pub(crate) const EPOCH_MAX: u64 = 1 << 53;

fn at_most(what: &'static str, size: usize, max: usize) -> Result<(), StoreError> {
    if size > max {
        return Err(StoreError::TooLarge { what, size, max });
    }
    Ok(())
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), StoreError> {
    at_most(what, name.len(), NAME_BYTES_MAX)?;
    let invalid = |reason| Err(StoreError::Invalid { what, reason });
    if name.is_empty() {
        return invalid("must not be empty");
    }
    if name.chars().any(char::is_control) {
        return invalid("must not contain control characters");
    }
    Ok(())
}

pub(crate) fn check_append(
    stream: &str,
    epoch: Epoch,
    records: &[Bytes],
) -> Result<(), StoreError> {
    check_name("the name of a stream", stream)?;
    check_epoch(epoch)?;
    at_most("the list of records", records.len(), APPEND_RECORDS_MAX)?;
    for record in records {
        at_most("a record", record.len(), RECORD_BYTES_MAX)?;
    }
    at_most(
        "an append",
        records.iter().map(Bytes::len).sum(),
        APPEND_BYTES_MAX,
    )
}

pub(crate) fn check_epoch(epoch: Epoch) -> Result<(), StoreError> {
    if epoch.0 > EPOCH_MAX {
        return Err(StoreError::Invalid {
            what: "an epoch",
            reason: "must be at most 2^53",
        });
    }
    Ok(())
}

pub(crate) fn check_value(value: &Bytes) -> Result<(), StoreError> {
    at_most("a value", value.len(), VALUE_BYTES_MAX)
}

pub(crate) fn check_member(group: &str, member: &str) -> Result<(), StoreError> {
    check_name("the name of a group", group)?;
    check_name("the name of a member", member)
}

pub(crate) fn check_document(document: &Bytes) -> Result<(), StoreError> {
    at_most(
        "the document of a member",
        document.len(),
        DOCUMENT_BYTES_MAX,
    )
}

/// The refusal of one member more than a group may have.
pub(crate) fn group_is_full() -> StoreError {
    StoreError::TooLarge {
        what: "a group of the roster",
        size: GROUP_LEN_MAX + 1,
        max: GROUP_LEN_MAX,
    }
}

/// The time to live in milliseconds, at least one.
pub(crate) fn ttl_ms(ttl: Duration) -> Result<u64, StoreError> {
    let invalid = |reason| StoreError::Invalid {
        what: "a time to live",
        reason,
    };
    if ttl > TTL_MAX {
        return Err(invalid("must be at most ten years"));
    }
    let ms = u64::try_from(ttl.as_millis()).map_err(|_| invalid("must be at most ten years"))?;
    if ms == 0 {
        return Err(invalid("must be at least one millisecond"));
    }
    Ok(ms)
}

/// A future that only reports a refused argument.
pub(crate) fn refused<T: Send + 'static>(error: StoreError) -> StoreFuture<T> {
    Box::pin(std::future::ready(Err(error)))
}

/// Returns the refusal as a future when the arguments break a limit.
macro_rules! check {
    ($($check:expr),+ $(,)?) => {
        ($(match $check {
            Ok(checked) => checked,
            Err(error) => return $crate::limits::refused(error),
        }),+)
    };
}
pub(crate) use check;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(check_name("x", "memory:{ünï}").is_ok());
        assert!(check_name("x", &"n".repeat(NAME_BYTES_MAX)).is_ok());
        for bad in ["", "a\nb", "\u{0}", &"n".repeat(NAME_BYTES_MAX + 1)] {
            assert!(check_name("x", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_to_live_are_bounded_on_both_sides() {
        assert_eq!(ttl_ms(Duration::from_millis(1)).ok(), Some(1));
        assert!(ttl_ms(Duration::from_micros(999)).is_err());
        assert!(ttl_ms(TTL_MAX).is_ok());
        assert!(ttl_ms(Duration::MAX).is_err());
    }

    #[test]
    fn appends_are_bounded_by_record_by_count_and_in_all() {
        let check = |records: Vec<Bytes>| check_append("s", Epoch(1), &records);
        assert!(check(vec![Bytes::from(vec![0; RECORD_BYTES_MAX]); 16]).is_ok());
        assert!(check(vec![Bytes::from(vec![0; RECORD_BYTES_MAX]); 17]).is_err());
        assert!(check(vec![Bytes::from(vec![0; RECORD_BYTES_MAX + 1])]).is_err());
        assert!(check(vec![Bytes::new(); APPEND_RECORDS_MAX + 1]).is_err());
    }
}
