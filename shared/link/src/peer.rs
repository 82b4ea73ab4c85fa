//! Who is at the other end, and why it no longer is.

use std::time::Duration;

use tidepool_wire::frame::{FrameError, HelloLimits, InstanceId, LinkKind, Role};

use crate::handshake::Refused;

/// The other end of a link, once it has proved who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// What it is.
    pub role: Role,
    /// Its name, for people.
    pub name: String,
    /// Its life: the links of one process share it.
    pub instance: InstanceId,
    /// What the link is for.
    pub kind: LinkKind,
    /// The version that both speak.
    pub version: u8,
    /// What it takes.
    pub limits: HelloLimits,
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// This side wanted it.
    #[error("closed here")]
    Here,
    /// The other end is gone.
    #[error("the peer closed the connection")]
    Eof,
    /// There was no connection, or it broke.
    #[error("the connection failed: {0}")]
    Io(String),
    /// The ends do not trust each other's certificates, or only one of them speaks TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The greeting failed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The greeting took too long.
    #[error("no greeting within {0:?}")]
    Silent(Duration),
    /// The peer does not read.
    #[error("the peer has read nothing for {0:?}")]
    Stalled(Duration),
    /// What came is not what the protocol says.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
}

impl From<std::io::Error> for Closed {
    fn from(error: std::io::Error) -> Self {
        #[cfg(feature = "tls")]
        if crate::transport::tls::is_from(&error) {
            return Self::Tls(error.to_string());
        }
        Self::Io(error.to_string())
    }
}

impl From<FrameError> for Closed {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}
