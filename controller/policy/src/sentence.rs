//! A decision in one sentence that an operator can read aloud.

use std::fmt::Write as _;

use crate::decision::{Block, Bound, Decision, Direction, Reason, Signal};

/// The decision in one sentence: what, why, and the numbers with their units. `hold` is the order that
/// holds the pool, where somebody knows it.
pub(crate) fn sentence(decision: &Decision, hold: Option<&str>) -> String {
    let mut text = opening(decision);
    text.push_str(&cause(decision, hold));
    if let Some(limit) = limit(decision) {
        text.push_str(limit);
    }
    if let Some(price) = price(decision) {
        let _ = write!(text, "; {price}");
    }
    if let Some(load) = load(decision) {
        let _ = write!(text, "; {load}");
    }
    if decision.infeasible {
        text.push_str("; the work itself takes longer than the objective");
    }
    text
}

fn opening(decision: &Decision) -> String {
    let Decision { from, to, .. } = decision;
    match decision.reason {
        Reason::Adopted => format!("taking over {to}: "),
        _ if decision.direction == Direction::Hold => format!("staying at {to}: "),
        _ => format!("{from} -> {to}: "),
    }
}

/// Whether the sentence tells that an order holds the pool.
pub(crate) fn tells_hold(decision: &Decision) -> bool {
    match decision.reason {
        Reason::Pinned | Reason::Paused => true,
        Reason::Blocked => matches!(decision.blocked_by, Some(Block::Paused | Block::Pinned)),
        _ => false,
    }
}

fn cause(decision: &Decision, hold: Option<&str>) -> String {
    let score = decision
        .score
        .map_or_else(String::new, |score| format!(" (score {score:.2})"));
    match decision.reason {
        Reason::ColdStart => {
            let queued = requests(decision.queued.unwrap_or(0.0));
            let wait = if queued.ends_with('s') {
                "wait"
            } else {
                "waits"
            };
            format!("{queued} {wait} and no worker runs{score}")
        }
        Reason::LearnedFloor => format!(
            "the learned pattern asks for {} by the time a worker is ready{score}",
            workers(decision.raw_need.unwrap_or(0.0))
        ),
        Reason::BlindMedian => {
            "nothing has been measured for long and the usual load needs more".to_owned()
        }
        Reason::Idle | Reason::Surplus => enough(decision, decision.to) + &score,
        Reason::Minimum => format!(
            "{} is the least that this pool may have{score}",
            decision.to
        ),
        Reason::Maximum => format!("{} is the most that this pool may have{score}", decision.to),
        Reason::Blocked => blocked(decision, hold, &score),
        Reason::Pinned => {
            let pinned = hold.unwrap_or("an operator pinned it");
            if decision.blocked_by.is_some() {
                format!("{pinned}; otherwise {}{score}", asks(decision))
            } else {
                format!("{pinned}{score}")
            }
        }
        Reason::Paused => hold.unwrap_or("an operator paused the pool").to_owned() + &score,
        Reason::Spend => {
            asks(decision) + &score + ", but the worker-hours that the pool may cost are spent"
        }
        Reason::Need | Reason::Adopted | Reason::Steady => asks(decision) + &score,
    }
}

fn asks(decision: &Decision) -> String {
    let (Some(winner), Some(need)) = (decision.winner, decision.raw_need) else {
        return "nothing has been measured yet".to_owned();
    };
    let who = match winner {
        Signal::Slots => "slots ask",
        Signal::Queue => "the backlog asks",
        Signal::Cpu => "CPU asks",
        Signal::Memory => "memory asks",
        Signal::Latency => "the wait asks",
        Signal::Errors => "refusals and missed deadlines ask",
    };
    format!("{who} for {}", workers(need))
}

fn enough(decision: &Decision, n: u32) -> String {
    match (decision.quiet_s, n) {
        (Some(quiet_s), 0) => format!("nobody was needed for {}", seconds(quiet_s)),
        (Some(quiet_s), _) => format!("{n} would have been enough for {}", seconds(quiet_s)),
        (None, _) => format!("{n} would do"),
    }
}

fn blocked(decision: &Decision, hold: Option<&str>, score: &str) -> String {
    let why = match decision.blocked_by {
        Some(Block::Cooldown) => "the last change was a moment ago",
        Some(Block::StartHold) => "this supervisor has only just taken over",
        Some(Block::ReversalBudget) => "the pool has changed its mind too often lately",
        Some(Block::StaleMetrics) => {
            "some measurements are missing, and that is no reason to shrink"
        }
        Some(Block::Blind) => return "nothing is measured".to_owned() + score,
        Some(Block::Failing) => {
            "most answers fail, and another number of workers would not mend that"
        }
        Some(Block::Max) => "that is the most this pool may have",
        Some(Block::LaunchRate) => {
            "the workers launched last have not shown yet whether they suffice"
        }
        Some(Block::Unsettled) => "the last step has not had time to show yet",
        Some(Block::NodeMemory) => "the memory of a node is nearly full",
        Some(Block::Paused) => hold.unwrap_or("an operator paused the pool"),
        Some(Block::Pinned) => hold.unwrap_or("an operator pinned the pool"),
        Some(Block::NoEffect) => {
            "the workers added last brought no more answers: the bottleneck is elsewhere"
        }
        Some(Block::Burst) => "a burst came a moment ago and may come back",
        Some(Block::Unproven) => {
            "requests took longer than usual or failed a moment ago, and those added last have not \
             shown yet that more workers help"
        }
        Some(Block::KeepAlive) => {
            "a request is likely to come before keeping the last worker costs more than starting one"
        }
        Some(Block::Spend) => "the worker-hours that the pool may cost are spent",
        Some(Block::Dip) if decision.dip_is_guess => {
            "the load ended within a minute, and may return at once"
        }
        Some(Block::Dip) => "load stays away that this hour usually brings, and may return at once",
        None => "something holds it",
    };
    let wish = if decision.wanted < decision.to {
        enough(decision, decision.wanted)
    } else {
        asks(decision)
    };
    format!("{wish}{score}, but {why}")
}

fn limit(decision: &Decision) -> Option<&'static str> {
    match (decision.bounded_by?, decision.direction) {
        (Bound::Max, Direction::Up) => Some(", and this is the most it may have"),
        (Bound::LaunchRate, Direction::Up) => Some(", and this is as many as may start at once"),
        (Bound::Unproven, Direction::Up) => {
            Some(", and more only once these have shown that they help")
        }
        (Bound::Spend, Direction::Up) => {
            Some(", and this is as many as the saved worker-hours allow")
        }
        (Bound::KeepAlive, Direction::Down) => {
            Some(", and the last one is kept for the next request")
        }
        (Bound::RetireStep, Direction::Down) => Some(", one step at a time"),
        (Bound::Min, Direction::Down) => Some(", and this is the least it may have"),
        _ => None,
    }
}

/// What a cap on the cost is paid with.
fn price(decision: &Decision) -> Option<String> {
    let capped = decision.blocked_by == Some(Block::Spend)
        || decision.bounded_by == Some(Bound::Spend)
        || decision.reason == Reason::Spend;
    let wish = decision.counterfactual_of_wish().filter(|_| capped)?;
    Some(format!(
        "with {} {} would wait too long instead of {}",
        wish.workers,
        percent(wish.late_share),
        percent(wish.late_share_decided)
    ))
}

fn percent(share: f64) -> String {
    format!("{} %", number(100.0 * share))
}

fn load(decision: &Decision) -> Option<String> {
    let mut text = match (decision.observed_rate, decision.service_s) {
        (Some(rate), Some(service_s)) => {
            format!("{} requests/s x {}", number(rate), seconds(service_s))
                + &counted(decision.service_counted_s)
        }
        (Some(rate), None) => format!("{} requests/s", number(rate)),
        _ => return None,
    };
    if decision.direction == Direction::Up {
        let _ = write!(
            text,
            " with {} to start a worker",
            seconds(decision.startup_s)
        );
    }
    if let Some(queued) = decision.queued.filter(|queued| *queued >= 1.0) {
        let _ = write!(text, ", {} waiting", number(queued));
    }
    Some(text)
}

fn counted(counted_s: Option<f64>) -> String {
    counted_s.map_or_else(String::new, |s| format!(", of which {} count", seconds(s)))
}

fn workers(n: f64) -> String {
    // What is just above a whole number must not look like it.
    let excess = n - n.floor();
    match n {
        n if (n - 1.0).abs() < 0.005 => "1 worker".to_owned(),
        n if (0.005..0.05).contains(&excess) => format!("{n:.2} workers"),
        n => format!("{} workers", number(n)),
    }
}

fn requests(n: f64) -> String {
    if (n - 1.0).abs() < 0.5 {
        "1 request".to_owned()
    } else {
        format!("{} requests", number(n))
    }
}

/// Two or three digits, as many as matter.
fn number(x: f64) -> String {
    if x >= 100.0 || (x - x.round()).abs() < 0.005 {
        format!("{x:.0}")
    } else if x >= 1.0 {
        format!("{x:.1}")
    } else {
        format!("{x:.2}")
    }
}

/// A duration with the unit that reads best.
fn seconds(s: f64) -> String {
    match s {
        s if s < 0.001 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{} ms", number((s * 1e3 * 10.0).round() / 10.0)),
        s if s < 120.0 => format!("{} s", number(s)),
        s if s < 7_200.0 => format!("{} min", number(s / 60.0)),
        s => format!("{} h", number(s / 3_600.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Needs;

    fn decision(from: u32, to: u32, direction: Direction, reason: Reason) -> Decision {
        Decision {
            from,
            to,
            direction,
            reason,
            score: Some(0.96),
            needs: Needs::default(),
            winner: Some(Signal::Slots),
            raw_need: Some(8.4),
            bounded_by: None,
            wanted: to,
            blocked_by: None,
            earliest_change_ms: None,
            cooldown_until_ms: None,
            observed_rate: Some(142.3),
            forecast: None,
            have: from,
            service_s: Some(0.48),
            queued: Some(0.0),
            startup_s: 31.0,
            quiet_s: None,
            infeasible: false,
            slots_per_worker: 10,
            wait_objective_s: 0.5,
            service_counted_s: None,
            dip_is_guess: false,
        }
    }

    #[test]
    fn growth_names_the_signal_and_its_numbers() {
        assert_eq!(
            decision(7, 9, Direction::Up, Reason::Need).sentence(),
            "7 -> 9: slots ask for 8.4 workers (score 0.96); 142 requests/s x 480 ms \
             with 31 s to start a worker"
        );
    }

    #[test]
    fn retirement_says_for_how_long_fewer_would_have_done() {
        let mut down = decision(9, 8, Direction::Down, Reason::Surplus);
        down.quiet_s = Some(60.0);
        down.score = Some(0.61);
        down.bounded_by = Some(Bound::RetireStep);
        assert_eq!(
            down.sentence(),
            "9 -> 8: 8 would have been enough for 60 s (score 0.61), one step at a time; \
             142 requests/s x 480 ms"
        );
    }

    #[test]
    fn a_blocked_wish_says_what_holds_it() {
        let mut held = decision(8, 8, Direction::Hold, Reason::Blocked);
        held.blocked_by = Some(Block::Max);
        held.wanted = 9;
        held.queued = Some(17.0);
        assert_eq!(
            held.sentence(),
            "staying at 8: slots ask for 8.4 workers (score 0.96), but that is the most this pool \
             may have; 142 requests/s x 480 ms, 17 waiting"
        );
    }

    #[test]
    fn durations_have_the_unit_that_reads_best() {
        let texts = [2e-5, 0.0123, 0.48, 31.0, 600.0, 10_800.0].map(seconds);
        assert_eq!(
            texts,
            ["20 us", "12.3 ms", "480 ms", "31 s", "10 min", "3 h"]
        );
    }

    #[test]
    fn an_order_is_named_wherever_the_sentence_tells_of_one() {
        let mut told = 0;
        for reason in Reason::ALL {
            for block in std::iter::once(None).chain(Block::ALL.iter().copied().map(Some)) {
                let mut held = decision(7, 7, Direction::Hold, *reason);
                held.blocked_by = block;
                let text = held.sentence_under("ann holds it");
                let names = text.contains("ann holds it");
                assert_eq!(names, held.tells_hold(), "{reason} {block:?}: {text}");
                assert_eq!(names, held.sentence().contains("an operator p"), "{text}");
                told += u32::from(names);
            }
        }
        assert!(told > 2);
    }
}
