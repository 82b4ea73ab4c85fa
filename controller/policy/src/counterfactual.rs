//! What another number of workers would have meant: the share of requests that would have waited too long,
//! over what is forecast and how sure the forecast is.

use crate::decision::{Counterfactual, Decision};

/// 99th percentile of a normal distribution, in standard deviations.
const P99_DEVIATIONS: f64 = 2.33;
/// Points at which the forecast's error is looked at, in standard deviations, with their weights:
/// Gauss-Hermite quadrature of five points (Abramowitz and Stegun, table 25.10).
const POINTS: [(f64, f64); 5] = [
    (-2.856_970, 0.011_257),
    (-1.355_626, 0.222_076),
    (0.0, 0.533_333),
    (1.355_626, 0.222_076),
    (2.856_970, 0.011_257),
];

pub(crate) fn one_fewer(decision: &Decision) -> Option<Counterfactual> {
    instead(decision, decision.to.checked_sub(1)?)
}

/// What `workers` would have meant instead.
pub(crate) fn instead(decision: &Decision, workers: u32) -> Option<Counterfactual> {
    let service_s = decision.service_s?;
    let forecast = decision.forecast?;
    let load = forecast.p50 * service_s;
    if !load.is_finite() || load < 0.0 {
        return None;
    }
    let sigma = (forecast.p99 / forecast.p50).ln() / P99_DEVIATIONS;
    let sigma = if sigma.is_finite() {
        sigma.max(0.0)
    } else {
        0.0
    };
    let patience = decision.wait_objective_s / service_s;
    // With nobody there, each request is a cold start.
    let cold = f64::from(u8::from(decision.startup_s > decision.wait_objective_s));
    let late = |workers: u32| {
        if workers == 0 {
            return cold;
        }
        let slots = f64::from(workers) * f64::from(decision.slots_per_worker.max(1));
        let at = |deviations: f64| late_share(load * (sigma * deviations).exp(), slots, patience);
        POINTS
            .iter()
            .map(|(x, weight)| weight * at(*x))
            .sum::<f64>()
    };
    Some(Counterfactual {
        workers,
        late_share: late(workers),
        late_share_decided: late(decision.to),
    })
}

/// Share of requests that wait longer than `patience` service times with `load` Erlangs on `slots`
/// slots: the probability of waiting at all in the Halfin-Whitt approximation of Erlang's C, times
/// the exponential tail of the wait. All of them when the load does not fit.
fn late_share(load: f64, slots: f64, patience: f64) -> f64 {
    if load <= 0.0 {
        return 0.0;
    }
    let free = slots - load;
    if free <= 0.0 {
        return 1.0;
    }
    let beta = free / load.sqrt();
    let waits = 1.0 / (1.0 + beta * normal_cdf(beta) / normal_density(beta).max(1e-300));
    waits * (-free * patience).exp()
}

fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Normal distribution function for `x >= 0`, to 7e-8 (Abramowitz and Stegun 26.2.17).
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let tail = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    1.0 - normal_density(x) * tail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Erlang's C by the recursion of Erlang's B.
    fn erlang_c(load: f64, slots: u32) -> f64 {
        let b = (1..=slots).fold(1.0, |b, n| load * b / (f64::from(n) + load * b));
        let use_ = load / f64::from(slots);
        b / (1.0 - use_ * (1.0 - b))
    }

    #[test]
    fn agrees_with_erlang_where_it_matters() {
        for (load, slots) in [(80.0, 90_u32), (150.0, 160), (17.0, 20), (900.0, 930)] {
            let exact = erlang_c(load, slots) * (-(f64::from(slots) - load) * 0.5).exp();
            let near = late_share(load, f64::from(slots), 0.5);
            assert!(
                (near / exact).ln().abs() < 0.25,
                "{load} on {slots}: {near} for {exact}"
            );
        }
    }

    #[test]
    fn more_slots_are_never_worse_and_too_few_are_always_late() {
        assert_eq!(late_share(10.0, 10.0, 2.0), 1.0);
        assert_eq!(late_share(0.0, 0.0, 2.0), 0.0);
        let shares: Vec<f64> = (1..60)
            .map(|s| late_share(20.0, f64::from(s), 2.0))
            .collect();
        assert!(
            shares.windows(2).all(|pair| pair[1] <= pair[0]),
            "{shares:?}"
        );
    }
}
