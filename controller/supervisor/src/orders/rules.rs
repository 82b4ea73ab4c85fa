//! Which orders a pool can be given, and what a change makes of those that stand. Pure.

use tidepool_core::Timestamp;
use tidepool_core::order::{
    BoundsOrder, ChangeError, HoldOrder, ORDER_DURATION_MAX, ORDER_REASON_LEN_MAX,
    ORDER_WORKERS_MAX, PoolChange, Standing,
};
use tidepool_policy::Override;

/// Longest name of who gives an order, in characters.
const BY_LEN_MAX: usize = 64;

/// Bounds of a pool as it was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// Bounds in force under what stands.
pub(crate) fn bounds(configured: Configured, standing: &Standing) -> Configured {
    let set = standing.bounds.as_ref();
    let max = set.and_then(|set| set.max).unwrap_or(configured.max);
    let min = set.and_then(|set| set.min).unwrap_or(configured.min);
    Configured {
        min: min.min(max),
        max,
    }
}

/// What stands after a change at `now`.
///
/// # Errors
/// With the first member of the change that cannot be.
pub(crate) fn apply(
    standing: &Standing,
    configured: Configured,
    change: &PoolChange,
    now: Timestamp,
) -> Result<Standing, ChangeError> {
    let signature = Signature::read(change, now)?;
    let next = Standing {
        bounds: next_bounds(standing, configured, change, &signature)?,
        hold: next_hold(standing, change, &signature)?,
    };
    let Configured { min, max } = bounds(configured, &next);
    match next.pinned() {
        Some(pin) if !(min..=max).contains(&pin) => Err(invalid(
            "pin",
            format!("{pin} is not within the pool's bounds, {min} to {max}"),
        )),
        _ => Ok(next),
    }
}

/// What every order of one change carries.
struct Signature {
    since: Timestamp,
    until: Option<Timestamp>,
    reason: Option<String>,
    by: String,
}

impl Signature {
    fn read(change: &PoolChange, now: Timestamp) -> Result<Self, ChangeError> {
        if let Some(reason) = &change.reason
            && (reason.chars().count() > ORDER_REASON_LEN_MAX
                || reason.chars().any(char::is_control))
        {
            let message = format!("must be at most {ORDER_REASON_LEN_MAX} characters on one line");
            return Err(invalid("reason", message));
        }
        let lives = change.paused == Some(true)
            || change.pin.flatten().is_some()
            || change.min.flatten().is_some()
            || change.max.flatten().is_some();
        let nothing = change.paused.is_none()
            && change.pin.is_none()
            && change.min.is_none()
            && change.max.is_none();
        if nothing {
            let message = "nothing is asked for; set one of paused, pin, min and max";
            return Err(invalid("change", message));
        }
        if change.duration.is_some() && !lives {
            let message = "there is nothing that could end: set it with paused, pin, min or max";
            return Err(invalid("for", message));
        }
        if change
            .duration
            .is_some_and(|duration| duration.is_zero() || duration > ORDER_DURATION_MAX)
        {
            return Err(invalid("for", "must be 1s to 7d"));
        }
        let reason = change.reason.clone();
        Ok(Self {
            since: now,
            until: change.duration.map(|duration| now.after(duration)),
            reason: reason.filter(|reason| !reason.trim().is_empty()),
            by: change.by.chars().take(BY_LEN_MAX).collect(),
        })
    }
}

fn next_bounds(
    standing: &Standing,
    configured: Configured,
    change: &PoolChange,
    signature: &Signature,
) -> Result<Option<BoundsOrder>, ChangeError> {
    if change.min.is_none() && change.max.is_none() {
        return Ok(standing.bounds.clone());
    }
    let before = standing.bounds.clone().unwrap_or_default();
    let min = change.min.unwrap_or(before.min);
    let max = change.max.unwrap_or(before.max);
    if max == Some(0) || max > Some(ORDER_WORKERS_MAX) {
        return Err(invalid("max", format!("must be 1 to {ORDER_WORKERS_MAX}")));
    }
    let (low, high) = (min.unwrap_or(configured.min), max.unwrap_or(configured.max));
    if low > high {
        let member = if change.min.flatten().is_some() {
            "min"
        } else {
            "max"
        };
        let message = format!("min would be {low} and max {high}; min must not exceed max");
        return Err(invalid(member, message));
    }
    let sets = change.min.flatten().is_some() || change.max.flatten().is_some();
    let set = if sets {
        BoundsOrder {
            min,
            max,
            until: signature.until,
            reason: signature.reason.clone(),
            by: signature.by.clone(),
            since: signature.since,
        }
    } else {
        // What is left is as it was ordered, and ends when it was to end.
        BoundsOrder { min, max, ..before }
    };
    Ok((min.is_some() || max.is_some()).then_some(set))
}

fn next_hold(
    standing: &Standing,
    change: &PoolChange,
    signature: &Signature,
) -> Result<Option<HoldOrder>, ChangeError> {
    let pin = change.pin.flatten();
    if change.paused == Some(true) && pin.is_some() {
        let message = "a pool is paused where it is or pinned to a number; ask for one of them";
        return Err(invalid("pin", message));
    }
    if change.paused == Some(true) || pin.is_some() {
        let until = signature.until.ok_or_else(|| {
            let message = "a pause or pin must end: say for how long, such as 30m, at most 7d";
            invalid("for", message)
        })?;
        return Ok(Some(HoldOrder {
            pin,
            until,
            reason: signature.reason.clone(),
            by: signature.by.clone(),
            since: signature.since,
        }));
    }
    let ends_pause = change.paused == Some(false) && standing.is_paused();
    let ends_pin = change.pin == Some(None) && standing.pinned().is_some();
    Ok(standing.hold.clone().filter(|_| !ends_pause && !ends_pin))
}

fn invalid(member: &'static str, message: impl Into<String>) -> ChangeError {
    ChangeError::Invalid {
        member,
        message: message.into(),
    }
}

/// What stands at `now`, and in words what has ended.
pub(crate) fn expire(standing: &Standing, now: Timestamp) -> Option<(Standing, &'static str)> {
    let held = standing.hold.as_ref().is_some_and(|hold| hold.until <= now);
    let bounds = standing.bounds.as_ref().and_then(|set| set.until);
    let bound = bounds.is_some_and(|until| until <= now);
    let ended = match (held, bound) {
        (false, false) => return None,
        (true, true) => "the hold and the bounds ended",
        (true, false) if standing.is_paused() => "the pause ended",
        (true, false) => "the pin ended",
        (false, true) => "the bounds ended",
    };
    let left = Standing {
        bounds: standing.bounds.clone().filter(|_| !bound),
        hold: standing.hold.clone().filter(|_| !held),
    };
    Some((left, ended))
}

/// What stands after a change from `before` to `after`, when meanwhile the clock has left only
/// `current` of what stood before: what the change did not touch stays as it is now.
pub(crate) fn merge(before: &Standing, current: &Standing, after: Standing) -> Standing {
    let Standing { bounds, hold } = after;
    Standing {
        bounds: if bounds == before.bounds {
            current.bounds.clone()
        } else {
            bounds
        },
        hold: if hold == before.hold {
            current.hold.clone()
        } else {
            hold
        },
    }
}

/// The orders as the policy obeys them at `now`. They end by being left out, which is decided here
/// alone: the end of a hold is handed over to be told, and one that has passed is not.
pub(crate) fn to_override(standing: &Standing, now: Timestamp) -> Option<Override> {
    let set = standing.bounds.as_ref();
    let hold = standing.hold.as_ref();
    let ends = hold.map(|hold| hold.until).filter(|until| *until > now);
    (!standing.is_empty()).then(|| Override {
        paused: standing.is_paused(),
        pin: standing.pinned(),
        min: set.and_then(|set| set.min),
        max: set.and_then(|set| set.max),
        until_ms: ends.map(|until| until.0),
    })
}

#[cfg(test)]
mod tests;
