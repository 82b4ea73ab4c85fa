//! Where a text may be cut so that checking its parts finds what checking the whole would.
//!
//! Parts keep the time between two looks at the deadline short, and what is quadratic in the
//! checker harmless. Its rules look no further than a paragraph, except for quotation marks,
//! which it pairs over the whole text: so a part ends after a blank line, with quotes in pairs.
//! Only a paragraph longer than [`SEGMENT_LEN_MAX`] is cut between sentences, else between words.

use std::ops::Range;

/// A part is ended where it may be from this length on, in scalar values.
const SEGMENT_LEN_MIN: usize = 256;
/// No part is longer, in scalar values.
pub(super) const SEGMENT_LEN_MAX: usize = 2_048;

/// A part of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Its scalar values.
    pub(super) range: Range<usize>,
    /// Whether the cut before it is in the middle of a sentence.
    pub(super) mid_sentence: bool,
}

/// Cuts a text into parts that cover it.
pub(super) fn segments(text: &[char]) -> Vec<Segment> {
    let mut parts = Vec::with_capacity(text.len() / SEGMENT_LEN_MIN + 1);
    let mut start = 0;
    let mut mid_sentence = false;
    while start < text.len() {
        let (len, ends_mid_sentence) = next_cut(&text[start..]);
        parts.push(Segment {
            range: start..start + len,
            mid_sentence,
        });
        start += len;
        mid_sentence = ends_mid_sentence;
    }
    parts
}

/// Length of the first part of a text that is not empty, and whether it ends within a sentence.
fn next_cut(text: &[char]) -> (usize, bool) {
    let mut in_quotes = false;
    let mut cuts = Cuts::default();
    for (at, &c) in text.iter().enumerate().take(SEGMENT_LEN_MAX) {
        in_quotes ^= matches!(c, '"' | '“' | '”');
        let end = at + 1;
        if c == '\n' && ends_paragraph(text, at) {
            cuts.paragraph = Some(end);
            if end >= SEGMENT_LEN_MIN && !in_quotes {
                return (end, false);
            }
        } else if is_blank(c) && text.get(end).is_some_and(|&next| !is_blank(next)) {
            cuts.word = Some(end);
            if ends_sentence(text, at) {
                cuts.sentence = Some(end);
            }
        }
    }
    if text.len() <= SEGMENT_LEN_MAX {
        return (text.len(), false);
    }
    cuts.best()
}

/// The last places seen where a part that must end may end.
#[derive(Default)]
struct Cuts {
    paragraph: Option<usize>,
    sentence: Option<usize>,
    word: Option<usize>,
}

impl Cuts {
    fn best(self) -> (usize, bool) {
        if let Some(end) = self.paragraph.or(self.sentence) {
            (end, false)
        } else {
            (self.word.unwrap_or(SEGMENT_LEN_MAX), true)
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Whether the line feed at `at` is the last of those that end a paragraph.
fn ends_paragraph(text: &[char], at: usize) -> bool {
    let next_is_blank_too = matches!(text[at + 1..], ['\n', ..] | ['\r', '\n', ..]);
    let line_before_is_empty = matches!(text[..at], [.., '\n'] | [.., '\n', '\r']);
    line_before_is_empty && !next_is_blank_too
}

/// Whether the white space that ends at `at` follows a sentence. A lower-case letter after it
/// speaks for an abbreviation.
fn ends_sentence(text: &[char], at: usize) -> bool {
    let before = text[..at]
        .iter()
        .rev()
        .find(|&&c| !is_blank(c) && !matches!(c, '"' | '”' | '’' | '\'' | ')'));
    matches!(before, Some('.' | '!' | '?'))
        && text.get(at + 1).is_some_and(|next| !next.is_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        segments(&chars)
            .into_iter()
            .map(|s| chars[s.range].iter().collect())
            .collect()
    }

    fn paragraph(sentences: usize) -> String {
        vec!["Nine words are in this very short sentence here."; sentences].join(" ")
    }

    #[test]
    fn short_texts_are_not_cut() {
        assert_eq!(parts("One.\n\nTwo."), ["One.\n\nTwo."]);
        assert_eq!(parts(""), [""; 0]);
    }

    #[test]
    fn cuts_after_blank_lines_of_either_kind() {
        for blank in ["\n\n", "\r\n\r\n", "\n\n\n\n"] {
            let first = paragraph(8) + blank;
            assert_eq!(parts(&(first.clone() + "Next.")), [&first, "Next."]);
        }
    }

    #[test]
    fn a_quotation_over_paragraphs_is_kept_together() {
        let text = format!(
            "He said: “{}\n\n{}” And left.\n\nNext.",
            paragraph(8),
            paragraph(8)
        );
        assert_eq!(parts(&text).len(), 2);
        assert_eq!(parts(&text)[1], "Next.");
    }

    #[test]
    fn long_paragraphs_are_cut_between_sentences() {
        let text = paragraph(200);
        let parts = parts(&text);
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.starts_with("Nine"), "{part}");
        }
    }

    #[test]
    fn a_cut_within_a_sentence_is_marked() {
        let chars: Vec<char> = "words and ".repeat(300).chars().collect();
        let parts = segments(&chars);
        assert!(!parts[0].mid_sentence);
        assert!(parts[1].mid_sentence);
        assert_eq!(chars[parts[1].range.start - 1], ' ');
    }

    #[test]
    fn abbreviations_end_no_sentence() {
        let text: Vec<char> = "fruit, e.g. apples".chars().collect();
        assert!(!ends_sentence(&text, 11));
        let text: Vec<char> = "He said “no.” Then".chars().collect();
        assert!(ends_sentence(&text, 13));
    }

    proptest! {
        #[test]
        fn parts_cover_any_text_and_are_bounded(
            pieces in proptest::collection::vec("\\PC{0,300}|[a-z. ]{0,900}|\n\n|\r\n|\"", 0..20)
        ) {
            let text: Vec<char> = pieces.concat().chars().collect();
            let mut end = 0;
            for part in segments(&text) {
                prop_assert_eq!(part.range.start, end);
                prop_assert!(part.range.len() <= SEGMENT_LEN_MAX && !part.range.is_empty());
                end = part.range.end;
            }
            prop_assert_eq!(end, text.len());
        }
    }
}
