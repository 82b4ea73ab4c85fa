//! Where durable things live: four ports ([`Log`], [`Kv`], [`Lease`], [`Roster`]) and two back ends.
//!
//! Everything above is written once against the ports. [`EmbeddedStore`] keeps all of it in one
//! directory of this machine and needs nothing installed; [`RedisStore`] shares it between
//! processes. Both pass the same conformance suite (`tests/it`).
//!
//! # Waiting
//! Every operation returns a `'static` [`StoreFuture`] that can be awaited on any executor, in
//! or out of a tokio runtime. A plain thread, such as one that computes for a handler, calls
//! [`wait`]:
//!
//! ```
//! use tidepool_store::{EmbeddedStore, Epoch, Log, Position, wait};
//!
//! let store = EmbeddedStore::ephemeral()?;
//! let position = wait(store.append("memory:notes", Epoch::UNFENCED, vec!["hello".into()]))?;
//! let records = wait(store.read("memory:notes", Position::START, 10))?;
//! assert_eq!(records, [(position, "hello".into())]);
//! # Ok::<(), tidepool_store::StoreError>(())
//! ```
//!
//! `wait` blocks its thread, so it is not for threads that run other futures.
//!
//! # What an answer means
//! An acknowledged write survives `kill -9` of everything (with Redis: as far as its
//! `appendonly` setting goes). A write that failed with [`StoreError::Unavailable`] may or may
//! not have happened.

mod clock;
mod embedded;
mod error;
mod fenced;
mod layout;
mod limits;
mod port;
mod remote;
mod vitals;
mod wait;

pub use clock::{Clock, steady_clock};
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use fenced::FencedKv;
pub use layout::Layout;
pub use limits::{
    APPEND_BYTES_MAX, APPEND_RECORDS_MAX, DOCUMENT_BYTES_MAX, GROUP_LEN_MAX, MISSED_RECORDS_MAX,
    NAME_BYTES_MAX, READ_BYTES_MAX, READ_RECORDS_MAX, RECORD_BYTES_MAX, TTL_MAX, VALUE_BYTES_MAX,
};
pub use port::{
    Appended, Epoch, Held, Kv, Lease, Log, Members, Position, Records, Roster, StoreFuture, Value,
    Version,
};
pub use remote::RedisStore;
pub use wait::wait;
