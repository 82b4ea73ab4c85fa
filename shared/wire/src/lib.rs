//! Bytes to values and back. No sockets here.

pub mod payload;

pub use payload::{DecodeError, EncodeError, Fault, Format, Payload};
