//! The operator API over real connections, in front of a fleet that is made up.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod api;
mod fleet;
mod server;
mod streams;
