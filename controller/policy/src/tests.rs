//! Laws of `decide`, and what it does to a small simulated pool.

mod laws;
mod pool;
mod story;
