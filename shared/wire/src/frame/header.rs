//! The MessagePack of headers, written and read field by field: no value is built before its
//! length was checked, unknown fields are skipped without recursion, so nesting costs no stack.

use rmp::Marker;
use rmp::{decode, encode};

use super::FrameError;

/// Bytes before a header may be at most this many entries of a map (those of HELLO).
const MAP_LEN_MAX: u32 = 64;

/// Writes fields. A `Vec` takes every write, so the results say nothing.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

fn sure<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok(), "writing to memory does not fail");
}

/// The first `bytes_max` bytes of a text, or a few less at the end of a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

impl Writer<'_> {
    pub(super) fn array(&mut self, len: usize) {
        sure(encode::write_array_len(
            self.0,
            u32::try_from(len).unwrap_or(u32::MAX),
        ));
    }

    pub(super) fn map(&mut self, len: usize) {
        sure(encode::write_map_len(
            self.0,
            u32::try_from(len).unwrap_or(u32::MAX),
        ));
    }

    pub(super) fn uint(&mut self, value: impl Into<u64>) {
        sure(encode::write_uint(self.0, value.into()));
    }

    pub(super) fn flag(&mut self, value: bool) {
        sure(encode::write_bool(self.0, value));
    }

    pub(super) fn nil(&mut self) {
        sure(encode::write_nil(self.0));
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        sure(encode::write_bin(self.0, value));
    }

    /// A text, cut at the length that a reader accepts.
    pub(super) fn text(&mut self, value: &str, bytes_max: usize) {
        sure(encode::write_str(self.0, cut(value, bytes_max)));
    }

    pub(super) fn text_or_nil(&mut self, value: Option<&str>, bytes_max: usize) {
        match value {
            Some(value) => self.text(value, bytes_max),
            None => self.nil(),
        }
    }
}

/// Reads the fields of one array, or of a map as key and value in turn.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> Reader<'a> {
    /// Opens the array that `bytes` begin with.
    pub(super) fn array(mut bytes: &'a [u8]) -> Result<Self, FrameError> {
        let len = decode::read_array_len(&mut bytes).map_err(|_| FrameError::Wrong("header"))?;
        Ok(Self {
            rest: bytes,
            left: u64::from(len),
        })
    }

    /// Opens the map that `bytes` begin with; answers its number of entries too.
    pub(super) fn map(mut bytes: &'a [u8]) -> Result<(Self, u32), FrameError> {
        let len = decode::read_map_len(&mut bytes).map_err(|_| FrameError::Wrong("header"))?;
        if len > MAP_LEN_MAX {
            return Err(FrameError::Wrong("header"));
        }
        let reader = Self {
            rest: bytes,
            left: u64::from(len) * 2,
        };
        Ok((reader, len))
    }

    /// Whether the array has a further field; optional ones at the end may be missing.
    pub(super) fn has_more(&self) -> bool {
        self.left > 0
    }

    fn next(&mut self, name: &'static str) -> Result<(), FrameError> {
        self.left = self.left.checked_sub(1).ok_or(FrameError::Missing(name))?;
        if self.rest.is_empty() {
            return Err(FrameError::Missing(name));
        }
        Ok(())
    }

    pub(super) fn uint(&mut self, name: &'static str) -> Result<u64, FrameError> {
        self.next(name)?;
        decode::read_int(&mut self.rest).map_err(|_| FrameError::Wrong(name))
    }

    /// An integer of a narrower type.
    pub(super) fn int<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<T, FrameError> {
        T::try_from(self.uint(name)?).map_err(|_| FrameError::Wrong(name))
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, FrameError> {
        self.next(name)?;
        decode::read_bool(&mut self.rest).map_err(|_| FrameError::Wrong(name))
    }

    pub(super) fn text(
        &mut self,
        name: &'static str,
        bytes_max: usize,
    ) -> Result<&'a str, FrameError> {
        self.next(name)?;
        let len = decode::read_str_len(&mut self.rest).map_err(|_| FrameError::Wrong(name))?;
        let bytes = self.slice(name, len as usize, bytes_max)?;
        std::str::from_utf8(bytes).map_err(|_| FrameError::Wrong(name))
    }

    /// A field that is nil or something else; `read` gets the reader in the second case.
    pub(super) fn or_nil<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        if self.left > 0 && self.rest.first() == Some(&Marker::Null.to_u8()) {
            self.left -= 1;
            self.rest = &self.rest[1..];
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Exactly `N` bytes.
    pub(super) fn bytes<const N: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<[u8; N], FrameError> {
        self.next(name)?;
        let len = decode::read_bin_len(&mut self.rest).map_err(|_| FrameError::Wrong(name))?;
        let bytes = self.slice(name, len as usize, N)?;
        bytes.try_into().map_err(|_| FrameError::Wrong(name))
    }

    fn slice(
        &mut self,
        name: &'static str,
        len: usize,
        len_max: usize,
    ) -> Result<&'a [u8], FrameError> {
        if len > len_max {
            return Err(FrameError::Wrong(name));
        }
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(FrameError::Missing(name))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A field that is an array of fields.
    pub(super) fn nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, FrameError>,
    ) -> Result<T, FrameError> {
        self.next(name)?;
        self.element(name, read)
    }

    fn element<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, FrameError>,
    ) -> Result<T, FrameError> {
        let mut element = Reader::array(self.rest).map_err(|_| FrameError::Wrong(name))?;
        let value = read(&mut element)?;
        self.rest = element.close()?;
        Ok(value)
    }

    /// A field that is a list. Each element is an array of its own and read by `read`.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        len_max: usize,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, FrameError>,
    ) -> Result<Vec<T>, FrameError> {
        self.next(name)?;
        let len = decode::read_array_len(&mut self.rest).map_err(|_| FrameError::Wrong(name))?;
        // An element takes a byte at least: what is claimed must be there before room is made.
        let len = len as usize;
        if len > len_max || len > self.rest.len() {
            return Err(FrameError::Wrong(name));
        }
        let mut list = Vec::with_capacity(len);
        for _ in 0..len {
            list.push(self.element(name, &mut read)?);
        }
        Ok(list)
    }

    /// Skips one field, whatever it is.
    pub(super) fn skip(&mut self) -> Result<(), FrameError> {
        self.next("a field")?;
        self.rest = skipped(self.rest, 1)?;
        Ok(())
    }

    /// Skips the fields that a newer version appended; answers what follows the header.
    pub(super) fn close(self) -> Result<&'a [u8], FrameError> {
        skipped(self.rest, self.left)
    }
}

/// What follows `left` values. Each takes a byte at least, so the loop ends with the bytes.
fn skipped(mut rest: &[u8], mut left: u64) -> Result<&[u8], FrameError> {
    while left > 0 {
        let (bytes, values) = extent(&mut rest)?;
        rest = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| rest.get(bytes..))
            .ok_or(FrameError::Missing("a field"))?;
        left = (left - 1).saturating_add(values);
    }
    Ok(rest)
}

/// Reads the marker and length of a value: bytes that follow, and values inside.
fn extent(rest: &mut &[u8]) -> Result<(u64, u64), FrameError> {
    let missing = |_| FrameError::Missing("a field");
    let marker = decode::read_marker(rest).map_err(|_| FrameError::Missing("a field"))?;
    let mut length = |bytes: usize| -> Result<u64, FrameError> {
        let (taken, after) = rest.split_at_checked(bytes).ok_or(()).map_err(missing)?;
        *rest = after;
        Ok(taken
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    Ok(match marker {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
            (0, 0)
        }
        Marker::U8 | Marker::I8 => (1, 0),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => (2, 0),
        Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
        Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
        Marker::FixStr(len) => (u64::from(len), 0),
        Marker::Str8 | Marker::Bin8 => (length(1)?, 0),
        Marker::Str16 | Marker::Bin16 => (length(2)?, 0),
        Marker::Str32 | Marker::Bin32 => (length(4)?, 0),
        Marker::FixExt2 => (3, 0),
        Marker::FixExt4 => (5, 0),
        Marker::FixExt8 => (9, 0),
        Marker::FixExt16 => (17, 0),
        Marker::Ext8 => (length(1)? + 1, 0),
        Marker::Ext16 => (length(2)? + 1, 0),
        Marker::Ext32 => (length(4)? + 1, 0),
        Marker::FixArray(len) => (0, u64::from(len)),
        Marker::Array16 => (0, length(2)?),
        Marker::Array32 => (0, length(4)?),
        Marker::FixMap(len) => (0, u64::from(len) * 2),
        Marker::Map16 => (0, length(2)? * 2),
        Marker::Map32 => (0, length(4)? * 2),
        Marker::Reserved => return Err(FrameError::Wrong("a field")),
    })
}
