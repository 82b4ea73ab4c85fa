//! `grammar`: checks English text and says what it would change.
//!
//! A text is checked in parts, so that a request ends soon after its deadline, and its time grows
//! with its length (see `segments` and `lexer`). `corrected` is the text with the first suggestion
//! of each finding, the more important one where they overlap (see `correction`).

mod checker;
mod correction;
mod lexer;
mod lexicon;
mod segments;

use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidepool_core::Kind;
use tidepool_handler::{
    Call, Failure, Handler, Idempotent, Instance, KindSpec, Reply, StartError, Work,
};

use crate::input::Object;
use checker::Checkers;

/// Longest text, in Unicode scalar values.
const TEXT_LEN_MAX: usize = 100_000;
/// Most findings that are listed: ten times as many as in a long text with many mistakes.
const LINTS_MAX: usize = 5_000;

/// The kind `grammar`. Its dictionary (some 100 MiB) is loaded once, by the first worker to start,
/// and shared by all workers of the process.
///
/// # Panics
/// Never: its name is a constant that is a valid one.
#[must_use]
pub fn grammar() -> Arc<dyn Handler> {
    let spec = KindSpec {
        kind: Kind::new("grammar").expect("a valid name"),
        summary: "Checks English text: what is wrong where, suggestions, and the corrected text.",
        input_schema: schema_for!(GrammarInput).to_value(),
        output_schema: schema_for!(GrammarOutput).to_value(),
        limits: json!({
            "text_len_max": TEXT_LEN_MAX,
            "lints_max": LINTS_MAX,
            "searches_for_suggestions_max": lexicon::SEARCHES_MAX,
        }),
        example: json!({ "text": "This sentense has an mistake.", "dialect": "british" }),
        idempotent: Idempotent::Always,
        slots_default: 1,
        affinity: None,
    };
    Arc::new(Grammar {
        spec,
        checkers: Arc::default(),
    })
}

struct Grammar {
    spec: KindSpec,
    checkers: Arc<Checkers>,
}

impl Handler for Grammar {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn start(&self) -> Result<Arc<dyn Instance>, StartError> {
        self.checkers.warm_up(Dialect::default().into());
        Ok(Arc::new(GrammarInstance {
            checkers: Arc::clone(&self.checkers),
        }))
    }
}

struct GrammarInstance {
    checkers: Arc<Checkers>,
}

impl Instance for GrammarInstance {
    fn call(&self, call: Call) -> Work {
        let checkers = Arc::clone(&self.checkers);
        Work::compute(move || answer(&checkers, &call))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GrammarInput {
    /// The text to check.
    #[schemars(length(max = 100_000))]
    text: String,
    /// Whose English it is meant to be; American unless given.
    dialect: Option<Dialect>,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Dialect {
    #[default]
    American,
    British,
    Canadian,
    Australian,
}

impl From<Dialect> for harper_core::Dialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::American => Self::American,
            Dialect::British => Self::British,
            Dialect::Canadian => Self::Canadian,
            Dialect::Australian => Self::Australian,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct GrammarOutput {
    /// What was found, in the order of the text.
    lints: Vec<Finding>,
    /// The text with the first suggestion of each finding, the more important one where they
    /// overlap.
    corrected: String,
    /// Present and true when only the first findings are listed; `corrected` considers all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// Something to say about a part of a text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
struct Finding {
    /// Where it begins, in Unicode scalar values from the start of the text.
    start: usize,
    /// Where it ends (the first scalar value after it).
    end: usize,
    /// What it is about, such as `Spelling`, `Agreement` or `WordChoice`.
    kind: String,
    /// A sentence for people.
    message: String,
    /// Texts that could take the place of what is between `start` and `end`, best first.
    suggestions: Vec<String>,
    /// Lower is more important.
    #[serde(skip)]
    priority: u8,
}

fn answer(checkers: &Checkers, call: &Call) -> Reply {
    let Object(input) = call.decode::<Object<GrammarInput>>()?;
    let text: Vec<char> = input.text.chars().collect();
    if text.len() > TEXT_LEN_MAX {
        let message = format!(
            "must have at most {TEXT_LEN_MAX} characters, has {}",
            text.len()
        );
        return Err(Failure::invalid("/text", message));
    }
    let mut lints = find(checkers, call, &text, input.dialect.unwrap_or_default())?;
    let corrected = correction::corrected(&text, &lints);
    let truncated = lints.len() > LINTS_MAX;
    lints.truncate(LINTS_MAX);
    call.reply(&GrammarOutput {
        lints,
        corrected,
        truncated,
    })
}

fn find(
    checkers: &Checkers,
    call: &Call,
    text: &[char],
    dialect: Dialect,
) -> Result<Vec<Finding>, Failure> {
    let mut checker = checkers.lend(dialect.into(), &call.context);
    let mut found = Vec::new();
    for segment in segments::segments(text) {
        if let Some(stop) = call.context.stopped() {
            return Err(stop.into());
        }
        found.extend(checker.check(text, &segment));
    }
    if let Some(stop) = call.context.stopped() {
        return Err(stop.into());
    }
    checkers.give_back(checker);
    found.sort_by(|a, b| {
        (a.start, a.end, a.priority, &a.message).cmp(&(b.start, b.end, b.priority, &b.message))
    });
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests;
