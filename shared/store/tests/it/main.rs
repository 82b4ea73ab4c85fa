//! One suite for every back end, and what is particular to each.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod conformance;
mod durability;
mod embedded;
mod fencing;
mod layout;
mod operators;
mod places;
mod ports;
mod redis;
mod roster;
mod server;
