//! What sits in the slot table: a worker of this process, or a share of another node.

use std::sync::Arc;

use actix_web::http::header::HeaderValue;
use tidepool_core::WorkerId;
use tidepool_worker::Seat;

use crate::remote::RemoteSeat;

/// A worker's name, ready to be sent: every answer carries it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerName(pub(crate) HeaderValue);

impl WorkerName {
    pub(crate) fn of(worker: &WorkerId) -> Self {
        // The name of a pool and a number: always visible ASCII.
        let value = HeaderValue::from_str(worker.as_str());
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("unnamed")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A seat in the slot table.
pub(crate) enum Place {
    /// A worker of this process.
    Here { seat: Arc<Seat>, name: WorkerName },
    /// The workers of this pool on another node, as many as it lets this process use.
    There(RemoteSeat),
}

impl Place {
    pub(super) fn worker(&self) -> Option<&Arc<Seat>> {
        match self {
            Self::Here { seat, .. } => Some(seat),
            Self::There(_) => None,
        }
    }

    /// Whether it is that life of that node.
    pub(super) fn is_of(&self, node: &RemoteSeat) -> bool {
        matches!(self, Self::There(remote) if remote.is_same(node))
    }

    /// What operators call it.
    pub(super) fn title(&self) -> &str {
        match self {
            Self::Here { name, .. } => name.as_str(),
            Self::There(remote) => remote.node(),
        }
    }

    /// The same in every process, so that a session finds the same seat through each of them.
    pub(super) fn mark(&self) -> u64 {
        // FNV-1a: short names, and it never changes.
        self.title()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }
}
