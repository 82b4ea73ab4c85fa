//! Links over real sockets, and over pipes where a test must know when they are full.

mod calls;
mod control;
mod endings;
mod greeting;
mod support;
#[cfg(feature = "tls")]
mod tls;
mod versions;
