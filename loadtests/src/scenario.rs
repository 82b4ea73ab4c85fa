//! Scenarios: TOML read strictly, validated once into what a run needs. The built-in ones are
//! part of the binary and run by name.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::arrivals::ArrivalProcess;
use crate::error::Error;
use crate::mix::{Body, EchoBody, GrammarBody, JsonBody, MemoryBody, Mix, ReasoningBody};
use crate::plan::{RatePlan, Stage};
use crate::span::Span;
use crate::threshold::Threshold;

/// Longest scenario file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most requests in flight that a scenario may allow; each may hold a connection.
const IN_FLIGHT_MAX: usize = 20_000;
/// Most threads that send.
const THREADS_MAX: usize = 64;
/// Longest that a request may take.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Most headers, and most thresholds.
const LIST_MAX: usize = 32;

/// The scenarios in the binary: name and text.
const BUILT_IN: [(&str, &str); 9] = [
    ("light", include_str!("../scenarios/light.toml")),
    ("medium", include_str!("../scenarios/medium.toml")),
    ("high", include_str!("../scenarios/high.toml")),
    ("stress", include_str!("../scenarios/stress.toml")),
    ("spike", include_str!("../scenarios/spike.toml")),
    ("endurance", include_str!("../scenarios/endurance.toml")),
    ("memory", include_str!("../scenarios/memory.toml")),
    ("reasoning", include_str!("../scenarios/reasoning.toml")),
    ("grammar", include_str!("../scenarios/grammar.toml")),
];

/// All that a run needs to know, but for where to send.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// Intended rate over time.
    pub plan: RatePlan,
    /// How requests follow one another.
    pub arrivals: ArrivalProcess,
    /// Decides arrivals and bodies.
    pub seed: u64,
    /// Requests that are due before this are sent but not judged.
    pub warmup: Duration,
    /// Most requests in flight; one that is due beyond that is dropped and counted.
    pub max_in_flight: usize,
    /// Longest that a request may take.
    pub timeout: Duration,
    /// Threads that send.
    pub threads: usize,
    /// The pool to watch.
    pub pool: String,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// What is sent.
    pub mix: Mix,
    /// What the run must keep.
    pub thresholds: Vec<Threshold>,
}

impl Scenario {
    /// A scenario with usual settings.
    #[must_use]
    pub fn usual(name: &str, summary: &str, plan: RatePlan, mix: Mix, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            arrivals: ArrivalProcess::Poisson,
            seed,
            warmup: Duration::from_secs(1).min(plan.duration() / 10),
            plan,
            max_in_flight: default_in_flight(),
            timeout: default_timeout().0,
            threads: default_threads(),
            pool: mix.kinds().first().cloned().unwrap_or_default(),
            headers: HeaderMap::new(),
            mix,
            thresholds: Vec::new(),
        }
    }

    /// The built-in scenario of that name, or the file at that path.
    ///
    /// # Errors
    /// When there is neither, or it is wrong.
    pub fn load(name_or_path: &str) -> Result<Self, Error> {
        match BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            Some((name, text)) => Self::parse(name, text),
            None => Self::read(Path::new(name_or_path)),
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let origin = path.display().to_string();
        if !path.exists() {
            let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            let message = format!("there is no such file, nor a built-in scenario ({names})");
            return Err(Error::scenario(origin, message));
        }
        let name = path
            .file_stem()
            .map_or_else(|| origin.clone(), |s| s.to_string_lossy().into());
        let text = read_text(path, FILE_BYTES_MAX)?;
        Self::parse(&name, &text).map_err(|error| match error {
            Error::Scenario { message, .. } => Error::Scenario { origin, message },
            other => other,
        })
    }

    /// Reads the TOML of the scenario called `name`.
    ///
    /// # Errors
    /// With the line or the key, and what is allowed there.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let written: Written = toml::from_str(text).map_err(|e| Error::scenario(name, e))?;
        written.check(name).map_err(|e| Error::scenario(name, e))
    }
}

/// Name and summary of each built-in scenario.
///
/// # Errors
/// Never for the scenarios in the repository; a test reads them all.
pub fn built_in() -> Result<Vec<Scenario>, Error> {
    let parse = |(name, text): &(&str, &str)| Scenario::parse(name, text);
    BUILT_IN.iter().map(parse).collect()
}

/// Text of a file that is not larger than `bytes_max`.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, Error> {
    let failed = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > bytes_max {
        let message = format!("{length} bytes; at most {bytes_max} are read");
        return Err(Error::scenario(path.display().to_string(), message));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// A scenario as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    summary: String,
    #[serde(default)]
    arrivals: ArrivalProcess,
    #[serde(default = "default_seed")]
    seed: u64,
    #[serde(default)]
    warmup: Span,
    #[serde(default = "default_in_flight")]
    max_in_flight: usize,
    #[serde(default = "default_timeout")]
    timeout: Span,
    #[serde(default = "default_threads")]
    threads: usize,
    pool: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    stages: Vec<WrittenStage>,
    requests: Vec<WrittenRequest>,
    #[serde(default)]
    thresholds: Vec<Threshold>,
}

/// `rate` holds from the first instant; `ramp_to` is reached at the last one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStage {
    duration: Span,
    rate: Option<f64>,
    ramp_to: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRequest {
    #[serde(default = "default_weight")]
    weight: u32,
    echo: Option<EchoBody>,
    grammar: Option<GrammarBody>,
    memory: Option<MemoryBody>,
    reasoning: Option<ReasoningBody>,
    json: Option<JsonBody>,
}

fn default_seed() -> u64 {
    1
}
fn default_weight() -> u32 {
    1
}
fn default_in_flight() -> usize {
    1_000
}
fn default_threads() -> usize {
    1
}
fn default_timeout() -> Span {
    Span::seconds(10)
}

impl Written {
    fn check(self, name: &str) -> Result<Scenario, String> {
        within("max_in_flight", self.max_in_flight, IN_FLIGHT_MAX)?;
        within("threads", self.threads, THREADS_MAX)?;
        if self.timeout.0.is_zero() || self.timeout.0 > TIMEOUT_MAX {
            return Err(format!(
                "timeout must be more than 0s, at most {}",
                Span(TIMEOUT_MAX)
            ));
        }
        if self.thresholds.len() > LIST_MAX {
            return Err(format!("there are more than {LIST_MAX} thresholds"));
        }
        let plan = RatePlan::new(&stages(&self.stages)?).map_err(|e| format!("stages: {e}"))?;
        if self.warmup.0 >= plan.duration() {
            let duration = Span(plan.duration());
            return Err(format!(
                "warmup must be shorter than the stages, which last {duration}"
            ));
        }
        let mix = Mix::new(self.seed, bodies(self.requests)?)?;
        let pool = self.pool.unwrap_or_else(|| mix.kinds()[0].clone());
        crate::mix::check_kind(&pool).map_err(|_| format!("pool '{pool}' is not a name"))?;
        Ok(Scenario {
            name: name.to_owned(),
            summary: self.summary,
            plan,
            arrivals: self.arrivals,
            seed: self.seed,
            warmup: self.warmup.0,
            max_in_flight: self.max_in_flight,
            timeout: self.timeout.0,
            threads: self.threads,
            pool,
            headers: headers(&self.headers)?,
            mix,
            thresholds: self.thresholds,
        })
    }
}

fn within(key: &str, n: usize, max: usize) -> Result<(), String> {
    if (1..=max).contains(&n) {
        Ok(())
    } else {
        Err(format!("{key} must be 1 to {max}, not {n}"))
    }
}

fn stages(written: &[WrittenStage]) -> Result<Vec<Stage>, String> {
    let mut rate = 0.0;
    let mut stages = Vec::with_capacity(written.len());
    for (i, stage) in written.iter().enumerate() {
        let (from_rate, to_rate) = match (stage.rate, stage.ramp_to) {
            (Some(constant), None) => (constant, constant),
            (None, Some(target)) => (rate, target),
            (Some(first), Some(last)) => (first, last),
            (None, None) => {
                let n = i + 1;
                return Err(format!("stage {n}: give it a rate, a ramp_to, or both"));
            }
        };
        rate = to_rate;
        stages.push(Stage {
            duration: stage.duration.0,
            from_rate,
            to_rate,
        });
    }
    Ok(stages)
}

fn bodies(requests: Vec<WrittenRequest>) -> Result<Vec<(u32, Body)>, String> {
    let mut bodies = Vec::with_capacity(requests.len());
    for (i, request) in requests.into_iter().enumerate() {
        let weight = request.weight;
        let given = [
            request.echo.map(Body::Echo),
            request.grammar.map(Body::Grammar),
            request.memory.map(Body::Memory),
            request.reasoning.map(Body::Reasoning),
            request.json.map(Body::Json),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(body), None) => bodies.push((weight, body)),
            _ => {
                let n = i + 1;
                let one = "exactly one of echo, grammar, memory, reasoning or json";
                return Err(format!("[[requests]] {n}: give it {one}"));
            }
        }
    }
    Ok(bodies)
}

fn headers(written: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, String> {
    if written.len() > LIST_MAX {
        return Err(format!("there are more than {LIST_MAX} headers"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let parsed: HeaderName = name
            .parse()
            .map_err(|_| format!("headers: '{name}' is not a header name"))?;
        if parsed == reqwest::header::AUTHORIZATION {
            return Err(
                "headers: a token does not belong in a file; set it by flag or \
                        environment"
                    .to_owned(),
            );
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("headers: the value of '{name}' cannot be sent"))?;
        headers.insert(parsed, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
