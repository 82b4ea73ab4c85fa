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
    /// What the handlers depend on answers so many requests per second at most, in the order in
    /// which they came into service; they hold their places until it has.
    Capped(f64),
    /// Workers leak, whatever they do: after about so many seconds one has reached its limit and
    /// dies. Their memory is measured before and after, too.
    Leaking(f64),
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

    /// Requests per second that get through at most, if that is limited.
    pub(crate) fn capacity(&self, second: u64) -> Option<f64> {
        let rates = self.of(second).filter_map(|d| match d.kind {
            Kind::Capped(rate) => Some(rate),
            _ => None,
        });
        rates.reduce(f64::min)
    }

    /// Whether how long a request holds its place is limited by nothing but the engine.
    pub(crate) fn is_capped(&self) -> bool {
        self.0.iter().any(|d| matches!(d.kind, Kind::Capped(_)))
    }

    /// Seconds until a worker has leaked all of its memory, while workers leak.
    pub(crate) fn leak_s(&self, second: u64) -> Option<f64> {
        self.of(second).find_map(|d| match d.kind {
            Kind::Leaking(life_s) => Some(life_s),
            _ => None,
        })
    }

    /// Whether memory is measured.
    pub(crate) fn has_memory(&self) -> bool {
        self.0.iter().any(|d| matches!(d.kind, Kind::Leaking(_)))
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
        assert!(!conditions.is_capped() && !conditions.has_memory());
        let limits = Conditions(vec![
            during(10, 20, Kind::Capped(90.0)),
            during(15, 20, Kind::Capped(70.0)),
            during(15, 20, Kind::Leaking(60.0)),
        ]);
        let rates = [9, 10, 15, 20].map(|s| limits.capacity(s));
        assert_eq!(rates, [None, Some(90.0), Some(70.0), None]);
        assert_eq!((limits.leak_s(14), limits.leak_s(15)), (None, Some(60.0)));
        assert!(limits.is_capped() && limits.has_memory());
    }
}
