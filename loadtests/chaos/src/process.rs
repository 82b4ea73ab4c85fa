//! Processes that a run starts, hurts and ends: each in a group of its own, signalled by its id,
//! and gone with the run. No process is ever looked for by name: those of a run that was killed are known
//! by a mark in their environment.

mod marks;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) use self::marks::marked;

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
    /// Starts `command` with all that it prints at the end of `log`.
    pub(crate) fn start(command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = appended(log)?;
        Self::spawn(command, log, file.into())
    }

    /// Starts `command` with its log at the end of `log`, and its output for [`Self::banner`], which has
    /// to be called: nobody else reads it, and a full pipe holds a process up.
    pub(crate) fn start_with_banner(command: Command, log: &Path) -> anyhow::Result<Self> {
        Self::spawn(command, log, Stdio::piped())
    }

    fn spawn(mut command: Command, log: &Path, output: Stdio) -> anyhow::Result<Self> {
        let child = command
            .env(RUN, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(appended(log)?)
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

    /// Reads the first line of its output as JSON: where it listens. What comes after it is not read, and
    /// holds nobody up: the pipe is closed then.
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

    /// SIGKILL; returns when it is gone. That it had ended by itself is an error: nobody else would hear
    /// of it.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.has_not_ended()?;
        self.signal(Signal::KILL)?;
        let status = self.child.wait().await?;
        let is_ours = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(is_ours, "{}", self.told_of(status));
        Ok(())
    }

    /// The same, where it may have ended by itself.
    pub(crate) async fn kill_unless_ended(mut self) -> anyhow::Result<()> {
        if self.ended().is_none() {
            self.signal(Signal::KILL)?;
            self.child.wait().await?;
        }
        Ok(())
    }

    /// SIGTERM; returns how it ended. That it had ended before is an error.
    pub(crate) async fn stop(mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.has_not_ended()?;
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

    fn has_not_ended(&mut self) -> anyhow::Result<()> {
        match self.ended() {
            Some(status) => bail!(self.told_of(status)),
            None => Ok(()),
        }
    }

    /// That it ended by itself, and the end of its log.
    pub(crate) fn told_of(&self, status: ExitStatus) -> String {
        format!("ended by itself: {status}\n{}", self.log_tail())
    }
}

fn appended(log: &Path) -> anyhow::Result<std::fs::File> {
    let file = std::fs::File::options().create(true).append(true).open(log);
    file.with_context(|| format!("{} cannot be written", log.display()))
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

fn has_ended(stat: &str) -> bool {
    field(stat, 0).is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// Of `/proc/ID/stat`, counted from the state, which comes after the name, which may hold anything.
fn field(stat: &str, index: usize) -> Option<&str> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_ascii_whitespace().nth(index)
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

    async fn gone(process: &mut Process) {
        for _ in 0..1_000 {
            if process.ended().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not end");
    }

    #[tokio::test]
    async fn to_kill_who_has_ended_by_itself_is_an_error_unless_expected() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let start = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            Process::start(command, &log).expect("a process")
        };
        let mut crashed = start("echo because; exit 3");
        gone(&mut crashed).await;
        let problem = format!("{:#}", crashed.kill().await.expect_err("it had ended"));
        assert!(problem.contains("ended by itself: exit status: 3"));
        assert!(problem.ends_with("because"), "its output is its log");

        let mut ended = start("exit 0");
        gone(&mut ended).await;
        assert!(ended.stop(UP_MAX).await.is_err(), "nobody stopped it");
        let mut expected = start("exit 1");
        gone(&mut expected).await;
        expected.kill_unless_ended().await.expect("as expected");

        start("sleep 1000").kill().await.expect("it ran");
    }

    #[tokio::test]
    async fn nobody_is_held_up_by_what_is_not_read() {
        let mut command = Command::new("head");
        command.args(["-c", "1000000", "/dev/zero"]);
        let mut process = Process::start(command, Path::new("/dev/null")).expect("a process");
        gone(&mut process).await;
    }
}
