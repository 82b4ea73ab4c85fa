//! Questions about a family tree: recursion over as many facts as one asks for.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;

/// Most people of a tree; the program then has about half a megabyte.
const PEOPLE_MAX: u32 = 20_000;

/// A family tree, and who descends from whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasoningBody {
    /// People in the tree, which has one fact fewer.
    #[serde(deserialize_with = "people")]
    people: u32,
}

impl Default for ReasoningBody {
    fn default() -> Self {
        Self { people: 100 }
    }
}

fn people<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let n = u32::deserialize(deserializer)?;
    if (2..=PEOPLE_MAX).contains(&n) {
        Ok(n)
    } else {
        let message = format!("a tree has 2 to {PEOPLE_MAX} people, not {n}");
        Err(serde::de::Error::custom(message))
    }
}

/// The program, made once; only the question differs.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    people: u32,
    /// JSON up to the question.
    head: Bytes,
}

impl Maker {
    pub(super) fn new(body: &ReasoningBody, seed: u64) -> Self {
        let program = family_tree(body.people, seed);
        // The program has no character that JSON would escape.
        let head = format!(r#"{{"program":"{program}","query":""#);
        Self {
            people: body.people,
            head: Bytes::from(head),
        }
    }

    pub(super) fn make(&self, rng: &mut fastrand::Rng) -> Bytes {
        let person = rng.u32(0..self.people);
        let question = if rng.bool() {
            format!(r#"ancestor(W,p{person})"}}"#)
        } else {
            format!(r#"ancestor(p{person},W)","limit":100}}"#)
        };
        let mut body = Vec::with_capacity(self.head.len() + question.len());
        body.extend_from_slice(&self.head);
        body.extend_from_slice(question.as_bytes());
        Bytes::from(body)
    }
}

/// Everybody but the first has a parent born before them, with two to four children each: the
/// depth grows with the logarithm of the size, as in families.
fn family_tree(people: u32, seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut program = String::with_capacity(people as usize * 24);
    for child in 1..people {
        let parent = rng.u32((child - 1) / 4..=(child - 1) / 2);
        // Writing to a string cannot fail.
        let _ = write!(program, "parent(p{parent},p{child}). ");
    }
    program.push_str("ancestor(X,Y) :- parent(X,Y). ancestor(X,Z) :- parent(X,Y), ancestor(Y,Z).");
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_a_program_and_a_question() {
        let maker = Maker::new(&ReasoningBody { people: 50 }, 1);
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..20 {
            let body: serde_json::Value = serde_json::from_slice(&maker.make(&mut rng)).unwrap();
            let program = body["program"].as_str().unwrap();
            assert_eq!(program.matches("parent(p").count(), 49);
            assert!(body["query"].as_str().unwrap().starts_with("ancestor("));
        }
    }

    #[test]
    fn nobody_is_their_own_ancestor() {
        let program = family_tree(200, 9);
        for fact in program.split(". ").filter(|f| f.starts_with("parent(")) {
            let inner = &fact["parent(p".len()..fact.len() - 1];
            let (parent, child) = inner.split_once(",p").unwrap();
            let (parent, child): (u32, u32) = (parent.parse().unwrap(), child.parse().unwrap());
            assert!(parent < child, "{fact}");
        }
    }
}
