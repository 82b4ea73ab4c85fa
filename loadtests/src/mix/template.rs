//! Bodies for kinds that this crate does not know: JSON with placeholders in its strings.
//!
//! `${index}` is the request's number, `${int 1 6}` a whole number, `${words 5}` that many
//! words. A string that is nothing but a number placeholder becomes a JSON number.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::prose;

/// Most words of one placeholder.
const WORDS_MAX: u64 = 10_000;

/// A JSON body for any kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct JsonBody {
    kind: String,
    pieces: Vec<Piece>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: String,
    input: Value,
}

#[derive(Clone, PartialEq, Debug)]
enum Piece {
    Text(String),
    Index,
    Int { low: i64, high: i64 },
    Words(usize),
}

impl JsonBody {
    /// An empty object for `kind`.
    pub(super) fn empty(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            pieces: vec![Piece::Text("{}".to_owned())],
        }
    }

    /// `input` with its placeholders, for `kind`.
    ///
    /// # Errors
    /// When the kind cannot stand in a path, or a placeholder is unknown.
    pub fn new(kind: &str, input: &Value) -> Result<Self, String> {
        check_kind(kind)?;
        Ok(Self {
            kind: kind.to_owned(),
            pieces: parse(&input.to_string())?,
        })
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn make(&self, index: u64, rng: &mut fastrand::Rng) -> Bytes {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Index => text.push_str(&index.to_string()),
                Piece::Int { low, high } => text.push_str(&rng.i64(*low..=*high).to_string()),
                Piece::Words(n) => text.push_str(&prose::words(*n, rng)),
            }
        }
        Bytes::from(text)
    }
}

impl TryFrom<Written> for JsonBody {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        Self::new(&written.kind, &written.input)
    }
}

/// Kinds become part of a path and of report keys.
///
/// # Errors
/// When `kind` is empty, too long or has other characters than names have.
pub(crate) fn check_kind(kind: &str) -> Result<(), String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if kind.is_empty() || kind.len() > 64 || !kind.chars().all(is_name) {
        return Err("a kind has 1 to 64 characters of a-z, 0-9, '-', '_' and '.'".to_owned());
    }
    Ok(())
}

/// Splits the JSON text at its placeholders. What they make needs no escaping in JSON.
fn parse(json: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = json;
    while let Some(start) = rest.find("${") {
        let end = rest[start..]
            .find('}')
            .map(|n| start + n)
            .ok_or("a placeholder '${' is not closed by '}'")?;
        let piece = placeholder(&rest[start + 2..end])?;
        let (mut before, mut after) = (&rest[..start], &rest[end + 1..]);
        if matches!(piece, Piece::Index | Piece::Int { .. })
            && let Some(unquoted) = before.strip_suffix('"')
            && let Some(unquoted_after) = after.strip_prefix('"')
            && !unquoted.ends_with('\\')
        {
            (before, after) = (unquoted, unquoted_after);
        }
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

fn placeholder(inner: &str) -> Result<Piece, String> {
    let words: Vec<&str> = inner.split_whitespace().collect();
    let piece = match words.as_slice() {
        ["index"] => Some(Piece::Index),
        ["int", low, high] => match (low.parse(), high.parse()) {
            (Ok(low), Ok(high)) if low <= high => Some(Piece::Int { low, high }),
            _ => None,
        },
        ["words", n] => match n.parse::<u64>() {
            Ok(n) if n <= WORDS_MAX => usize::try_from(n).ok().map(Piece::Words),
            _ => None,
        },
        _ => None,
    };
    piece.ok_or_else(|| {
        let inner: String = inner.chars().take(40).collect();
        format!(
            "'${{{inner}}}' is not a placeholder: there are ${{index}}, ${{int LOW HIGH}} and \
             ${{words N}} with N up to {WORDS_MAX}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn make(input: &Value) -> Value {
        let body = JsonBody::new("mine", input).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        serde_json::from_slice(&body.make(42, &mut rng)).unwrap()
    }

    #[test]
    fn placeholders_become_numbers_or_parts_of_strings() {
        let made = make(&json!({
            "n": "${index}", "id": "x-${index}", "die": "${int 3 3}", "text": "${words 4}", "plain": 1
        }));
        assert_eq!(made["n"], 42);
        assert_eq!(made["id"], "x-42");
        assert_eq!(made["die"], 3);
        assert_eq!(made["text"].as_str().unwrap().split(' ').count(), 4);
        assert_eq!(made["plain"], 1);
    }

    #[test]
    fn unknown_placeholders_and_kinds_are_refused_with_what_is_allowed() {
        for text in [
            "${indx}",
            "${int 3}",
            "${int 5 3}",
            "${words 99999999}",
            "${index",
        ] {
            let error = JsonBody::new("mine", &json!(text)).unwrap_err();
            assert!(error.contains("placeholder"), "{error}");
        }
        assert!(JsonBody::new("../admin", &json!({})).is_err());
        assert!(JsonBody::new("", &json!({})).is_err());
    }

    proptest! {
        #[test]
        fn every_accepted_template_makes_json(text in "[a-z\"\\\\ ]{0,6}(\\$\\{index\\}|\\$\\{int 1 9\\})?[a-z\"\\\\ ]{0,6}") {
            let body = JsonBody::new("mine", &json!({ "t": text })).unwrap();
            let made = body.make(7, &mut fastrand::Rng::with_seed(1));
            prop_assert!(serde_json::from_slice::<Value>(&made).is_ok(), "{:?}", made);
        }
    }
}
