//! English text to be checked: paragraphs with the mistakes that people make.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{IntRange, prose, to_bytes};

/// Some paragraphs, and a last sentence that no other request has, so that no cache can answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrammarBody {
    paragraphs: IntRange<100>,
}

impl Default for GrammarBody {
    fn default() -> Self {
        Self {
            paragraphs: IntRange::exactly(1),
        }
    }
}

impl GrammarBody {
    pub(super) fn make(&self, index: u64, rng: &mut fastrand::Rng) -> Bytes {
        let n = usize::try_from(self.paragraphs.draw(rng)).unwrap_or(1);
        let mut text = prose::paragraphs(n, rng);
        text.push_str(&format!("This is letter number {index} of the day."));
        to_bytes(&json!({ "text": text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_and_stay_within_what_the_kind_accepts() {
        let body = GrammarBody {
            paragraphs: IntRange::exactly(100),
        };
        let made = |index| body.make(index, &mut fastrand::Rng::with_seed(1));
        assert_ne!(made(1), made(2));
        let value: serde_json::Value = serde_json::from_slice(&made(1)).unwrap();
        assert!(value["text"].as_str().unwrap().chars().count() <= 100_000);
    }
}
