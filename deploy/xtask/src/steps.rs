//! The steps of each chore. Each is announced as it can be typed, and summed up at the end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{needs, say};

/// One run of cargo.
type Step = &'static [&'static str];

const FORMAT: Step = &["fmt", "--all", "--check"];
const LINT: Step = &[
    "clippy",
    "--workspace",
    "--all-targets",
    "--locked",
    "--",
    "-D",
    "warnings",
];
/// Every suite: unit, property, documentation and integration tests of every crate.
const TEST: Step = &["test", "--workspace", "--locked"];

/// Provides what the suites need and runs them all.
///
/// # Errors
/// When something is missing or a test fails.
pub(crate) fn test() -> anyhow::Result<()> {
    needs::provide()?;
    run(&[TEST])
}

/// Everything that continuous integration asks for.
///
/// # Errors
/// When a step fails.
pub(crate) fn ci() -> anyhow::Result<()> {
    needs::provide()?;
    run(&[FORMAT, LINT, TEST])
}

fn run(steps: &[Step]) -> anyhow::Result<()> {
    let mut ran = Vec::new();
    for step in steps {
        let command = format!("cargo {}", step.join(" "));
        say(&format!("> {command}"));
        let begin = Instant::now();
        let status = Command::new(cargo())
            .args(*step)
            .current_dir(root())
            .status()
            .with_context(|| format!("cannot run {command}"))?;
        let took_s = begin.elapsed().as_secs();
        if !status.success() {
            bail!("failed after {took_s} s ({status}): {command}");
        }
        ran.push(format!("  passed in {took_s:>4} s: {command}"));
    }
    say(&format!("all done:\n{}", ran.join("\n")));
    Ok(())
}

/// The cargo that runs this program, so that the toolchain stays the same.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The top of the repository, wherever cargo was called.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
