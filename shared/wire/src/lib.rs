//! Bytes to values and back. No sockets here.

pub mod frame;
mod member;
pub mod payload;

pub use payload::{DecodeError, EncodeError, Fault, Format, Payload};
