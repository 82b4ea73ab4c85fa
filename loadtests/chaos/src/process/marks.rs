//! Which processes have a variable in their environment.
//!
//! A process in the middle of an exec has no environment until the new one is there. Taken for a stranger,
//! a node that is being started would outlive its run, so it is looked at again, for a bounded time.

use std::io::Read;
use std::time::Duration;

use super::{field, has_ended};

/// Longest environment that is looked through, in bytes; that of a node is a few thousand.
const ENVIRONMENT_BYTES_MAX: usize = 256 * 1024;
/// Looks at a process that is between two programs. That takes well under a millisecond, unless the
/// machine has other things to do meanwhile.
const EXEC_READS_MAX: usize = 500;
/// So many empty readings of a process that is not between two programs say that it has an empty one.
const EMPTY_READS: usize = 20;
const READ_EVERY: Duration = Duration::from_millis(1);
/// Where `/proc/ID/stat` has the flags, and the end of the environment, which the kernel sets last; both
/// counted from the state of the process.
const FLAGS_FIELD: usize = 6;
const ENV_END_FIELD: usize = 48;
/// Of the flags: a thread of the kernel, which never has an environment.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Processes whose environment has a variable, as `NAME=` with any beginning of a value: their ids, and
/// the rest of the value. Blocks for some milliseconds while one of them is between two programs.
pub(crate) fn marked(variable: &str) -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut room = vec![0; ENVIRONMENT_BYTES_MAX];
    ids.filter_map(|id| Some((id, settled(id, variable, &mut room)?)))
        .collect()
}

/// The rest of the value, once the process has an environment.
fn settled(id: i32, variable: &str, room: &mut [u8]) -> Option<String> {
    for reads in 1..=EXEC_READS_MAX {
        let mut file = std::fs::File::open(format!("/proc/{id}/environ")).ok()?;
        // At once: what is read in two steps has lost its end if the program changes between them.
        let length = file.read(room).ok()?;
        if length > 0 {
            return value(&room[..length], variable).map(str::to_owned);
        }
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        if !is_still_to_come(&stat, reads) {
            return None;
        }
        std::thread::sleep(READ_EVERY);
    }
    None
}

/// Whether a process that has shown no environment so many times may yet get one.
fn is_still_to_come(stat: &str, reads: usize) -> bool {
    let flags = field(stat, FLAGS_FIELD).and_then(|flags| flags.parse::<u64>().ok());
    let is_of_the_kernel = flags.is_none_or(|flags| flags & KERNEL_THREAD != 0);
    let is_between_programs = field(stat, ENV_END_FIELD) == Some("0");
    !has_ended(stat) && !is_of_the_kernel && (is_between_programs || reads < EMPTY_READS)
}

fn value<'a>(environment: &'a [u8], variable: &str) -> Option<&'a str> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|other| other.strip_prefix(variable.as_bytes()))?;
    std::str::from_utf8(value).ok()
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

    /// As the kernel writes it, with nothing but what is looked at.
    fn stat(state: char, flags: u64, env_end: u64) -> String {
        let zeros = "0 ".repeat(ENV_END_FIELD - FLAGS_FIELD - 1);
        format!("41 (a) b) {state} 1 41 41 0 -1 {flags} {zeros}{env_end} 0")
    }

    #[test]
    fn only_a_process_between_two_programs_is_waited_for_long() {
        assert!(is_still_to_come(&stat('R', 0x40_0000, 0), EXEC_READS_MAX));
        assert!(is_still_to_come(&stat('S', 0, 4_096), 1));
        assert!(!is_still_to_come(&stat('S', 0, 4_096), EMPTY_READS));
        assert!(!is_still_to_come(&stat('Z', 0, 0), 1));
        assert!(!is_still_to_come(&stat('S', KERNEL_THREAD, 0), 1));
        assert!(!is_still_to_come("", 1));
    }

    #[test]
    fn the_fields_are_where_the_kernel_has_them() {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("it is there");
        let end = field(&stat, ENV_END_FIELD).and_then(|end| end.parse().ok());
        assert!(end > Some(0_u64), "{stat}");
        assert!(is_still_to_come(&stat, 1));
    }
}
