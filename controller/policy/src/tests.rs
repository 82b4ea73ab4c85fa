//! Laws of `decide`, and what it does to a small simulated pool.

mod ladder;
mod laws;
mod learned;
mod orders;
mod pool;
mod rails;
mod story;
mod telling;
