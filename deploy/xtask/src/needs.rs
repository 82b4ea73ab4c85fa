//! Programs that test suites start, and how they get onto the machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::say;

/// A program that a suite starts.
struct Need {
    program: &'static str,
    /// What it is needed for.
    purpose: &'static str,
    /// Its package on Debian and its descendants.
    package: &'static str,
    /// Commands that install it elsewhere.
    elsewhere: &'static str,
}

const NEEDS: [Need; 1] = [Need {
    program: "redis-server",
    purpose: "the store's conformance suite against Redis",
    package: "redis-server",
    elsewhere: "`brew install redis` on macOS, `dnf install redis` on Fedora, `apk add redis` on Alpine",
}];

/// What can be done about a missing program.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// Install it now.
    Install,
    /// Tell the person what to run.
    Tell(String),
}

/// Sees to it that everything is there that the suites need.
///
/// # Errors
/// When something is missing and cannot be installed: the message names the command.
pub(crate) fn provide() -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut untold = Vec::new();
    for need in NEEDS
        .iter()
        .filter(|need| find(need.program, &path).is_none())
    {
        match remedy(need, find("apt-get", &path).is_some(), is_root()) {
            Remedy::Install => install(need)?,
            Remedy::Tell(command) => untold.push(command),
        }
    }
    ensure!(untold.is_empty(), "{}", untold.join("\n"));
    Ok(())
}

fn remedy(need: &Need, has_apt: bool, is_root: bool) -> Remedy {
    let Need {
        program,
        purpose,
        package,
        elsewhere,
    } = need;
    let missing = format!("{program} is missing; {purpose} needs it.");
    match (has_apt, is_root) {
        (true, true) => Remedy::Install,
        (true, false) => Remedy::Tell(format!("{missing} Run: sudo apt-get install -y {package}")),
        (false, _) => Remedy::Tell(format!("{missing} Install it: {elsewhere}")),
    }
}

fn install(need: &Need) -> anyhow::Result<()> {
    say(&format!("installing {} for {}", need.package, need.purpose));
    apt_get(&["update", "-qq"])?;
    apt_get(&[
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        need.package,
    ])?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = find(need.program, &path);
    found.with_context(|| format!("{} is installed but not in PATH", need.program))?;
    Ok(())
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Suites start their own servers on ports of their own; none is wanted as a service.
        .env("RUNLEVEL", "1")
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed: {status}", args.join(" "));
    }
    Ok(())
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether this process may install packages. The owner of its own entry in `/proc` tells without
/// unsafe code; where there is none, there is no apt-get either.
fn is_root() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Path::new("/proc/self")
            .metadata()
            .is_ok_and(|me| me.uid() == 0)
    }
    #[cfg(not(unix))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_on_debian_installs_and_others_are_told() {
        let need = &NEEDS[0];
        assert_eq!(remedy(need, true, true), Remedy::Install);
        let told = |apt, root| match remedy(need, apt, root) {
            Remedy::Tell(told) => told,
            Remedy::Install => String::new(),
        };
        assert!(told(true, false).contains("sudo apt-get install -y redis-server"));
        assert!(told(false, true).contains("brew install redis"));
    }

    #[test]
    fn programs_are_found_in_path_only() {
        let path = OsStr::new("/nonexistent:/bin:/usr/bin");
        assert!(find("sh", path).is_some());
        assert!(find("no-such-program", path).is_none());
        assert!(find("sh", OsStr::new("")).is_none());
    }
}
