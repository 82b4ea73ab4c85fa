//! Next to no processor for one process: a control group of the run's own with a quota.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Where control groups are; those of the first version have a tree for each matter.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu"];
/// The processor is given out anew each time.
const PERIOD_US: u32 = 100_000;

/// A process under a quota; free of it when this is dropped.
#[derive(Debug)]
pub(crate) struct Quota {
    root: PathBuf,
    group: PathBuf,
    id: i32,
}

impl Quota {
    /// Leaves a process so many hundredths of one processor.
    pub(crate) fn set(id: i32, percent: u32) -> anyhow::Result<Self> {
        let root = root().context("no control groups that limit processors can be written")?;
        let group = root.join(format!("tidepool-chaos-{}", std::process::id()));
        std::fs::create_dir_all(&group)?;
        let quota = Self { root, group, id };
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
        // A process that has ended is in no group.
        let _ = write(&self.root, "cgroup.procs", &self.id.to_string());
        let _ = std::fs::remove_dir(&self.group);
    }
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
        let group = root.join(format!("tidepool-chaos-{}-try", std::process::id()));
        std::fs::create_dir_all(&group)?;
        ensure!(group.join("cgroup.procs").exists(), "they are not mounted");
        Ok(std::fs::remove_dir(&group)?)
    };
    let problem = tried().err()?;
    Some(format!("no control groups: {problem:#}"))
}
