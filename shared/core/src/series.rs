//! Numbers over time, as the operator API gives them.

use serde::Serialize;

use crate::ids::PoolName;
use crate::timestamp::Timestamp;

/// The series that are kept of every pool, each with what it means.
pub const SERIES: [(&str, &str); 8] = [
    ("rate", "Arrivals per second"),
    (
        "forecast_p50",
        "Arrivals per second expected one start-up time ahead, median",
    ),
    (
        "forecast_p99",
        "Arrivals per second expected one start-up time ahead, 99th percentile",
    ),
    ("need", "Workers that the largest signal asks for"),
    ("target", "Workers wanted"),
    ("ready", "Workers that serve"),
    ("score", "Load score: 0.80 is exactly enough workers"),
    ("queued", "Requests waiting"),
];

/// Which part of the history is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// Name of the series.
    pub name: String,
    /// The pool; every pool without it.
    pub pool: Option<PoolName>,
    /// From when on; all that is kept without it.
    pub since: Option<Timestamp>,
    /// Width of a point in seconds; whatever suits the time asked for without it.
    pub step_s: Option<u64>,
}

/// One series of one pool or more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesAnswer {
    /// Name of the series.
    pub name: String,
    /// Width of a point in seconds.
    pub step_s: u64,
    /// A line for each pool.
    pub series: Vec<Line>,
}

/// A series of one pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The pool.
    pub pool: PoolName,
    /// Begin of each point in milliseconds since the Unix epoch and its mean, if it was measured.
    pub points: Vec<(u64, Option<f32>)>,
}

/// There is no such history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// No series has the name.
    #[error("there is no series '{0}'; there are {names}", names = names())]
    Unknown(String),
    /// More is asked for than an answer holds.
    #[error(
        "{points} points are more than the {max} of an answer: ask for one pool, a later \
             `since` or a wider `step`"
    )]
    TooMany {
        /// Points asked for.
        points: u64,
        /// Most points.
        max: u64,
    },
}

fn names() -> String {
    SERIES.map(|(name, _)| name).join(", ")
}
