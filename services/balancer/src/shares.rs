//! How a node shares its slots among the balancers that use it: max-min fair by what they need.
//!
//! Who needs little gets all of that, the others share the rest evenly, and what nobody needs is
//! shared evenly too, so that whoever becomes busy next can begin at once. Everybody gets at least
//! one while there is a slot: who has none cannot show that it needs some. The odd slot goes to who
//! needs the most: in an order that all nodes share, every one of them would favour the same balancer.

use std::cmp::Reverse;

/// What each of `wants` gets of `slots`. The sum is `slots`, unless there are fewer slots than
/// takers, each of which then gets one, or there is no slot or no taker at all.
pub(crate) fn shares(slots: u32, wants: &[u32]) -> Vec<u32> {
    let takers = u32::try_from(wants.len()).unwrap_or(u32::MAX);
    if slots <= takers {
        return vec![slots.min(1); wants.len()];
    }
    let mut given = vec![1; wants.len()];
    let mut left = slots - takers;
    left = fill(&mut given, left, |given, want| given < want, wants);
    fill(&mut given, left, |_, _| true, wants);
    given
}

/// Raises the lowest of those that may have more, level by level.
fn fill(given: &mut [u32], mut left: u32, may: impl Fn(u32, u32) -> bool, wants: &[u32]) -> u32 {
    while left > 0 {
        let open: Vec<usize> = (0..given.len())
            .filter(|n| may(given[*n], wants[*n]))
            .collect();
        let Some(lowest) = open.iter().map(|n| given[*n]).min() else {
            return left;
        };
        let at_bottom: Vec<usize> = open
            .iter()
            .copied()
            .filter(|n| given[*n] == lowest)
            .collect();
        // As far as the next level, a want, or what is left allows.
        let next = open.iter().map(|n| given[*n]).filter(|g| *g > lowest).min();
        let satisfied = at_bottom
            .iter()
            .map(|n| wants[*n])
            .filter(|want| *want > lowest)
            .min();
        let most = left / u32::try_from(at_bottom.len()).unwrap_or(u32::MAX);
        let room = |level: Option<u32>| level.map_or(u32::MAX, |level| level - lowest);
        let step = most.min(room(next)).min(room(satisfied));
        if step == 0 {
            let mut neediest = at_bottom;
            neediest.sort_by_key(|n| Reverse(wants[*n]));
            for n in neediest.into_iter().take(left as usize) {
                given[n] += 1;
                left -= 1;
            }
            continue;
        }
        for n in &at_bottom {
            given[*n] += step;
        }
        left -= step * u32::try_from(at_bottom.len()).unwrap_or(u32::MAX);
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_needs_little_gets_it_and_the_rest_is_even() {
        assert_eq!(shares(12, &[2, 100, 100]), [2, 5, 5]);
        assert_eq!(shares(12, &[0, 0, 100]), [1, 1, 10]);
        assert_eq!(shares(12, &[0, 0, 0]), [4, 4, 4]);
        assert_eq!(shares(12, &[3, 1, 0]), [4, 4, 4]);
        assert_eq!(
            shares(3, &[8, 9]),
            [1, 2],
            "the odd one goes where more wait"
        );
        assert_eq!(shares(3, &[9, 8]), [2, 1]);
        assert_eq!(shares(1_000_000, &[5]), [1_000_000]);
    }

    #[test]
    fn everybody_gets_one_while_there_is_one() {
        assert_eq!(shares(2, &[9, 9, 9]), [1, 1, 1]);
        assert_eq!(shares(0, &[9, 9]), [0, 0]);
        assert!(shares(5, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn all_slots_are_given_and_fairly(
            slots in 0_u32..200,
            wants in prop::collection::vec(0_u32..100, 1..8),
        ) {
            let given = shares(slots, &wants);
            if slots as usize > wants.len() {
                prop_assert_eq!(given.iter().sum::<u32>(), slots);
            }
            // Nobody goes short while another has more than both itself and its own want.
            for (mine, want) in given.iter().zip(&wants) {
                for (theirs, other) in given.iter().zip(&wants) {
                    if mine < want && theirs > other.max(&1) {
                        prop_assert!(theirs <= mine, "{given:?} of {wants:?}");
                    }
                    if mine < want {
                        prop_assert!(*theirs <= mine + 1, "{given:?} of {wants:?}");
                        prop_assert!(theirs <= mine || other >= want, "{given:?} of {wants:?}");
                    }
                }
            }
        }
    }
}
