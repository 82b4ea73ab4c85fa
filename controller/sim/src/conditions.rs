//! What goes wrong while a simulation runs.

/// A disturbance from one second up to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disturbance {
    /// First second, counted from the beginning of training.
    pub from_s: u64,
    /// First second after it.
    pub to_s: u64,
    /// What it does.
    pub kind: Kind,
}

/// Kinds of disturbance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Requests that start hold their places this many times as long.
    Slow(f64),
    /// This share of answers are failures of what the handler depends on.
    Failing(f64),
    /// No report about the work arrives; the nodes still tell of their workers.
    Blind,
    /// One worker that serves dies every so many seconds, and what it had is lost.
    Crashing(u64),
}

/// All disturbances of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions(pub Vec<Disturbance>);

impl Conditions {
    fn of(&self, second: u64) -> impl Iterator<Item = &Disturbance> {
        self.0
            .iter()
            .filter(move |d| (d.from_s..d.to_s).contains(&second))
    }

    pub(crate) fn service_factor(&self, second: u64) -> f64 {
        self.of(second)
            .map(|d| {
                if let Kind::Slow(factor) = d.kind {
                    factor
                } else {
                    1.0
                }
            })
            .product()
    }

    /// Largest factor that service times may reach.
    pub(crate) fn service_factor_max(&self) -> f64 {
        let factors = self.0.iter().filter_map(|d| {
            if let Kind::Slow(factor) = d.kind {
                Some(factor.max(1.0))
            } else {
                None
            }
        });
        factors.product()
    }

    pub(crate) fn failing(&self, second: u64) -> f64 {
        self.of(second)
            .map(|d| {
                if let Kind::Failing(share) = d.kind {
                    share
                } else {
                    0.0
                }
            })
            .fold(0.0, f64::max)
    }

    pub(crate) fn is_blind(&self, second: u64) -> bool {
        self.of(second).any(|d| d.kind == Kind::Blind)
    }

    pub(crate) fn crashes(&self, second: u64) -> bool {
        self.of(second).any(|d| matches!(d.kind, Kind::Crashing(every_s) if (second - d.from_s).is_multiple_of(every_s.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disturbances_hold_in_their_time_only() {
        let during = |from_s, to_s, kind| Disturbance { from_s, to_s, kind };
        let conditions = Conditions(vec![
            during(10, 20, Kind::Slow(4.0)),
            during(15, 20, Kind::Failing(0.5)),
            during(15, 16, Kind::Blind),
            during(10, 20, Kind::Crashing(5)),
        ]);
        let factors: Vec<f64> = [9, 10, 19, 20]
            .map(|s| conditions.service_factor(s))
            .to_vec();
        assert_eq!(factors, [1.0, 4.0, 4.0, 1.0]);
        assert_eq!((conditions.failing(14), conditions.failing(15)), (0.0, 0.5));
        assert!(conditions.is_blind(15) && !conditions.is_blind(16));
        let crashes: Vec<u64> = (0..30).filter(|s| conditions.crashes(*s)).collect();
        assert_eq!(crashes, [10, 15]);
        assert_eq!(conditions.service_factor_max(), 4.0);
    }
}
