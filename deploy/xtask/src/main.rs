//! Chores of the repository, as `cargo xtask`: what to run is written here once, for people and
//! for continuous integration alike.

mod needs;
mod steps;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
Chores of the repository.

  cargo xtask test   provide what the test suites need, then run them all
  cargo xtask ci     check formatting, lint with warnings denied, then test
";

fn main() -> ExitCode {
    let chore: Vec<String> = std::env::args().skip(1).collect();
    let done = match chore.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => steps::test(),
        ["ci"] => steps::ci(),
        ["help" | "--help" | "-h"] => {
            say(USAGE);
            Ok(())
        }
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells the person at the terminal; stdout belongs to the tools that are run.
fn say(text: &str) {
    // Nobody is left to tell when stderr is gone; the exit code says it all the same.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}
