//! The answer as the caller sees it, written straight from what the engine returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use tidepool_datalog::{Answers, Ground, Proof, Value};

#[derive(Serialize, JsonSchema)]
pub(super) struct ReasoningOutput<'a> {
    /// For each answer the value of each variable of the query: a number for an integer, a text
    /// for everything else. A query without variables has one empty answer when it holds.
    #[schemars(with = "Vec<BTreeMap<String, Constant>>")]
    answers: Rows<'a>,
    /// How many answers there are, whether returned or not.
    count: usize,
    /// Whether there are more answers than were returned.
    truncated: bool,
    /// How many facts rules have derived for this query.
    derived_facts: u64,
    /// For each answer why it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    proofs: Option<Vec<Step<'a>>>,
}

impl<'a> From<&'a Answers> for ReasoningOutput<'a> {
    fn from(answers: &'a Answers) -> Self {
        let proofs = answers.proofs.as_deref();
        Self {
            answers: Rows(answers),
            count: answers.count,
            truncated: answers.truncated(),
            derived_facts: answers.derived_facts,
            proofs: proofs.map(|proofs| proofs.iter().map(Step::from).collect()),
        }
    }
}

/// A value of a variable, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `Rows` writes, and is never built")]
enum Constant {
    Integer(i64),
    Text(String),
}

/// All answers.
struct Rows<'a>(&'a Answers);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answers {
            variables, rows, ..
        } = self.0;
        let mut items = serializer.serialize_seq(Some(rows.len()))?;
        for values in rows {
            items.serialize_element(&Row { variables, values })?;
        }
        items.end()
    }
}

/// One answer.
struct Row<'a> {
    variables: &'a [Arc<str>],
    values: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(self.values.len()))?;
        for (variable, value) in self.variables.iter().zip(self.values) {
            match value {
                Value::Integer(integer) => members.serialize_entry(&**variable, integer)?,
                Value::Text(text) => members.serialize_entry(&**variable, &**text)?,
            }
        }
        members.end()
    }
}

/// A conclusion and what it follows from.
#[derive(Serialize, JsonSchema)]
struct Step<'a> {
    /// What holds.
    conclusion: &'a str,
    /// Why it holds.
    by: By,
    /// The line of the program where the fact or the rule stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// What it follows from, in the order of the rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    premises: Vec<Step<'a>>,
}

impl<'a> From<&'a Proof> for Step<'a> {
    fn from(proof: &'a Proof) -> Self {
        Self {
            conclusion: &proof.conclusion,
            by: proof.ground.into(),
            line: proof.line,
            premises: proof.premises.iter().map(Step::from).collect(),
        }
    }
}

/// Why a conclusion holds: a fact or a rule of the program, the query itself, the absence of a
/// fact, a comparison; or the proof was too large to go on.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum By {
    Fact,
    Rule,
    Query,
    Absence,
    Comparison,
    Omitted,
}

impl From<Ground> for By {
    fn from(ground: Ground) -> Self {
        match ground {
            Ground::Fact => Self::Fact,
            Ground::Rule => Self::Rule,
            Ground::Query => Self::Query,
            Ground::Absence => Self::Absence,
            Ground::Comparison => Self::Comparison,
            Ground::Omitted => Self::Omitted,
        }
    }
}
