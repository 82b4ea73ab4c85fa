//! A small disk of the run's own (a tmpfs), to be filled to its last byte and emptied again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::process::is_alive;
use crate::tool;

/// Beginning of the name under which the kernel lists such a disk; the number of the process that
/// made it follows.
const DEVICE: &str = "tidepool-chaos-";
/// What takes the space.
const BALLAST: &str = "ballast";
/// Written at once; the last piece is written in part.
const PIECE: [u8; 4_096] = [0; 4_096];

/// A disk; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    mib: u32,
}

impl Disk {
    /// Mounts a disk of so many MiB at a new folder.
    pub(crate) fn mount(folder: &Path, mib: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m")]);
        command.arg(format!("{DEVICE}{}", std::process::id()));
        command.arg(folder);
        // Unmounted if this fails too: a mount that took too long may be there all the same.
        let disk = Self {
            folder: folder.to_owned(),
            mib,
        };
        tool::told_blocking(command)?;
        Ok(disk)
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = std::fs::File::create(self.folder.join(BALLAST))?;
        let pieces = u64::from(self.mib) * 1024 * 1024 / PIECE.len() as u64;
        for _ in 0..=pieces {
            if let Err(error) = ballast.write_all(&PIECE) {
                let is_full = error.kind() == std::io::ErrorKind::StorageFull;
                ensure!(is_full, "the ballast cannot be written: {error}");
                return Ok(());
            }
        }
        anyhow::bail!("the disk does not become full")
    }

    /// Gives the space back.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.folder.join(BALLAST)).context("the ballast cannot be removed")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.folder);
    }
}

/// Lazily: who still holds a file there keeps it, and the folder is free.
fn unmount(folder: &Path) {
    let mut command = Command::new("umount");
    command.arg("--lazy").arg(folder);
    let _ = tool::told_blocking(command);
}

/// Why no disk can be made here, if it cannot.
pub(crate) fn is_missing() -> Option<String> {
    let made = tempfile::tempdir()
        .map_err(anyhow::Error::from)
        .and_then(|folder| Disk::mount(&folder.path().join("try"), 1).map(drop));
    let problem = made.err()?;
    Some(format!(
        "no small disk: it needs root and mount ({problem:#})"
    ))
}

/// Unmounts what runs of dead processes have left.
pub(crate) fn remove_leftovers() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for folder in left_by_the_dead(&mounts, is_alive) {
        unmount(Path::new(&folder));
    }
}

fn left_by_the_dead(mounts: &str, is_alive: impl Fn(u32) -> bool) -> Vec<String> {
    let dead = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let id = device.strip_prefix(DEVICE)?.parse().ok()?;
        let folder = rest.split(' ').next()?;
        (!is_alive(id)).then(|| folder.to_owned())
    };
    mounts.lines().filter_map(dead).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_of_the_dead_are_left_over() {
        let mounts = "tidepool-chaos-41 /tmp/a tmpfs rw 0 0\ntidepool-chaos-42 /tmp/b tmpfs rw 0 0\n\
                      tmpfs /tmp/c tmpfs rw 0 0\ntidepool-chaos-x /tmp/d tmpfs rw 0 0\n";
        assert_eq!(left_by_the_dead(mounts, |id| id == 42), ["/tmp/a"]);
    }
}
