//! What an operator's order leaves of a verdict.

use crate::decision::{Block, Reason};
use crate::observation::Override;
use crate::verdict::Verdict;

/// The verdict under an order: the wish of the rule stays readable beside it.
pub(crate) fn obey(order: &Override, target: u32, judged: Verdict) -> Verdict {
    // A wish that something else holds already is still a wish.
    let wanted = if judged.blocked_by.is_some() {
        judged.wanted
    } else {
        judged.to
    };
    let (to, reason, block) = match order.pin {
        Some(pin) => (pin, Reason::Pinned, Block::Pinned),
        None if order.paused => (target, Reason::Paused, Block::Paused),
        None => return judged,
    };
    let held = wanted != to;
    Verdict {
        to,
        wanted,
        reason: if held && reason == Reason::Paused {
            Reason::Blocked
        } else {
            reason
        },
        blocked_by: held.then_some(block),
        bounded_by: None,
        quiet_s: judged.quiet_s.filter(|_| held && wanted < to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth() -> Verdict {
        Verdict {
            to: 9,
            ..Verdict::stay(7, Reason::Need)
        }
    }

    #[test]
    fn a_pause_holds_and_names_the_wish() {
        let order = Override {
            paused: true,
            ..Override::default()
        };
        let held = obey(&order, 7, growth());
        assert_eq!((held.to, held.wanted), (7, 9));
        assert_eq!(held.blocked_by, Some(Block::Paused));
        let calm = obey(&order, 7, Verdict::stay(7, Reason::Steady));
        assert_eq!((calm.reason, calm.blocked_by), (Reason::Paused, None));
    }

    #[test]
    fn a_wish_that_something_else_held_is_the_wish_that_is_told() {
        let order = Override {
            paused: true,
            ..Override::default()
        };
        let cooling = Verdict {
            wanted: 5,
            blocked_by: Some(Block::Cooldown),
            ..Verdict::stay(7, Reason::Blocked)
        };
        let held = obey(&order, 7, cooling);
        assert_eq!((held.to, held.wanted), (7, 5));
        assert_eq!(held.blocked_by, Some(Block::Paused));
    }

    #[test]
    fn a_pin_wins_over_a_pause_and_over_the_rule() {
        let order = Override {
            paused: true,
            pin: Some(3),
            ..Override::default()
        };
        let pinned = obey(&order, 7, growth());
        assert_eq!((pinned.to, pinned.wanted), (3, 9));
        assert_eq!(pinned.blocked_by, Some(Block::Pinned));
    }

    #[test]
    fn bounds_alone_change_nothing_here() {
        let order = Override {
            min: Some(3),
            ..Override::default()
        };
        assert_eq!(obey(&order, 7, growth()).to, 9);
    }

    #[test]
    fn a_held_retirement_says_for_how_long_it_was_due_and_growth_does_not() {
        let order = Override {
            paused: true,
            ..Override::default()
        };
        let wish = |to: u32| Verdict {
            to,
            wanted: to,
            bounded_by: Some(crate::decision::Bound::RetireStep),
            quiet_s: Some(60.0),
            ..Verdict::stay(7, Reason::Surplus)
        };
        let retired = obey(&order, 7, wish(5));
        assert_eq!((retired.to, retired.quiet_s), (7, Some(60.0)));
        assert_eq!(retired.bounded_by, None, "the order holds it, not the step");
        assert_eq!(obey(&order, 7, wish(9)).quiet_s, None);
        assert_eq!(obey(&order, 7, wish(7)).quiet_s, None);
    }
}
