//! A policy that decides beside the live one, without effect, so that it can be judged before it is
//! chosen. It sees the same observations, and so the fleet that the *live* policy runs: what would
//! have become of waits and queues under its own targets it cannot know.

use tidepool_core::Timestamp;
use tidepool_core::status::ShadowStatus;
use tidepool_policy::{Decision, Memory, Observation, Override, Policy, decide};

/// Most shadows of a pool.
pub const SHADOWS_MAX: usize = 4;

/// One policy in shadow.
#[derive(Debug)]
pub(crate) struct Shadow {
    policy: Policy,
    memory: Memory,
    decision: Option<Decision>,
}

impl Shadow {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            memory: Memory::default(),
            decision: None,
        }
    }

    /// Decides. A pause or pin is left out: the question is what this policy would do.
    pub(crate) fn decide(&mut self, observation: &Observation, now: Timestamp) {
        let bounds_only = |order: Override| Override {
            paused: false,
            pin: None,
            ..order
        };
        let observation = Observation {
            operator: observation.operator.map(bounds_only),
            ..observation.clone()
        };
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = decide(&self.policy, memory, &observation, now.0);
        self.memory = memory;
        self.decision = Some(decision);
    }

    pub(crate) fn name(&self) -> &'static str {
        self.policy.rule.name()
    }

    /// The target, once the live count is known.
    pub(crate) fn target(&self) -> Option<u32> {
        self.memory.target()
    }

    pub(crate) fn status(&self) -> Option<ShadowStatus> {
        let decision = self.decision.as_ref()?;
        Some(ShadowStatus {
            policy: self.name().to_owned(),
            target: self.target()?,
            score: decision.score,
            sentence: decision.sentence(),
        })
    }
}
