//! The program as a whole, from outside; and the rules that its sources keep.

mod architecture;
mod command_line;
mod stand_in;
mod tidy;
