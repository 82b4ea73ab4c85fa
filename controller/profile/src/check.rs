//! Whether loaded state is state that a pattern can be in. What is loaded was written by a program,
//! cut off by a full disk, or edited by somebody in a hurry.

use crate::{
    Contest, Error,
    blend::{Blend, Sums},
    burst::{Bursts, PHASES},
    conformal::Conformal,
    day::{DayHours, Gate},
    horizon::{Horizon, LEAD_S, Record},
    pace::Pace,
    residual::{BUCKETS, Residuals},
    scatter::Scatter,
    waking::Waking,
};

/// Largest number that anything stored may be.
pub(crate) const LARGEST: f64 = 1e15;

/// State that can be checked.
pub(crate) trait Check {
    /// An error that names the first impossible field below `path`.
    fn check(&self, path: &str) -> Result<(), Error>;
}

/// An error unless `least <= value <= most`; NaN is an error.
pub(crate) fn within(field: String, value: f64, least: f64, most: f64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::corrupt(
        field,
        format!("{value} is not within {least} to {most}"),
    ))
}

fn all(path: &str, fields: &[(&str, f64, f64, f64)]) -> Result<(), Error> {
    fields.iter().try_for_each(|(name, value, least, most)| {
        within(format!("{path}.{name}"), *value, *least, *most)
    })
}

impl Check for DayHours {
    fn check(&self, path: &str) -> Result<(), Error> {
        let [weekday, day] = [self.weekday as f64, self.day as f64];
        all(
            path,
            &[("weekday", weekday, 0.0, 6.0), ("day", day, -1e7, 1e7)],
        )?;
        for (hour, (arrivals, seconds)) in self.arrivals.iter().zip(&self.seconds).enumerate() {
            within(format!("{path}.arrivals[{hour}]"), *arrivals, 0.0, LARGEST)?;
            within(format!("{path}.seconds[{hour}]"), *seconds, 0.0, LARGEST)?;
        }
        Ok(())
    }
}

impl Check for Gate {
    fn check(&self, path: &str) -> Result<(), Error> {
        let [shape, level] = [self.usual_shape, self.usual_level].map(|usual| usual.unwrap_or(0.0));
        all(
            path,
            &[
                ("usual_shape", shape, 0.0, 100.0),
                ("usual_level", level, 0.0, 100.0),
            ],
        )?;
        if self.aside.len() > 7 {
            let why = format!(
                "{} days, but one for each weekday is kept",
                self.aside.len()
            );
            return Err(Error::corrupt(format!("{path}.aside"), why));
        }
        let mut days = self.aside.iter().enumerate();
        days.try_for_each(|(place, day)| day.check(&format!("{path}.aside[{place}]")))
    }
}

impl Check for Horizon {
    fn check(&self, path: &str) -> Result<(), Error> {
        let [least, most] = [*LEAD_S.start(), 2.0 * *LEAD_S.end()];
        within(format!("{path}.lead_s"), self.lead_s, least, most)?;
        self.profile.check(&format!("{path}.profile"))?;
        self.last.check(&format!("{path}.last"))?;
        self.rival.record.check(&format!("{path}.rival.record"))?;
        self.rival.contest.check(&format!("{path}.rival.contest"))?;
        self.scaled.check(&format!("{path}.scaled"))?;
        self.scatter.check(&format!("{path}.scatter"))?;
        let Waking { profile, asleep } = self.waking;
        let costs = [
            ("profile", profile, 0.0, LARGEST),
            ("asleep", asleep, 0.0, LARGEST),
        ];
        all(&format!("{path}.waking"), &costs)?;
        self.blend.check(&format!("{path}.blend"))?;
        self.conformal.check(&format!("{path}.conformal"))
    }
}

impl Check for Record {
    fn check(&self, path: &str) -> Result<(), Error> {
        let losses = [
            ("loss", self.loss, 0.0, 100.0),
            ("loss_sum", self.loss_sum, 0.0, LARGEST),
        ];
        all(path, &losses)?;
        self.residuals.check(&format!("{path}.residuals"))
    }
}

impl Check for Contest {
    fn check(&self, path: &str) -> Result<(), Error> {
        let loss = |name, value| (name, value, 0.0, 100.0);
        all(
            path,
            &[
                loss("profile_loss", self.profile_loss),
                loss("last_value_loss", self.last_value_loss),
                loss("challenger_loss", self.challenger_loss),
            ],
        )
    }
}

impl Check for Residuals {
    fn check(&self, path: &str) -> Result<(), Error> {
        if self.buckets.len() != BUCKETS {
            let why = format!("{} buckets instead of {BUCKETS}", self.buckets.len());
            return Err(Error::corrupt(format!("{path}.buckets"), why));
        }
        within(format!("{path}.next"), self.next, 1e-3, LARGEST)?;
        let mut buckets = self.buckets.iter().enumerate();
        buckets.try_for_each(|(place, weight)| {
            within(format!("{path}.buckets[{place}]"), *weight, 0.0, LARGEST)
        })
    }
}

impl Check for Scatter {
    fn check(&self, path: &str) -> Result<(), Error> {
        let lists: [(&str, &[f64]); 4] = [
            ("hours", &self.hours),
            ("hour_weights", &self.hour_weights),
            ("lately", &self.lately),
            ("usual", &self.usual),
        ];
        for (name, values) in lists {
            for (place, value) in values.iter().enumerate() {
                within(format!("{path}.{name}[{place}]"), *value, 0.0, LARGEST)?;
            }
        }
        Ok(())
    }
}

impl Check for Blend {
    fn check(&self, path: &str) -> Result<(), Error> {
        let sums = Sums::from(*self);
        let any = |name, value| (name, value, -LARGEST, LARGEST);
        let positive = |name, value| (name, value, 0.0, LARGEST);
        all(
            path,
            &[
                positive("growth_growth", sums.growth_growth),
                any("growth_back", sums.growth_back),
                positive("back_back", sums.back_back),
                any("growth_moved", sums.growth_moved),
                any("back_moved", sums.back_moved),
                positive("drift[2]", sums.drift[2]),
                positive("drift[6]", sums.drift[6]),
                positive("error", sums.error),
                positive("weight", sums.weight),
            ],
        )?;
        let mut drift = sums.drift.iter().enumerate();
        drift.try_for_each(|(place, value)| {
            within(format!("{path}.drift[{place}]"), *value, -LARGEST, LARGEST)
        })
    }
}

impl Check for Conformal {
    fn check(&self, path: &str) -> Result<(), Error> {
        all(
            path,
            &[
                ("shift", self.shift, -1.0, 1.0),
                ("recent", self.recent, 0.0, 1.0),
            ],
        )?;
        if self.held > self.judged {
            let why = format!("{} held of {} judged", self.held, self.judged);
            return Err(Error::corrupt(format!("{path}.held"), why));
        }
        Ok(())
    }
}

impl Check for Pace {
    fn check(&self, path: &str) -> Result<(), Error> {
        all(
            path,
            &[
                ("nines", self.nines, -4.0, 4.0),
                ("spent", self.spent, 0.0, 100.0),
                ("requests", self.requests, 0.0, LARGEST),
                ("late", self.late, 0.0, LARGEST),
            ],
        )
    }
}

impl Check for Bursts {
    fn check(&self, path: &str) -> Result<(), Error> {
        if self.phases.len() != PHASES {
            let why = format!("{} phases, but there are {PHASES}", self.phases.len());
            return Err(Error::corrupt(format!("{path}.phases"), why));
        }
        let record = &self.record;
        all(
            &format!("{path}.record"),
            &[
                ("visits", record.visits, 0.0, LARGEST),
                ("cost", record.cost, 0.0, LARGEST),
                ("avoided", record.avoided, 0.0, LARGEST),
            ],
        )?;
        for (minute, phase) in self.phases.iter().enumerate() {
            all(
                &format!("{path}.phases[{minute}]"),
                &[
                    ("visits", phase.visits, 0.0, LARGEST),
                    ("share", phase.share, 0.0, 1.0),
                    ("ln_size", phase.ln_size, 0.0, 10.0),
                    ("cost", phase.cost, 0.0, LARGEST),
                    ("avoided", phase.avoided, 0.0, LARGEST),
                ],
            )?;
        }
        Ok(())
    }
}
