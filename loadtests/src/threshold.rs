//! Thresholds in the spirit of k6: `p(99)<800`, `failed_rate<0.001`, `dropped==0`.
//!
//! They are parsed once into typed values. A figure that was not measured misses its
//! threshold: a check that was skipped is not a pass.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A point of a distribution of times.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stat {
    /// A percentile, above 0 and at most 100.
    Percentile(f64),
    /// The mean.
    Mean,
    /// The largest.
    Max,
}

/// Which times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// From the intended start, of every request that was not refused.
    Latency,
    /// From the actual sending, of the same requests.
    Service,
    /// From the intended start, of refused requests.
    Refused,
    /// From the intended start to the actual sending.
    Lag,
}

/// A plain number of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// Share of finished requests without a 2xx answer.
    FailedRate,
    /// Share of finished requests answered 429 or 503.
    RefusedRate,
    /// Share of finished requests that failed and were not refused.
    ErrorRate,
    /// Share of due requests that were not sent for want of a place in flight.
    DroppedRate,
    /// Requests without a 2xx answer.
    Failed,
    /// Requests that were not sent.
    Dropped,
    /// Requests that finished.
    Requests,
    /// 2xx answers per second.
    OkPerSecond,
    /// Most ready workers seen.
    ReadyMax,
    /// Ready workers at the end.
    ReadyEnd,
    /// Highest target seen.
    TargetMax,
    /// Highest load score seen.
    ScoreMax,
    /// Load score at the end.
    ScoreEnd,
    /// Quick reversals of the target that the plan does not explain.
    Flaps,
    /// All reversals of the target.
    Reversals,
    /// Longest time from too few workers to enough, in seconds.
    TimeToCapacity,
}

impl Figure {
    const NAMES: [(&'static str, Self); 16] = [
        ("failed_rate", Self::FailedRate),
        ("refused_rate", Self::RefusedRate),
        ("error_rate", Self::ErrorRate),
        ("dropped_rate", Self::DroppedRate),
        ("failed", Self::Failed),
        ("dropped", Self::Dropped),
        ("requests", Self::Requests),
        ("ok_per_s", Self::OkPerSecond),
        ("ready_max", Self::ReadyMax),
        ("ready_end", Self::ReadyEnd),
        ("target_max", Self::TargetMax),
        ("score_max", Self::ScoreMax),
        ("score_end", Self::ScoreEnd),
        ("flaps", Self::Flaps),
        ("reversals", Self::Reversals),
        ("time_to_capacity_s", Self::TimeToCapacity),
    ];
}

/// What a threshold looks at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Metric {
    /// Milliseconds.
    Time(Times, Stat),
    /// A count, a share or seconds.
    Figure(Figure),
}

/// How it compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    /// Two-character signs first, so that `<=` is not read as `<`.
    const SIGNS: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn holds(self, observed: f64, limit: f64) -> bool {
        match self {
            Self::Less => observed < limit,
            Self::LessOrEqual => observed <= limit,
            Self::Greater => observed > limit,
            Self::GreaterOrEqual => observed >= limit,
            Self::Equal => is_same(observed, limit),
            Self::NotEqual => !is_same(observed, limit),
        }
    }
}

/// Counts and written limits are exact, so only rounding of the last digit is forgiven.
fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs())
}

/// A rule that a run must keep.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    limit: f64,
}

/// A text is not a threshold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("threshold '{text}': {reason}")]
pub struct InvalidThreshold {
    text: String,
    reason: String,
}

impl Threshold {
    /// What it looks at.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Whether `observed` keeps it; what was not measured does not.
    #[must_use]
    pub fn is_met(&self, observed: Option<f64>) -> bool {
        observed.is_some_and(|value| self.comparison.holds(value, self.limit))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| InvalidThreshold {
            text: text.chars().take(60).collect(),
            reason,
        })
    }
}

impl TryFrom<String> for Threshold {
    type Error = InvalidThreshold;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn parse(text: &str) -> Result<Threshold, String> {
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or("there is no comparison; write < <= > >= == or !=")?;
    let (name, rest) = text.split_at(at);
    let (comparison, limit) = Comparison::SIGNS
        .iter()
        .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)))
        .ok_or("comparisons are < <= > >= == and !=")?;
    let limit = limit.trim();
    Ok(Threshold {
        text: text.trim().to_owned(),
        metric: parse_metric(name.trim())?,
        comparison,
        limit: limit
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite())
            .ok_or_else(|| format!("'{limit}' is not a number (times are in milliseconds)"))?,
    })
}

fn parse_metric(name: &str) -> Result<Metric, String> {
    if let Some((_, figure)) = Figure::NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(Metric::Figure(*figure));
    }
    let (times, stat) = match name.split_once('.') {
        Some(("service", stat)) => (Times::Service, stat),
        Some(("refused", stat)) => (Times::Refused, stat),
        Some(("lag", stat)) => (Times::Lag, stat),
        // Also "p(99.9)", whose dot belongs to the number.
        _ => (Times::Latency, name),
    };
    match stat {
        "avg" => return Ok(Metric::Time(times, Stat::Mean)),
        "med" => return Ok(Metric::Time(times, Stat::Percentile(50.0))),
        "max" => return Ok(Metric::Time(times, Stat::Max)),
        _ => {}
    }
    match stat.strip_prefix("p(").and_then(|n| n.strip_suffix(')')) {
        Some(n) => n
            .parse()
            .ok()
            .filter(|q: &f64| *q > 0.0 && *q <= 100.0)
            .map(|q| Metric::Time(times, Stat::Percentile(q)))
            .ok_or_else(|| format!("'{n}' is not a percentile above 0 and up to 100")),
        None => Err(unknown_metric(name)),
    }
}

fn unknown_metric(name: &str) -> String {
    let figures: Vec<_> = Figure::NAMES.iter().map(|(name, _)| *name).collect();
    format!(
        "there is no metric '{name}'; times in ms are p(99), avg, med and max, also with \
         'service.', 'refused.' or 'lag.' before them; others are {}",
        figures.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metric(text: &str) -> Metric {
        text.parse::<Threshold>().unwrap().metric()
    }

    #[test]
    fn reads_the_k6_forms() {
        let time = |times, stat| Metric::Time(times, stat);
        assert_eq!(
            metric("p(99)<800"),
            time(Times::Latency, Stat::Percentile(99.0))
        );
        assert_eq!(
            metric(" p(99.9) <= 800 "),
            time(Times::Latency, Stat::Percentile(99.9))
        );
        assert_eq!(
            metric("service.p(99.9)<8"),
            time(Times::Service, Stat::Percentile(99.9))
        );
        assert_eq!(metric("refused.max<5"), time(Times::Refused, Stat::Max));
        assert_eq!(
            metric("lag.med<1"),
            time(Times::Lag, Stat::Percentile(50.0))
        );
        assert_eq!(metric("avg<1"), time(Times::Latency, Stat::Mean));
        assert_eq!(
            metric("failed_rate<0.001"),
            Metric::Figure(Figure::FailedRate)
        );
        assert_eq!(metric("dropped==0"), Metric::Figure(Figure::Dropped));
        assert_eq!(metric("ready_max>=3"), Metric::Figure(Figure::ReadyMax));
    }

    #[test]
    fn every_comparison_means_what_it_says() {
        for (text, below, equal, above) in [
            ("flaps<2", true, false, false),
            ("flaps<=2", true, true, false),
            ("flaps>2", false, false, true),
            ("flaps>=2", false, true, true),
            ("flaps==2", false, true, false),
            ("flaps!=2", true, false, true),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            let met = [1.0, 2.0, 3.0].map(|n| threshold.is_met(Some(n)));
            assert_eq!(met, [below, equal, above], "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let threshold: Threshold = "flaps==0".parse().unwrap();
        assert!(!threshold.is_met(None));
    }

    #[test]
    fn says_what_is_wrong_and_what_is_allowed() {
        for (text, says) in [
            ("p(99)", "no comparison"),
            ("p(99)=>3", "comparisons are"),
            ("p(101)<3", "not a percentile"),
            ("p(0)<3", "not a percentile"),
            ("p(x)<3", "not a percentile"),
            ("p99<3", "there is no metric 'p99'"),
            ("sent.p(99)<3", "'service.'"),
            ("failed<1%", "'1%' is not a number"),
            ("failed<inf", "'inf' is not a number"),
            ("<3", "there is no metric ''"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Threshold>();
        }
    }
}
