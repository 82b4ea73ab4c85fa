//! How a pool is to be sized: the rule, and the bounds that every rule obeys.

use serde::{Deserialize, Serialize};

pub use crate::ladder::Margin;
use crate::observation::PATTERN_QUANTILES;

/// Most workers that a pool may ask for.
pub const WORKERS_MAX: u32 = 100_000;

/// The wait objective is at least this share of the whole one.
const WAIT_SHARE_MIN: f64 = 0.2;
/// Price of a late request where promptness is lost.
const LOST_PRICE: f64 = 5.0;

/// A pool's policy: one rule within common bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// What every rule obeys.
    pub bounds: Bounds,
    /// How the pool is sized.
    pub rule: Rule,
}

impl Policy {
    /// The default rule between `min` and `max` workers.
    #[must_use]
    pub fn tidepool(min: u32, max: u32) -> Self {
        Self {
            bounds: Bounds {
                min,
                max,
                ..Bounds::default()
            },
            rule: Rule::default(),
        }
    }

    /// The plain 80 %/30 % rule between `min` and `max` workers.
    #[must_use]
    pub fn threshold(min: u32, max: u32) -> Self {
        Self {
            rule: Rule::Threshold(ThresholdConfig::default()),
            ..Self::tidepool(min, max)
        }
    }

    /// Checks the policy as a whole.
    ///
    /// # Errors
    /// With the first setting that no pool could be run with.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        let Bounds { min, max, .. } = self.bounds;
        if max == 0 || max > WORKERS_MAX {
            return Err(InvalidPolicy::Max { max });
        }
        if min > max {
            return Err(InvalidPolicy::MinAboveMax { min, max });
        }
        self.bounds.validate()?;
        match &self.rule {
            Rule::Tidepool(config) => config.validate(),
            Rule::Threshold(config) => config.validate(),
        }
    }
}

/// A policy cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPolicy {
    /// The upper bound is zero or absurd.
    #[error("max is {max}; it must be 1 to {WORKERS_MAX}")]
    Max {
        /// The setting.
        max: u32,
    },
    /// The bounds exclude every size.
    #[error("min is {min} and max is {max}; min must not exceed max")]
    MinAboveMax {
        /// Lower bound.
        min: u32,
        /// Upper bound.
        max: u32,
    },
    /// A number is out of its range.
    #[error("{name} is {value}; it must be {expected}")]
    Range {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
}

fn within(
    name: &'static str,
    value: f64,
    ok: bool,
    expected: &'static str,
) -> Result<(), InvalidPolicy> {
    if ok && value.is_finite() {
        Ok(())
    } else {
        Err(InvalidPolicy::Range {
            name,
            value,
            expected,
        })
    }
}

/// What every rule obeys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Fewest workers. Zero lets the pool go to sleep.
    pub min: u32,
    /// Most workers.
    pub max: u32,
    /// Seconds after any change in which no worker is retired. It never delays growth.
    pub cooldown_s: f64,
    /// Objective for the time from arrival to answer, in milliseconds.
    pub slo_ms: u64,
    /// Seconds after a new memory began in which no worker is retired: what runs was wanted by
    /// somebody who knew more.
    pub start_hold_s: f64,
    /// Start-up time in seconds that is assumed until one was measured.
    pub startup_s_assumed: f64,
    /// Workers that may always be added within one start-up time.
    pub launch_step: u32,
    /// Times over that a larger pool may grow within one start-up time.
    pub launch_factor: u32,
    /// Objective for the wait for a slot in seconds; `None` takes what `slo_ms` leaves beside the
    /// work itself.
    pub wait_objective_s: Option<f64>,
    /// Changes of direction that may be saved up.
    pub reversals_max: f64,
    /// Seconds until one change of direction is earned.
    pub reversal_refill_s: f64,
    /// Seconds after which a measurement is stale and may no longer lower a target.
    pub stale_after_s: f64,
    /// Seconds of total blindness after which the learned median is believed.
    pub blind_after_s: f64,
    /// Share of a node's memory above which nothing is added.
    pub node_memory_share_max: f64,
    /// Worker-hours that the pool may cost in an hour; what an hour leaves may be saved for bursts,
    /// up to one hour's worth. `min` and a pin are obeyed whatever they cost. `None` is no cap.
    pub spend_worker_h: Option<f64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min: 1,
            max: 8,
            cooldown_s: 30.0,
            slo_ms: 1_000,
            start_hold_s: 30.0,
            startup_s_assumed: 2.0,
            launch_step: 16,
            launch_factor: 8,
            wait_objective_s: None,
            reversals_max: 20.0,
            // Above what the price steers to: it is the last resort, not the rule.
            reversal_refill_s: 2_950.0,
            stale_after_s: 3.0,
            blind_after_s: 600.0,
            node_memory_share_max: 0.95,
            spend_worker_h: None,
        }
    }
}

impl Bounds {
    /// `n` brought within `min` and `max`.
    #[must_use]
    pub fn clamp(&self, n: u32) -> u32 {
        // Not `u32::clamp`: it panics when an unchecked policy has min above max.
        n.max(self.min).min(self.max)
    }

    /// Objective for the wait for a slot in seconds, where 95 % of requests hold one for no longer than
    /// `service_p95_s`.
    #[must_use]
    pub fn wait_for_slot_s(&self, service_p95_s: f64) -> f64 {
        let slo_s = self.slo_s();
        let left_s = (slo_s - service_p95_s).max(WAIT_SHARE_MIN * slo_s);
        self.wait_objective_s.unwrap_or(left_s)
    }

    pub(crate) fn slo_s(&self) -> f64 {
        crate::clock::seconds(self.slo_ms.max(1))
    }

    fn validate(&self) -> Result<(), InvalidPolicy> {
        let day = 0.0..=86_400.0;
        within(
            "slo_ms",
            self.slo_s() * 1e3,
            self.slo_ms > 0 && self.slo_ms <= 86_400_000,
            "1 to 86400000",
        )?;
        for (name, value) in [
            ("cooldown_s", self.cooldown_s),
            ("start_hold_s", self.start_hold_s),
            ("startup_s_assumed", self.startup_s_assumed),
            ("stale_after_s", self.stale_after_s),
            ("blind_after_s", self.blind_after_s),
        ] {
            within(name, value, day.contains(&value), "0 to 86400")?;
        }
        let wait = self.wait_objective_s.unwrap_or(1.0);
        let ok = wait > 0.0 && day.contains(&wait);
        within("wait_objective_s", wait, ok, "above 0, at most 86400")?;
        let most = f64::from(WORKERS_MAX);
        let spend = self.spend_worker_h.unwrap_or(most);
        let ok = spend > 0.0 && spend <= most && spend >= f64::from(self.min);
        let expected = "above 0, at least min, at most 100000";
        within("spend_worker_h", spend, ok, expected)?;
        let refill = self.reversal_refill_s;
        within("reversal_refill_s", refill, refill > 0.0, "above 0")?;
        let tokens = self.reversals_max;
        within("reversals_max", tokens, tokens >= 0.0, "at least 0")?;
        let share = self.node_memory_share_max;
        within(
            "node_memory_share_max",
            share,
            share > 0.0,
            "above 0, usually 0.95",
        )
    }
}

/// How a pool is sized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Size to the forecast need; the default.
    Tidepool(TidepoolConfig),
    /// Mean slot utilisation with a step at two thresholds, for those who want the plain rule.
    Threshold(ThresholdConfig),
}

impl Default for Rule {
    fn default() -> Self {
        Self::Tidepool(TidepoolConfig::default())
    }
}

impl Rule {
    /// The rule that configuration files call `name`, with its default settings.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "tidepool" => Some(Self::default()),
            "threshold" => Some(Self::Threshold(ThresholdConfig::default())),
            _ => None,
        }
    }

    /// Its name in configuration, events and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tidepool(_) => "tidepool",
            Self::Threshold(_) => "threshold",
        }
    }
}

/// Settings of the default rule. The defaults are the best configuration of the pilot on real
/// traces; nothing needs tuning per pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TidepoolConfig {
    /// The margin over the forecast to hold; `None` lets it choose itself among shadow fleets.
    pub margin: Option<Margin>,
    /// Price of late requests within the budget: with 120, a thousandth of the requests being late weighs as
    /// much as 12 % more workers.
    pub late_price: f64,
    /// Share of late requests that the objective leaves room for.
    pub late_share_budget: f64,
    /// Price of late requests beyond the budget.
    pub late_price_over: f64,
    /// Share of late requests beyond which more of them do not weigh more: promptness is lost.
    pub late_share_max: f64,
    /// Time constant in seconds over which the margins are compared.
    pub ladder_memory_s: f64,
    /// Free slots per (service time / wait objective): `ln(1/p)` for a share `p` of late requests.
    pub free_slot_factor: f64,
    /// Deviations above which a rise is a burst rather than chance.
    pub burst_deviations: f64,
    /// What a change of direction costs at first, in seconds of the mean fleet.
    pub reversal_price_s: f64,
    /// Changes of direction a day that the price steers to.
    pub reversals_per_day: f64,
    /// Largest share of a pool retired in one step while the score is between 0.30 and 0.80; one
    /// worker always may be.
    pub retire_share: f64,
}

impl Default for TidepoolConfig {
    fn default() -> Self {
        Self {
            margin: None,
            late_price: 120.0,
            late_share_budget: 0.000_6,
            late_price_over: 350.0,
            late_share_max: 0.0016,
            ladder_memory_s: 1_080_000.0,
            free_slot_factor: 6.0,
            burst_deviations: 4.0,
            reversal_price_s: 20.0,
            reversals_per_day: 26.0,
            retire_share: 0.10,
        }
    }
}

impl TidepoolConfig {
    /// What a share of late requests weighs, in fleets: little within the budget, much beyond it, and next
    /// to nothing more where promptness is lost anyhow.
    pub(crate) fn late_weight(&self, share: f64) -> f64 {
        let capped = share.min(self.late_share_max);
        let within = capped.min(self.late_share_budget);
        self.late_price * within
            + self.late_price_over * (capped - within)
            + LOST_PRICE * (share - capped)
    }

    fn validate(&self) -> Result<(), InvalidPolicy> {
        let margin = self.margin.unwrap_or_default();
        for (name, value, most) in [
            ("margin.deviations", margin.deviations, 20.0),
            ("margin.log_max", margin.log_max, 5.0),
            ("margin.log_min", margin.log_min, 5.0),
            (
                "margin.quantile",
                margin.quantile.unwrap_or(0) as f64,
                PATTERN_QUANTILES.len() as f64 - 1.0,
            ),
            ("late_share_max", self.late_share_max, 1.0),
            ("late_price", self.late_price, 1e6),
            ("late_share_budget", self.late_share_budget, 1.0),
            ("late_price_over", self.late_price_over, 1e6),
            ("ladder_memory_s", self.ladder_memory_s, 1e8),
            ("free_slot_factor", self.free_slot_factor, 100.0),
            ("burst_deviations", self.burst_deviations, 1e6),
            ("reversal_price_s", self.reversal_price_s, 1e6),
            ("reversals_per_day", self.reversals_per_day, 86_400.0),
            ("retire_share", self.retire_share, 1.0),
        ] {
            let ok = (0.0..=most).contains(&value);
            within(name, value, ok, "at least 0 and not absurdly large")?;
        }
        Ok(())
    }
}

/// Settings of the plain rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThresholdConfig {
    /// Utilisation above which a step is added.
    pub high: f64,
    /// Utilisation below which a step is retired.
    pub low: f64,
    /// Workers per step.
    pub step: u32,
}

impl Default for ThresholdConfig {
    fn default() -> Self {
        Self {
            high: 0.80,
            low: 0.30,
            step: 1,
        }
    }
}

impl ThresholdConfig {
    fn validate(&self) -> Result<(), InvalidPolicy> {
        let Self { high, low, step } = *self;
        within(
            "high",
            high,
            high > 0.0 && high <= 1.0,
            "above 0, at most 1",
        )?;
        within(
            "low",
            low,
            low >= 0.0 && low < high,
            "at least 0, below high",
        )?;
        within("step", f64::from(step), step > 0, "at least 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Policy::default().validate(), Ok(()));
        assert_eq!(Policy::threshold(0, 3).validate(), Ok(()));
    }

    #[test]
    fn impossible_settings_are_named() {
        let fault = |policy: Policy| policy.validate().unwrap_err().to_string();
        assert!(fault(Policy::tidepool(5, 3)).contains("min is 5 and max is 3"));
        assert!(fault(Policy::tidepool(0, 0)).contains("max is 0"));
        let mut policy = Policy::default();
        policy.bounds.cooldown_s = f64::NAN;
        assert!(fault(policy).contains("cooldown_s is NaN"));
        let upside_down = Rule::Threshold(ThresholdConfig {
            low: 0.9,
            ..ThresholdConfig::default()
        });
        let policy = Policy {
            rule: upside_down,
            ..Policy::default()
        };
        assert!(fault(policy).contains("low is 0.9"));
    }

    #[test]
    fn late_requests_weigh_little_within_the_budget_much_beyond_it_and_little_where_all_is_lost() {
        let config = TidepoolConfig {
            late_price: 100.0,
            late_share_budget: 0.001,
            late_price_over: 300.0,
            late_share_max: 0.002,
            ..TidepoolConfig::default()
        };
        for (share, weight) in [
            (0.0, 0.0),
            (0.000_5, 0.05),
            (0.001, 0.1),
            (0.001_5, 0.25),
            (0.002, 0.4),
            (0.102, 0.9),
        ] {
            let told = config.late_weight(share);
            assert!((told - weight).abs() < 1e-9, "{share}: {told}");
        }
        let unset = TidepoolConfig {
            late_share_budget: 1.0,
            ..config
        };
        assert!((unset.late_weight(0.002) - 0.2).abs() < 1e-9, "one price");
    }

    #[test]
    fn rules_are_known_by_name() {
        for name in ["tidepool", "threshold"] {
            assert_eq!(Rule::named(name).map(|r| r.name()), Some(name));
        }
        assert_eq!(Rule::named("guess"), None);
    }
}
