//! The linear program of a block, by a predictor-corrector interior point after Mehrotra (SIAM
//! Journal on Optimization, 1992).
//!
//! Rows and what their prices are called:
//!
//! ```text
//! p = n_t - d_t + d_{t-1} - a_{t-1} >= 0   y        u >= 0       w
//! q = u_t - n_t + n_{t-1} >= 0             z        d >= 0       l
//!                                                   r = a - d    h
//! ```
//!
//! All points are strictly inside both the program and its dual, from the first on: both feasible
//! regions are known, so no phase looks for them. `u` is eliminated by hand, and what remains of a
//! Newton step couples `(n_t, d_t)` with its neighbours only.

use super::interior::newton::{Chain, Node};

mod newton;

/// Work below this share of the largest is served at once: there is no room between its bounds.
const NO_ROOM: f64 = 1e-9;
/// Stop when the optimum is known to this share.
const TOLERANCE: f64 = 1e-8;
/// Iterations that are never needed; the prices found by then make a bound as well.
const MAX_ITERATIONS: u32 = 80;
/// Share of the way to the boundary that a step goes.
const REACH: f64 = 0.995;
/// A step shorter than this leads nowhere.
const STALLED: f64 = 1e-9;

/// What a block came to.
pub(super) struct Solved {
    /// Price of growing in each second; feasible but for rounding.
    pub(super) prices: Vec<f64>,
    /// Workers to serve with in each second.
    pub(super) fleet: Vec<f64>,
    /// Steps taken.
    pub(super) iterations: u32,
}

/// A second: the primal values with their slacks, and the prices.
#[derive(Clone, Copy, Default)]
struct Second {
    /// There is a choice of what is served at once.
    room: bool,
    /// There is a second before.
    grows: bool,
    n: f64,
    d: f64,
    u: f64,
    p: f64,
    q: f64,
    r: f64,
    y: f64,
    z: f64,
    w: f64,
    l: f64,
    h: f64,
}

/// What the five products of a second should change by.
#[derive(Clone, Copy, Default)]
struct Aim {
    py: f64,
    qz: f64,
    uw: f64,
    dl: f64,
    rh: f64,
}

impl Second {
    /// Sum of the products, and how many there are.
    fn complementarity(&self) -> (f64, u32) {
        let mut sum = self.p * self.y;
        let mut count = 1;
        if self.grows {
            sum += self.q * self.z + self.u * self.w;
            count += 2;
        }
        if self.room {
            sum += self.d * self.l + self.r * self.h;
            count += 2;
        }
        (sum, count)
    }

    /// Towards products of `centre`, given the change `by` that was predicted.
    fn aim(&self, centre: f64, by: &Second) -> Aim {
        Aim {
            py: centre - self.p * self.y - by.p * by.y,
            qz: centre - self.q * self.z - by.q * by.z,
            uw: centre - self.u * self.w - by.u * by.w,
            dl: centre - self.d * self.l - by.d * by.l,
            rh: centre - self.r * self.h - by.r * by.h,
        }
    }

    /// Longest steps, primal and dual, that leave everything positive; none along what is no number.
    fn longest(&self, by: &Second) -> (f64, f64) {
        if !(by.n + by.d + by.u + by.y + by.z + by.w + by.l + by.h).is_finite() {
            return (0.0, 0.0);
        }
        let mut primal = ratio(self.p, by.p);
        let mut dual = ratio(self.y, by.y);
        if self.grows {
            primal = primal.min(ratio(self.q, by.q)).min(ratio(self.u, by.u));
            dual = dual.min(ratio(self.z, by.z)).min(ratio(self.w, by.w));
        }
        if self.room {
            primal = primal.min(ratio(self.d, by.d)).min(ratio(self.r, by.r));
            dual = dual.min(ratio(self.l, by.l)).min(ratio(self.h, by.h));
        }
        (primal, dual)
    }

    fn advance(&mut self, by: &Second, primal: f64, dual: f64) {
        self.n += primal * by.n;
        self.d += primal * by.d;
        self.u += primal * by.u;
        self.p += primal * by.p;
        self.q += primal * by.q;
        self.r += primal * by.r;
        self.y += dual * by.y;
        self.z += dual * by.z;
        self.w += dual * by.w;
        self.l += dual * by.l;
        self.h += dual * by.h;
    }
}

fn ratio(value: f64, by: f64) -> f64 {
    if by < 0.0 { -value / by } else { f64::INFINITY }
}

/// Solves a block of seconds with a free first fleet.
pub(super) fn solve(work: &[f64], boot_s: f64) -> Solved {
    let largest = work.iter().copied().fold(0.0, f64::max);
    // No price exceeds the seconds before it, so a longer start changes nothing.
    let boot_s = boot_s.min(work.len() as f64);
    if largest <= 0.0 || boot_s <= 0.0 {
        return Solved {
            prices: vec![0.0; work.len()],
            fleet: work.to_vec(),
            iterations: 0,
        };
    }
    let mut program = Program::inside(work, largest, boot_s);
    let mut iterations = 0;
    while iterations < MAX_ITERATIONS && !program.solved() && program.step() {
        iterations += 1;
    }
    Solved {
        prices: program.seconds.iter().map(|s| s.z).collect(),
        fleet: program.seconds.iter().map(|s| s.n * largest).collect(),
        iterations,
    }
}

struct Program {
    boot_s: f64,
    seconds: Vec<Second>,
    chain: Chain,
    by: Vec<Second>,
}

impl Program {
    /// A point strictly inside both programs, with the work scaled to at most one.
    fn inside(work: &[f64], largest: f64, boot_s: f64) -> Self {
        const FLEET: f64 = 1.5;
        let len = work.len();
        // Climbs and falls by half a second per second, so that serving costs 0.5 to 1.5.
        let price = |t: usize| (t.min(len - t) as f64 / 2.0).min(boot_s / 2.0);
        let mut before = 0.0;
        let seconds = (0..len)
            .map(|t| {
                let scaled = work[t] / largest;
                let room = scaled > NO_ROOM;
                let (now, later) = if room {
                    (scaled / 2.0, scaled / 2.0)
                } else {
                    (0.0, 0.0)
                };
                let mut s = Second {
                    room,
                    grows: t > 0,
                    n: FLEET,
                    d: now,
                    r: later,
                    ..Second::default()
                };
                s.p = FLEET - now - before;
                s.y = 1.0 + price(t) - price(t + 1);
                if s.grows {
                    s.z = price(t);
                    s.w = boot_s - s.z;
                    s.u = 1.0 / boot_s;
                    s.q = s.u;
                }
                if room {
                    let next = if t + 1 < len {
                        1.0 + price(t + 1) - price(t + 2)
                    } else {
                        0.0
                    };
                    let slope = next - s.y;
                    s.h = slope.max(0.0) + 1.0 / scaled;
                    s.l = (-slope).max(0.0) + 1.0 / scaled;
                }
                before = later;
                s
            })
            .collect();
        Self {
            boot_s,
            seconds,
            chain: Chain::new(len),
            by: vec![Second::default(); len],
        }
    }

    fn gap(&self) -> (f64, f64) {
        let (sum, count) = self
            .seconds
            .iter()
            .map(Second::complementarity)
            .fold((0.0, 0.0), |(sum, count), (s, c)| {
                (sum + s, count + f64::from(c))
            });
        (sum, sum / count)
    }

    fn cost(&self) -> f64 {
        self.seconds.iter().map(|s| s.n + self.boot_s * s.u).sum()
    }

    fn solved(&self) -> bool {
        self.gap().0 <= TOLERANCE * self.cost()
    }

    /// One predictor and one corrector. False when it led nowhere.
    fn step(&mut self) -> bool {
        self.factorise();
        let none = Second::default();
        self.move_towards(|s, _| s.aim(0.0, &none));
        let (primal, dual) = self.longest();
        let (sum, mean) = self.gap();
        let left = self.sum_after(primal.min(1.0), dual.min(1.0)) / sum;
        let centre = mean * left.powi(3);
        self.move_towards(|s, by| s.aim(centre, by));
        let (primal, dual) = self.longest();
        let (primal, dual) = ((REACH * primal).min(1.0), (REACH * dual).min(1.0));
        if primal <= STALLED && dual <= STALLED {
            return false;
        }
        for (s, by) in self.seconds.iter_mut().zip(&self.by) {
            s.advance(by, primal, dual);
        }
        true
    }

    fn longest(&self) -> (f64, f64) {
        self.seconds
            .iter()
            .zip(&self.by)
            .map(|(s, by)| s.longest(by))
            .fold((f64::INFINITY, f64::INFINITY), |(primal, dual), (p, d)| {
                (primal.min(p), dual.min(d))
            })
    }

    fn sum_after(&self, primal: f64, dual: f64) -> f64 {
        self.seconds
            .iter()
            .zip(&self.by)
            .map(|(s, by)| {
                let mut s = *s;
                s.advance(by, primal, dual);
                s.complementarity().0
            })
            .sum()
    }

    fn factorise(&mut self) {
        let weights = |s: &Second| {
            let (grow, launch) = (s.z / s.q, s.w / s.u);
            Node {
                serve: s.y / s.p,
                grow: if s.grows {
                    grow * launch / (grow + launch)
                } else {
                    0.0
                },
                defer: if s.room { s.l / s.d + s.h / s.r } else { 0.0 },
                room: s.room,
            }
        };
        self.chain.factorise(self.seconds.iter().map(weights));
    }

    /// Newton direction for what each second aims at, into `by`. `aim` sees the direction before.
    fn move_towards(&mut self, aim: impl Fn(&Second, &Second) -> Aim) {
        for (t, s) in self.seconds.iter().enumerate() {
            let aim = aim(s, &self.by[t]);
            let zero = Second::default();
            let next = self.seconds.get(t + 1).unwrap_or(&zero);
            // Kept until the direction is complete: what y, z, w, l and h change by at rest.
            let mut by = Second {
                y: aim.py / s.p,
                ..Second::default()
            };
            if s.grows {
                let (grow, launch) = (s.z / s.q, s.w / s.u);
                let rest = self.boot_s - s.z - s.w;
                by.u = (aim.qz / s.q + aim.uw / s.u - rest) / (grow + launch);
                by.z = aim.qz / s.q - grow * by.u;
                by.w = aim.uw / s.u;
            }
            if s.room {
                by.l = aim.dl / s.d;
                by.h = aim.rh / s.r;
            }
            by.n = 1.0 - s.y + s.z - next.z;
            by.d = if s.room {
                s.y - next.y - s.l + s.h
            } else {
                0.0
            };
            self.by[t] = by;
        }
        self.solve_chain();
        self.complete();
    }

    /// Right-hand sides from what was kept, then `n` and `d` of each second.
    fn solve_chain(&mut self) {
        for t in 0..self.by.len() {
            let by = self.by[t];
            let (next_y, next_z) = self.by.get(t + 1).map_or((0.0, 0.0), |b| (b.y, b.z));
            let room = self.seconds[t].room;
            let n = by.y - by.z + next_z - by.n;
            let d = if room {
                next_y - by.y + by.l - by.h - by.d
            } else {
                0.0
            };
            self.chain.set(t, n, d);
        }
        self.chain.solve();
    }

    /// The rest of the direction from `n` and `d`.
    fn complete(&mut self) {
        let (mut n_before, mut d_before) = (0.0, 0.0);
        for (t, (s, by)) in self.seconds.iter().zip(&mut self.by).enumerate() {
            let (n, d) = self.chain.get(t);
            by.n = n;
            by.d = d;
            by.p = n - d + d_before;
            by.y -= s.y / s.p * by.p;
            if s.grows {
                let (grow, launch) = (s.z / s.q, s.w / s.u);
                let rise = n - n_before;
                by.u += grow / (grow + launch) * rise;
                by.q = by.u - rise;
                by.z += grow * launch / (grow + launch) * rise;
                by.w -= launch * by.u;
            }
            if s.room {
                by.r = -d;
                by.l -= s.l / s.d * d;
                by.h += s.h / s.r * d;
            }
            (n_before, d_before) = (n, d);
        }
    }
}
