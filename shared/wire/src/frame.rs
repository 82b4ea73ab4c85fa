//! What balancers and nodes say to each other: frames as values, without sockets.
//!
//! A frame is `u32 length of what follows | u8 kind | u8 flags | u64 id | body`, big endian. A body
//! is a MessagePack header and, where there is a payload, its raw bytes right after it, so that a
//! payload is a slice of what was read. Payloads above [`CHUNK_BYTES`] go on in CHUNK frames of
//! the same id, between which other frames may stand.
//!
//! **Versions.** HELLO is a map with names: a reader skips names it does not know. The other
//! headers are arrays to which versions only append. A reader takes the fields it knows, skips
//! those that follow, and takes the stated default for optional ones that are missing at the end;
//! a missing field of version 1 is an error. A writer writes what the version that both sides
//! speak ([`Versions::common`]) has. Anything else (a field that means something else, a new
//! kind) is a new version. Codes may be added within a version: an unknown failure code reads as
//! [`FailureCode::Internal`], an unknown reason to reject as [`RejectReason::QueueFull`].

mod codec;
mod header;
mod hello;

use bytes::Bytes;
use tidepool_core::{Kind, PoolName, Priority, RequestId, TraceContext, WorkerId};

pub use codec::{RawFrame, put_chunk, put_request, put_response, take_frame};
pub use hello::{Hello, HelloLimits, InstanceId, LinkKind, Mac, Nonce, Role, Versions};

use crate::{Fault, Format};

/// Bytes of a frame before its body: length, kind, flags, id.
pub const FRAME_HEADER_BYTES: usize = 14;
/// Longest body of a frame that is ever accepted, in bytes.
pub const FRAME_BODY_MAX: usize = 1024 * 1024;
/// Longest piece of a payload in one frame, in bytes; the rest follows in CHUNKs.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Longest detail of a failure, in bytes; encoding cuts there.
pub const DETAIL_BYTES_MAX: usize = 2_048;
/// Most faults of one failure; encoding drops the rest.
pub const FAULTS_MAX: usize = 64;
/// Most pools in one CREDIT or PING; encoding drops the rest.
pub const POOLS_MAX: usize = 1_024;
/// Longest name of a process, a worker or a dependency, in bytes; encoding cuts there.
pub const LABEL_BYTES_MAX: usize = 255;
/// The versions that this build speaks.
pub const VERSIONS: Versions = Versions { min: 1, max: 1 };

/// One request as a balancer hands it to a node. The payload follows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The request.
    pub request_id: RequestId,
    /// The pool that is to serve it.
    pub pool: PoolName,
    /// What it asks for.
    pub kind: Kind,
    /// Its place in the trace; the parent of what the node does.
    pub trace: TraceContext,
    /// How long an answer is still of use, in µs from the sending; clocks need not agree.
    pub remaining_us: u64,
    /// Its urgency.
    pub priority: Priority,
    /// Whether running it twice is the same as running it once.
    pub idempotent: bool,
    /// Encoding of the payload.
    pub input_format: Format,
    /// Encoding that the answer is to have.
    pub reply_format: Format,
    /// A hash of its session, for a node that keeps sessions together. Optional.
    pub session: Option<u64>,
}

/// What a node answers when a request was given to a worker or died waiting for one. The payload
/// follows it; that of a failure is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Encoding of the payload.
    pub format: Format,
    /// The worker that had it, if one had.
    pub worker: Option<WorkerId>,
    /// How long it waited on the node, in µs.
    pub queued_us: u32,
    /// How long it was worked on, in µs.
    pub work_us: u32,
    /// Why there is no answer, if there is none.
    pub failed: Option<Failed>,
}

/// Why a handler did not answer. The cause for the operator stays in the log of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// What sort of failure it is.
    pub code: FailureCode,
    /// A sentence for the caller; may be empty.
    pub detail: String,
    /// What is wrong with the input, of [`FailureCode::Invalid`].
    pub faults: Vec<Fault>,
    /// Name of what is not available, of [`FailureCode::Dependency`].
    pub dependency: Option<String>,
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident or $other:ident { $($(#[$of:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$of])* $variant = $code),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn from_code(code: u64) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    _ => Self::$other,
                }
            }
        }
    };
}

codes! {
    /// The failures of a handler, and two of the node around it.
    FailureCode or Internal {
        /// The payload is no value of its format.
        Malformed = 0,
        /// The input does not fit the kind.
        Invalid = 1,
        /// A limit of the kind stopped the work.
        LimitExceeded = 2,
        /// The deadline passed while the work ran.
        DeadlineExceeded = 3,
        /// Nobody waits for it any more.
        Cancelled = 4,
        /// Something the handler depends on is not available.
        Dependency = 5,
        /// A defect or an unforeseen condition.
        Internal = 6,
        /// The handler panicked.
        Panicked = 7,
        /// The deadline passed while the request waited on the node: no handler saw it.
        DeadlineInQueue = 8,
    }
}

codes! {
    /// Why a node did not take a request.
    RejectReason or QueueFull {
        /// No slot, and no room to wait.
        QueueFull = 0,
        /// The node, or its pool, lets nothing new in.
        Draining = 1,
        /// The node has no such pool, or the pool no such kind.
        UnknownPool = 2,
        /// It would wait longer than its deadline.
        WouldMissDeadline = 3,
        /// Its payload is larger than the node takes.
        TooLarge = 4,
    }
}

/// A request was not started: it may be tried anywhere else, whatever it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// When it may be worth another try here, in ms.
    pub retry_after_ms: u32,
}

/// What one balancer may have in flight on one node. Complete: a pool that is not named has no
/// slots. Replaces what an older generation said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Credit {
    /// Grows with every change.
    pub generation: u64,
    /// By pool.
    pub grants: Vec<Grant>,
}

/// The credit of one pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The pool.
    pub pool: PoolName,
    /// Requests of this balancer that may be in flight.
    pub slots: u32,
    /// Workers of the pool that are ready on the node.
    pub workers: u32,
}

/// A sign of life of a balancer, with what it needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ping {
    /// Comes back in the pong.
    pub nonce: u64,
    /// By pool.
    pub demand: Vec<Demand>,
}

/// What a balancer needs of one pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demand {
    /// The pool.
    pub pool: PoolName,
    /// Its requests that run or wait on the node.
    pub in_flight: u32,
    /// Its requests that wait at the balancer.
    pub queued: u32,
}

/// Anything that is sent over a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Who one is, and the steps of the proof.
    Hello(Box<Hello>),
    /// A request with the first piece of its payload; `more` says that CHUNKs follow.
    Request {
        /// Names the call on its link; the answer bears it.
        id: u64,
        /// The request.
        request: Request,
        /// The payload, or its first piece.
        payload: Bytes,
        /// Whether CHUNKs follow.
        more: bool,
    },
    /// An answer with the first piece of its payload.
    Response {
        /// The call.
        id: u64,
        /// The answer.
        response: Response,
        /// The payload, or its first piece.
        payload: Bytes,
        /// Whether CHUNKs follow.
        more: bool,
    },
    /// The next piece of a payload.
    Chunk {
        /// The call.
        id: u64,
        /// The piece.
        payload: Bytes,
        /// Whether further ones follow.
        more: bool,
    },
    /// A request was not started.
    Reject {
        /// The call.
        id: u64,
        /// Why.
        reject: Reject,
    },
    /// Nobody waits for the answer any more.
    Cancel {
        /// The call.
        id: u64,
    },
    /// What the balancer may have in flight.
    Credit(Credit),
    /// The node lets nothing new in.
    Drain,
    /// A sign of life.
    Ping(Ping),
    /// The answer to it.
    Pong {
        /// That of the ping.
        nonce: u64,
    },
}

/// Why bytes are no frame. Ends the link: what follows cannot be told apart any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is above what is accepted.
    #[error("a frame of {len} bytes, {max} are accepted")]
    TooLong {
        /// What the frame claims, in bytes.
        len: usize,
        /// What is accepted, in bytes.
        max: usize,
    },
    /// The length does not even cover kind, flags and id.
    #[error("a frame of {0} bytes has no room for its kind")]
    TooShort(usize),
    /// No kind of any version that is spoken.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The header ends early, or lacks a field that it must have.
    #[error("the header lacks '{0}'")]
    Missing(&'static str),
    /// A field has another type, or a value that it must not have.
    #[error("the header holds a wrong '{0}'")]
    Wrong(&'static str),
    /// A body longer than its header, of a kind without a payload.
    #[error("{0} bytes left after the header")]
    Trailing(usize),
}

#[cfg(test)]
mod tests;
