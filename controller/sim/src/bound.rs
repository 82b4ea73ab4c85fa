//! The cheapest fleet that somebody who knew every arrival could have run: what the cost of an
//! autoscaler is divided by.
//!
//! Let `a_t` be the work (worker-seconds) that second `t` brings, `s_t` what is served in it, `n_t`
//! the workers that are paid for serving and `u_t` those that are launched, each of which is paid
//! `D` seconds before it serves. No work is served before it came, none later than the second
//! after:
//!
//! ```text
//! minimise  sum n_t + D sum u_t
//!     s_t <= n_t                      n_t - n_{t-1} <= u_t     0 <= u_t
//!     sum_{<= t} s <= sum_{<= t} a    sum_{<= t+1} s >= sum_{<= t} a
//! ```
//!
//! With `d_t` in `[0, a_t]`, the part of second `t` that is served at once, both sums disappear and
//! `s_t = a_{t-1} - d_{t-1} + d_t`. Its dual has one price `z_t` in `[0, D]` of growing in second
//! `t`, from which `y_t = 1 + z_t - z_{t+1} >= 0`, the price of serving in second `t`, and
//!
//! ```text
//! maximise  sum_t a_t min(y_t, y_{t+1})       z = y = 0 past the end, z_0 = 0
//! ```
//!
//! What is reported is the value of *this* sum at prices that were made feasible, so it is a lower
//! bound whatever the solver did: weak duality needs no convergence, and prices cut down in one
//! place cost tightness, never truth. The distance to a plan that can be run is reported with it.
//!
//! It holds for single requests as for a fluid, if the work of a second is what the requests would
//! hold of it were each served on arrival. One that starts up to a second late holds every part of
//! its slot time up to a second later, so what is served up to any second lies between the two sums
//! above.
//!
//! The bound is one for zero late. It is more generous than reality in what it permits: fractions of
//! workers, a first fleet for nothing, work of the last second served after the end, no failed
//! launches. It takes every start to last `D`; where the start-up time varies, pass its mean.

mod interior;

#[cfg(test)]
mod tests;

use thiserror::Error;

/// Longest start-up time that is solved for, in seconds: a week.
const MAX_BOOT_S: f64 = 7.0 * 86_400.0;

/// Why no bound was computed.
#[derive(Debug, Error, PartialEq)]
pub enum BoundError {
    /// The work of a second is negative or no number.
    #[error(
        "work of second {second} is {work_s}: pass a finite number of worker-seconds, zero or more"
    )]
    Work {
        /// Index into the input.
        second: usize,
        /// What stands there.
        work_s: f64,
    },
    /// Together the work is no finite number.
    #[error("the work does not add up to a finite number: check its unit (worker-seconds)")]
    Total,
    /// The start-up time cannot be used.
    #[error("start-up time is {0} s: pass 0 to {MAX_BOOT_S}")]
    Boot(f64),
    /// Blocks of no length.
    #[error("a block of 0 s holds no work: pass 3600 or more")]
    Block,
}

/// What the cheapest fleet costs, from below and from above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// No plan with zero late costs less than this, in worker-seconds: the value of feasible dual
    /// prices over the whole input.
    pub worker_s: f64,
    /// Cost of a plan that meets every deadline, in worker-seconds: the optimum lies between.
    pub plan_worker_s: f64,
    /// The work alone, in worker-seconds: what a fleet would cost that starts at once and for
    /// nothing.
    pub work_s: f64,
    /// Interior-point iterations of all blocks together.
    pub iterations: u32,
    /// Blocks solved.
    pub blocks: usize,
}

impl Bound {
    /// How far the optimum may lie above the bound, as a share of the plan; zero for no work.
    #[must_use]
    pub fn gap(&self) -> f64 {
        if self.plan_worker_s > 0.0 {
            (1.0 - self.worker_s / self.plan_worker_s).max(0.0)
        } else {
            0.0
        }
    }
}

/// Least worker-seconds that serve `work` with nobody waiting longer than into the next second.
///
/// `work` is what arrives in each second, in worker-seconds (slot-seconds over slots per worker);
/// `boot_s` is the seconds that a worker is paid for before it serves. Blocks of
/// `block_s` seconds are solved by themselves, each with a free first fleet; longer blocks are
/// tighter and take longer. An hour loses well under 1 % while `boot_s` is two minutes or less.
///
/// # Errors
/// For work that is negative or not finite, a start-up time outside of a week, empty blocks.
pub fn lower_bound(work: &[f64], boot_s: f64, block_s: usize) -> Result<Bound, BoundError> {
    check(work, boot_s, block_s)?;
    let mut prices = Vec::with_capacity(work.len());
    let mut fleet = Vec::with_capacity(work.len());
    let mut iterations = 0;
    let mut blocks = 0;
    for block in work.chunks(block_s) {
        let solved = interior::solve(block, boot_s);
        prices.extend(solved.prices);
        fleet.extend(solved.fleet);
        iterations += solved.iterations;
        blocks += 1;
    }
    make_feasible(&mut prices, boot_s);
    let plan = plan_cost(work, &fleet, boot_s);
    Ok(Bound {
        worker_s: dual_value(work, &prices).min(plan),
        plan_worker_s: plan,
        work_s: work.iter().sum(),
        iterations,
        blocks,
    })
}

fn check(work: &[f64], boot_s: f64, block_s: usize) -> Result<(), BoundError> {
    if let Some((second, &work_s)) = work
        .iter()
        .enumerate()
        .find(|(_, w)| !w.is_finite() || **w < 0.0)
    {
        return Err(BoundError::Work { second, work_s });
    }
    // The value of a price may be as large as the start-up time, so that must fit as well.
    if !(work.iter().sum::<f64>() * MAX_BOOT_S).is_finite() {
        return Err(BoundError::Total);
    }
    if !(0.0..=MAX_BOOT_S).contains(&boot_s) {
        return Err(BoundError::Boot(boot_s));
    }
    if block_s == 0 {
        return Err(BoundError::Block);
    }
    Ok(())
}

/// Cuts prices of growing down to where every price of serving is zero or more. What is no number
/// becomes zero, which is feasible too.
fn make_feasible(prices: &mut [f64], boot_s: f64) {
    let mut before = 0.0;
    for (t, price) in prices.iter_mut().enumerate() {
        let most = if t == 0 {
            0.0
        } else {
            boot_s.min(1.0 + before)
        };
        *price = if price.is_nan() {
            0.0
        } else {
            price.clamp(0.0, most)
        };
        before = *price;
    }
}

/// Value of feasible prices of growing.
fn dual_value(work: &[f64], prices: &[f64]) -> f64 {
    let price = |t: usize| prices.get(t).copied().unwrap_or(0.0);
    // Past the end serving is free: work of the last second may wait for that.
    let serving = |t: usize| {
        if t < work.len() {
            1.0 + price(t) - price(t + 1)
        } else {
            0.0
        }
    };
    (0..work.len())
        .map(|t| work[t] * serving(t).min(serving(t + 1)).max(0.0))
        .sum()
}

/// Cost of serving with the fleets of the blocks, oldest work first, and with more where a deadline
/// asks for it: a block may leave its last second to the next, which did not count on that. Workers
/// that this leaves idle are kept only through gaps no longer than a start.
fn plan_cost(work: &[f64], fleet: &[f64], boot_s: f64) -> f64 {
    let mut carried = 0.0_f64;
    let mut need = Vec::with_capacity(work.len());
    for (&work, &fleet) in work.iter().zip(fleet) {
        // `min` before `max`: a fleet that is no number serves all.
        let served = fleet.min(carried + work).max(carried);
        need.push(served);
        carried += work - served;
        // The sum loses bits; nothing older than this second is left.
        carried = carried.clamp(0.0, work);
    }
    fleet_cost(&need, boot_s)
}

/// Cheapest `sum n + D sum u` with `n >= need` and a free first fleet.
///
/// Each level of the need is a worker of its own: it is kept through a gap of `g` seconds if
/// `g <= D` and launched anew otherwise. The stack holds the levels that were given up, lowest on
/// top, each with the second since when nobody needed it.
fn fleet_cost(need: &[f64], boot_s: f64) -> f64 {
    let mut cost = 0.0;
    let mut idle: Vec<(f64, usize)> = Vec::new();
    let mut level = 0.0;
    for (t, &need) in need.iter().enumerate() {
        cost += need;
        if need < level {
            idle.push((level, t));
        }
        while need > level {
            let (top, since) = idle.last().copied().unwrap_or((f64::INFINITY, 0));
            let reached = need.min(top);
            let risen = reached - level;
            let gap_s = (t - since) as f64;
            // A level that nobody needed before was there from the start or is launched now.
            cost += risen * gap_s.min(boot_s);
            level = reached;
            if level >= top {
                idle.pop();
            }
        }
        level = need;
    }
    cost
}
