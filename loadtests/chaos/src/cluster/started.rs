//! Nodes that controllers have started as processes. They outlive their controllers by design, so they
//! are found by the mark in their environment, which has the place of the cluster's Redis, and end with
//! the run.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::marked;

/// The variable that holds the mark.
const VARIABLE: &str = "PROVISIONED_BY_TIDEPOOL";
/// Looks for nodes at the end.
const SWEEPS_MAX: usize = 25;
/// So many that find nobody, one after the other, are enough. A node that is just being started is not
/// marked before it has become its program.
const EMPTY_SWEEPS: usize = 2;
/// Pause between two.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// What nodes of one cluster carry.
#[derive(Clone, Debug)]
pub(crate) struct Mark(String);

impl Mark {
    /// Of the cluster whose Redis is there.
    fn of(redis: SocketAddr) -> Self {
        let usable = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let cluster: String = format!("{redis}/0").chars().map(usable).collect();
        Self(format!("{VARIABLE}={cluster}/"))
    }

    /// The mark of one node, to be put into an environment.
    pub(crate) fn of_node(&self, name: &str) -> (String, String) {
        let (variable, value) = self.0.split_once('=').unwrap_or((VARIABLE, ""));
        (variable.to_owned(), format!("{value}{name}"))
    }

    /// Processes that carry it: their ids and the names of their nodes.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        marked(&self.0)
    }
}

/// Those of a run; they end with it.
#[derive(Debug, Default)]
pub(super) struct StartedNodes(Option<Mark>);

impl StartedNodes {
    /// Of the cluster whose Redis is there.
    pub(super) fn of(redis: SocketAddr) -> Self {
        Self(Some(Mark::of(redis)))
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.0.clone()
    }
}

impl Drop for StartedNodes {
    fn drop(&mut self) {
        let Some(mark) = &self.0 else { return };
        let mut empty = 0;
        for _ in 0..SWEEPS_MAX {
            let marked = mark.processes();
            empty = if marked.is_empty() { empty + 1 } else { 0 };
            if empty == EMPTY_SWEEPS {
                return;
            }
            for id in marked.into_iter().filter_map(|(id, _)| Pid::from_raw(id)) {
                // Each leads a group of its own; of one that has just ended there is none.
                let _ = kill_process_group(id, Signal::KILL);
            }
            std::thread::sleep(SWEEP_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_has_the_place_of_the_store() {
        let mark = Mark::of(SocketAddr::from(([127, 0, 0, 1], 6_379)));
        let (variable, value) = mark.of_node("auto-2");
        assert_eq!(variable, VARIABLE);
        assert_eq!(value, "127-0-0-1-6379-0/auto-2");
    }
}
