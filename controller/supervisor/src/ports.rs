//! What the supervisor reaches out to. None of it may block: the supervisor has a second for all
//! pools together.

use std::time::SystemTime;

use tidepool_core::{EventDraft, SetTarget, Timestamp, TraceContext};

use crate::decision_log::Record;
use crate::keeper::Save;

/// A decision as a step of a trace of its own.
#[derive(Clone, Debug)]
pub struct DecisionSpan {
    /// Low-cardinality name.
    pub name: &'static str,
    /// The trace that the decision's event names.
    pub context: TraceContext,
    /// When its observation was taken.
    pub begin: SystemTime,
    /// When the decision was made and handed to the nodes.
    pub end: SystemTime,
    /// Numbers and codes, bounded in number and length.
    pub attributes: Vec<(&'static str, String)>,
}

/// The outside.
pub struct Ports {
    /// Hands a target to the nodes; `false` when they could not take it now.
    pub set_target: Box<dyn Fn(SetTarget) -> bool + Send>,
    /// Publishes an event on the feed.
    pub publish: Box<dyn Fn(EventDraft) + Send>,
    /// Takes the span of a decision that changed something.
    pub span: Box<dyn Fn(DecisionSpan) + Send>,
    /// Takes a state that should survive; `false` when it cannot now.
    pub keep: Box<dyn Fn(Save) -> bool + Send>,
    /// Takes a record of the decision log, if there is one; `false` when it cannot now.
    pub log: Option<Box<dyn Fn(Record) -> bool + Send>>,
    /// Wall time that does not jump; see [`crate::steady_wall_clock`].
    pub now: Box<dyn Fn() -> Timestamp + Send>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
