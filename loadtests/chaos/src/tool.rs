//! Tools of the system (`ip`, `mount` and such), each with a limit of time: one that hangs is ended, and
//! told of by its command.

use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::AsyncWriteExt;

/// Longest time that one may take.
const TOOL_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Runs a tool that reads `input`; returns what it printed.
pub(crate) async fn told(command: Command, input: &[u8]) -> anyhow::Result<String> {
    told_within(command, input, TOOL_MAX).await
}

async fn told_within(command: Command, input: &[u8], within: Duration) -> anyhow::Result<String> {
    let said = said(&command);
    let mut command = tokio::process::Command::from(command);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let running = async {
        let mut child = command.spawn()?;
        let mut pipe = child.stdin.take().context("there is no input")?;
        let written = pipe.write_all(input).await;
        drop(pipe);
        let output = child.wait_with_output().await?;
        // Whoever fails early does not read; why it failed says more than that.
        let problem = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", problem.trim());
        written?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let ran: Result<anyhow::Result<String>, _> = tokio::time::timeout(within, running).await;
    ran.with_context(|| format!("`{said}` does not end within {within:?}"))?
        .with_context(|| format!("`{said}` failed"))
}

/// The same where nobody can wait: blocks until the tool has ended.
pub(crate) fn told_blocking(command: Command) -> anyhow::Result<String> {
    told_blocking_within(command, TOOL_MAX)
}

fn told_blocking_within(mut command: Command, within: Duration) -> anyhow::Result<String> {
    let said = said(&command);
    // No pipes: nobody reads while it runs, and one that is full would hold it up.
    let (output, problem) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(problem.try_clone()?)
        .spawn()
        .with_context(|| format!("`{said}` cannot be run"))?;
    let end = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            // Not waited for: what the kernel holds up does not end by this either.
            let _ = child.kill();
            bail!("`{said}` does not end within {within:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let problem = text(problem)?;
    ensure!(status.success(), "`{said}` failed: {}", problem.trim());
    text(output)
}

fn text(mut file: std::fs::File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command as a person would type it.
fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn command(program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args);
        command
    }

    #[tokio::test]
    async fn a_tool_that_hangs_is_told_of_by_its_command() {
        let hangs = || command("sleep", &["1000"]);
        let waited = told_within(hangs(), b"", SHORT).await;
        let blocked = told_blocking_within(hangs(), SHORT);
        for ended in [waited, blocked] {
            let problem = format!("{:#}", ended.expect_err("it hangs"));
            assert!(problem.contains("`sleep 1000` does not end"), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_tool_gets_its_input_and_is_told_of_when_it_fails() {
        let copied = told(command("cat", &[]), b"rules").await;
        assert_eq!(copied.expect("a copy"), "rules");
        let printed = told_blocking(command("echo", &["there"]));
        assert_eq!(printed.expect("an output"), "there\n");
        let fails = || command("sh", &["-c", "echo because >&2; exit 3"]);
        let failed = [told(fails(), b"rules").await, told_blocking(fails())];
        for failed in failed {
            let problem = format!("{:#}", failed.expect_err("it fails"));
            assert!(problem.ends_with("failed: because"), "{problem}");
        }
    }
}
