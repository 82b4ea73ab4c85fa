//! Processes that a run starts, hurts and ends: each in a group of its own, signalled by its id,
//! and gone with the run. No process is ever looked for by name: those of a run that was killed are known
//! by a mark in their environment.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for a process to say that it is up.
const UP_MAX: Duration = Duration::from_secs(30);
/// The number of the process whose run it is, in the environment of each process of that run, and of
/// those that they start.
const RUN: &str = "CHAOS_RUN";
/// Most lines of a log that are told.
const TAIL_LINES: usize = 12;

/// A process of a run.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its log at the end of `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::options().create(true).append(true).open(log);
        let child = command
            .env(RUN, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.context("a log cannot be written")?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{:?} cannot be started", command.as_std().get_program()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = id
            .and_then(Pid::from_raw)
            .context("the process has no id")?;
        Ok(Self {
            child,
            group,
            log: log.to_owned(),
        })
    }

    /// Reads the first line of its output as JSON: where it listens.
    pub(crate) async fn banner(&mut self) -> anyhow::Result<Value> {
        let output = self.child.stdout.take().context("there is no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(UP_MAX, lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        match line.and_then(|line| serde_json::from_str(&line).ok()) {
            Some(banner) => Ok(banner),
            None => bail!("did not come up; its log ends with:\n{}", self.log_tail()),
        }
    }

    /// Its id, which is that of its group.
    pub(crate) fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(TAIL_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process_group(self.group, signal)
            .with_context(|| format!("process {} cannot be signalled", self.id()))
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait().await?;
        Ok(())
    }

    /// SIGTERM; returns how it ended.
    pub(crate) async fn stop(mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!(
                "did not stop within {within:?}; its log ends with:\n{}",
                self.log_tail()
            ),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not reaped yet, so the id is still its own; SIGKILL reaches those that are stopped too.
        if self.ended().is_none() {
            let _ = self.signal(Signal::KILL);
        }
    }
}

/// Whether a process of this number runs. One that has ended may be listed for as long as nobody asks
/// how it did.
pub(crate) fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !has_ended(&stat))
}

/// From `/proc/ID/stat`: the state comes after the name, which may hold anything.
fn has_ended(stat: &str) -> bool {
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// Processes whose environment has a variable, as `NAME=` with any beginning of a value: their ids, and
/// the rest of the value.
pub(crate) fn marked(variable: &str) -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let marked = ids.filter_map(|id: i32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).ok()?;
        Some((id, value(&environment, variable)?.to_owned()))
    });
    marked.collect()
}

fn value<'a>(environment: &'a [u8], variable: &str) -> Option<&'a str> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|other| other.strip_prefix(variable.as_bytes()))?;
    std::str::from_utf8(value).ok()
}

/// Ends what runs of dead processes have left.
pub(crate) fn end_leftovers() {
    let marked = marked(&format!("{RUN}="));
    let left = marked
        .into_iter()
        .filter(|(_, run)| run.parse().is_ok_and(|run| !is_alive(run)));
    for id in left.filter_map(|(id, _)| Pid::from_raw(id)) {
        // It may have ended meanwhile.
        let _ = kill_process(id, Signal::KILL);
    }
}

/// Resident memory of a process in KiB, if it is there.
pub(crate) fn rss_kib(id: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_to_its_end_and_not_out_of_other_variables() {
        let environment = b"TZ=UTC\0MARK=one/auto-2\0OTHER_MARK=one/auto-3\0";
        assert_eq!(value(environment, "MARK=one/"), Some("auto-2"));
        assert_eq!(value(environment, "MARK=two/"), None);
        assert_eq!(value(b"", "MARK="), None);
    }

    #[test]
    fn who_has_ended_is_not_alive_because_it_is_listed() {
        assert!(!has_ended("41 (a) Z) S 1 41"));
        assert!(has_ended("41 (sleep) Z 1 41"));
        assert!(has_ended(""));
        assert!(is_alive(std::process::id()));
    }

    #[tokio::test]
    async fn a_process_is_known_by_its_run_and_gone_with_its_owner() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = Process::start(command, Path::new("/dev/null")).expect("a process");
        let (id, own) = (process.id(), std::process::id().to_string());
        let is_there = || marked(&format!("{RUN}=")).contains(&(id, own.clone()));
        assert!(is_there());
        end_leftovers();
        assert!(is_there(), "its run is not dead");
        drop(process);
        for _ in 0..1_000 {
            if !is_there() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it is left");
    }
}
