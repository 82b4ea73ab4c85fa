//! Orders about a pool: pause, resume, pin, bounds.

use std::io::Write;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidepool_core::status::{Hearsay, PoolStatus, Referral};

use super::operator::{CallError, Operator};
use super::views::local;
use crate::cli::Output;
use crate::cli::{BoundsArgs, HoldArgs, PinArgs};
use crate::terminal::{Printer, harmless};

/// What is asked of a pool.
#[derive(Debug)]
pub(crate) enum Order {
    /// Hold the target where it is.
    Pause(HoldArgs),
    /// End a pause or pin.
    Resume {
        /// The pool.
        pool: String,
        /// Why.
        reason: Option<String>,
    },
    /// Hold the target at a number.
    Pin(PinArgs),
    /// Change the bounds.
    Bounds(BoundsArgs),
}

impl Order {
    fn pool(&self) -> &str {
        match self {
            Self::Pause(args) => &args.pool,
            Self::Resume { pool, .. } => pool,
            Self::Pin(args) => &args.hold.pool,
            Self::Bounds(args) => &args.pool,
        }
    }

    /// The body of the request. A pin without a number takes the target that there is.
    fn body(&self, target: u64) -> Value {
        let hold = |args: &HoldArgs| json!({ "for": args.duration, "reason": args.reason });
        match self {
            Self::Pause(args) => with(hold(args), "paused", json!(true)),
            Self::Resume { reason, .. } => {
                json!({ "paused": false, "pin": null, "reason": reason })
            }
            Self::Pin(args) => {
                let workers = args.workers.map_or(target, u64::from);
                with(hold(&args.hold), "pin", json!(workers))
            }
            Self::Bounds(args) => {
                let mut body = Map::new();
                let bounds = [("min", args.min), ("max", args.max)];
                for (name, bound) in bounds {
                    if bound.is_some() || args.reset {
                        body.insert(name.to_owned(), json!(bound));
                    }
                }
                body.insert("for".to_owned(), json!(args.duration));
                body.insert("reason".to_owned(), json!(args.reason));
                Value::Object(body)
            }
        }
    }
}

fn with(mut body: Value, member: &str, value: Value) -> Value {
    body[member] = value;
    body
}

/// Gives an order and prints the pool as it is then.
pub(crate) async fn give<W: Write>(
    operator: &Operator,
    order: &Order,
    zone: &TimeZone,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let path = ["v1", "pools", order.pool()];
    let target = match order {
        Order::Pin(PinArgs { workers: None, .. }) => target(operator, &path).await?,
        _ => 0,
    };
    let answer = operator.patch(&path, &order.body(target)).await?;
    if printer.form != Output::Text {
        return Ok(printer.json(&answer)?);
    }
    let pool: PoolStatus = serde_json::from_value(answer).map_err(|_| operator.foreign())?;
    Ok(printer.line(&told(&pool, zone))?)
}

/// The target of the pool as it is now. What another process has heard of it may be old.
async fn target(operator: &Operator, path: &[&str]) -> Result<u64, CallError> {
    let mut pool = operator.get(path, &[]).await?;
    if let Ok(told) = Hearsay::deserialize(&pool["told_by"]) {
        operator.follow(&Referral {
            detail: format!("{} leads", told.leader),
            operator_addr: Some(told.operator_addr).filter(|addr| !addr.is_empty()),
        })?;
        pool = operator.get(path, &[]).await?;
    }
    pool["target"].as_u64().ok_or_else(|| operator.foreign())
}

fn told(pool: &PoolStatus, zone: &TimeZone) -> String {
    let held = match pool.pinned {
        Some(pin) => Some(format!("is pinned to {pin}")),
        None => pool.paused.then(|| format!("is paused at {}", pool.target)),
    };
    let until = |until: &Option<String>| {
        let until = until.as_deref();
        until.map_or_else(String::new, |until| {
            format!(" until {}", local(until, zone, "%Y-%m-%d %H:%M:%S"))
        })
    };
    let reason = pool.reason.as_deref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({})", harmless(reason)));
    let bounds = format!(
        "bounds {} to {}{}",
        pool.min,
        pool.max,
        until(&pool.bounds_until)
    );
    match held {
        Some(held) => format!(
            "{} {held}{}{reason}; {bounds}",
            pool.pool,
            until(&pool.hold_until)
        ),
        // What is left to give a reason for are the bounds.
        None => format!("{} scales by itself; {bounds}{reason}", pool.pool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> HoldArgs {
        HoldArgs {
            pool: "echo".into(),
            duration: "30m".into(),
            reason: None,
        }
    }

    #[test]
    fn orders_are_what_the_operator_api_takes() {
        let pause = Order::Pause(hold()).body(0);
        assert_eq!(pause, json!({"paused": true, "for": "30m", "reason": null}));
        let pin = |workers| {
            Order::Pin(PinArgs {
                workers,
                hold: hold(),
            })
            .body(4)
        };
        assert_eq!(pin(None)["pin"], 4);
        assert_eq!(pin(Some(2))["pin"], 2);
        let bounds = |min, max, reset| {
            let args = BoundsArgs {
                pool: "echo".into(),
                min,
                max,
                reset,
                duration: None,
                reason: None,
            };
            Order::Bounds(args).body(0)
        };
        assert_eq!(
            bounds(Some(2), None, false),
            json!({"min": 2, "for": null, "reason": null})
        );
        let reset = bounds(None, None, true);
        assert_eq!(
            reset,
            json!({"min": null, "max": null, "for": null, "reason": null})
        );
    }

    #[test]
    fn an_end_is_told_beside_what_ends() {
        let pool: PoolStatus = serde_json::from_value(json!({
            "pool": "echo", "kinds": ["echo"], "policy": "tidepool", "ready": 2, "starting": 0,
            "draining": 0, "target": 3, "min": 2, "max": 4, "score": null, "signals": {},
            "paused": false, "cooldown_until": null, "queued": 0, "busy_slots": 0, "slots": 8,
            "metrics_age_s": null, "override_until": "2026-11-20T20:05:10.000Z",
            "bounds_until": "2026-11-20T20:05:10.000Z", "reason": "fair",
        }))
        .unwrap();
        assert_eq!(
            told(&pool, &TimeZone::UTC),
            "echo scales by itself; bounds 2 to 4 until 2026-11-20 20:05:10 (fair)"
        );
        let paused = PoolStatus {
            paused: true,
            hold_until: Some("2026-11-20T20:40:00.000Z".to_owned()),
            ..pool.clone()
        };
        assert_eq!(
            told(&paused, &TimeZone::UTC),
            "echo is paused at 3 until 2026-11-20 20:40:00 (fair); \
             bounds 2 to 4 until 2026-11-20 20:05:10"
        );
        let free = PoolStatus {
            override_until: None,
            bounds_until: None,
            reason: None,
            ..pool
        };
        assert_eq!(
            told(&free, &TimeZone::UTC),
            "echo scales by itself; bounds 2 to 4"
        );
    }
}
