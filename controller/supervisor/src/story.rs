//! Decisions as events and spans: the shapes that the feed and the operator API promise.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidepool_core::status::Signals;
use tidepool_core::{EventDraft, Timestamp, TraceId};
use tidepool_policy::{Block, Decision, Signal};

use crate::control::PoolPlan;

/// The same wish held for the same reason is told again only after this long.
const RETELL_AFTER: Duration = Duration::from_secs(60);

/// What holds wishes, as far as it was told, so that each reason is told once while it lasts, also
/// when several take turns. No more entries than there are reasons.
#[derive(Debug, Default)]
pub(crate) struct Told(HashMap<Block, Timestamp>);

impl Told {
    /// Whether this reason has not been seen for a while; from now on it has.
    pub(crate) fn is_news(&mut self, block: Block, now: Timestamp) -> bool {
        let seen = self.0.insert(block, now);
        seen.is_none_or(|seen| now.since(seen) >= RETELL_AFTER)
    }

    /// Begins anew: the target has changed, so every wish is another one.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The `data` of a decision's event.
pub(crate) fn data(
    plan: &PoolPlan,
    decision: &Decision,
    epoch: u64,
    trace_id: Option<TraceId>,
) -> Value {
    json!({
        "pool": plan.spec.name,
        "policy": plan.policy.rule.name(),
        "reason": decision.reason,
        "sentence": decision.sentence(),
        "from": decision.from,
        "to": decision.to,
        "direction": decision.direction,
        "score": decision.score,
        "signals": signals(decision),
        "winner": decision.winner,
        "observed_rate": decision.observed_rate,
        "forecast": decision.forecast.map(|forecast| json!({
            "at": Timestamp(forecast.at_ms).rfc3339(),
            "p50": forecast.p50,
            "p99": forecast.p99,
        })),
        "raw_need": decision.raw_need,
        "bounded_by": decision.bounded_by,
        "infeasible": decision.infeasible,
        "epoch": epoch,
        "trace_id": trace_id.map(|id| id.to_string()),
    })
}

/// The event of a decision that set a target.
pub(crate) fn decided(
    plan: &PoolPlan,
    decision: &Decision,
    epoch: u64,
    trace_id: TraceId,
) -> EventDraft {
    let data = data(plan, decision, epoch, Some(trace_id));
    EventDraft::of_pool("scaling.decided", &plan.spec.name, data)
}

/// The event of a wish that something holds.
pub(crate) fn suppressed(plan: &PoolPlan, decision: &Decision, epoch: u64) -> EventDraft {
    let mut data = data(plan, decision, epoch, None);
    data["wanted"] = json!(decision.wanted);
    data["blocked_by"] = json!(decision.blocked_by);
    data["earliest_change"] = json!(earliest_change(decision));
    EventDraft::of_pool("scaling.suppressed", &plan.spec.name, data)
}

/// RFC 3339 time at which the target can go down at the earliest.
pub(crate) fn earliest_change(decision: &Decision) -> Option<String> {
    decision
        .earliest_change_ms
        .map(|ms| Timestamp(ms).rfc3339())
}

/// The score that each signal alone would give.
pub(crate) fn signals(decision: &Decision) -> Signals {
    Signals {
        slots: decision.score_of(Signal::Slots),
        queue: decision.score_of(Signal::Queue),
        cpu: decision.score_of(Signal::Cpu),
        memory: decision.score_of(Signal::Memory),
        latency: decision.score_of(Signal::Latency),
        errors: decision.score_of(Signal::Errors),
    }
}

/// What a decision's span says of it.
pub(crate) fn attributes(plan: &PoolPlan, decision: &Decision) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("tidepool.pool", plan.spec.name.to_string()),
        ("tidepool.policy", plan.policy.rule.name().to_owned()),
        ("tidepool.reason", decision.reason.to_string()),
        ("tidepool.from", decision.from.to_string()),
        ("tidepool.to", decision.to.to_string()),
        ("tidepool.sentence", decision.sentence()),
    ];
    attributes.extend(
        decision
            .score
            .map(|score| ("tidepool.score", format!("{score:.3}"))),
    );
    attributes.extend(
        decision
            .winner
            .map(|winner| ("tidepool.winner", winner.to_string())),
    );
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_once_while_it_lasts_also_when_they_take_turns() {
        let mut told = Told::default();
        let mut times = 0;
        for second in 0..120 {
            for block in Block::ALL {
                times += usize::from(told.is_news(*block, Timestamp(second * 1_000)));
            }
        }
        assert_eq!(times, Block::ALL.len());
        assert!(
            told.is_news(Block::Cooldown, Timestamp(300_000)),
            "it came back"
        );
        told.forget();
        assert!(told.is_news(Block::Cooldown, Timestamp(300_001)));
    }
}
