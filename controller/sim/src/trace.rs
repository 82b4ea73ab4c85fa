//! Recorded request counts, read from CSV with faults told by line.

use std::fmt::Write as _;

/// Most rows of a trace: two years of minutes.
const ROWS_MAX: usize = 1_100_000;
/// Longest bin in seconds: a day.
const BIN_S_MAX: u64 = 86_400;

/// Requests per bin; bins follow one another without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Length of a bin in seconds.
    pub bin_s: u64,
    /// Requests in each bin.
    pub requests: Vec<f64>,
}

/// Why a trace cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceFault {
    /// A line is not what it should be.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from one, the header included.
        line: usize,
        /// What is wrong and what was expected.
        what: String,
    },
    /// The whole is unusable.
    #[error("{0}")]
    Whole(&'static str),
}

fn fault(line: usize, what: impl Into<String>) -> TraceFault {
    TraceFault::Line {
        line,
        what: what.into(),
    }
}

impl Trace {
    /// Reads a trace from CSV text: the header `timestamp_s,requests`, then one row per bin.
    ///
    /// # Errors
    /// With the line and what is wrong in it; the width of a bin is the step between the first two
    /// rows, and every other step must equal it.
    pub fn parse(text: &str) -> Result<Self, TraceFault> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
        let header = lines.next().map_or("", |(line, _)| line.trim());
        if header != "timestamp_s,requests" {
            let mut what = String::new();
            let _ = write!(
                what,
                "the header is {header:?}; it must be \"timestamp_s,requests\""
            );
            return Err(fault(1, what));
        }
        let mut requests = Vec::new();
        let (mut before, mut bin_s): (Option<u64>, u64) = (None, 0);
        for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
            let (at_s, count) = row(line, number)?;
            if let Some(before) = before {
                let step = step(before, at_s, number)?;
                if bin_s == 0 {
                    bin_s = step;
                } else if step != bin_s {
                    let what = format!(
                        "{step} s after the row before, but the bins are {bin_s} s wide; fill gaps with rows of 0 requests"
                    );
                    return Err(fault(number, what));
                }
            }
            before = Some(at_s);
            if requests.len() == ROWS_MAX {
                return Err(fault(number, format!("more than {ROWS_MAX} rows")));
            }
            requests.push(count);
        }
        if bin_s == 0 {
            return Err(TraceFault::Whole(
                "a trace needs at least two rows, whose step is the width of a bin",
            ));
        }
        if !requests.iter().any(|count| *count > 0.0) {
            return Err(TraceFault::Whole(
                "no row has any request; there is nothing to simulate",
            ));
        }
        Ok(Self { bin_s, requests })
    }

    /// Length in seconds.
    #[must_use]
    pub fn length_s(&self) -> u64 {
        self.bin_s * self.requests.len() as u64
    }
}

fn row(line: &str, number: usize) -> Result<(u64, f64), TraceFault> {
    let (at, count) = line.split_once(',').ok_or_else(|| {
        fault(
            number,
            format!("{line:?} has no comma; expected seconds,requests"),
        )
    })?;
    let at_s = at.trim().parse().map_err(|_| {
        fault(
            number,
            format!("timestamp_s is {at:?}; expected whole seconds"),
        )
    })?;
    let requests: f64 = count
        .trim()
        .parse()
        .map_err(|_| fault(number, format!("requests is {count:?}; expected a number")))?;
    if requests.is_finite() && (0.0..=1e15).contains(&requests) {
        Ok((at_s, requests))
    } else {
        Err(fault(
            number,
            format!("requests is {count}; expected 0 or more"),
        ))
    }
}

fn step(before: u64, at_s: u64, number: usize) -> Result<u64, TraceFault> {
    match at_s.checked_sub(before) {
        None | Some(0) => Err(fault(
            number,
            format!("timestamp_s {at_s} does not come after {before} of the row before"),
        )),
        Some(step) if step > BIN_S_MAX => Err(fault(
            number,
            format!("the step is {step} s; a bin is at most a day"),
        )),
        Some(step) => Ok(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Trace::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_rows_and_the_width_of_a_bin() {
        let trace = Trace::parse("timestamp_s,requests\n60,3\n120,0\r\n180,4.5\n\n").unwrap();
        assert_eq!(
            trace,
            Trace {
                bin_s: 60,
                requests: vec![3.0, 0.0, 4.5]
            }
        );
        assert_eq!(trace.length_s(), 180);
    }

    #[test]
    fn faults_name_the_line() {
        assert!(told("time,n\n").starts_with("line 1: the header is \"time,n\""));
        let head = "timestamp_s,requests\n0,1\n60,2\n";
        assert_eq!(
            told(&format!("{head}180,2\n")),
            "line 4: 120 s after the row before, but the bins are 60 s wide; fill gaps with rows of 0 requests"
        );
        assert!(
            told(&format!("{head}60,2\n"))
                .contains("line 4: timestamp_s 60 does not come after 60")
        );
        assert!(told(&format!("{head}120,-1\n")).contains("line 4: requests is -1"));
        assert!(told(&format!("{head}120,NaN\n")).contains("requests is NaN"));
        assert!(told(&format!("{head}x,1\n")).contains("timestamp_s is \"x\""));
        assert!(told(&format!("{head}12\n")).contains("no comma"));
        assert!(told("timestamp_s,requests\n0,1\n").contains("at least two rows"));
        assert!(told("timestamp_s,requests\n0,0\n1,0\n").contains("nothing to simulate"));
    }
}
