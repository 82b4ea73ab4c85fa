//! The program as a whole, from outside; and the rules that its sources keep.

mod access;
mod architecture;
mod bad_input;
mod chaos;
mod cluster;
mod collector;
mod command_line;
mod deployed_redis;
mod durability;
mod feed;
mod finding;
mod hearsay;
mod hops;
mod keda;
mod load;
mod orders;
mod pattern;
mod process;
mod scaling;
mod secrets;
mod simulate;
mod stand_in;
mod stopping;
mod tidy;
mod traces;
