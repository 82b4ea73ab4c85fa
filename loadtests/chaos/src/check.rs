//! The judge: reads a history and says which laws it breaks. Pure, and written without a look at
//! how histories come to be.

mod figures;
mod fleet;
mod held;
mod laws;
mod notes;
mod scaling;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::history::{Desired, Fault, Fleet, Found, Header, Line, Request, Sample};
pub use figures::{Figures, Spread};
pub use held::Held;

/// Findings of one law that are told; the others are counted.
const TOLD_MAX: usize = 5;

/// What must hold in a run, besides what must hold in every run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Demands {
    /// Share of echo requests that must be answered well; 1: every one.
    pub good_share_min: Option<f64>,
    /// Requests of any kind that may fail.
    pub failed_max: Option<usize>,
    /// Whether what was under way at a balancer that was killed may be lost, if its caller is told.
    pub lost_with_balancer: bool,
    /// Longest time from when a balancer that was frozen wakes until whoever waits there is answered. Who
    /// has given up by then, or is told that the deadline has passed, counts as no failure.
    pub held_answered_ms: Option<u64>,
    /// p99 of echo at other balancers than the one that is frozen, until that has had the time to recover,
    /// as a multiple of what it was before.
    pub elsewhere_p99_ratio_max: Option<f64>,
    /// Whether echo requests that are not answered well must be refused (429, 503).
    pub refused_only: bool,
    /// Longest time after which nothing is handed to a node that is frozen or cut off, and nobody waits
    /// because of it.
    pub silent_after_ms: Option<u64>,
    /// p99 of echo while there is a fault, as a multiple of what it was before.
    pub p99_ratio_max: Option<f64>,
    /// Share of echo answers that may come from a node that is slow.
    pub slow_share_max: Option<f64>,
    /// After the last fault and this time, every echo request must be answered well.
    pub recovery_ms: Option<u64>,
    /// p99 of echo after the time to recover, as a multiple of what it was before the first fault.
    pub normal_ratio_max: Option<f64>,
    /// p99 of refusals (429, 503), from when they were sent.
    pub refusals_p99_ms: Option<f64>,
    /// Good echo answers a second while there is overload.
    pub goodput_min_per_s: Option<f64>,
    /// Most resident memory of any process, in MiB.
    pub rss_max_mib: Option<u64>,
    /// Longest time after which a note that cannot be stored is refused.
    pub note_fails_within_ms: Option<u64>,
    /// Desired states that must have been seen, at least: else nothing was shown.
    pub desired_min: Option<usize>,
    /// Whether what a leader wrote may come after what it wrote later: it was on its way when it was cut off.
    pub orders_come_late: bool,
    /// Longest time after which a node that was frozen or cut off answers again.
    pub heals_ms: Option<u64>,
    /// Share of reads that must be answered well.
    pub read_share_min: Option<f64>,
    /// Longest time in which nodes run something else than was wanted last.
    pub converge_ms: Option<u64>,
    /// Longest time until somebody leads in place of a controller that was hurt.
    pub takeover_ms: Option<u64>,
    /// Workers by which the wanted number must have grown, at least: else nothing was shown.
    pub grows_by: Option<u32>,
    /// Workers by which it must have shrunk from its highest, at least.
    pub shrinks_by: Option<u32>,
    /// Whether the number of workers stays as it is while Redis is away.
    pub freezes_scaling: bool,
    /// Share of the workers before Redis went that must be there while it is away and for a time after.
    pub keeps_workers_share: Option<f64>,
    /// That time; unset: none. Where the load has fallen meanwhile, whoever knows that may shrink.
    pub keeps_workers_ms: Option<u64>,
    /// Whether a note that failed, and that a read did not find afterwards, must never be there.
    pub nothing_comes_late: bool,
    /// Whether a note must have been refused for want of the store: else nothing was shown.
    pub lost_store_is_told: bool,
    /// Most nodes that controllers may have started when all is over.
    pub started_max: Option<usize>,
}

/// A law that was broken.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// Name of the law.
    pub law: &'static str,
    /// What breaks it.
    pub what: String,
}

/// What the judge says.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Laws that were broken, with cases.
    pub findings: Vec<Finding>,
    /// What was measured.
    pub figures: Figures,
}

impl Verdict {
    /// Whether all laws were kept.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A history, sorted by what it tells of.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) header: Header,
    pub(crate) requests: Vec<Request>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) desired: Vec<Desired>,
    pub(crate) found: Vec<Found>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) fleet: Vec<Fleet>,
    pub(crate) planned: Option<u64>,
}

impl History {
    fn of(lines: &[Line]) -> Option<Self> {
        let Some(Line::Header(header)) = lines.first() else {
            return None;
        };
        let mut history = Self {
            header: Header::clone(header),
            requests: Vec::new(),
            faults: Vec::new(),
            desired: Vec::new(),
            found: Vec::new(),
            samples: Vec::new(),
            fleet: Vec::new(),
            planned: None,
        };
        for line in &lines[1..] {
            match line.clone() {
                Line::Header(_) => return None,
                Line::Request(request) => history.requests.push(request),
                Line::Fault(fault) => history.faults.push(fault),
                Line::Desired(desired) => history.desired.push(desired),
                Line::Found(found) => history.found.push(found),
                Line::Sample(sample) => history.samples.push(sample),
                Line::Fleet(fleet) => history.fleet.push(fleet),
                Line::End { planned } => history.planned = Some(planned),
            }
        }
        Some(history)
    }
}

/// Judges a history.
#[must_use]
pub fn judge(lines: &[Line]) -> Verdict {
    let Some(history) = History::of(lines) else {
        let what = "the history does not begin with its one header".to_owned();
        return Verdict {
            findings: vec![Finding { law: "whole", what }],
            figures: Figures::default(),
        };
    };
    let figures = Figures::of(&history);
    let broken = laws::LAWS.iter().flat_map(|(law, cases)| {
        let cases = cases(&history, &figures);
        let more = cases.len().saturating_sub(TOLD_MAX);
        let told = cases.into_iter().take(TOLD_MAX);
        let rest = (more > 0).then(|| format!("and {more} more"));
        told.chain(rest).map(|what| Finding { law, what })
    });
    Verdict {
        findings: broken.collect(),
        figures,
    }
}
