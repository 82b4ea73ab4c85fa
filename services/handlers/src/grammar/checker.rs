//! The grammar checker behind a small face: groups of rules, lent to one request at a time.
//!
//! A group of rules takes a tenth of a second and some megabytes to make and is used through
//! `&mut`. Idle ones are kept for all workers of the process, a bounded number for each dialect.
//! What a group remembers of checked phrases is dropped after each request: an answer must not
//! depend on the requests before it, and the memory could grow with the largest of them.

use std::sync::Arc;

use harper_core::linting::{Lint, LintGroup, LintKind, Linter, Suggestion};
use harper_core::{Dialect, Document, Lrc};
use parking_lot::Mutex;
use tidepool_handler::CallContext;

use super::Finding;
use super::lexer::Lexer;
use super::lexicon::Lexicon;
use super::segments::Segment;

/// Most idle checkers of one dialect.
const IDLE_MAX: usize = 8;

/// Checkers that nobody uses right now.
#[derive(Default)]
pub(super) struct Checkers {
    idle: Mutex<Vec<Checker>>,
}

impl Checkers {
    /// A checker for one request: an idle one of the dialect, or a new one.
    pub(super) fn lend(&self, dialect: Dialect, request: &CallContext) -> Checker {
        let idle = {
            let mut idle = self.idle.lock();
            idle.iter()
                .position(|checker| checker.dialect == dialect)
                .map(|at| idle.swap_remove(at))
        };
        let checker = idle.unwrap_or_else(|| Checker::new(dialect));
        checker.lexicon.serve(request);
        checker
    }

    /// Takes a checker back, unless what it remembers would mislead another request.
    pub(super) fn give_back(&self, mut checker: Checker) {
        if !checker.lexicon.served() {
            return;
        }
        checker.forget();
        self.keep(checker);
    }

    /// Makes sure that a checker is there for the first request.
    pub(super) fn warm_up(&self, dialect: Dialect) {
        self.keep(Checker::new(dialect));
    }

    fn keep(&self, checker: Checker) {
        let mut idle = self.idle.lock();
        let of_dialect = |other: &&Checker| other.dialect == checker.dialect;
        if idle.iter().filter(of_dialect).count() < IDLE_MAX {
            idle.push(checker);
        }
    }
}

/// Rules of one dialect.
pub(super) struct Checker {
    dialect: Dialect,
    lexicon: Arc<Lexicon>,
    rules: LintGroup,
}

impl Checker {
    fn new(dialect: Dialect) -> Self {
        let lexicon = Arc::<Lexicon>::default();
        Self {
            dialect,
            rules: LintGroup::new_curated(Arc::clone(&lexicon), dialect),
            lexicon,
        }
    }

    /// Drops what is remembered of whole phrases; suggestions for single words stay.
    fn forget(&mut self) {
        let mut forgetful = LintGroup::empty();
        forgetful.merge_from(&mut self.rules);
        self.rules = forgetful;
    }

    /// What is to be said about a part of a text, in no particular order.
    pub(super) fn check(&mut self, text: &[char], segment: &Segment) -> Vec<Finding> {
        let source = &text[segment.range.clone()];
        let document = Document::new_from_vec(Lrc::new(source.to_vec()), &Lexer, &self.lexicon);
        let first_word = source.iter().position(|c| c.is_alphanumeric());
        let is_of_the_cut = |lint: &Lint| {
            segment.mid_sentence
                && lint.lint_kind == LintKind::Capitalization
                && Some(lint.span.start) == first_word
        };
        self.rules
            .lint(&document)
            .into_iter()
            .filter(|lint| lint.span.end <= source.len() && !is_of_the_cut(lint))
            .map(|lint| finding(lint, source, segment.range.start))
            .collect()
    }
}

fn finding(lint: Lint, source: &[char], offset: usize) -> Finding {
    let original = &source[lint.span.start..lint.span.end];
    Finding {
        start: offset + lint.span.start,
        end: offset + lint.span.end,
        kind: lint.lint_kind.to_string_key(),
        suggestions: lint
            .suggestions
            .iter()
            .map(|suggestion| replacement(suggestion, original))
            .collect(),
        message: lint.message,
        priority: lint.priority,
    }
}

/// The text that is to stand in the place of `original`.
fn replacement(suggestion: &Suggestion, original: &[char]) -> String {
    match suggestion {
        Suggestion::ReplaceWith(text) => text.iter().collect(),
        Suggestion::InsertAfter(text) => original.iter().chain(text).collect(),
        Suggestion::Remove => String::new(),
    }
}
