//! Recorded traffic as CSV, `timestamp_s,requests`, turned into a plan: sped up, scaled, one
//! stage for each bin. What happened inside a bin is unknown; arrivals there are Poisson.

use std::time::Duration;

use crate::plan::{PlanError, RatePlan, STAGES_MAX, Stage};

/// The only header there is.
pub const HEADER: &str = "timestamp_s,requests";

/// A trace is wrong, or nothing can be replayed from it.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TraceError {
    /// A line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There are too few rows to know the width of a bin.
    #[error("{0} rows; at least 2 are needed, for the bin width is the step between them")]
    TooShort(usize),
    /// The window has no bins.
    #[error("--from lies at or after the end of the trace, which lasts {0} s")]
    PastEnd(u64),
    /// The window has no requests.
    #[error("there is not one request in this part of the trace; move it with --from")]
    Empty,
    /// The window does not make a plan.
    #[error("replayed like this: {0}")]
    Plan(#[from] PlanError),
}

/// Requests per bin of equal width.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// Width of a bin in seconds.
    pub bin_s: u64,
    /// Requests in each bin, from the start.
    pub requests: Vec<f64>,
}

/// How a trace is replayed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Replay {
    /// Seconds of trace in a second of the run.
    pub speed: f64,
    /// Mean rate of the run, in requests per second.
    pub mean_rate: f64,
    /// Where in the trace to begin.
    pub from: Duration,
    /// Longest run; it ends sooner with the trace.
    pub duration: Duration,
}

impl Trace {
    /// Reads CSV strictly: the header, then rows whose times rise by one fixed step.
    ///
    /// # Errors
    /// With the line, and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
        match lines.next() {
            Some((_, HEADER)) => {}
            other => {
                let found = other.map_or("", |(_, line)| line);
                return Err(fault(
                    1,
                    format!("the header must be '{HEADER}', not '{}'", clip(found)),
                ));
            }
        }
        let mut rows = Rows::default();
        for (line, text) in lines {
            rows.push(line, text)?;
        }
        rows.finish()
    }

    /// The plan of a replay.
    ///
    /// # Errors
    /// When the window is empty, or exceeds what a plan can be.
    pub fn plan(&self, replay: &Replay) -> Result<RatePlan, TraceError> {
        let bin = Duration::from_secs(self.bin_s).div_f64(replay.speed);
        let first = replay.from.as_secs() / self.bin_s;
        let bins = usize::try_from(first)
            .ok()
            .and_then(|first| self.requests.get(first..))
            .filter(|bins| !bins.is_empty())
            .ok_or(TraceError::PastEnd(self.bin_s * self.requests.len() as u64))?;
        let stages = cut(bins, bin, replay.duration);
        let total: f64 = stages
            .iter()
            .map(|(n, length)| n * length.as_secs_f64())
            .sum();
        let seconds: f64 = stages.iter().map(|(_, length)| length.as_secs_f64()).sum();
        if total <= 0.0 {
            return Err(TraceError::Empty);
        }
        let scale = replay.mean_rate * seconds / total;
        let stages: Vec<_> = stages
            .into_iter()
            .map(|(n, length)| Stage::constant(n * scale, length))
            .collect();
        Ok(RatePlan::new(&stages)?)
    }
}

/// The bins that fit into `longest`, each with its length; the last one may be cut.
fn cut(bins: &[f64], bin: Duration, longest: Duration) -> Vec<(f64, Duration)> {
    let mut left = longest;
    let mut stages = Vec::new();
    for &n in bins.iter().take(STAGES_MAX) {
        if left.is_zero() {
            break;
        }
        let length = bin.min(left);
        left -= length;
        stages.push((n, length));
    }
    stages
}

/// Rows read so far, and the step that further ones must keep.
#[derive(Default)]
struct Rows {
    last_s: Option<u64>,
    step_s: Option<u64>,
    requests: Vec<f64>,
}

impl Rows {
    fn push(&mut self, line: usize, text: &str) -> Result<(), TraceError> {
        if self.requests.len() == STAGES_MAX {
            return Err(fault(line, format!("more than {STAGES_MAX} rows")));
        }
        let (at_s, requests) = row(line, text)?;
        if let Some(last_s) = self.last_s {
            let step_s = at_s
                .checked_sub(last_s)
                .filter(|step| *step > 0)
                .ok_or_else(|| fault(line, format!("timestamp {at_s} does not follow {last_s}")))?;
            let expected_s = *self.step_s.get_or_insert(step_s);
            if step_s != expected_s {
                let reason = format!(
                    "a step of {step_s} s where all rows before were {expected_s} s apart; \
                     bins must be contiguous"
                );
                return Err(fault(line, reason));
            }
        }
        self.last_s = Some(at_s);
        self.requests.push(requests);
        Ok(())
    }

    fn finish(self) -> Result<Trace, TraceError> {
        let bin_s = self
            .step_s
            .ok_or(TraceError::TooShort(self.requests.len()))?;
        Ok(Trace {
            bin_s,
            requests: self.requests,
        })
    }
}

fn row(line: usize, text: &str) -> Result<(u64, f64), TraceError> {
    let (at, requests) = text
        .split_once(',')
        .ok_or_else(|| fault(line, format!("'{}' has no comma", clip(text))))?;
    let at_s = at.parse::<u64>().map_err(|_| {
        fault(
            line,
            format!("timestamp '{}' is not whole seconds", clip(at)),
        )
    })?;
    let count = requests
        .parse::<f64>()
        .ok()
        .filter(|n| n.is_finite() && *n >= 0.0)
        .ok_or_else(|| {
            fault(
                line,
                format!("requests '{}' is not a number from 0 up", clip(requests)),
            )
        })?;
    Ok((at_s, count))
}

fn fault(line: usize, reason: String) -> TraceError {
    TraceError::Line { line, reason }
}

/// What a message may quote of a line.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replay() -> Replay {
        Replay {
            speed: 60.0,
            mean_rate: 100.0,
            from: Duration::ZERO,
            duration: Duration::from_secs(3_600),
        }
    }

    #[test]
    fn reads_bins() {
        let trace = Trace::parse("timestamp_s,requests\n0,4\n60,0\n120,2.5\n").unwrap();
        assert_eq!(
            trace,
            Trace {
                bin_s: 60,
                requests: vec![4.0, 0.0, 2.5]
            }
        );
    }

    #[test]
    fn names_the_line_and_the_reason() {
        for (text, says) in [
            ("", "line 1: the header must be"),
            ("t,n\n0,1\n", "line 1: the header must be"),
            ("timestamp_s,requests\n", "0 rows"),
            ("timestamp_s,requests\n0,1\n", "1 rows"),
            (
                "timestamp_s,requests\n0,1\n60\n",
                "line 3: '60' has no comma",
            ),
            (
                "timestamp_s,requests\n0,1\n60,1,2\n",
                "line 3: requests '1,2'",
            ),
            (
                "timestamp_s,requests\n0,1\n60.5,1\n",
                "line 3: timestamp '60.5'",
            ),
            (
                "timestamp_s,requests\n0,1\n60,-1\n",
                "line 3: requests '-1'",
            ),
            (
                "timestamp_s,requests\n0,1\n60,NaN\n",
                "line 3: requests 'NaN'",
            ),
            (
                "timestamp_s,requests\n60,1\n0,1\n",
                "line 3: timestamp 0 does not follow 60",
            ),
            (
                "timestamp_s,requests\n0,1\n60,1\n180,1\n",
                "line 4: a step of 120 s",
            ),
            (
                "timestamp_s,requests\n0,1\n\n60,1\n",
                "line 3: '' has no comma",
            ),
        ] {
            let error = Trace::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn a_replay_keeps_the_shape_and_has_the_mean_that_was_asked_for() {
        let trace = Trace {
            bin_s: 60,
            requests: vec![1.0, 3.0],
        };
        let plan = trace.plan(&replay()).unwrap();
        assert_eq!(plan.duration(), Duration::from_secs(2));
        assert!((plan.rate_at(0.5) - 50.0).abs() < 1e-9);
        assert!((plan.rate_at(1.5) - 150.0).abs() < 1e-9);
    }

    #[test]
    fn a_replay_begins_and_ends_where_it_was_told() {
        let trace = Trace {
            bin_s: 60,
            requests: vec![9.0, 1.0, 1.0, 1.0],
        };
        let window = Replay {
            from: Duration::from_secs(60),
            duration: Duration::from_millis(1_500),
            ..replay()
        };
        let plan = trace.plan(&window).unwrap();
        assert_eq!(plan.duration(), Duration::from_millis(1_500));
        assert!((plan.rate_at(0.0) - 100.0).abs() < 1e-9);
        assert!((plan.expected() - 150.0).abs() < 1e-6);
        let late = Replay {
            from: Duration::from_secs(240),
            ..replay()
        };
        assert_eq!(trace.plan(&late).unwrap_err(), TraceError::PastEnd(240));
        let silent = Trace {
            bin_s: 1,
            requests: vec![0.0, 0.0],
        };
        assert_eq!(silent.plan(&replay()).unwrap_err(), TraceError::Empty);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "(timestamp_s,requests\n)?[0-9,.\n-]{0,60}") {
            let _ = Trace::parse(&text);
        }

        #[test]
        fn the_mean_holds_for_any_shape(bins in prop::collection::vec(0_u32..1_000, 2..50)) {
            let requests: Vec<f64> = bins.iter().map(|n| f64::from(*n)).collect();
            if let Ok(plan) = (Trace { bin_s: 60, requests }).plan(&replay()) {
                let mean = plan.expected() / plan.duration().as_secs_f64();
                prop_assert!((mean - 100.0).abs() < 1e-6, "{}", mean);
            }
        }
    }
}
