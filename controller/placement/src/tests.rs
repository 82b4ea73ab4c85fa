//! Laws of placement on random clusters, and the sizing of a cluster as tables.

mod placing;
mod sizing;
mod world;
