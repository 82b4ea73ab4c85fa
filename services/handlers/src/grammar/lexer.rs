//! The grammar checker's tokens, found in time that grows with the text and not with its square.
//!
//! The checker's own lexer looks ahead to the end of the text for every number, and an `@`
//! anywhere later spoils a URL. No token but white space contains white space, so that lexing
//! each run between it gives the same tokens, and these too.
//! Words and runs longer than any in English are kept from the linters: looking for similar words
//! would take long, and their caches would hold on to them.

use std::ops::Range;

use harper_core::parsers::{Parser, PlainEnglish};
use harper_core::{Span, Token, TokenKind};

/// Longest word that is looked up, in scalar values.
const WORD_LEN_MAX: usize = 64;
/// Longest run without white space that is looked into, in scalar values; URLs stay below.
pub(super) const RUN_LEN_MAX: usize = 512;

/// A parser of plain English for [`harper_core::Document`].
pub(super) struct Lexer;

impl Parser for Lexer {
    fn parse(&self, text: &[char]) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        let mut at = 0;
        while at < text.len() {
            let range = at..run_end(text, at);
            at = range.end;
            push_run(&mut tokens, text, range);
        }
        tokens
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// End of the run of equal white space, of `\r\n`, or of anything else, that begins at `start`.
fn run_end(text: &[char], start: usize) -> usize {
    let first = text[start];
    let len = text[start..]
        .iter()
        .take_while(|&&c| {
            if is_blank(first) {
                c == first
            } else {
                !is_blank(c)
            }
        })
        .count();
    match first {
        '\r' if text.get(start + 1) == Some(&'\n') => start + 2,
        '\r' => start + 1,
        _ => start + len,
    }
}

fn push_run(tokens: &mut Vec<Token>, text: &[char], range: Range<usize>) {
    let run = &text[range.clone()];
    let whole = |kind| Token {
        span: Span::new(range.start, range.end),
        kind,
    };
    if run == ['\r', '\n'] {
        tokens.push(whole(TokenKind::Newline(1)));
    } else if run.len() > RUN_LEN_MAX && !is_blank(run[0]) {
        tokens.push(whole(TokenKind::Unlintable));
    } else {
        tokens.extend(PlainEnglish.parse(run).into_iter().map(|mut token| {
            token.span.push_by(range.start);
            if token.span.len() > WORD_LEN_MAX && token.kind.is_word() {
                token.kind = TokenKind::Unlintable;
            }
            token
        }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        let chars: Vec<char> = text.chars().collect();
        Lexer.parse(&chars).into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn windows_line_ends_are_line_ends() {
        assert_eq!(kinds("a\r\nb"), kinds("a\nb"));
        assert_eq!(
            kinds("\r\n\r\n"),
            [TokenKind::Newline(1), TokenKind::Newline(1)]
        );
    }

    #[test]
    fn what_is_no_english_word_is_not_looked_up() {
        assert_eq!(kinds(&"a".repeat(65)), [TokenKind::Unlintable]);
        assert_eq!(kinds(&"1.".repeat(400)), [TokenKind::Unlintable]);
        assert_eq!(kinds(&"a".repeat(64)), [TokenKind::Word(None)]);
    }

    proptest! {
        #[test]
        fn tokens_cover_any_text(text in "(?s).{0,200}") {
            let chars: Vec<char> = text.chars().collect();
            let mut end = 0;
            for token in Lexer.parse(&chars) {
                prop_assert_eq!(token.span.start, end);
                prop_assert!(token.span.end > end);
                end = token.span.end;
            }
            prop_assert_eq!(end, chars.len());
        }

        #[test]
        fn tokens_are_those_of_the_whole_text(
            text in "([a-z]{1,6}|[0-9.,]{1,8}|https?://[a-z]{1,9}\\.com/[a-z?=&]{0,9}\
                     |[\"'“”()\\[\\]!?;:%$€-]|[ \t\n]{1,3}|\\PC){0,40}"
        ) {
            prop_assume!(!text.contains('@'));
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(Lexer.parse(&chars), PlainEnglish.parse(&chars));
        }
    }
}
