//! What each role says of itself. MessagePack maps with names: a reader skips what it does not
//! know and takes the default of what is missing, so that releases can differ by one. Only what a
//! document has hundreds of is without names (`rows`).

use std::collections::VecDeque;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidepool_core::{NodeReport, PoolReport};
use tidepool_store::DOCUMENT_BYTES_MAX;

use crate::rows;

/// Group of the balancers.
pub const BALANCERS: &str = "balancers";
/// Group of the nodes.
pub const NODES: &str = "nodes";
/// Group of the controllers.
pub const CONTROLLERS: &str = "controllers";
/// Windows that a balancer repeats, so that a reader may miss some.
const WINDOWS_KEPT: usize = 8;

/// A document of a member.
pub trait Document: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The group that such members are in.
    const GROUP: &'static str;

    /// As it is announced. Nothing if it has no representation, which a test excludes.
    fn to_bytes(&self) -> Option<Bytes> {
        rmp_serde::to_vec_named(self).ok().map(Bytes::from)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    fn from_bytes(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes)
    }
}

/// Reports of one window, numbered within the life of a balancer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NumberedReports {
    /// Grows by one with every window.
    pub number: u64,
    /// The pools that reported.
    #[serde(deserialize_with = "rows::read_pools")]
    pub reports: Vec<PoolReport>,
}

/// Whether a balancer means to stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BalancerStanding {
    /// It does: when it is not announced any more, it may be serving all the same.
    #[default]
    Serving,
    /// It finishes what it has, and then it is gone.
    Stopping,
}

/// A balancer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BalancerDocument {
    /// Its name; another life has another one.
    pub name: String,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// Where its operators' routes are.
    #[serde(default)]
    pub operator_addr: String,
    /// Whether it means to stay.
    #[serde(default)]
    pub standing: BalancerStanding,
    /// The last windows, oldest first.
    #[serde(default)]
    pub windows: Vec<NumberedReports>,
}

impl Document for BalancerDocument {
    const GROUP: &'static str = BALANCERS;

    fn to_bytes(&self) -> Option<Bytes> {
        rows::fitting(self, DOCUMENT_BYTES_MAX)
    }
}

/// Whether a node takes work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStanding {
    /// It does.
    #[default]
    Ready,
    /// It finishes what it has.
    Draining,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDocument {
    /// Its name.
    pub name: String,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// Where balancers call it, `host:port`.
    pub link_addr: String,
    /// Where its operators' routes are.
    #[serde(default)]
    pub operator_addr: String,
    /// Whether it takes work.
    #[serde(default)]
    pub standing: NodeStanding,
    /// Workers that it has room for.
    #[serde(default)]
    pub workers_max: u32,
    /// Its last report.
    #[serde(default, with = "rows::node_report")]
    pub report: Option<NodeReport>,
}

impl Document for NodeDocument {
    const GROUP: &'static str = NODES;
}

/// A controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ControllerDocument {
    /// Its name; another life has another one.
    pub name: String,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// Where its operators' routes are.
    #[serde(default)]
    pub operator_addr: String,
}

impl Document for ControllerDocument {
    const GROUP: &'static str = CONTROLLERS;
}

/// The last windows of a balancer, to be announced.
#[derive(Debug, Default)]
pub struct ReportWindows {
    windows: VecDeque<NumberedReports>,
    number: u64,
}

impl ReportWindows {
    /// Adds a window.
    pub fn add(&mut self, reports: Vec<PoolReport>) {
        self.number += 1;
        let number = self.number;
        self.windows.push_back(NumberedReports { number, reports });
        while self.windows.len() > WINDOWS_KEPT {
            self.windows.pop_front();
        }
    }

    /// The windows that are kept, oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<NumberedReports> {
        self.windows.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidepool_core::{
        LatencyCounts, NodeId, PoolName, Timestamp, WorkerId, WorkerReport, WorkerState,
    };

    use super::*;

    fn pool_report(arrivals: u64) -> PoolReport {
        PoolReport {
            pool: PoolName::new("echo").unwrap(),
            at: Timestamp(7),
            window: Duration::from_secs(1),
            arrivals,
            completed: arrivals,
            refused: 0,
            deadline_missed: 0,
            cancelled: 0,
            failed: 0,
            queued: 3,
            queued_bytes: 30,
            oldest_wait: Duration::from_millis(5),
            busy_slots: 1,
            ready_slots: 4,
            busy_slot_s: 0.5,
            wait: LatencyCounts::default(),
            work: [Duration::from_millis(12)].into_iter().collect(),
        }
    }

    #[test]
    fn a_balancer_repeats_its_last_windows() {
        let mut windows = ReportWindows::default();
        (0..20).for_each(|n| windows.add(vec![pool_report(n)]));
        let document = BalancerDocument {
            name: "b".to_owned(),
            version: "1".to_owned(),
            operator_addr: String::new(),
            standing: BalancerStanding::Serving,
            windows: windows.kept(),
        };
        let read = BalancerDocument::from_bytes(&document.to_bytes().unwrap()).unwrap();
        let numbers: Vec<u64> = read.windows.iter().map(|w| w.number).collect();
        assert_eq!(numbers, (13..=20).collect::<Vec<_>>());
        let last = &read.windows[7].reports[0];
        assert_eq!((last.arrivals, last.queued), (19, 3));
        let p50 = last.work.quantile(0.5).unwrap();
        assert_eq!(
            p50,
            document.windows[7].reports[0].work.quantile(0.5).unwrap()
        );
    }

    #[test]
    fn a_node_tells_its_workers_and_an_older_release_may_say_less() {
        let worker = WorkerReport {
            id: WorkerId::from_text("echo-1"),
            pool: PoolName::new("echo").unwrap(),
            node: NodeId::new("n").unwrap(),
            state: WorkerState::Ready,
            slots: 4,
            busy: 1,
            started_at: Timestamp(5),
            startup: Some(Duration::from_millis(20)),
            completed: 9,
            panics: 0,
            cpu_cores: Some(0.25),
        };
        let document = NodeDocument {
            name: "n".to_owned(),
            version: "1".to_owned(),
            link_addr: "127.0.0.1:8702".to_owned(),
            operator_addr: String::new(),
            standing: NodeStanding::Draining,
            workers_max: 8,
            report: Some(NodeReport {
                node: NodeId::new("n").unwrap(),
                at: Timestamp(6),
                process_cpu_cores: None,
                machine_cpu_cores: None,
                cores: 2,
                memory_bytes: Some(1),
                memory_limit_bytes: None,
                memory_used_bytes: None,
                workers: vec![worker],
            }),
        };
        let read = NodeDocument::from_bytes(&document.to_bytes().unwrap()).unwrap();
        assert_eq!(read.standing, NodeStanding::Draining);
        assert_eq!(read.report.unwrap().workers[0].completed, 9);

        #[derive(Serialize)]
        struct Older {
            name: &'static str,
            link_addr: &'static str,
            gone_since: u8,
        }
        let older = Older {
            name: "o",
            link_addr: "h:1",
            gone_since: 1,
        };
        let read = NodeDocument::from_bytes(&rmp_serde::to_vec_named(&older).unwrap()).unwrap();
        assert_eq!((read.standing, read.workers_max), (NodeStanding::Ready, 0));
    }
}
