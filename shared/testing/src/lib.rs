//! Real servers for tests. Suites of several crates need the same one, started the same way.

mod redis;

pub use redis::RedisServer;
