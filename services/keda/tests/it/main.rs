//! The listener as KEDA meets it: over a connection, by a client that shares no code with it.

mod bounds;
mod calls;
mod client;
mod fleet;
