//! What is new since the last look at who is there. Pure: what the store told and the time come in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidepool_cluster::{BalancerDocument, BalancerStanding, NodeDocument, NodeStanding};
use tidepool_core::{EventDraft, NodeId, NodeReport, PoolReport, Timestamp};

/// How long a node that is not announced any more is only silent: a store that came back empty
/// knows of nobody until everybody has spoken.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// How long a balancer that is not announced any more may still be serving. Longer, and one that
/// crashed would keep its pools from shrinking for no good.
const BALANCER_SILENT_FOR: Duration = Duration::from_secs(60);

/// Members by name.
pub(super) type Members<T> = BTreeMap<String, Arc<T>>;

/// A balancer, as far as it was heard of.
#[derive(Debug)]
struct Heard {
    /// Number of the last window that was taken in.
    taken: Option<u64>,
    standing: BalancerStanding,
    /// When it was there last.
    present_at: Instant,
}

/// The balancers, and what was taken in of them.
#[derive(Debug, Default)]
pub(super) struct Balancers {
    heard: BTreeMap<String, Heard>,
}

impl Balancers {
    /// The reports that are new, with who made them. Of a balancer that was not known only the last
    /// window is: the others are history.
    pub(super) fn look(
        &mut self,
        members: &Members<BalancerDocument>,
        now: Instant,
    ) -> Vec<(String, PoolReport)> {
        let mut reports = Vec::new();
        for (member, document) in members {
            let last = document.windows.last().map(|window| window.number);
            let taken = self.heard.get(member).and_then(|heard| heard.taken);
            let heard = Heard {
                taken: last.or(taken),
                standing: document.standing,
                present_at: now,
            };
            self.heard.insert(member.clone(), heard);
            let Some(last) = last else { continue };
            // Numbers begin anew in another life under the same name.
            let after = taken.filter(|taken| *taken <= last);
            let after = after.unwrap_or_else(|| last.saturating_sub(1));
            let windows = document.windows.iter();
            for window in windows.filter(|window| window.number > after) {
                let of_member = |report: &PoolReport| (member.clone(), report.clone());
                reports.extend(window.reports.iter().map(of_member));
            }
        }
        self.heard.retain(|_, heard| {
            let silent_for = now.saturating_duration_since(heard.present_at);
            let means_to_stay = heard.standing == BalancerStanding::Serving;
            silent_for.is_zero() || (means_to_stay && silent_for < BALANCER_SILENT_FOR)
        });
        reports
    }

    /// Whose share of the load counts. Who is not announced any more without having said that it
    /// stops is among them for a while: it may have lost sight of the store alone, and serve on.
    /// Its share gets old meanwhile, and old data lowers nothing.
    pub(super) fn present(&self) -> BTreeSet<String> {
        self.heard.keys().cloned().collect()
    }
}

/// A node, as it was announced last.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Nothing if only an earlier leader has known it.
    pub(super) document: Option<Arc<NodeDocument>>,
    /// When it was there last.
    pub(super) present_at: Instant,
    report: Option<Timestamp>,
}

impl Known {
    /// Whether it is not announced at this time.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.document.is_none() || self.present_at < now
    }

    fn is_leaving(&self) -> bool {
        let standing = self.document.as_ref().map(|document| document.standing);
        standing == Some(NodeStanding::Draining)
    }
}

/// The nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: BTreeMap<NodeId, Known>,
}

/// What a look at the nodes brought.
#[derive(Debug, Default)]
pub(super) struct NodeNews {
    pub(super) reports: Vec<NodeReport>,
    pub(super) events: Vec<EventDraft>,
    /// Whether a node came or went.
    pub(super) has_changed: bool,
}

impl Nodes {
    /// With those that an earlier leader gave orders to: they do not join, they are there.
    pub(super) fn expecting(nodes: impl Iterator<Item = NodeId>, now: Instant) -> Self {
        let expected = |node| {
            let known = Known {
                document: None,
                present_at: now,
                report: None,
            };
            (node, known)
        };
        Self {
            known: nodes.map(expected).collect(),
        }
    }

    pub(super) fn known(&self) -> &BTreeMap<NodeId, Known> {
        &self.known
    }

    pub(super) fn names(&self) -> BTreeSet<NodeId> {
        self.known.keys().cloned().collect()
    }

    /// Whether every node that is known has been seen by this leader.
    pub(super) fn is_whole(&self) -> bool {
        self.known.values().all(|known| known.document.is_some())
    }

    /// What each node reported last.
    pub(super) fn reports(&self) -> impl Iterator<Item = &NodeReport> {
        let documents = self
            .known
            .values()
            .filter_map(|known| known.document.as_ref());
        documents.filter_map(|document| document.report.as_ref())
    }

    /// Takes in who is there at `now`.
    pub(super) fn look(&mut self, members: &Members<NodeDocument>, now: Instant) -> NodeNews {
        let mut news = NodeNews::default();
        for document in members.values() {
            let Ok(node) = NodeId::new(&document.name) else {
                continue;
            };
            self.take(node, document, now, &mut news);
        }
        self.known.retain(|node, known| {
            let silent_for = now.saturating_duration_since(known.present_at);
            let is_gone = silent_for >= SILENT_FOR || (known.is_silent(now) && known.is_leaving());
            if is_gone {
                news.has_changed = true;
                news.events.push(left(node, known));
            }
            !is_gone
        });
        news
    }

    fn take(
        &mut self,
        node: NodeId,
        document: &Arc<NodeDocument>,
        now: Instant,
        news: &mut NodeNews,
    ) {
        let before = self.known.get(&node);
        if before.is_none() {
            news.events.push(joined(&node, document));
        }
        news.has_changed |= before.is_none();
        let was_at = before.and_then(|before| before.report);
        let report = document.report.as_ref();
        let at = report.map(|report| report.at);
        let is_new = at.is_some() && at != was_at;
        if is_new {
            news.reports.extend(report.cloned());
        }
        let known = Known {
            document: Some(Arc::clone(document)),
            present_at: now,
            report: at,
        };
        self.known.insert(node, known);
    }
}

fn joined(node: &NodeId, document: &NodeDocument) -> EventDraft {
    let (addr, workers_max) = (&document.link_addr, document.workers_max);
    let sentence = format!("node {node} joined at {addr} with room for {workers_max} workers");
    let data = json!({
        "node": node, "link_addr": addr, "operator_addr": document.operator_addr,
        "version": document.version, "workers_max": workers_max, "sentence": sentence,
    });
    EventDraft::new("node.joined", data)
}

fn left(node: &NodeId, known: &Known) -> EventDraft {
    let workers = known
        .document
        .as_ref()
        .and_then(|document| document.report.as_ref())
        .map_or(0, |report| report.workers.len());
    let (reason, how) = if known.is_leaving() {
        ("stopped", "it was told to stop")
    } else {
        ("silent", "it is not announced any more")
    };
    let sentence = format!("node {node} left: {how}; it had {workers} workers");
    let data = json!({ "node": node, "reason": reason, "workers": workers, "sentence": sentence });
    EventDraft::new("node.left", data)
}

#[cfg(test)]
pub(super) mod tests {
    use tidepool_cluster::NumberedReports;
    use tidepool_core::{LatencyCounts, PoolName};

    use super::*;

    fn window(number: u64) -> NumberedReports {
        let report = PoolReport {
            pool: PoolName::new("echo").unwrap(),
            at: Timestamp(number),
            window: Duration::from_secs(1),
            arrivals: number,
            completed: 0,
            refused: 0,
            deadline_missed: 0,
            cancelled: 0,
            failed: 0,
            queued: 0,
            queued_bytes: 0,
            oldest_wait: Duration::ZERO,
            busy_slots: 0,
            ready_slots: 0,
            busy_slot_s: 0.0,
            wait: LatencyCounts::default(),
            work: LatencyCounts::default(),
        };
        NumberedReports {
            number,
            reports: vec![report],
        }
    }

    fn balancers(numbers: std::ops::RangeInclusive<u64>) -> Members<BalancerDocument> {
        let document = BalancerDocument {
            name: "a".to_owned(),
            version: String::new(),
            operator_addr: String::new(),
            standing: BalancerStanding::Serving,
            windows: numbers.map(window).collect(),
        };
        BTreeMap::from([("a".to_owned(), Arc::new(document))])
    }

    pub(crate) fn node(name: &str, standing: NodeStanding, at: u64) -> NodeDocument {
        NodeDocument {
            name: name.to_owned(),
            version: "1".to_owned(),
            link_addr: format!("{name}:8702"),
            operator_addr: format!("{name}:8701"),
            standing,
            workers_max: 8,
            report: Some(NodeReport {
                node: NodeId::new(name).unwrap(),
                at: Timestamp(at),
                process_cpu_cores: None,
                machine_cpu_cores: None,
                cores: 2,
                memory_bytes: None,
                memory_limit_bytes: None,
                memory_used_bytes: None,
                workers: vec![],
            }),
        }
    }

    fn members(documents: Vec<NodeDocument>) -> Members<NodeDocument> {
        let named = |document: NodeDocument| (document.name.clone(), Arc::new(document));
        documents.into_iter().map(named).collect()
    }

    fn kinds(news: &NodeNews) -> Vec<&'static str> {
        news.events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn each_window_is_taken_once_also_over_gaps_and_lives() {
        let (now, mut known) = (Instant::now(), Balancers::default());
        let mut arrivals = |numbers| {
            let new = known.look(&balancers(numbers), now);
            new.iter().map(|(_, r)| r.arrivals).collect::<Vec<_>>()
        };
        assert_eq!(arrivals(1..=8), [8], "what was before is history");
        assert_eq!(arrivals(1..=8), [0; 0]);
        assert_eq!(arrivals(4..=11), [9, 10, 11]);
        assert_eq!(arrivals(1..=2), [2], "another life");
        assert_eq!(arrivals(2..=3), [3]);
    }

    #[test]
    fn a_balancer_that_fell_silent_counts_for_a_while_and_goes_on_where_it_was() {
        let (start, mut known) = (Instant::now(), Balancers::default());
        let present = BTreeSet::from(["a".to_owned()]);
        known.look(&balancers(1..=3), start);
        let almost = start + BALANCER_SILENT_FOR - Duration::from_millis(1);
        known.look(&BTreeMap::new(), almost);
        assert_eq!(known.present(), present, "it may serve without the store");
        assert_eq!(known.look(&balancers(2..=5), almost).len(), 2);
        known.look(&BTreeMap::new(), almost + BALANCER_SILENT_FOR);
        assert!(known.present().is_empty());
    }

    #[test]
    fn a_balancer_that_said_that_it_stops_is_forgotten_when_it_is_gone() {
        let (start, mut known) = (Instant::now(), Balancers::default());
        let mut members = balancers(1..=3);
        let document = members.get_mut("a").and_then(Arc::get_mut).unwrap();
        document.standing = BalancerStanding::Stopping;
        known.look(&members, start);
        assert_eq!(known.present().len(), 1, "it finishes what it has");
        known.look(&BTreeMap::new(), start + Duration::from_millis(250));
        assert!(known.present().is_empty());
    }

    #[test]
    fn nodes_join_once_and_leave_after_a_silence() {
        let (start, mut nodes) = (Instant::now(), Nodes::default());
        let there = members(vec![node("a", NodeStanding::Ready, 1)]);
        let news = nodes.look(&there, start);
        assert_eq!((kinds(&news), news.reports.len()), (vec!["node.joined"], 1));
        let news = nodes.look(&there, start + Duration::from_millis(250));
        assert_eq!((kinds(&news).len(), news.reports.len()), (0, 0), "no news");
        let later = start + Duration::from_secs(1);
        assert!(kinds(&nodes.look(&BTreeMap::new(), later)).is_empty());
        assert!(nodes.known().values().all(|known| known.is_silent(later)));
        let news = nodes.look(&BTreeMap::new(), start + Duration::from_secs(3));
        assert_eq!(kinds(&news), ["node.left"]);
        assert!(nodes.known().is_empty());
    }

    #[test]
    fn a_node_that_said_so_leaves_at_once() {
        let (start, mut nodes) = (Instant::now(), Nodes::default());
        nodes.look(&members(vec![node("a", NodeStanding::Draining, 1)]), start);
        let news = nodes.look(&BTreeMap::new(), start + Duration::from_millis(250));
        assert_eq!(news.events[0].data["reason"], "stopped");
    }

    #[test]
    fn a_new_leader_finds_nodes_there_and_misses_those_that_are_gone() {
        let start = Instant::now();
        let expected = ["a", "b"].map(|name| NodeId::new(name).unwrap());
        let mut nodes = Nodes::expecting(expected.into_iter(), start);
        let there = members(vec![
            node("a", NodeStanding::Ready, 1),
            node("c", NodeStanding::Ready, 1),
        ]);
        let news = nodes.look(&there, start);
        assert_eq!(kinds(&news), ["node.joined"]);
        assert_eq!(news.events[0].data["node"], "c");
        assert_eq!(news.reports.len(), 2);
        assert!(!nodes.is_whole(), "nobody has heard of b");
        let news = nodes.look(&there, start + SILENT_FOR);
        assert!(nodes.is_whole());
        assert_eq!(nodes.reports().count(), 2);
        assert_eq!(kinds(&news), ["node.left"]);
    }
}
