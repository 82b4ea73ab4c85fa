//! Next to no processor for one process: a control group of the run's own with a quota.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process::is_alive;

/// Where control groups are; those of the first version have a tree for each matter.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu"];
/// The processor is given out anew each time.
const PERIOD_US: u32 = 100_000;
/// Beginning of the name of a group; the number of the process that made it follows.
const PREFIX: &str = "tidepool-chaos-";
/// What follows after that in the name of one that is only tried.
const TRIED: &str = "-try";
/// Tries to remove a group: it stays for as long as a process in it takes to end.
const REMOVE_TRIES: usize = 100;
/// Pause between two.
const REMOVE_EVERY: Duration = Duration::from_millis(20);

/// A process under a quota; free of it when this is dropped.
#[derive(Debug)]
pub(crate) struct Quota {
    root: PathBuf,
    group: PathBuf,
}

impl Quota {
    /// Leaves a process so many hundredths of one processor.
    pub(crate) fn set(id: i32, percent: u32) -> anyhow::Result<Self> {
        let root = root().context("no control groups that limit processors can be written")?;
        let group = root.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&group)?;
        let quota = Self { root, group };
        let quota_us = PERIOD_US / 100 * percent;
        if quota.group.join("cpu.max").exists() {
            write(&quota.group, "cpu.max", &format!("{quota_us} {PERIOD_US}"))?;
        } else {
            write(&quota.group, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
            write(&quota.group, "cpu.cfs_quota_us", &quota_us.to_string())?;
        }
        write(&quota.group, "cgroup.procs", &id.to_string())?;
        Ok(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        remove(&self.root, &self.group);
    }
}

/// Removes a group. Who is in it goes back to the root first, where it is as fast as others.
fn remove(root: &Path, group: &Path) {
    for _ in 0..REMOVE_TRIES {
        let inside = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        // Nobody from elsewhere is seen, but as a zero; and to move that would move this process.
        for id in inside.lines().filter(|id| *id != "0") {
            // It may have ended meanwhile.
            let _ = write(root, "cgroup.procs", id);
        }
        match std::fs::remove_dir(group) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                std::thread::sleep(REMOVE_EVERY);
            }
            _ => return,
        }
    }
}

/// Removes what runs of dead processes have left.
pub(crate) fn remove_leftovers() {
    for root in ROOTS.map(Path::new) {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let is_left = |name: &str| maker(name).is_some_and(|id| !is_alive(id));
        for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_left)) {
            remove(root, &entry.path());
        }
    }
}

/// The number of the process that made a group.
fn maker(name: &str) -> Option<u32> {
    let id = name.strip_prefix(PREFIX)?;
    id.strip_suffix(TRIED).unwrap_or(id).parse().ok()
}

fn write(group: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let file = group.join(file);
    std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
}

/// The tree in which processors can be limited.
fn root() -> Option<PathBuf> {
    ROOTS.map(PathBuf::from).into_iter().find(|root| {
        let handed_down = std::fs::read_to_string(root.join("cgroup.subtree_control"));
        let is_newer = handed_down.is_ok_and(|list| list.split_whitespace().any(|c| c == "cpu"));
        is_newer || root.join("cpu.shares").exists()
    })
}

/// Why no quota can be set here, if it cannot.
pub(crate) fn is_missing() -> Option<String> {
    let tried = || -> anyhow::Result<()> {
        let root = root().context("there are none for processors")?;
        let group = root.join(format!("{PREFIX}{}{TRIED}", std::process::id()));
        std::fs::create_dir_all(&group)?;
        let is_mounted = group.join("cgroup.procs").exists();
        std::fs::remove_dir(&group)?;
        ensure!(is_mounted, "they are not mounted");
        Ok(())
    };
    let problem = tried().err()?;
    Some(format!("no control groups: {problem:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_say_who_made_them() {
        assert_eq!(maker("tidepool-chaos-41"), Some(41));
        assert_eq!(maker("tidepool-chaos-41-try"), Some(41));
        for other in [
            "tidepool-chaos-",
            "tidepool-chaos-x",
            "tidepool-41",
            "system",
        ] {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_need_not_be_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let group = folder.path().join("group");
        std::fs::create_dir(&group).expect("a group");
        remove(folder.path(), &group);
        assert!(!group.exists());
        remove(folder.path(), &group);
    }
}
