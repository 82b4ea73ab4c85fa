//! The kinds that Tidepool answers out of the box, each on a maintained library and within limits.

mod echo;
mod grammar;
mod input;
mod memory;
mod reasoning;
#[cfg(test)]
mod testing;

pub use echo::echo;
pub use grammar::grammar;
pub use memory::{MemoryConfig, memory};
pub use reasoning::reasoning;
