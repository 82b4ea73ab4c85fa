//! `reasoning`: answers a query from the caller's facts and rules, within limits.
//!
//! The engine stops by itself; this shell says when. It stops a little before the deadline, so
//! that the caller reads what ran out (422) while they still listen, and not only that
//! something did (504).

mod output;

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::json;
use tidepool_core::Kind;
use tidepool_datalog::{
    EvaluateError, Limits, Program, ProgramError, ProofLimits, Query, Stop, evaluate,
};
use tidepool_handler::{
    Call, CallContext, Failure, Fault, Handler, Idempotent, Instance, KindSpec, Reply, StartError,
    Work,
};

use crate::input::Object;
use output::ReasoningOutput;

/// What one request may use.
#[derive(Clone, Debug)]
struct Bounds {
    program_bytes_max: usize,
    query_bytes_max: usize,
    answers_default: usize,
    answers_max: usize,
    facts_default: u64,
    facts_max: u64,
    memory_bytes_max: usize,
    proofs: ProofLimits,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            program_bytes_max: 2 << 20,
            query_bytes_max: 16 << 10,
            answers_default: 10_000,
            answers_max: 100_000,
            facts_default: 1_000_000,
            facts_max: 10_000_000,
            memory_bytes_max: 256 << 20,
            proofs: ProofLimits::default(),
        }
    }
}

/// The kind `reasoning`.
///
/// # Panics
/// Never: its name is a constant that is a valid one.
#[must_use]
pub fn reasoning() -> Arc<dyn Handler> {
    Arc::new(Reasoning::within(Bounds::default()))
}

struct Reasoning {
    spec: KindSpec,
    bounds: Arc<Bounds>,
}

impl Reasoning {
    fn within(bounds: Bounds) -> Self {
        let spec = KindSpec {
            kind: Kind::new("reasoning").expect("a valid name"),
            summary: "Answers a query from facts and rules: Datalog with recursion, stratified \
                      negation and comparisons.",
            input_schema: schema_for!(ReasoningInput).to_value(),
            output_schema: schema_for!(ReasoningOutput<'_>).to_value(),
            limits: json!({
                "program_bytes_max": bounds.program_bytes_max,
                "query_bytes_max": bounds.query_bytes_max,
                "limit_default": bounds.answers_default,
                "limit_max": bounds.answers_max,
                "max_facts_default": bounds.facts_default,
                "max_facts_max": bounds.facts_max,
                "memory_bytes_max": bounds.memory_bytes_max,
                "proof_depth_max": bounds.proofs.depth_max,
                "proof_conclusions_max": bounds.proofs.nodes_max,
            }),
            example: json!({
                "program": "parent(ann, bob). parent(bob, cid).\n\
                            ancestor(X, Y) :- parent(X, Y).\n\
                            ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).",
                "query": "ancestor(ann, W)",
            }),
            idempotent: Idempotent::Always,
            slots_default: 1,
            affinity: None,
        };
        Self {
            spec,
            bounds: Arc::new(bounds),
        }
    }
}

impl Handler for Reasoning {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn start(&self) -> Result<Arc<dyn Instance>, StartError> {
        Ok(Arc::new(ReasoningInstance {
            bounds: Arc::clone(&self.bounds),
        }))
    }
}

struct ReasoningInstance {
    bounds: Arc<Bounds>,
}

impl Instance for ReasoningInstance {
    fn call(&self, call: Call) -> Work {
        let bounds = Arc::clone(&self.bounds);
        Work::compute(move || answer(&bounds, &call))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReasoningInput {
    /// Facts and rules, such as `parent(ann, bob). ancestor(X, Y) :- parent(X, Y).`
    program: String,
    /// Literals whose variables are wanted, such as `ancestor(ann, W)`.
    query: String,
    /// Most answers to return, the first ones in order; 10,000 unless given.
    #[schemars(range(max = 100_000))]
    limit: Option<usize>,
    /// Most facts that rules may derive; 1,000,000 unless given.
    #[schemars(range(max = 10_000_000))]
    max_facts: Option<u64>,
    /// Whether each answer comes with a proof.
    explain: Option<bool>,
}

impl ReasoningInput {
    /// What the evaluation may use.
    fn limits(&self, bounds: &Bounds) -> Result<Limits, Failure> {
        let answers_max = self.limit.unwrap_or(bounds.answers_default);
        let facts_max = self.max_facts.unwrap_or(bounds.facts_default);
        let program = self.program.len() > bounds.program_bytes_max;
        let query = self.query.len() > bounds.query_bytes_max;
        let faults: Vec<Fault> = [
            (
                program,
                "/program",
                bounds.program_bytes_max as u64,
                " bytes long",
            ),
            (
                query,
                "/query",
                bounds.query_bytes_max as u64,
                " bytes long",
            ),
            (
                answers_max > bounds.answers_max,
                "/limit",
                bounds.answers_max as u64,
                "",
            ),
            (
                facts_max > bounds.facts_max,
                "/max_facts",
                bounds.facts_max,
                "",
            ),
        ]
        .into_iter()
        .filter(|(too_large, ..)| *too_large)
        .map(|(_, pointer, max, unit)| Fault::at(pointer, format!("must be at most {max}{unit}")))
        .collect();
        if !faults.is_empty() {
            return Err(Failure::Invalid { faults });
        }
        Ok(Limits {
            facts_max,
            memory_bytes_max: bounds.memory_bytes_max,
            answers_max,
            proofs: self.explain.unwrap_or(false).then_some(bounds.proofs),
        })
    }
}

fn answer(bounds: &Bounds, call: &Call) -> Reply {
    let context = &call.context;
    let time = TimeBudget::of(context, Instant::now());
    if let Some(stop) = context.stopped() {
        return Err(stop.into());
    }
    let Object(input) = call.decode::<Object<ReasoningInput>>()?;
    let limits = input.limits(bounds)?;
    let (program, query) = context.step("reasoning.parse", || read(&input))?;
    let mut stop = || time.stop(context, Instant::now());
    let answers = context.step("reasoning.evaluate", || {
        evaluate(&program, &query, &limits, &mut stop).map_err(|error| refusal(&error, &time))
    })?;
    call.reply(&ReasoningOutput::from(&answers))
}

/// Reads both texts, so that faults of both are told at once.
fn read(input: &ReasoningInput) -> Result<(Program, Query), Failure> {
    match (Program::parse(&input.program), Query::parse(&input.query)) {
        (Ok(program), Ok(query)) => Ok((program, query)),
        (program, query) => {
            let program = program.err().map(|error| fault("/program", &error));
            let query = query.err().map(|error| fault("/query", &error));
            Err(Failure::Invalid {
                faults: program.into_iter().chain(query).collect(),
            })
        }
    }
}

fn fault(pointer: &str, error: &ProgramError) -> Fault {
    Fault::at(pointer, error.to_string())
}

/// How long the evaluation may take.
struct TimeBudget {
    whole: Duration,
    until: Instant,
}

impl TimeBudget {
    /// What is left until the deadline, less a twentieth for the way back to the caller.
    fn of(context: &CallContext, now: Instant) -> Self {
        let whole = context.deadline.remaining(now);
        Self {
            whole,
            until: now + whole - whole / 20,
        }
    }

    fn stop(&self, context: &CallContext, now: Instant) -> Option<Stop> {
        match context.stopped() {
            Some(tidepool_handler::Stop::Cancelled) => Some(Stop::Cancelled),
            Some(tidepool_handler::Stop::Deadline) => Some(Stop::Deadline),
            None => (now >= self.until).then_some(Stop::Deadline),
        }
    }
}

/// What the caller may know of an evaluation without answers.
fn refusal(error: &EvaluateError, time: &TimeBudget) -> Failure {
    let detail = match error {
        EvaluateError::Query(error) => {
            return Failure::Invalid {
                faults: vec![fault("/query", error)],
            };
        }
        EvaluateError::Stopped(Stop::Cancelled) => return Failure::Cancelled,
        EvaluateError::Stopped(Stop::Deadline) => format!(
            "the evaluation was not complete when its deadline came, after {} ms: narrow the \
             query or the rules, or allow more time",
            time.whole.as_millis()
        ),
        EvaluateError::Facts { .. } => {
            format!("{error}: narrow the query or the rules, or raise 'max_facts'")
        }
        EvaluateError::Memory { .. } => format!("{error}: narrow the query or the rules"),
    };
    Failure::LimitExceeded { detail }
}

#[cfg(test)]
mod tests;
