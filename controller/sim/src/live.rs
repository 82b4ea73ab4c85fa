//! The rule that runs live, as an autoscaler under simulation.

use tidepool_policy::{
    Decision, MarginRecord, Memory, Observation, Policy, ProfileForecast, Rule, WorkSample, decide,
};

use crate::scaler::{Autoscaler, Insight, Seen};

/// A learned pattern of the load. Fed every second, asked every second.
pub trait Foresight {
    /// Takes in what came within the second that ended at `now_ms`, and how much of it was late; `None`
    /// when that is unknown.
    fn learn(&mut self, now_ms: u64, work: Option<&WorkSample>);

    /// What it expects `lead_s` seconds after `now_ms`; `None` when it is not worth believing.
    fn expect(&mut self, now_ms: u64, lead_s: f64) -> Option<ProfileForecast>;
}

/// [`tidepool_policy::decide`] once a second, on an observation as the supervisor makes it.
pub struct LiveScaler {
    policy: Policy,
    memory: Memory,
    observation: Observation,
    foresight: Option<Box<dyn Foresight + Send>>,
    decision: Option<Decision>,
    now_ms: u64,
}

impl LiveScaler {
    /// Runs `rule` with the default bounds between `workers_min` and `workers_max`.
    #[must_use]
    pub fn new(rule: Rule, workers_min: u32, workers_max: u32) -> Self {
        Self::of(Policy {
            rule,
            ..Policy::tidepool(workers_min, workers_max)
        })
    }

    /// Runs a whole policy.
    #[must_use]
    pub fn of(policy: Policy) -> Self {
        Self {
            policy,
            memory: Memory::default(),
            observation: Observation::default(),
            foresight: None,
            decision: None,
            now_ms: 0,
        }
    }

    /// Gives it a learned pattern.
    #[must_use]
    pub fn with_foresight(mut self, foresight: Box<dyn Foresight + Send>) -> Self {
        self.foresight = Some(foresight);
        self
    }

    /// The newest decision.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// What became of the margins that run in shadow.
    pub fn margins(&self) -> impl Iterator<Item = MarginRecord> {
        self.memory.margins()
    }

    /// Seconds that the forecast must reach ahead.
    fn lead_s(&self, seen: &Seen) -> f64 {
        seen.startup_p95_s
            .unwrap_or(self.policy.bounds.startup_s_assumed)
    }
}

impl Autoscaler for LiveScaler {
    fn name(&self) -> &str {
        self.policy.rule.name()
    }

    fn target(&mut self, seen: &Seen) -> u32 {
        let observation = &mut self.observation;
        // A report that did not come leaves the one before it standing, and ageing.
        if seen.backlog.is_some() {
            observation.backlog = seen.backlog;
            observation.work_age_s = Some(0.0);
        } else if let Some(age_s) = &mut observation.work_age_s {
            *age_s += 1.0;
        }
        observation.work.clone_from(&seen.work);
        observation.workers = Some(seen.workers);
        observation.workers_age_s = Some(0.0);
        observation.startup_p95_s = seen.startup_p95_s;
        observation.memory = seen.memory;
        let lead_s = self.lead_s(seen);
        if let Some(foresight) = &mut self.foresight {
            foresight.learn(seen.now_ms, seen.work.as_ref());
            self.observation.forecast = foresight.expect(seen.now_ms, lead_s);
        }
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = decide(&self.policy, memory, &self.observation, seen.now_ms);
        let target = memory.target().unwrap_or_else(|| seen.workers.have());
        self.memory = memory;
        self.decision = Some(decision);
        self.now_ms = seen.now_ms;
        target
    }
    fn insight(&self) -> Option<Insight> {
        let decision = self.decision.as_ref()?;
        let forecast = decision.forecast;
        Some(Insight {
            need: decision.needs.largest().map(|(_, need)| need),
            rate_p50: forecast.map(|forecast| forecast.p50),
            rate_p99: forecast.map(|forecast| forecast.p99),
            ahead_s: forecast.map_or(0.0, |forecast| {
                forecast.at_ms.saturating_sub(self.now_ms) as f64 / 1e3
            }),
            sentence: if decision.is_change() {
                decision.sentence()
            } else {
                String::new()
            },
        })
    }
}
