//! The client API as callers see it: a real server on a free port, real actors, test handlers.

mod accepted;
mod bodies;
mod cancellation;
mod faults;
mod handlers;
mod harness;
mod idempotency;
mod invoke;
mod overload;
mod pages;
mod quota;
mod remote;
