//! What promptness costs: the cheapest ways to be late seldom, and two sets of them compared where they
//! are equally late. A cost says nothing without the lateness that it bought.

/// Least share of late requests that is told apart from none.
const LATE_LEAST: f64 = 1e-5;

/// Ways that no other way beats in both cost and lateness, the least late first.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontier(Vec<(f64, f64)>);

impl Frontier {
    /// The best of `ways`, each a share of late requests (0 to 1) and a cost.
    #[must_use]
    pub fn of(ways: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let told = |(late, cost): (f64, f64)| (late.max(LATE_LEAST), cost);
        let mut ways: Vec<_> = ways.into_iter().map(told).collect();
        ways.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut best = f64::INFINITY;
        ways.retain(|(_, cost)| {
            let better = *cost < best;
            best = best.min(*cost);
            better
        });
        Self(ways)
    }

    /// What it costs to have a share `late` of late requests: on the straight line between two ways in
    /// the logarithms of both. `None` where no way is so seldom late; beyond the last, its cost.
    #[must_use]
    pub fn cost(&self, late: f64) -> Option<f64> {
        let late = late.max(LATE_LEAST);
        let next = self.0.iter().position(|way| way.0 > late);
        let (before, after) = match next {
            Some(next) => (*self.0.get(next.checked_sub(1)?)?, *self.0.get(next)?),
            None => return self.0.last().map(|way| way.1),
        };
        let share = (late / before.0).ln() / (after.0 / before.0).ln();
        Some(before.1 * (after.1 / before.1).powf(share))
    }

    /// Cost over that of `other` where both have a share `late` of late requests.
    #[must_use]
    pub fn over(&self, other: &Self, late: f64) -> Option<f64> {
        Some(self.cost(late)? / other.cost(late)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_best_ways_count_and_costs_between_them_are_drawn_as_a_line() {
        let ways = Frontier::of([(0.01, 1.0), (0.0001, 4.0), (0.001, 5.0), (0.02, 1.5)]);
        assert_eq!(ways.0, [(0.0001, 4.0), (0.01, 1.0)]);
        assert!((ways.cost(0.001).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(ways.cost(0.5), Some(1.0));
        assert_eq!(ways.cost(0.0), None, "nobody was so seldom late");
        assert_eq!(Frontier::of([]).cost(0.1), None);
    }

    #[test]
    fn two_sets_are_compared_where_they_are_equally_late() {
        let with = Frontier::of([(0.0, 1.8), (0.01, 0.9)]);
        let without = Frontier::of([(0.0, 2.0), (0.01, 1.0)]);
        for late in [0.0, 0.0003, 0.01] {
            assert!((with.over(&without, late).unwrap() - 0.9).abs() < 1e-9);
        }
    }
}
