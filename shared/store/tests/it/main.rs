//! One suite for every back end, and what is particular to each.

mod conformance;
mod durability;
mod embedded;
mod redis;
mod server;
