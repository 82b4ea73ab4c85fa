//! What was decided, with every number behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The score at which a pool has exactly the workers that it needs; above it workers are added.
pub const SCORE_ENOUGH: f64 = 0.80;

/// The score below which workers are retired at once.
pub const SCORE_IDLE: f64 = 0.30;

/// Largest need that is believed.
const NEED_MAX: f64 = 1e9;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $code)] $variant,)*
        }

        impl $name {
            /// All values, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code in events and metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

codes! {
    /// Where the target goes.
    Direction {
        /// More workers.
        Up = "up",
        /// Fewer workers.
        Down = "down",
        /// As many as before.
        Hold = "hold",
    }
}

codes! {
    /// A signal of the load score.
    Signal {
        /// Offered load in slots.
        Slots = "slots",
        /// Backlog over its drain time.
        Queue = "queue",
        /// CPU of the workers' own threads.
        Cpu = "cpu",
        /// Memory, while it follows the work.
        Memory = "memory",
        /// Queue wait against the objective.
        Latency = "latency",
        /// Refusals and missed deadlines.
        Errors = "errors",
    }
}

codes! {
    /// Why the target is what it is.
    Reason {
        /// The need is larger than the pool.
        Need = "need",
        /// Requests wait and no worker runs.
        ColdStart = "cold_start",
        /// The learned pattern expects more load by the time a worker is ready.
        LearnedFloor = "learned_floor",
        /// Nothing was measured for long; the learned median asks for more.
        BlindMedian = "blind_median",
        /// The score is below 0.30.
        Idle = "idle",
        /// Keeping these workers would cost more than the change of mind it risks.
        Surplus = "surplus",
        /// The lower bound.
        Minimum = "minimum",
        /// The upper bound.
        Maximum = "maximum",
        /// The first decision takes over what runs.
        Adopted = "adopted",
        /// Enough workers, none worth retiring.
        Steady = "steady",
        /// A change is wanted and something holds it; see `blocked_by`.
        Blocked = "blocked",
        /// An operator pinned the target.
        Pinned = "pinned",
        /// An operator paused the pool, and no change is wanted.
        Paused = "paused",
        /// The worker-hours that the pool may cost are spent.
        Spend = "spend",
    }
}

codes! {
    /// What holds a wanted change.
    Block {
        /// Too soon after the last change.
        Cooldown = "cooldown",
        /// Too soon after this supervisor took over.
        StartHold = "start_hold",
        /// The pool has changed its mind too often.
        ReversalBudget = "reversal_budget",
        /// A measurement is missing or stale.
        StaleMetrics = "stale_metrics",
        /// Nothing is measured at all.
        Blind = "blind",
        /// Answers fail: more workers would not help, and fewer would miss the recovery.
        Failing = "failing",
        /// The upper bound is reached.
        Max = "max",
        /// As many were launched as may be within one start-up time.
        LaunchRate = "launch_rate",
        /// The last step has not had time to show yet.
        Unsettled = "unsettled",
        /// A node's memory is nearly full.
        NodeMemory = "node_memory",
        /// An operator paused the pool.
        Paused = "paused",
        /// An operator pinned the target.
        Pinned = "pinned",
        /// The workers added last brought no more answers: the bottleneck is elsewhere.
        NoEffect = "no_effect",
        /// A burst came a moment ago and may come back.
        Burst = "burst",
        /// Load stays away that the learned pattern expects, or that was cut off within a minute.
        Dip = "dip",
        /// Requests hold their slots longer than usual, or growth was frozen a moment ago, and it is
        /// not shown yet that more workers help.
        Unproven = "unproven",
        /// A request is likely to come before keeping the last worker costs more than a cold start.
        KeepAlive = "keep_alive",
        /// The worker-hours that the pool may cost are spent.
        Spend = "spend",
    }
}

codes! {
    /// What cut the target short of the need, or held it above.
    Bound {
        /// The lower bound.
        Min = "min",
        /// The upper bound.
        Max = "max",
        /// The launch limit.
        LaunchRate = "launch_rate",
        /// The retirement step.
        RetireStep = "retire_step",
        /// What a slow pool, or one that was frozen, may gain before more workers have shown that
        /// they help.
        Unproven = "unproven",
        /// The last worker is kept for the next request.
        KeepAlive = "keep_alive",
        /// The worker-hours that the pool may cost.
        Spend = "spend",
    }
}

/// Workers that each signal asks for; `None` when it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// Offered load in slots.
    pub slots: Option<f64>,
    /// Backlog over its drain time.
    pub queue: Option<f64>,
    /// CPU of the workers' own threads.
    pub cpu: Option<f64>,
    /// Memory, while it follows the work.
    pub memory: Option<f64>,
    /// Queue wait against the objective.
    pub latency: Option<f64>,
    /// Refusals and missed deadlines.
    pub errors: Option<f64>,
}

impl Needs {
    /// What `signal` asks for.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<f64> {
        match signal {
            Signal::Slots => self.slots,
            Signal::Queue => self.queue,
            Signal::Cpu => self.cpu,
            Signal::Memory => self.memory,
            Signal::Latency => self.latency,
            Signal::Errors => self.errors,
        }
    }

    /// The same without what no fleet could ever be: a faulty meter must not reach arithmetic.
    pub(crate) fn sound(self) -> Self {
        let sound =
            |need: Option<f64>| need.filter(|n| !n.is_nan()).map(|n| n.clamp(0.0, NEED_MAX));
        Self {
            slots: sound(self.slots),
            queue: sound(self.queue),
            cpu: sound(self.cpu),
            memory: sound(self.memory),
            latency: sound(self.latency),
            errors: sound(self.errors),
        }
    }

    /// The signal that asks for most, the first of equals.
    #[must_use]
    pub fn largest(&self) -> Option<(Signal, f64)> {
        Signal::ALL
            .iter()
            .filter_map(|signal| Some((*signal, self.get(*signal)?)))
            .fold(None, |best: Option<(Signal, f64)>, next| match best {
                Some(best) if best.1 >= next.1 => Some(best),
                _ => Some(next),
            })
    }
}

/// Requests per second that are expected one start-up time ahead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateForecast {
    /// For when, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// A decision about one pool, also one to do nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Target before.
    pub from: u32,
    /// Target now.
    pub to: u32,
    /// Where it goes.
    pub direction: Direction,
    /// Why; low-cardinality.
    pub reason: Reason,
    /// Load score; `None` when nothing was measured.
    pub score: Option<f64>,
    /// Workers that each signal asks for.
    pub needs: Needs,
    /// The signal that asks for most.
    pub winner: Option<Signal>,
    /// What it asks for, before rounding and bounds.
    pub raw_need: Option<f64>,
    /// What cut the target short of the need, or held it above.
    pub bounded_by: Option<Bound>,
    /// The target that was wanted when something holds it.
    pub wanted: u32,
    /// What holds the wanted change.
    pub blocked_by: Option<Block>,
    /// Earliest time at which the target can go down, in milliseconds since the Unix epoch; `None`
    /// at the lower bound or when no time can be named.
    pub earliest_change_ms: Option<u64>,
    /// Until when no worker is retired, in milliseconds since the Unix epoch, if that is ahead.
    pub cooldown_until_ms: Option<u64>,
    /// Arrivals per second over the last five seconds or so.
    pub observed_rate: Option<f64>,
    /// Arrivals per second that are expected one start-up time ahead.
    pub forecast: Option<RateForecast>,
    /// Workers that serve or start.
    pub have: u32,
    /// Mean seconds that a request holds a slot.
    pub service_s: Option<f64>,
    /// Seconds of it that the need counts, where that is less: not more than twice the usual, until
    /// more workers have shown that they help.
    #[serde(default)]
    pub service_counted_s: Option<f64>,
    /// Requests waiting.
    pub queued: Option<f64>,
    /// Start-up time in seconds that was reckoned with.
    pub startup_s: f64,
    /// Seconds for which the lower number would have been enough, for a retirement.
    pub quiet_s: Option<f64>,
    /// Whether the objective is shorter than the work itself, so that no size can meet it.
    pub infeasible: bool,
    /// Concurrent places in a worker.
    #[serde(default)]
    pub slots_per_worker: u32,
    /// Seconds that a request may wait for a slot within the objective.
    #[serde(default)]
    pub wait_objective_s: f64,
    /// Whether missing load was told by how suddenly it ended rather than by the learned pattern.
    #[serde(default)]
    pub dip_is_guess: bool,
}

/// What another number of workers would have meant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// The other number.
    pub workers: u32,
    /// Share of requests that would have waited longer than the objective, 0 to 1.
    pub late_share: f64,
    /// The same share for the number that was decided.
    pub late_share_decided: f64,
}

impl Decision {
    /// Whether the target changes.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.from != self.to
    }

    /// The score that `signal` alone would give: its need over the workers there are.
    #[must_use]
    pub fn score_of(&self, signal: Signal) -> Option<f64> {
        self.needs.get(signal).map(|need| score(need, self.have))
    }

    /// What one worker fewer would have meant for the load that is forecast; nothing without workers
    /// or before any load was seen.
    #[must_use]
    pub fn counterfactual(&self) -> Option<Counterfactual> {
        crate::counterfactual::one_fewer(self)
    }

    /// What the wanted number would have meant where something keeps the pool below it; nothing
    /// otherwise or before any load was seen.
    #[must_use]
    pub fn counterfactual_of_wish(&self) -> Option<Counterfactual> {
        (self.wanted > self.to)
            .then(|| crate::counterfactual::instead(self, self.wanted))
            .flatten()
    }

    /// The decision in one sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        crate::sentence::sentence(self, None)
    }

    /// The same for those who know which order holds the pool: `hold` says who did what to it, until when
    /// and why. It is part of the sentence where [`Self::tells_hold`].
    #[must_use]
    pub fn sentence_under(&self, hold: &str) -> String {
        crate::sentence::sentence(self, Some(hold))
    }

    /// Whether the sentence tells that an order holds the pool.
    #[must_use]
    pub fn tells_hold(&self) -> bool {
        crate::sentence::tells_hold(self)
    }
}

/// The load score of a pool. An empty pool counts as half a worker, so that any need of a whole one
/// scores above [`SCORE_ENOUGH`].
pub(crate) fn score(need: f64, have: u32) -> f64 {
    SCORE_ENOUGH * need / f64::from(have).max(0.5)
}

/// Whole workers that cover a need.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates and the value is not negative"
)]
pub(crate) fn whole(need: f64) -> u32 {
    // The tolerance keeps 3.0000000001 from becoming four workers.
    (crate::ewma::clean(need) - 1e-6).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_need_is_named_and_missing_ones_do_not_count() {
        let needs = Needs {
            slots: Some(2.0),
            cpu: Some(3.5),
            errors: Some(3.5),
            ..Needs::default()
        };
        assert_eq!(needs.largest(), Some((Signal::Cpu, 3.5)));
        assert_eq!(Needs::default().largest(), None);
    }

    #[test]
    fn needs_round_up_to_whole_workers() {
        let cases = [(0.0, 0), (0.2, 1), (3.0 + 1e-9, 3), (3.01, 4), (-1.0, 0)];
        for (need, workers) in cases {
            assert_eq!(whole(need), workers, "{need}");
        }
        assert_eq!(whole(f64::NAN), 0);
    }
}
