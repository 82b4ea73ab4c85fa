//! The pool under simulation.

use serde::{Deserialize, Serialize};

/// How service times are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceShape {
    /// Lognormal with a given coefficient of variation: few requests take very long.
    #[default]
    Lognormal,
    /// Exponential, for which queueing theory has formulae; its coefficient of variation is 1.
    Exponential,
}

/// How a pool's requests and workers behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Concurrent places in a worker.
    pub slots: u32,
    /// Mean seconds that a request holds a place.
    pub service_mean_s: f64,
    /// Distribution of that time.
    pub service_shape: ServiceShape,
    /// Its coefficient of variation, if it is lognormal.
    pub service_cv: f64,
    /// Mean seconds from launch to ready.
    pub startup_s: f64,
    /// Largest deviation of that time, as a share; uniform.
    pub startup_spread: f64,
    /// Share of launches that fail. Such a worker is billed for its start-up time and then is gone.
    pub launch_failure: f64,
    /// Seconds of waiting for a place after which a request is late.
    pub late_after_s: f64,
    /// Fewest workers.
    pub workers_min: u32,
    /// Most workers.
    pub workers_max: u32,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            slots: 10,
            service_mean_s: 0.5,
            service_shape: ServiceShape::Lognormal,
            service_cv: 1.0,
            startup_s: 30.0,
            startup_spread: 0.2,
            launch_failure: 0.01,
            late_after_s: 1.0,
            workers_min: 1,
            workers_max: 100_000,
        }
    }
}

/// A parameter that no pool could have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}; it must be {expected}")]
pub struct ImpossibleParameter {
    name: &'static str,
    value: f64,
    expected: &'static str,
}

impl Model {
    /// The same pool with an upper bound of twice the workers that the peak rate needs.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    pub fn sized_for(self, peak_rate: f64) -> Self {
        let peak = peak_rate * self.service_mean_s / f64::from(self.slots.max(1));
        let workers_max = ((2.0 * peak).ceil() as u32).clamp(self.workers_min.max(1), 100_000);
        Self {
            workers_max,
            ..self
        }
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// With the first that is out of its range.
    pub fn validate(&self) -> Result<(), ImpossibleParameter> {
        let checks = [
            ("slots", f64::from(self.slots), 1.0, 10_000.0, "1 to 10000"),
            (
                "service-mean",
                self.service_mean_s,
                0.001,
                3_600.0,
                "1 ms to 1 h",
            ),
            ("service-cv", self.service_cv, 0.0, 3.0, "0 to 3"),
            ("boot", self.startup_s, 0.0, 7_200.0, "0 to 2 h"),
            ("startup spread", self.startup_spread, 0.0, 1.0, "0 to 1"),
            ("launch failure", self.launch_failure, 0.0, 0.9, "0 to 0.9"),
            ("late-after", self.late_after_s, 0.0, 3_600.0, "0 to 1 h"),
            (
                "max workers",
                f64::from(self.workers_max),
                1.0,
                100_000.0,
                "1 to 100000",
            ),
            (
                "min workers",
                f64::from(self.workers_min),
                0.0,
                f64::from(self.workers_max),
                "at most max",
            ),
        ];
        match checks
            .into_iter()
            .find(|(_, value, least, most, _)| !(*least..=*most).contains(value))
        {
            None => Ok(()),
            Some((name, value, _, _, expected)) => Err(ImpossibleParameter {
                name,
                value,
                expected,
            }),
        }
    }

    /// Steps of simulated time in a second: about fifty to a mean service time, within 100 to 1,000.
    pub(crate) fn steps_per_s(&self) -> u32 {
        let wanted = 50.0 / self.service_mean_s;
        if wanted <= 100.0 {
            100
        } else if wanted <= 200.0 {
            200
        } else if wanted <= 500.0 {
            500
        } else {
            1_000
        }
    }
}
