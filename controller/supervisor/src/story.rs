//! Decisions as events and spans: the shapes that the feed and the operator API promise.

use serde_json::{Value, json};
use tidepool_core::status::Signals;
use tidepool_core::{EventDraft, Timestamp, TraceId};
use tidepool_policy::{Decision, Signal};

use crate::control::PoolPlan;

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
