//! The work that a run brings: what every place would hold if there were always a free one.

use crate::bound::{Bound, BoundError, lower_bound};
use crate::engine::Draws;
use crate::model::Model;
use crate::wheel::Wheel;
use crate::workload::Workload;

/// Shortest block of the bound in seconds.
const BLOCK_S_MIN: f64 = 3_600.0;
/// Start-up times in a block of the bound.
const BOOTS_PER_BLOCK: f64 = 60.0;

/// Worker-seconds that begin or go on in each second, training included, if every request starts on
/// arrival.
///
/// Arrivals and service times are those that [`crate::engine::simulate`] draws for the same seed:
/// requests start in the order in which they come, so each has the same service time in both.
#[must_use]
pub fn offered_work(model: &Model, load: &Workload, seed: u64) -> Vec<f64> {
    let mut draws = Draws::new(model, seed);
    let mut wheel = Wheel::new(draws.durations.longest(1.0));
    let steps = u64::from(model.steps_per_s());
    let per_worker = f64::from(model.slots) * steps as f64;
    let (mut now, mut busy) = (0, 0_u64);
    let mut work = Vec::with_capacity(load.rates.len());
    for rate in &load.rates {
        draws.poisson.set(f64::from(*rate) / steps as f64);
        let mut held = 0;
        for _ in 0..steps {
            busy -= u64::from(wheel.take(now).count);
            let came = draws.poisson.draw(&mut draws.arrivals);
            draws
                .durations
                .start(came, now, &mut wheel, &mut draws.services);
            busy += u64::from(came);
            held += busy;
            now += 1;
        }
        work.push(held as f64 / per_worker);
    }
    work
}

/// The clairvoyant bound for a run: the least worker-seconds of the scored part with nobody late.
///
/// # Errors
/// When the start-up time is beyond what is solved for.
pub fn clairvoyant(model: &Model, load: &Workload, seed: u64) -> Result<Bound, BoundError> {
    bound_of(model, &offered_work(model, load, seed)[load.score_from_s..])
}

/// The bound for what [`offered_work`] told of the scored part.
///
/// # Errors
/// When the start-up time is beyond what is solved for.
pub fn bound_of(model: &Model, scored_work: &[f64]) -> Result<Bound, BoundError> {
    let block_s = (BOOTS_PER_BLOCK * model.startup_s).max(BLOCK_S_MIN);
    lower_bound(scored_work, model.startup_s, block_s as usize)
}
