//! How texts and queries become terms: the same way, or they would not meet.
//!
//! Words in lower case, without accents, reduced to their English stem. Scripts that do not put
//! spaces between words are taken character by character.

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, Stemmer, TextAnalyzer, Token,
    TokenStream, Tokenizer,
};

/// Longer words are not indexed, in bytes.
const WORD_BYTES_MAX: usize = 255;

/// What makes terms of a text.
pub(super) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(Words::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// The first `max` different terms of a query.
pub(super) fn terms_of(query: &str, max: usize) -> Vec<String> {
    let mut terms: Vec<String> = Vec::new();
    let mut analyzer = analyzer();
    let mut stream = analyzer.token_stream(query);
    while terms.len() < max && stream.advance() {
        let term = &stream.token().text;
        if !terms.contains(term) {
            terms.push(term.clone());
        }
    }
    terms
}

/// Splits a text into runs of letters and digits, and into single ideographs.
#[derive(Clone, Default)]
struct Words {
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream {
            text,
            at: 0,
            token: &mut self.token,
        }
    }
}

struct WordStream<'a> {
    text: &'a str,
    /// Byte where the rest begins.
    at: usize,
    token: &'a mut Token,
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(skipped) = rest.find(char::is_alphanumeric) else {
            self.at = self.text.len();
            return false;
        };
        let word = word_at_start(&rest[skipped..]);
        self.token.offset_from = self.at + skipped;
        self.token.offset_to = self.token.offset_from + word.len();
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text.clear();
        self.token.text.push_str(word);
        self.at = self.token.offset_to;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// The word that a text begins with.
fn word_at_start(text: &str) -> &str {
    let mut chars = text.char_indices();
    let end = match chars.next() {
        Some((_, first)) if is_ideograph(first) => Some(first.len_utf8()),
        _ => chars
            .find(|&(_, c)| !c.is_alphanumeric() || is_ideograph(c))
            .map(|(at, _)| at),
    };
    &text[..end.unwrap_or(text.len())]
}

/// Whether a character belongs to a script that puts no spaces between words: Thai, Lao, Burmese
/// and Khmer; Japanese and Chinese.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_become_stems() {
        assert_eq!(
            terms_of("The Sailors sailed, sailing!", 9),
            ["the", "sailor", "sail"]
        );
        assert_eq!(terms_of("Café CAFE", 9), ["cafe"]);
        assert_eq!(terms_of("a b c d", 2), ["a", "b"]);
    }

    #[test]
    fn query_syntax_is_just_text() {
        assert_eq!(
            terms_of(r#"+title:"x^2" AND (NOT \"#, 9),
            ["titl", "x", "2", "and", "not"]
        );
        assert!(terms_of("?!… \u{0}", 9).is_empty());
    }

    #[test]
    fn ideographs_are_found_one_by_one() {
        assert_eq!(terms_of("潮池tide", 9), ["潮", "池", "tide"]);
    }

    proptest! {
        #[test]
        fn any_text_has_terms_within_it(text in "\\PC{0,60}") {
            let mut words = Words::default();
            let mut stream = words.token_stream(&text);
            let mut end = 0;
            while stream.advance() {
                let token = stream.token();
                prop_assert!(token.offset_from >= end && token.offset_to > token.offset_from);
                end = token.offset_to;
                prop_assert_eq!(&text[token.offset_from..end], &token.text);
            }
        }
    }
}
