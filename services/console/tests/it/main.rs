//! The operator API over real connections, in front of a fleet that is made up.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod api;
mod fleet;
mod keda;
mod learned;
mod orders;
mod server;
mod streams;
