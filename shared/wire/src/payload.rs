//! Bodies of requests and answers: JSON or MessagePack, decoded once, where they are used.

use std::io::Cursor;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Deepest nesting that is accepted in either format.
pub const DEPTH_MAX: usize = 128;
/// Longest pointer and longest message of a fault.
pub const FAULT_BYTES_MAX: usize = 1_024;

/// How a body is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/msgpack`
    MsgPack,
}

impl Format {
    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MsgPack => "application/msgpack",
        }
    }

    /// The format that a media type (without parameters) names.
    #[must_use]
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let is = |name: &str| media_type.eq_ignore_ascii_case(name);
        if is("application/json") {
            Some(Self::Json)
        } else if [
            "application/msgpack",
            "application/x-msgpack",
            "application/vnd.msgpack",
        ]
        .into_iter()
        .any(is)
        {
            Some(Self::MsgPack)
        } else {
            None
        }
    }
}

/// A body and its encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The encoded value.
    pub bytes: Bytes,
    /// Its encoding.
    pub format: Format,
}

/// One thing that is wrong with an input, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// RFC 6901 JSON Pointer to the faulty value; empty for the whole input.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

impl Fault {
    /// A fault at a pointer. Both are cut at [`FAULT_BYTES_MAX`]: a caller chooses its keys.
    #[must_use]
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: shortened(pointer.into()),
            message: shortened(message.into()),
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > FAULT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FAULT_BYTES_MAX));
        text.push('\u{2026}');
    }
    text
}

/// Why a body could not be read as what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a value of its format at all.
    #[error("the body is not valid {format}: {detail}", format = .format.media_type())]
    Malformed {
        /// The format it claims.
        format: Format,
        /// What is wrong, with a position where there is one.
        detail: String,
    },
    /// A well-formed value that does not fit.
    #[error("the input does not fit: {} {}", .0.pointer, .0.message)]
    Invalid(Fault),
}

/// A value could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not encode the answer: {0}")]
pub struct EncodeError(pub String);

impl Payload {
    /// A payload in a format.
    #[must_use]
    pub fn new(format: Format, bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            format,
        }
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// When the value has no representation in the format, such as a map with keys that
    /// are not strings in JSON.
    pub fn encode<T: Serialize + ?Sized>(value: &T, format: Format) -> Result<Self, EncodeError> {
        let bytes = match format {
            Format::Json => serde_json::to_vec(value).map_err(|e| EncodeError(e.to_string()))?,
            Format::MsgPack => {
                rmp_serde::to_vec_named(value).map_err(|e| EncodeError(e.to_string()))?
            }
        };
        Ok(Self::new(format, bytes))
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when the bytes are not a value of the format, or nest
    /// deeper than [`DEPTH_MAX`]; [`DecodeError::Invalid`] when they are one of another shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self.format {
            Format::Json => decode_json(&self.bytes),
            Format::MsgPack => decode_msgpack(&self.bytes),
        }
    }

    /// The same value in another format; free when it is that format already.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when the bytes are not a value of their format, or have
    /// no representation in the other one (such as MessagePack binary in JSON).
    pub fn transcode(self, format: Format) -> Result<Self, DecodeError> {
        if self.format == format {
            return Ok(self);
        }
        let malformed = |detail: String| DecodeError::Malformed {
            format: self.format,
            detail,
        };
        let bytes = match self.format {
            Format::Json => {
                let mut from = serde_json::Deserializer::from_slice(&self.bytes);
                let mut out = Vec::with_capacity(self.bytes.len());
                serde_transcode::transcode(&mut from, &mut rmp_serde::Serializer::new(&mut out))
                    .map_err(|e| malformed(e.to_string()))?;
                from.end().map_err(|e| malformed(e.to_string()))?;
                out
            }
            Format::MsgPack => {
                let mut from = msgpack_deserializer(&self.bytes);
                let mut out = Vec::with_capacity(self.bytes.len() * 2);
                serde_transcode::transcode(&mut from, &mut serde_json::Serializer::new(&mut out))
                    .map_err(|e| malformed(e.to_string()))?;
                reject_trailing(&from, &self.bytes).map_err(malformed)?;
                out
            }
        };
        Ok(Self::new(format, bytes))
    }
}

fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let malformed = |e: &serde_json::Error| DecodeError::Malformed {
        format: Format::Json,
        detail: e.to_string(),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        if error.inner().is_data() {
            // serde stops at the first fault; the rest of the text may still be no JSON.
            match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
                Ok(_) => DecodeError::Invalid(fault(error.path(), &error.inner().to_string())),
                Err(syntax) => malformed(&syntax),
            }
        } else {
            malformed(error.inner())
        }
    })?;
    deserializer.end().map_err(|e| malformed(&e))?;
    Ok(value)
}

fn decode_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let malformed = |detail: String| DecodeError::Malformed {
        format: Format::MsgPack,
        detail,
    };
    let mut deserializer = msgpack_deserializer(bytes);
    match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(value) => {
            reject_trailing(&deserializer, bytes).map_err(malformed)?;
            Ok(value)
        }
        // The errors of the codec do not tell a broken encoding from a wrong shape, so read
        // the value once more without wanting a shape.
        Err(error) => {
            let mut again = msgpack_deserializer(bytes);
            serde::de::Deserialize::deserialize(&mut again)
                .map_err(|e| malformed(e.to_string()))
                .and_then(|serde::de::IgnoredAny| {
                    reject_trailing(&again, bytes).map_err(malformed)
                })?;
            Err(DecodeError::Invalid(fault(
                error.path(),
                &error.inner().to_string(),
            )))
        }
    }
}

pub(crate) type MsgPackDeserializer<'a> =
    rmp_serde::Deserializer<rmp_serde::decode::ReadReader<Cursor<&'a [u8]>>>;

/// Reads through a cursor, because the reader of borrowed slices does not tell how far it got.
pub(crate) fn msgpack_deserializer(bytes: &[u8]) -> MsgPackDeserializer<'_> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(bytes));
    deserializer.set_max_depth(DEPTH_MAX);
    deserializer
}

fn reject_trailing(read: &MsgPackDeserializer<'_>, all: &[u8]) -> Result<(), String> {
    match (all.len() as u64).saturating_sub(read.position()) {
        0 => Ok(()),
        left => Err(format!(
            "{left} of {} bytes left after the value",
            all.len()
        )),
    }
}

fn fault(path: &serde_path_to_error::Path, message: &str) -> Fault {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // serde_json appends a position, which is of the text and not of the value.
    let message = message.split(" at line ").next().unwrap_or(message);
    Fault::at(pointer, message.chars().take(300).collect::<String>())
}

#[cfg(test)]
mod tests;
