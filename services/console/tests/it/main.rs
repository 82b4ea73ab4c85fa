//! The operator API over real connections, in front of a fleet that is made up.

mod api;
mod fleet;
mod server;
mod streams;
