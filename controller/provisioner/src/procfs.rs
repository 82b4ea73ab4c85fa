//! Which processes carry a mark in their environment.
//!
//! The kernel keeps the environment that a process was started with, so a mark there names the node for
//! as long as it lives, to whoever may signal it: no file can be lost, stale or half written, and there
//! is no moment between the start of a node and the note that it was started.

use std::fs;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

/// Processes that are looked at; a machine has fewer.
const PROCESSES_MAX: usize = 200_000;
/// Looks at a process that is between two programs. That takes well under a millisecond, unless the
/// machine has other things to do meanwhile.
const EXEC_READS_MAX: usize = 1_000;
/// Longest environment that is looked through, in bytes; that of a node is a few thousand.
const ENVIRONMENT_BYTES_MAX: usize = 256 * 1024;
/// So many empty readings of a process that is not between two programs say that it has an empty one.
const EMPTY_READS: usize = 20;
const EXEC_READ_INTERVAL: Duration = Duration::from_millis(1);
/// Where `/proc/PID/stat` has the end of the environment, counted from the state of the process; the
/// kernel sets it last.
const ENV_END_FIELD: usize = 48;

/// A marked process, held so that its number cannot come to mean another.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) value: String,
    pub(crate) pid: Pid,
    handle: OwnedFd,
}

impl Marked {
    /// Asks the process itself, which passes it on as it likes.
    pub(crate) fn ask_to_end(&self) -> io::Result<()> {
        gone_is_fine(pidfd_send_signal(&self.handle, Signal::TERM))
    }

    /// Ends the process and all of its group.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // While the group has members its number belongs to no other; without any it is gone.
        if pidfd_send_signal(&self.handle, Signal::KILL).is_ok() {
            return gone_is_fine(kill_process_group(self.pid, Signal::KILL));
        }
        Ok(())
    }
}

fn gone_is_fine(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the environment of a process says.
enum Reading {
    Marked(String),
    Unmarked,
    /// Nothing at all: a process in the middle of an exec shows no environment until the new one is there.
    Empty,
}

/// Leaders of a process group that were started with `key=value`, whatever the value.
///
/// Blocks for some milliseconds while a process that may be ours is between two programs: taken for a
/// stranger, its node would be started a second time.
pub(crate) fn marked(key: &str) -> io::Result<Vec<Marked>> {
    let entries = fs::read_dir("/proc")?
        .take(PROCESSES_MAX)
        .filter_map(Result::ok);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(numbers.filter_map(|number| look(number, key)).collect())
}

fn look(number: i32, key: &str) -> Option<Marked> {
    let pid = Pid::from_raw(number)?;
    // Most processes are somebody else's; the handle is opened for ours only, and then looked at again.
    settled(number, key)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let value = settled(number, key)?;
    is_living_leader(number)?.then_some(Marked { value, pid, handle })
}

/// The value of the mark, once the process has an environment.
///
/// Nothing is read of a process that has no environment yet, of one whose program changed between the
/// opening of the file and its reading, and of one that was started with an empty one.
fn settled(number: i32, key: &str) -> Option<String> {
    for reads in 1..=EXEC_READS_MAX {
        match read(number, key)? {
            Reading::Marked(value) => return Some(value),
            Reading::Unmarked => return None,
            Reading::Empty => {}
        }
        let stat = stat(number)?;
        // Threads of the kernel never have an environment, and lead no group.
        let is_ours = stat.is_living_leader(number)?;
        let is_between_programs = stat.field(ENV_END_FIELD)? == "0";
        if !is_ours || (reads >= EMPTY_READS && !is_between_programs) {
            return None;
        }
        thread::sleep(EXEC_READ_INTERVAL);
    }
    None
}

fn read(number: i32, key: &str) -> Option<Reading> {
    let mut file = fs::File::open(format!("/proc/{number}/environ")).ok()?;
    let mut environment = vec![0; ENVIRONMENT_BYTES_MAX];
    // At once: what is read in two steps has lost its end if the program changes between them.
    let length = file.read(&mut environment).ok()?;
    environment.truncate(length);
    if environment.is_empty() {
        return Some(Reading::Empty);
    }
    let mark = environment.split(|byte| *byte == 0).find_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        (name == key).then(|| value.to_owned())
    });
    Some(mark.map_or(Reading::Unmarked, Reading::Marked))
}

fn is_living_leader(number: i32) -> Option<bool> {
    stat(number)?.is_living_leader(number)
}

/// `/proc/PID/stat`, see proc_pid_stat(5).
struct Stat(String);

fn stat(number: i32) -> Option<Stat> {
    fs::read_to_string(format!("/proc/{number}/stat"))
        .ok()
        .map(Stat)
}

impl Stat {
    /// A field, counted from the state of the process, which is 0.
    fn field(&self, index: usize) -> Option<&str> {
        // The name of the program is in parentheses and may hold any character.
        let Self(text) = self;
        text[text.rfind(')')? + 1..].split_whitespace().nth(index)
    }

    fn is_living_leader(&self, number: i32) -> Option<bool> {
        let group: i32 = self.field(2)?.parse().ok()?;
        Some(!matches!(self.field(0)?, "Z" | "X") && group == number)
    }
}
