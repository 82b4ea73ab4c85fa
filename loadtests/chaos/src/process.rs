//! Processes that a run starts, hurts and ends: each in a group of its own, signalled by its id,
//! and gone with the run. No process is ever looked for by name.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for a process to say that it is up.
const UP_MAX: Duration = Duration::from_secs(30);
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

/// Resident memory of a process in KiB, if it is there.
pub(crate) fn rss_kib(id: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
